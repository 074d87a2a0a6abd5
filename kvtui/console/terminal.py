"""The terminal core: what every viewer of a serial console needs from a terminal emulator.

Bytes of the guest go in, lines of styled text come out; which emulator does the work is hidden behind `Terminal`. The
guest is hostile: nothing it sends leaves this interface except text, styles and the fixed answers of `take_answers`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol


class Mode(enum.Flag):
    """Modes that change what keys, pastes and the mouse send."""

    NONE = 0
    APPLICATION_CURSOR = enum.auto()
    APPLICATION_KEYPAD = enum.auto()
    BRACKETED_PASTE = enum.auto()
    NEWLINE = enum.auto()
    """Enter sends CR LF."""
    MOUSE = enum.auto()
    """Button presses are wanted."""
    MOUSE_SGR = enum.auto()
    ALTERNATE_SCREEN = enum.auto()


@dataclass(frozen=True, slots=True)
class TextStyle:
    """How a run of characters looks.

    Colours are "" (the terminal's default), "color(N)" for entry N of the 256-colour table, or "#rrggbb".
    """

    foreground: str = ""
    background: str = ""
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    strike: bool = False
    reverse: bool = False
    blink: bool = False


PLAIN = TextStyle()


@dataclass(frozen=True, slots=True)
class Run:
    """Adjacent characters of one style. The text has no control characters."""

    text: str
    style: TextStyle = PLAIN


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """Where the guest's cursor is, in cells from the top left."""

    row: int
    column: int
    visible: bool


class Terminal(Protocol):
    """A screen of `rows` by `columns` cells with bounded scrollback."""

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def cursor(self) -> CursorPosition: ...

    @property
    def modes(self) -> Mode: ...

    @property
    def history(self) -> int:
        """How many lines above the screen are kept."""

    @property
    def scrolled(self) -> int:
        """How many lines have left the screen at the top since the start, dropped ones included."""

    def feed(self, data: bytes) -> set[int]:
        """Shows bytes of the guest. Returns the screen rows whose look may have changed."""

    def note(self, text: str) -> set[int]:
        """A dim line of the viewer's own, on a line of its own. Returns the rows that changed."""

    def line(self, number: int) -> list[Run]:
        """A line: 0 is the top row of the screen, negative numbers reach into the scrollback. Raises IndexError."""

    def text(self, number: int) -> str:
        """The characters of a line without trailing blanks. Raises IndexError."""

    def resize(self, rows: int, columns: int) -> None:
        """The top lines of a screen that becomes lower go into the scrollback; nothing is wrapped anew."""

    def take_answers(self) -> bytes:
        """What the emulator has to tell the guest (cursor position, identity) since the last call."""

    def reset(self) -> None:
        """Blank screen and default modes; the scrollback stays."""
