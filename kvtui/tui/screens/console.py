"""The console screen: while captured every key goes to the guest, except the prefix and the key after it."""

from __future__ import annotations

from textual import events, work
from textual.app import ComposeResult
from textual.screen import Screen

from kvtui.console.keys import encode, encode_paste
from kvtui.tui.columns.cell import Cell, Line, Tone, line
from kvtui.tui.details.common import heading
from kvtui.tui.glyphs import Glyphs
from kvtui.tui.keymap import press_of
from kvtui.tui.model.actions import Choice, unavailable
from kvtui.tui.model.console import ConsoleSession, ConsoleState
from kvtui.tui.model.rows import VmRow
from kvtui.tui.model.session import Session
from kvtui.tui.screens.main_acts import Acts
from kvtui.tui.screens.picker import Option, Picker
from kvtui.tui.screens.text import TextPopup
from kvtui.tui.widgets.bars import Bar
from kvtui.tui.widgets.prompt import PromptLine
from kvtui.tui.widgets.terminal_view import TerminalView

_LARGE_PASTE = 500
PREFIX_KEYS: tuple[tuple[str, str], ...] = (
    (".", "leave"), ("x", "close"), ("?", "help"), ("[", "scroll"), ("/", "search"), ("m", "migrate"),
    ("esc", "back"), ("n", "next"), ("p", "previous"), ("w", "list"), ("l", "lock"), ("R", "reconnect"),
    ("s", "start"), ("z", "zoom"), ("g", "stty"), ("i", "info"),
)  # fmt: skip
_FURTHER = {"q": ".", "c": "w", "ctrl+c": "esc"}
_LATER = {"r": "recording", "f": "sending a file", "k": "special keys", "v": "pasting from kvtui", "t": "writer roles",
          "-": "splits", "|": "splits", "o": "splits"}  # fmt: skip


