"""Finding one's way on the main screen: views, panes, cursor, marks, filter, sort, history of places."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.api.wire import ObjectKey
from kvtui.errors import Usage
from kvtui.tui.details import pages
from kvtui.tui.model.journal import Severity
from kvtui.tui.model.rows import DataVolumeRow, EventRow, MigrationRow, NodeRow, VmRow
from kvtui.tui.screens.main_frame import Layout, MainFrame
from kvtui.tui.screens.picker import Option, Picker
from kvtui.tui.widgets.prompt import PromptLine

_KIND_VIEWS = {
    "VirtualMachine": "vms",
    "VirtualMachineInstance": "vms",
    "DataVolume": "dvs",
    "PersistentVolumeClaim": "dvs",
    "VirtualMachineInstanceMigration": "migrations",
    "Node": "nodes",
}
_LATER_VIEWS = {6: "ReplicaSets", 7: "Networks", 8: "Storage"}


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the history."""

    view: str
    key: ObjectKey | None
    filter: str


class Moves(MainFrame):
    """Commands that look and never write. A method `do_x_y` carries out the command `x.y`."""

    _back: list[Spot]
    _forward: list[Spot]

    # Places

    def spot(self) -> Spot:
        return Spot(self.view.id, self.table.place.key, self.view.collection.filter.text)

    def remember(self) -> None:
        self._back.append(self.spot())
        self._forward.clear()
        del self._back[:-50]

    def go_view(self, id_: str, *, key: ObjectKey | None = None, filter_text: str | None = None) -> None:
        """Changes the view, remembering the place."""
        self.remember()
        self._restore(Spot(id_, key, "" if filter_text is None else filter_text), keep_filter=filter_text is None)

    def _restore(self, spot: Spot, *, keep_filter: bool = False) -> None:
        view = self.session.views.view(spot.view)
        if not keep_filter and view.collection.filter.text != spot.filter:
            view.collection.set_filter(spot.filter)
        self.show_view(view)
        if spot.key is not None and not self.table.go_to(spot.key):
            self.say(f"{spot.key} is not in this list", Severity.WARN)

    def do_view(self, number: int) -> None:
        view = next((v for v in self.session.views.all if v.number == number), None)
        if view is not None:
            if view is self.view:
                self.set_pane("list")
            else:
                self.go_view(view.id)
        elif number == 9:
            self.open_consoles()
        else:
            self.say(f"View {number} ({_LATER_VIEWS[number]}) is not in this version; kubectl shows these objects.")

    def open_consoles(self) -> object:
        raise NotImplementedError

    def do_nav_back(self) -> None:
        if not self._back:
            self.say("There is no place before this one.")
            return
        self._forward.append(self.spot())
        self._restore(self._back.pop())

    def do_nav_forward(self) -> None:
        if not self._forward:
            self.say("There is no place after this one.")
            return
        self._back.append(self.spot())
        self._restore(self._forward.pop())

    # Panes

    def set_pane(self, pane: str) -> None:
        self.pane = pane
        self.detail.set_focused(pane == "detail")

    def do_focus_next(self) -> None:
        if not self.detail_shown:
            self.do_detail()
            return
        if self.layout_now is Layout.LIST or self.zoomed:
            self.close_detail()
            return
        self.set_pane("list" if self.pane == "detail" else "detail")

    do_focus_prev = do_focus_next

    def do_detail(self) -> None:
        if self.row is None:
            self.say("nothing is selected")
            return
        self.detail_open = True
        self.apply_layout()
        self.set_pane("detail")
        self.call_after_refresh(self.paint_detail)

    def close_detail(self) -> None:
        self.detail_open = False
        self.set_pane("list")
        self.apply_layout()
        self.call_after_refresh(self.paint)

    def do_tab_next(self, step: int = 1) -> None:
        row = self.row
        if row is None:
            self.say("nothing is selected")
            return
        if not self.detail_shown:
            self.do_detail()
        tabs = pages.tabs(row)
        self.tab_of[self.view.id] = tabs[(tabs.index(self.tab(row)) + step) % len(tabs)]
        self.load_live()
        self.paint_detail()

    def do_tab_prev(self) -> None:
        self.do_tab_next(-1)

    def load_live(self) -> object:
        raise NotImplementedError

    def do_zoom(self) -> None:
        self.zoomed = not self.zoomed
        if self.zoomed and self.pane == "detail":
            self.detail_open = True
        self.apply_layout()
        self.call_after_refresh(self.paint)

    def do_split(self) -> None:
        if self.size.width < 100:
            self.say(f"The terminal is {self.size.width} columns wide; two panes need 100.")
            return
        order = list(Layout)
        self.layout_override = order[(order.index(self.layout_now) + 1) % len(order)]
        self.apply_layout()
        self.call_after_refresh(self.paint)
        self.say(f"layout {self.layout_override.value}")

    # Cursor

    def _lines(self, steps: int) -> None:
        if self.pane == "detail":
            self.detail.scroll_lines(steps)
        else:
            self.table.move(steps)

    def _page(self) -> int:
        return self.detail.page if self.pane == "detail" else self.table.page

    def do_move_down(self) -> None:
        self._lines(1)

    def do_move_up(self) -> None:
        self._lines(-1)

    def do_move_first(self) -> None:
        self._lines(-(10**9))

    def do_move_last(self) -> None:
        self._lines(10**9)

    def do_move_half_down(self) -> None:
        self._lines(self._page() // 2)

    def do_move_half_up(self) -> None:
        self._lines(-(self._page() // 2))

    def do_move_page_down(self) -> None:
        self._lines(self._page())

    def do_move_page_up(self) -> None:
        self._lines(-self._page())

    def do_move_left(self) -> None:
        if self.pane == "detail":
            self.detail.scroll_sideways(-8)
        else:
            self.table.scroll_columns(-1)

    def do_move_right(self) -> None:
        if self.pane == "detail":
            self.detail.scroll_sideways(8)
        else:
            self.table.scroll_columns(1)

    def do_wide(self) -> None:
        self.table.wide = not self.table.wide
        self.show_list()
        self.say("all columns that fit" if self.table.wide else "core columns only")

    # Marks

    def do_mark_toggle(self) -> None:
        row = self.row
        if row is None:
            self.say("nothing is selected")
            return
        self.view.collection.toggle_mark(row.key)
        self.table.move(1)
        self.paint_bars()

    def do_mark_range(self) -> None:
        started = self.table.toggle_range()
        self.say("Move to the end of the range; v ends it." if started else "The range ended.")
        self.paint_bars()

    def do_mark_all(self) -> None:
        self.view.collection.mark_all()
        self.say(f"{len(self.view.collection.marks)} marked")
        self.paint_bars()

    def do_mark_none(self) -> None:
        self.view.collection.unmark_all()
        self.table.end_range()
        self.say("no marks")
        self.paint_bars()

    def do_mark_pattern(self) -> None:
        self.ask("pattern", "mark: ")

    # Filter and sort

    def ask(self, purpose: str, label: str, text: str = "") -> None:
        """Opens the line at the bottom; for the filter the one above the list."""
        above = purpose == "filter"
        self.set_class(above, "-filtering")
        self.set_class(not above, "-commanding")
        line = self.query_one("#filter-prompt" if above else "#prompt", PromptLine)
        line.ask(purpose, label, text)

    def answered(self) -> None:
        self.remove_class("-filtering", "-commanding")
        self.call_after_refresh(self.paint_bars)

    def do_filter(self) -> None:
        if self.pane == "detail":
            self.ask("search", "search: ")
        else:
            self.ask("filter", " filter: ", self.view.collection.filter.text)

    def filter_typed(self, text: str) -> None:
        try:
            self.view.collection.set_filter(text)
        except Usage as error:
            self.say(str(error), Severity.WARN)
        self._paint_filter()

    def filter_done(self, text: str) -> None:
        try:
            self.view.collection.set_filter(text)
        except Usage as error:
            self.say(str(error), Severity.ERROR)
        self.follow_cursor()

    def filter_removed(self) -> None:
        self.view.collection.set_filter("")

    async def do_sort(self) -> None:
        collection = self.view.collection
        options = [Option(c.id, c.title) for c in collection.columns]
        chosen = await self.app.push_screen_wait(Picker("Sort by", options, current=collection.sort.column))
        if chosen is not None:
            self.sort_by(chosen)

    def sort_by(self, name: str) -> None:
        """Raises Usage for an unknown column."""
        collection = self.view.collection
        column = collection.column(name)
        if column is None:
            raise Usage(f"no column is called {name}")
        collection.set_sort(column.id)
        self.paint_bars()

    def do_sort_reverse(self) -> None:
        self.view.collection.reverse()
        self.paint_bars()

    # Namespaces

    def do_ns_all(self) -> None:
        session = self.session
        if session.cluster.confined_to:
            self.say(f"You may list objects in {session.cluster.confined_to} only.", Severity.WARN)
            return
        session.set_namespaces(set() if session.namespaces else {session.cluster.namespace})
        self.show_list()
        self.paint_bars()

    async def do_ns_pick(self) -> None:
        options = [Option(name, name) for name in self.session.cluster.namespaces()]
        current = next(iter(self.session.namespaces), "")
        chosen = await self.app.push_screen_wait(Picker("Namespace", options, free=True, current=current))
        if chosen is not None:
            self.go_namespaces({name for name in chosen.split(",") if name})

    def go_namespaces(self, names: set[str]) -> None:
        self.session.set_namespaces(names)
        self.show_list()
        self.paint_bars()
        self.load_rights()

    def load_rights(self) -> object:
        raise NotImplementedError

    # Going to what belongs to the row

    def do_goto_node(self) -> None:
        row = self.row
        name = row.node if isinstance(row, VmRow) else row.route()[0] if isinstance(row, MigrationRow) else ""
        if name:
            self.go_view("nodes", key=ObjectKey("", name))
        else:
            self.say("node: it runs on none")

    def do_goto_disks(self) -> None:
        row = self.row
        if isinstance(row, VmRow):
            names = [v.data_volume.name for v in row.spec.volumes if v.data_volume]
            claims = [v.persistent_volume_claim for v in row.spec.volumes if v.persistent_volume_claim]
            names += [claim.claim_name for claim in claims]
            if names:
                self.go_view("dvs", key=ObjectKey(row.key.namespace, names[0]))
                return
        self.say("disks: it has none on a volume")

    def do_goto_migrations(self) -> None:
        row = self.row
        if not isinstance(row, VmRow):
            self.say("migrations: only VMs have them")
            return
        found = self.session.views.migrations_of(row.key)
        if found:
            self.go_view("migrations", key=found[0].key)
        else:
            self.say(f"{row.key.name} has no migrations")

    def do_goto_events(self) -> None:
        row = self.row
        if row is None:
            self.say("nothing is selected")
        else:
            name = row.object.spec.vmi_name if isinstance(row, MigrationRow) else row.key.name
            self.go_view("events", filter_text=f"object:{name}")

    def do_goto_vms(self) -> None:
        row = self.row
        if isinstance(row, NodeRow):
            self.go_view("vms", filter_text=f"node:{row.key.name}")
        elif isinstance(row, MigrationRow):
            self.go_view("vms", key=ObjectKey(row.key.namespace, row.object.spec.vmi_name or ""))
        elif isinstance(row, DataVolumeRow) and row.used_by:
            self.go_view("vms", key=ObjectKey(row.key.namespace, row.used_by[0]))
        else:
            self.say("VMs: none uses it")

    def go_to_object(self, row: EventRow) -> None:
        about = row.object.involved_object
        view = _KIND_VIEWS.get(about.kind)
        if view is None:
            self.say(f"{about.kind} {about.name} has no view here")
        else:
            self.go_view(view, key=ObjectKey("" if view == "nodes" else about.namespace, about.name))
