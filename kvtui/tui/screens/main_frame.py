"""The frame of the main screen: which view shows, how panes are laid out, and what the bars say."""

from __future__ import annotations

import enum
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen

from kvtui.api.wire import ObjectKey
from kvtui.errors import Forbidden, NotFound
from kvtui.tui.columns.cell import Cell, Tone, clock_time
from kvtui.tui.details import pages
from kvtui.tui.keymap import Command, Continue, Keymap
from kvtui.tui.model.cluster import Link
from kvtui.tui.model.journal import Message, Severity
from kvtui.tui.model.rows import AnyRow
from kvtui.tui.model.session import Session
from kvtui.tui.model.views import View
from kvtui.tui.widgets.bars import Bar, Stack
from kvtui.tui.widgets.object_list import ObjectList
from kvtui.tui.widgets.prompt import PromptLine
from kvtui.tui.widgets.text_pane import TextPane

MIN_WIDTH, MIN_HEIGHT = 60, 16


class Layout(enum.StrEnum):
    """How list and detail share the room."""

    LIST = "list"
    STACKED = "stacked"
    SIDE = "side"


def layout_for(width: int, height: int) -> Layout:
    if width >= 160:
        return Layout.SIDE
    return Layout.STACKED if width >= 100 and height >= 30 else Layout.LIST