class ConsoleScreen(Screen[None]):
    """One session at a time; `n`, `p` and digits after the prefix change it."""

    AUTO_FOCUS = ""
    CSS_PATH = "console.tcss"

    def __init__(self, session: Session, console: ConsoleSession, main: Acts) -> None:
        super().__init__()
        self.session = session
        self.console = console
        self.main = main
        self.captured = True
        self.prefixed = False
        self.reading = False
        """In the scrollback."""
        self.asking: bytes | None = None
        """A large paste that waits for y."""
        self.message = ""
        self.full = False
        self._unsubscribe = console.subscribe(self._changed)

    def compose(self) -> ComposeResult:
        yield Bar(id="console-tabs")
        yield Bar(id="console-banner")
        yield TerminalView(self.console.terminal)
        yield Bar(id="console-status")
        yield PromptLine(id="console-prompt")

    @property
    def view(self) -> TerminalView:
        return self.query_one(TerminalView)

    @property
    def standing(self) -> bool:
        """Its parts are there. A session goes on while its screen is being taken down."""
        return self.is_mounted and bool(self.query(TerminalView))

    def on_mount(self) -> None:
        self.console.locked = self.console.locked or self.session.preferences.read_only
        self.session.journal.listeners.append(self._said)
        self.set_interval(1.0, self.paint)
        self.call_after_refresh(self.paint)

    def on_unmount(self) -> None:
        self._unsubscribe()
        self.session.journal.listeners.remove(self._said)

    def _said(self) -> None:
        """What is answered to an action of this screen stands in its own last line."""
        if self.session.journal.messages and self.standing:
            self.message = self.session.journal.messages[-1].text
            self._paint_status()

    def _changed(self, rows: set[int]) -> None:
        if not self.standing:
            return
        self.console.unread = 0
        if rows:
            self.view.changed(rows)
        if not rows or self.reading:
            self.paint()

    def change_to(self, console: ConsoleSession) -> None:
        """Shows another session."""
        self._unsubscribe()
        self.console = console
        self._unsubscribe = console.subscribe(self._changed)
        self.reading = False
        self.view.show_terminal(console.terminal)
        self.paint()

    # Painting

    def paint(self) -> None:
        if not self.standing:
            return
        self._paint_tabs()
        banner = self._banner()
        self.set_class(bool(banner), "-banner")
        self.query_one("#console-banner", Bar).put([Cell(f" {banner}", Tone.WARN)])
        self._paint_status()

    def _banner(self) -> str:
        console = self.console
        banner = console.banner
        if console.not_sent and banner:
            return f"{banner}   not sent"
        if banner:
            return banner
        silent = (self.session.clock() - console.since).total_seconds()
        if console.state is ConsoleState.LIVE and not console.received and silent > 10:
            return "No output yet. The guest may not use ttyS0. enter sends a newline, Ctrl+] ? explains"
        return ""

    def _paint_tabs(self) -> None:
        pieces = [Cell(" ")]
        for number, console in enumerate(self.session.consoles.sessions, start=1):
            here = console is self.console
            news = " !" if console.unread and not here else ""
            text = f"{number} {console.key.name}{news}"
            pieces.append(Cell(f"[{text}]" if here else f" {text} ", Tone.STRONG if here else Tone.DIM))
        row = self._row()
        where = []
        if row is not None and row.migration is not None:
            where.append(Cell("migrating   ", Tone.MOVE))
        if row is not None and row.node:
            where.append(Cell(f"on {row.node}   ", Tone.DIM))
        terminal = self.console.terminal
        where.append(Cell(f"scroll {self.view.scroll}/{terminal.history:,} ", Tone.DIM))
        self.query_one("#console-tabs", Bar).put(pieces, where)

    def _paint_status(self) -> None:
        bar, name = self.query_one("#console-status", Bar), self.console.key.name
        if self.asking is not None:
            bar.put([Cell(f" Paste {len(self.asking):,} characters into {name}? y/N", Tone.STRONG)])
        elif self.prefixed:
            pieces = [Cell(" Ctrl+] ", Tone.STRONG)]
            for key, label in PREFIX_KEYS:
                pieces += [Cell(f" {key}", "key"), Cell(f" {label}")]
            bar.put(pieces)
        elif self.message:
            bar.put([Cell(f" {self.message}", Tone.TEXT)])
        elif self.reading:
            bar.put([Cell(" SCROLLBACK  ", Tone.STRONG), Cell("/ search  n N next  Y copy screen  esc live", Tone.DIM)])
        elif self.console.paste_left:
            bar.put([Cell(f" pasting, {self.console.paste_left:,} bytes left   Ctrl+] esc stops it", Tone.BUSY)])
        elif self.captured:
            lock = " (input locked)" if self.console.locked else ""
            text = f" KEYS GO TO GUEST {name}{lock}"
            keys = "Ctrl+] then . leaves   Ctrl+] ? help "
            pad = " " * max(1, self.size.width - len(text) - len(keys))
            bar.put([Cell(f"{text}{pad}{keys}", "captured")])
        else:
            bar.put([Cell(" KEYS GO TO KVTUI", Tone.STRONG), Cell("  enter captures   esc leaves", Tone.DIM)])

    def _row(self) -> VmRow | None:
        return self.session.views.vms.get(self.console.key)

    # Keys. The application hands every key here before any binding sees it.

    @property
    def wants_all_keys(self) -> bool:
        """No binding of the application or the framework may fire."""
        return not self.query_one(PromptLine).asking

    def take_key(self, key: str, character: str | None) -> None:
        """One key press, whatever it is."""
        press = press_of(key, character)
        self.message = ""
        if self.asking is not None:
            self._answer_paste(press)
        elif self.prefixed:
            self.prefixed = False
            self._after_prefix(key, press)
        elif key in self.session.preferences.prefix:
            self.prefixed = True
        elif self.reading:
            self._read_key(press)
        elif self.captured:
            self.console.send(encode(key, character, self.console.terminal.modes))
            return
        else:
            self._watch_key(press)
        self.paint()

    def take_paste(self, text: str) -> None:
        """Pasted text: a large one asks first."""
        data = encode_paste(text, self.console.terminal.modes)
        if "\n" in text.strip("\n") or len(text) > _LARGE_PASTE:
            self.asking = data
            self.paint()
        else:
            self.console.send(data)

    def _answer_paste(self, press: str) -> None:
        data, self.asking = self.asking, None
        if data is not None and press in ("y", "Y"):
            self.send_paste(data)
        else:
            self.message = "Not pasted."

    @work(exclusive=True, group="paste")
    async def send_paste(self, data: bytes) -> None:
        await self.console.paste(data)

    def _after_prefix(self, key: str, press: str) -> None:
        if key in self.session.preferences.prefix:
            self.console.send(b"\x1d")
            return
        press = _FURTHER.get(press, press)
        match press:
            case ".":
                self.dismiss()
            case "x":
                self.console.close()
                self.dismiss()
            case "?":
                self.help()
            case "[":
                self.reading = True
                self.view.scroll_lines(1)
            case "/":
                self.reading = True
                self.query_one(PromptLine).ask("search", "search: ")
            case "m":
                self._act("vm.migrate")
            case "s":
                self._act("vm.start")
            case "n" | "p":
                self._step(1 if press == "n" else -1)
            case "w":
                self.pick()
            case "l":
                self._lock()
            case "R":
                self._reconnect()
            case "z":
                self.full = not self.full
                self.set_class(self.full, "-full")
            case "g":
                rows, columns = self.console.terminal.rows, self.console.terminal.columns
                self.console.send(f"stty rows {rows} cols {columns}".encode())
                self.message = "enter sends it"
            case "i":
                self._info()
            case "esc":
                self.console.stop_paste()
            case _ if press.isdigit() and press != "0":
                self._number(int(press))
            case _ if press in _LATER:
                self.message = f"{_LATER[press]}: not in this version"
            case _:
                self.message = f"Ctrl+] {press} does nothing. Ctrl+] ? lists the keys."

    def _watch_key(self, press: str) -> None:
        match press:
            case "enter":
                self.captured = True
            case "esc" | "q":
                self.dismiss()
            case "?":
                self.help()
            case _:
                self.message = f"{press} does nothing here; enter captures the keyboard."

    def _read_key(self, press: str) -> None:
        view, page = self.view, max(1, self.view.size.height - 1)
        steps = {"k": 1, "up": 1, "j": -1, "down": -1, "pgup": page, "ctrl+b": page, "pgdn": -page, "ctrl+f": -page,
                 "ctrl+u": page // 2, "ctrl+d": -(page // 2), "g": 10**9, "home": 10**9}.get(press)  # fmt: skip
        if steps is not None:
            view.scroll_lines(steps)
        elif press in ("esc", "q", "G", "end"):
            self.reading = False
            view.live()
        elif press == "/":
            self.query_one(PromptLine).ask("search", "search: ")
        elif press in ("n", "N"):
            if not view.search("", forwards=press == "N"):
                self.message = f"{view.searched} is not found further on"
        elif press in ("Y", "y"):
            text = view.visible_text()
            self.app.copy_to_clipboard(text)
            self.message = f"Copied {len(text.splitlines())} lines"
        else:
            self.message = f"{press} does nothing here; esc goes back to the live screen."

    def on_prompt_line_done(self, message: PromptLine.Done) -> None:
        if not self.view.search(message.text):
            self.message = f"{message.text} is not in the scrollback"
        self.paint()

    def on_prompt_line_left(self, message: PromptLine.Left) -> None:
        self.paint()

    # What the prefix does

    def _act(self, action_id: str) -> None:
        """An action on this VM, with its dialogs over the console."""
        action, row = self.session.action(action_id), self._row()
        assert action is not None
        reason = unavailable(action, row, self.session.situation())
        if reason is not None or row is None:
            self.message = reason or "the VM is gone"
        elif action.id == "vm.migrate":
            self.main.migrate(row)
        else:
            self.start_vm(row)

    @work(exclusive=True, group="start")
    async def start_vm(self, row: VmRow) -> None:
        action = self.session.action("vm.start")
        if action is not None:
            await self.session.runner.run(action, [row], action.level, Choice())
        self.paint()

    def _step(self, step: int) -> None:
        sessions = self.session.consoles.sessions
        self.change_to(sessions[(sessions.index(self.console) + step) % len(sessions)])

    def _number(self, number: int) -> None:
        sessions = self.session.consoles.sessions
        if number <= len(sessions):
            self.change_to(sessions[number - 1])
        else:
            self.message = f"There is no console {number}."

    def _lock(self) -> None:
        if self.session.preferences.read_only:
            self.message = "READ-ONLY: input stays locked"
        else:
            self.console.locked = not self.console.locked
            self.message = "Input is locked." if self.console.locked else "Input goes to the guest."

    def _reconnect(self) -> None:
        if self.console.state is ConsoleState.CLOSED:
            self.change_to(self.session.consoles.open(self.console.key))
        else:
            self.console.reconnect()

    def _info(self) -> None:
        console = self.console
        terminal = console.terminal
        self.message = (
            f"{console.key}: {console.state.value}, {console.received:,} bytes, "
            f"{terminal.columns}x{terminal.rows}, {terminal.history:,} lines kept"
        )

    @work(exclusive=True, group="popup")
    async def pick(self) -> None:
        sessions = self.session.consoles.sessions
        options = [Option(str(i), f"{i + 1} {c.key}  {c.state.value}") for i, c in enumerate(sessions)]
        chosen = await self.app.push_screen_wait(Picker("Consoles", options))
        if chosen is not None:
            self.change_to(sessions[int(chosen)])

    @work(exclusive=True, group="popup")
    async def help(self) -> None:
        await self.app.push_screen_wait(TextPopup("Keys after Ctrl+]", _help_lines, self._glyphs))

    def _glyphs(self) -> Glyphs:
        return self.session.preferences.glyphs

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.paint)


def _help_lines() -> list[Line]:
    return [
        heading("Every key goes to the guest. The one exception is Ctrl+] (also Ctrl+5)."),
        line("After it:"),
        *(line(Cell(f"  {key:4}", "key"), f" {label}") for key, label in PREFIX_KEYS),
        line(Cell("  1-9 ", "key"), " that console"),
        line(Cell("  Ctrl+]", "key"), " sends Ctrl+] itself to the guest"),
    ]
