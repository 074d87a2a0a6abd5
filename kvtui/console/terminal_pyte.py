"""The terminal core on pyte's screen: parser events become changes of cells.

Source: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyte import charsets
from pyte import modes as pyte_modes
from pyte.screens import Char

from kvtui.console.terminal import CursorPosition, Mode, Run
from kvtui.console.terminal_parser import Parameters, Parser
from kvtui.console.terminal_screen import DIM, BoundedScreen, runs_of

MAX_ROWS, MAX_COLUMNS = 500, 1000
SCROLLBACK = 10_000
_MAX_ANSWERS = 1024
"""Bytes of answers that wait; a guest that only asks gets no more."""

_MODES = {
    1: Mode.APPLICATION_CURSOR,
    66: Mode.APPLICATION_KEYPAD,
    1000: Mode.MOUSE,
    1002: Mode.MOUSE,
    1003: Mode.MOUSE,
    1006: Mode.MOUSE_SGR,
    2004: Mode.BRACKETED_PASTE,
}
_PYTE_PRIVATE = {5, 6, 7, 25}
_PYTE_ANSI = {pyte_modes.IRM, pyte_modes.LNM}
_FLAGS: dict[int, dict[str, bool]] = {
    1: {"bold": True}, 3: {"italics": True}, 4: {"underscore": True}, 5: {"blink": True}, 6: {"blink": True},
    7: {"reverse": True}, 9: {"strikethrough": True}, 21: {"underscore": True}, 22: {"bold": False},
    23: {"italics": False}, 24: {"underscore": False}, 25: {"blink": False}, 27: {"reverse": False},
    29: {"strikethrough": False},
}  # fmt: skip


class PyteTerminal:
    """A `Terminal`. Unknown sequences are ignored."""

    def __init__(self, rows: int = 24, columns: int = 80, *, scrollback: int = SCROLLBACK) -> None:
        self._screen = BoundedScreen(_bounded(columns, MAX_COLUMNS), _bounded(rows, MAX_ROWS), scrollback)
        self._parser = Parser(self)
        self._modes = Mode.NONE
        self._answers = bytearray()
        self._screen.dirty.clear()

    # Terminal

    @property
    def rows(self) -> int:
        return int(self._screen.lines)

    @property
    def columns(self) -> int:
        return int(self._screen.columns)

    @property
    def cursor(self) -> CursorPosition:
        cursor = self._screen.cursor
        return CursorPosition(cursor.y, min(cursor.x, self.columns - 1), not cursor.hidden)

    @property
    def modes(self) -> Mode:
        modes = self._modes
        if pyte_modes.LNM in self._screen.mode:
            modes |= Mode.NEWLINE
        return modes | Mode.ALTERNATE_SCREEN if self._screen.alternate else modes

    @property
    def history(self) -> int:
        return len(self._screen.history)

    @property
    def scrolled(self) -> int:
        return self._screen.scrolled

    def feed(self, data: bytes) -> set[int]:
        before = self._screen.cursor.y
        self._parser.feed(data)
        dirty = {y for y in self._screen.dirty if 0 <= y < self.rows} | {before, self._screen.cursor.y}
        self._screen.dirty.clear()
        return dirty

    def note(self, text: str) -> set[int]:
        screen = self._screen
        attrs = screen.cursor.attrs
        if screen.cursor.x:
            screen.carriage_return()
            screen.index()
        screen.cursor.attrs = screen.default_char._replace(fg=DIM + "default")
        screen.draw("".join(char if char.isprintable() else " " for char in text)[: self.columns])
        screen.carriage_return()
        screen.index()
        screen.cursor.attrs = attrs
        return self.feed(b"")

    def line(self, number: int) -> list[Run]:
        if number < 0:
            return self._screen.history[number]
        if number >= self.rows:
            raise IndexError(number)
        return runs_of(self._screen.buffer.get(number), self.columns)

    def text(self, number: int) -> str:
        return "".join(run.text for run in self.line(number)).rstrip()

    def resize(self, rows: int, columns: int) -> None:
        rows, columns = _bounded(rows, MAX_ROWS), _bounded(columns, MAX_COLUMNS)
        if (rows, columns) != (self.rows, self.columns):
            self._screen.resize(rows, columns)

    def take_answers(self) -> bytes:
        answers = bytes(self._answers)
        self._answers.clear()
        return answers

    def reset(self) -> None:
        self._screen.reset()
        self._modes = Mode.NONE
        self._answers.clear()

    # Parser events

    def print_text(self, text: str) -> None:
        self._screen.draw(text)

    def control(self, char: str) -> None:
        screen = self._screen
        match char:
            case "\n" | "\x0b" | "\x0c":
                screen.linefeed()
            case "\r":
                screen.carriage_return()
            case "\b":
                screen.backspace()
            case "\t":
                screen.tab()
            case "\x0e":
                screen.charset = 1
            case "\x0f":
                screen.charset = 0

    def escape(self, intermediates: str, final: str) -> None:
        screen = self._screen
        match intermediates, final:
            case "", "D":
                screen.index()
            case "", "E":
                screen.carriage_return()
                screen.index()
            case "", "M":
                screen.reverse_index()
            case "", "H":
                screen.set_tab_stop()
            case "", "7":
                screen.save_cursor()
            case "", "8":
                screen.restore_cursor()
            case "", "c":
                self.reset()
            case "", "=":
                self._modes |= Mode.APPLICATION_KEYPAD
            case "", ">":
                self._modes &= ~Mode.APPLICATION_KEYPAD
            case "#", "8":
                screen.alignment_display()
            case (("(" | ")"), _):
                charset = charsets.VT100_MAP if final == "0" else charsets.LAT1_MAP
                if intermediates == "(":
                    screen.g0_charset = charset
                else:
                    screen.g1_charset = charset

    def csi(self, prefix: str, parameters: Parameters, intermediates: str, final: str) -> None:
        if intermediates == "!" and final == "p":
            self._soft_reset()
        elif intermediates:
            return
        elif prefix == "" and final == "m":
            self._render(parameters)
        elif prefix == "" and final in "cn":
            self._report(final, _number(parameters, 0, 0))
        elif final in "hl" and prefix in ("", "?"):
            for parameter in parameters:
                self._set_mode(prefix, parameter[0], on=final == "h")
        elif prefix == "" or (prefix == "?" and final in "JK"):
            self._edit(final, parameters)

    # What sequences mean

    def _edit(self, final: str, parameters: Parameters) -> None:
        screen = self._screen
        how = _number(parameters, 0, 0)
        count = how or 1
        second = _number(parameters, 1, 0)
        match final:
            case "@":
                screen.insert_characters(min(count, self.columns))
            case "A":
                screen.cursor_up(count)
            case "B" | "e":
                screen.cursor_down(count)
            case "C" | "a":
                screen.cursor_forward(count)
            case "D":
                screen.cursor_back(count)
            case "E":
                screen.cursor_down1(count)
            case "F":
                screen.cursor_up1(count)
            case "G" | "`":
                screen.cursor_to_column(count)
            case "H" | "f":
                screen.cursor_position(count, second or 1)
            case "I":
                for _ in range(min(count, self.columns)):
                    screen.tab()
            case "J":
                screen.erase_in_display(how)
            case "K":
                screen.erase_in_line(how)
            case "L":
                screen.insert_lines(min(count, self.rows))
            case "M":
                screen.delete_lines(min(count, self.rows))
            case "P":
                screen.delete_characters(min(count, self.columns))
            case "S":
                screen.scroll_up(count)
            case "T":
                screen.scroll_down(count)
            case "X":
                screen.erase_characters(count)
            case "Z":
                screen.back_tab(count)
            case "b":
                screen.draw(screen.last_text * min(count, self.columns))
            case "d":
                screen.cursor_to_line(count)
            case "g":
                screen.clear_tab_stop(how)
            case "r":
                screen.set_margins(how or None, second or None)
                screen.cursor_position()
            case "s":
                screen.save_cursor()
            case "u":
                screen.restore_cursor()

    def _set_mode(self, prefix: str, mode: int, *, on: bool) -> None:
        screen = self._screen
        if prefix == "?" and mode in (47, 1047, 1049):
            if mode == 1049 and on and not screen.alternate:
                screen.save_cursor()
            if on:
                screen.show_alternate()
            else:
                screen.show_main()
        elif prefix == "?" and mode in _MODES:
            self._modes = self._modes | _MODES[mode] if on else self._modes & ~_MODES[mode]
        elif mode in (_PYTE_PRIVATE if prefix else _PYTE_ANSI):
            change = screen.set_mode if on else screen.reset_mode
            change(mode, private=bool(prefix))

    def _soft_reset(self) -> None:
        self._modes = Mode.NONE
        self._screen.mode = {pyte_modes.DECAWM, pyte_modes.DECTCEM}
        self._screen.cursor.hidden = False
        self._screen.margins = None
        self._screen.cursor.attrs = self._screen.default_char

    def _report(self, final: str, what: int) -> None:
        """Fixed answers only: nothing of what the guest sent comes back to it as if typed."""
        answer = ""
        if final == "c" and what == 0:
            answer = "\x1b[?6c"
        elif final == "n" and what == 5:
            answer = "\x1b[0n"
        elif final == "n" and what == 6:
            cursor = self.cursor
            answer = f"\x1b[{cursor.row + 1};{cursor.column + 1}R"
        if len(self._answers) + len(answer) <= _MAX_ANSWERS:
            self._answers += answer.encode()

    def _render(self, parameters: Parameters) -> None:
        screen = self._screen
        attrs = screen.cursor.attrs
        dim = attrs.fg.startswith(DIM)
        waiting = list(parameters) or [(0,)]
        while waiting:
            code, *rest = waiting.pop(0)
            code = max(code, 0)
            if code in (38, 48):
                color = _color(rest) if rest else _color_of_list(waiting)
                if color:
                    attrs = attrs._replace(fg=color) if code == 38 else attrs._replace(bg=color)
            elif code == 0:
                attrs, dim = screen.default_char, False
            elif code == 4 and rest == [0]:
                attrs = attrs._replace(underscore=False)
            elif code in (2, 22):
                dim = code == 2
                attrs = attrs if dim else attrs._replace(bold=False)
            elif code in _FLAGS:
                attrs = _changed(attrs, _FLAGS[code])
            else:
                attrs = _changed(attrs, _named_color(code))
        foreground = attrs.fg.removeprefix(DIM)
        screen.cursor.attrs = attrs._replace(data=" ", fg=DIM + foreground if dim else foreground)


def _bounded(size: int, limit: int) -> int:
    return max(1, min(size, limit))


def _number(parameters: Parameters, index: int, default: int) -> int:
    return parameters[index][0] if index < len(parameters) and parameters[index][0] >= 0 else default


def _changed(attrs: Char, changes: Mapping[str, Any]) -> Char:
    return attrs._replace(**changes)


def _named_color(code: int) -> dict[str, str]:
    if 30 <= code <= 37 or 90 <= code <= 97:
        return {"fg": f"color({code - 30 if code < 90 else code - 82})"}
    if 40 <= code <= 47 or 100 <= code <= 107:
        return {"bg": f"color({code - 40 if code < 100 else code - 92})"}
    return {39: {"fg": "default"}, 49: {"bg": "default"}}.get(code, {})


def _color(parts: list[int]) -> str:
    """Of the sub-parameters after 38 or 48; empty when they make no sense."""
    match parts:
        case [5, index, *_] if 0 <= index <= 255:
            return f"color({index})"
        case [2, red, green, blue] | [2, _, red, green, blue, *_] if all(0 <= c <= 255 for c in (red, green, blue)):
            return f"#{red:02x}{green:02x}{blue:02x}"
    return ""


def _color_of_list(waiting: list[tuple[int, ...]]) -> str:
    """The same in the older form with semicolons; takes its parameters off the list."""
    sort = waiting.pop(0)[0] if waiting else -1
    count = {5: 1, 2: 3}.get(sort, 0)
    taken = [max(p[0], 0) for p in waiting[:count]]
    del waiting[:count]
    return _color([sort, *taken]) if len(taken) == count else ""
