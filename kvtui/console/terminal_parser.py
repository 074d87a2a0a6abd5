"""Control sequences of terminals as events: a state machine without a screen.

Text, single controls, escape sequences and CSI sequences come out with bounded parameters. Strings for the outer world
(OSC, DCS, SOS, PM, APC: titles, clipboards, palettes, pictures) are swallowed whole and never come out. Eight-bit
controls (U+0080 to U+009F) are dropped.

Source: ECMA-48; https://vt100.net/emu/dec_ansi_parser
"""

from __future__ import annotations

import codecs
import enum
import re
from typing import Protocol

MAX_PARAMETERS = 32
MAX_VALUE = 9999
_MAX_SEQUENCE = 256
_MAX_OSC = 4096
_MAX_STRING = 2**20

_TEXT = re.compile("[^\x00-\x1f\x7f-\x9f]+")
_STRING_TEXT = re.compile("[^\x07\x18\x1a\x1b\n]+")
_ESC, _CAN, _SUB, _BEL, _DEL = "\x1b", "\x18", "\x1a", "\x07", "\x7f"

Parameters = tuple[tuple[int, ...], ...]
"""One tuple per parameter; its further items are the sub-parameters after colons. An empty parameter is -1."""


class Handler(Protocol):
    """What a parser tells."""

    def print_text(self, text: str) -> None:
        """Characters of one or more cells, or combining ones."""

    def control(self, char: str) -> None:
        """A C0 control such as line feed."""

    def escape(self, intermediates: str, final: str) -> None:
        """ESC, intermediates, final."""

    def csi(self, prefix: str, parameters: Parameters, intermediates: str, final: str) -> None:
        """CSI; `prefix` is "?", ">", "<", "=" or empty."""


class _State(enum.Enum):
    GROUND = enum.auto()
    ESCAPE = enum.auto()
    CSI = enum.auto()
    STRING = enum.auto()
    STRING_ESCAPE = enum.auto()


class Parser:
    """Feed it bytes in pieces of any size; UTF-8 that is cut in the middle is continued, broken UTF-8 is replaced."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = _State.GROUND
        self._collected = ""
        self._swallowed = 0
        self._limit = 0

    def feed(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        position, length = 0, len(text)
        while position < length:
            if self._state is _State.GROUND and (match := _TEXT.match(text, position)):
                self._handler.print_text(match[0])
                position = match.end()
            elif self._state is _State.STRING and (match := _STRING_TEXT.match(text, position)):
                position = self._swallow(match)
            else:
                self._one(text[position])
                position += 1

    def _one(self, char: str) -> None:
        match self._state:
            case _State.GROUND:
                self._ground(char)
            case _State.ESCAPE:
                self._escape(char)
            case _State.CSI:
                self._csi(char)
            case _State.STRING:
                self._string(char)
            case _State.STRING_ESCAPE:
                self._enter(_State.GROUND)
                if char != "\\":
                    self._enter(_State.ESCAPE)
                    self._escape(char)

    def _enter(self, state: _State) -> None:
        self._state = state
        self._collected = ""
        self._swallowed = 0

    def _ground(self, char: str) -> None:
        if char == _ESC:
            self._enter(_State.ESCAPE)
        elif char < " ":
            self._handler.control(char)

    def _interrupted(self, char: str) -> bool:
        """Handles what may come in the middle of any sequence: restart, abort, or a control that is carried out."""
        if char == _ESC:
            self._enter(_State.ESCAPE)
        elif char in (_CAN, _SUB):
            self._enter(_State.GROUND)
        elif char < " ":
            self._handler.control(char)
        else:
            return char == _DEL or "\x80" <= char <= "\x9f"
        return True

    def _escape(self, char: str) -> None:
        if self._interrupted(char):
            return
        if " " <= char <= "/":
            self._collected = (self._collected + char)[:4]
        elif self._collected or char not in "[]PX^_":
            intermediates = self._collected
            self._enter(_State.GROUND)
            if char <= "~":
                self._handler.escape(intermediates, char)
        elif char == "[":
            self._enter(_State.CSI)
        else:
            self._enter(_State.STRING)
            self._limit = _MAX_OSC if char == "]" else _MAX_STRING

    def _csi(self, char: str) -> None:
        if self._interrupted(char):
            return
        if "@" <= char <= "~":
            body = self._collected
            self._enter(_State.GROUND)
            if len(body) <= _MAX_SEQUENCE:
                self._dispatch(body, char)
        elif char > "~":
            self._enter(_State.GROUND)
        elif len(self._collected) <= _MAX_SEQUENCE:
            self._collected += char

    def _dispatch(self, body: str, final: str) -> None:
        prefix = body[0] if body and body[0] in "<=>?" else ""
        rest = body[len(prefix) :]
        digits = rest.rstrip(" !\"#$%&'()*+,-./")
        if any(char not in "0123456789;:" for char in digits):
            return
        parameters = tuple(
            tuple(min(int(part[:6]), MAX_VALUE) if part else -1 for part in item.split(":"))
            for item in digits.split(";")[:MAX_PARAMETERS]
        )
        self._handler.csi(prefix, parameters if digits else (), rest[len(digits) :], final)

    def _swallow(self, match: re.Match[str]) -> int:
        """Skips text of a string. A string that never ends would hide the guest's output, so its length is bounded."""
        room = self._limit - self._swallowed
        if len(match[0]) > room:
            self._enter(_State.GROUND)
            return match.start() + room
        self._swallowed += len(match[0])
        return match.end()

    def _string(self, char: str) -> None:
        if char == _ESC:
            self._state = _State.STRING_ESCAPE
        elif char in (_BEL, _CAN, _SUB):
            self._enter(_State.GROUND)
        elif self._limit == _MAX_OSC:
            # A line end inside an OSC comes from noise on the line, not from a program that sets a title.
            self._enter(_State.GROUND)
            self._handler.control(char)