class MainFrame(Screen[None]):
    """Base of the main screen; its subclasses add what keys do."""

    AUTO_FOCUS = ""
    CSS_PATH = "main.tcss"

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.view: View = session.views.all[0]
        self.pane = "list"
        self.detail_open = False
        self.zoomed = False
        self.layout_override: Layout | None = None
        self.tab_of: dict[str, str] = {}
        self.presses: tuple[str, ...] = ()
        self.options: Continue | None = None
        self.asking = ""
        """A one-line question that waits for y."""
        self.live: tuple[ObjectKey, dict[str, Any]] | None = None
        self._keymap: Keymap | None = None
        self._shown_message: Message | None = None

    def compose(self) -> ComposeResult:
        yield Bar(id="header")
        yield Bar(id="tabs")
        yield Bar(id="filterline")
        yield PromptLine(id="filter-prompt")
        with Container(id="content"):
            yield ObjectList(self.session.sight, self.placeholder)
            yield TextPane(self.glyphs, id="detail")
        yield Bar(id="status")
        yield PromptLine(id="prompt")
        yield Stack(id="hints")
        yield Stack(id="small")

    # Parts

    @property
    def standing(self) -> bool:
        """Its parts are there. The caches go on telling while the screen is being taken down."""
        return self.is_mounted and bool(self.query(ObjectList))

    def glyphs(self) -> Any:
        return self.session.preferences.glyphs

    @property
    def table(self) -> ObjectList:
        return self.query_one(ObjectList)

    @property
    def detail(self) -> TextPane:
        return self.query_one("#detail", TextPane)

    def bar(self, id_: str) -> Bar:
        return self.query_one(f"#{id_}", Bar)

    @property
    def keymap(self) -> Keymap:
        if self._keymap is None:
            self._keymap = self.session.keymap(self.view)
        return self._keymap

    @property
    def row(self) -> AnyRow | None:
        return self.table.row

    # Views and layout

    def show_view(self, view: View) -> None:
        self.view = view
        self._keymap = None
        self.pane = "list"
        self.detail_open = False
        self.table.end_range()
        self.apply_layout()
        self.show_list()
        self.paint_bars()
        self.follow_cursor()

    def show_list(self) -> None:
        many = len(self.session.namespaces) != 1
        hidden = frozenset() if many and self.view.namespaced else frozenset({"namespace"})
        self.table.show(self.view.collection, hidden, follow=self.view.id == "events")

    @property
    def layout_now(self) -> Layout:
        natural = layout_for(self.size.width, self.size.height)
        if self.layout_override is None or self.size.width < 100:
            return Layout.LIST if self.size.width < 100 else natural
        return self.layout_override

    @property
    def detail_shown(self) -> bool:
        return self.detail_open or (self.layout_now is not Layout.LIST and not self.zoomed)

    def apply_layout(self) -> None:
        layout = self.layout_now
        for one in Layout:
            self.set_class(one is layout, f"-{one.value}")
        alone = layout is Layout.LIST or self.zoomed
        self.set_class(alone and self.detail_open, "-only-detail")
        self.set_class(alone and not self.detail_open, "-only-list")
        small = self.size.width < MIN_WIDTH or self.size.height < MIN_HEIGHT
        self.set_class(small, "-too-small")
        self.detail.set_focused(self.pane == "detail")
        if small:
            text = f"Terminal is {self.size.width}x{self.size.height}. kvtui needs {MIN_WIDTH}x{MIN_HEIGHT}."
            self.query_one("#small", Stack).put([(Cell(text),)])

    def on_resize(self, event: events.Resize) -> None:
        self.apply_layout()
        self.call_after_refresh(self.paint)

    # Painting

    def paint(self) -> None:
        """Everything that may have changed; widgets send only what did."""
        self.paint_bars()
        self.table.repaint()
        self.paint_detail()

    def paint_bars(self) -> None:
        self._paint_header()
        self._paint_tabs()
        self._paint_filter()
        self.paint_status()
        self.paint_hints()

    def _paint_header(self) -> None:
        session, health = self.session, self.session.cluster.health
        names = sorted(session.namespaces)
        scope = "(all)" if not names else ",".join(names)
        left = [Cell(f" {session.cluster.context}", Tone.STRONG), Cell(f"   ns {scope}   ")]
        if badge := self._badge():
            left += [Cell(f" {badge} ", "protected"), Cell("  ")]
        if accelerator := session.cluster.accelerator:
            left.append(Cell(accelerator, Tone.DIM if accelerator == "KVM" else Tone.WARN))
        right = [Cell(session.clock().strftime("   %H:%M "), Tone.DIM)]
        if health.link is Link.LIVE and health.round_trip is not None:
            right.insert(0, Cell(f"OK {health.round_trip * 1000:.0f} ms", Tone.DIM))
        elif health.link is Link.CONNECTING:
            right.insert(0, Cell("connecting", Tone.BUSY))
        self.bar("header").put(left, right)

    def _badge(self) -> str:
        session, health = self.session, self.session.cluster.health
        if health.link is Link.OFFLINE and health.since is not None:
            return f"OFFLINE {clock_time((session.clock() - health.since).total_seconds())}"
        if session.preferences.read_only:
            return "READ-ONLY"
        if session.preferences.protected:
            return "PROTECTED"
        return "LOCAL" if session.cluster.one_machine else ""

    def _paint_tabs(self) -> None:
        wide = self.size.width >= 100
        pieces = [Cell(" ")]
        for view in self.session.views.all:
            name = f"{view.number} {view.title if wide else view.short}"
            badge = self.session.views.active_migrations() if view.id == "migrations" else 0
            name += f" {badge}" if badge else ""
            chosen = view is self.view
            pieces.append(Cell(f"[{name}]" if chosen else f" {name} ", Tone.STRONG if chosen else Tone.DIM))
        live = self.session.consoles.live
        consoles = f" 9 {'Consoles' if wide else 'Cons'}{f' {live}' if live else ''} "
        pieces.append(Cell(consoles, Tone.DIM))
        self.bar("tabs").put(pieces)

    def _paint_filter(self) -> None:
        collection = self.view.collection
        text = collection.filter.text
        left = [Cell(" filter: ", Tone.DIM), Cell(text or "(none)", Tone.TEXT if text else Tone.DIM)]
        shown = f"{len(collection)} of {collection.total} rows" if text else f"{collection.total} rows"
        marked = f"{len(collection.marks)} marked"
        if hidden := collection.hidden_marks():
            marked += f" ({hidden} hidden)"
        column = collection.column(collection.sort.column)
        direction = " down" if collection.sort.reverse else ""
        sort = f"sort {column.title if column else collection.sort.column}{direction} "
        tone = "mark" if collection.marks else Tone.DIM
        right = [Cell(f"{shown}   ", Tone.DIM), Cell(marked, tone), Cell(f"   {sort}", Tone.DIM)]
        self.bar("filterline").put(left, right)

    def paint_status(self) -> None:
        if self.asking:
            left = [Cell(f" {self.asking} y/N", Tone.STRONG)]
        elif self.session.cluster.health.link is Link.OFFLINE:
            reason = self.session.cluster.health.reason
            left = [Cell(f" {self.session.cluster.context} does not answer: {reason}   ctrl+r now", Tone.FAIL)]
        elif self._shown_message is not None:
            message = self._shown_message
            tone = {Severity.ERROR: Tone.FAIL, Severity.WARN: Tone.WARN}.get(message.severity, Tone.TEXT)
            left = [Cell(f" {message.text}", tone)]
        else:
            left = [Cell(" ready", Tone.DIM)]
        jobs = self.session.journal.running
        right = [Cell(f"{jobs} job{'s' if jobs != 1 else ''}  !   " if jobs else "", Tone.BUSY)]
        right.append(Cell("log ^g ", Tone.DIM))
        self.bar("status").put(left, right)

    def say(self, text: str, severity: Severity = Severity.INFO, *, about: str = "") -> None:
        """Into the status bar and the log."""
        self.session.journal.say(text, severity, about=about)

    def message_came(self) -> None:
        if not self.standing:
            return
        messages = self.session.journal.messages
        self._shown_message = messages[-1] if messages else None
        self.paint_status()

    def key_pressed(self) -> None:
        """The answer to the key before has been read."""
        self._shown_message = None

    def paint_hints(self) -> None:
        hints = self.query_one("#hints", Stack)
        if self.options is not None:
            begun = "".join(self.presses)
            pieces = [Cell(f" {begun} ", Tone.STRONG)]
            for press, command in self.options.options:
                pieces += [Cell(f" {press}", "key"), Cell(f" {command.label} ")]
            hints.put([pieces, (Cell("  esc leaves", Tone.DIM),)])
            return
        commands = [c for c in self.keymap.commands() if c.hint]
        lines: list[list[Cell]] = [[]]
        room = self.size.width - 2
        for command in commands:
            piece = self._hint(command)
            length = sum(len(cell.text) for cell in piece)
            if sum(len(cell.text) for cell in lines[-1]) + length > room:
                lines.append([])
            lines[-1] += piece
        hints.put([(Cell(" "), *line) for line in lines[:2]])

    def _hint(self, command: Command) -> list[Cell]:
        sequences = command.sequences
        key = "".join(sequences[0]) if sequences else ""
        short = {"ctrl+p": "^p", "space": "space"}.get(key, key)
        return [Cell(short, "key"), Cell(f" {command.label}  ")]

    # Detail

    def tab(self, row: AnyRow) -> str:
        tabs = pages.tabs(row)
        chosen = self.tab_of.get(self.view.id, tabs[0])
        return chosen if chosen in tabs else tabs[0]

    def follow_cursor(self) -> None:
        """The detail pane shows the row under the cursor; subclasses may let the cursor rest first."""
        self.paint_detail()

    def paint_detail(self) -> None:
        if not self.detail_shown:
            return
        row = self.row
        if row is None:
            self.detail.put([], title="nothing selected")
            return
        tab = self.tab(row)
        live = self.live[1] if self.live is not None and self.live[0] == row.key else None
        lines = pages.page(row, tab, self.session.views, self.session.sight(), live)
        self.detail.put(lines, title=pages.title(row), tabs=pages.tabs(row), tab=tab)

    # Empty lists

    def placeholder(self) -> list[tuple[str, ...]]:
        """What stands in a list without rows, and which keys help."""
        collection, cluster = self.view.collection, self.session.cluster
        failure = cluster.failure(self.view.kind)
        scope = ", ".join(sorted(self.session.namespaces)) or "any namespace"
        if isinstance(failure, Forbidden):
            return [
                (f"You may not list {self.view.resource.partition('.')[0]} in {scope} (403).",),
                (f"Needed: get, list, watch on {self.view.resource}   N changes namespace",),
            ]
        if isinstance(failure, NotFound):
            return self._missing()
        if not cluster.informer(self.view.kind).synced:
            reason = f"{cluster.context} does not answer: {failure}" if failure is not None else ""
            return [(f"Loading {self.view.noun}...",), (reason or "",)]
        if collection.filter:
            text = f"Nothing matches {collection.filter.text}. {collection.total} rows are hidden."
            return [(text,), ("esc removes the filter",)]
        create = "n creates one   " if self.view.id in ("vms", "dvs") else ""
        if not self.view.namespaced:
            return [(f"No {self.view.noun}.",)]
        return [(f"No {self.view.noun} in {scope}.",), (f"{create}0 shows all namespaces   N changes namespace",)]

    def _missing(self) -> list[tuple[str, ...]]:
        context = self.session.cluster.context
        if self.view.id == "dvs":
            return [("No DataVolume API here (CDI is not installed). PVCs are shown.",)]
        return [(f"KubeVirt is not installed on {context}: no kubevirt.io/v1 API.",), ("@ other context",)]
