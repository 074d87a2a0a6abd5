"""Keys of the viewer as the bytes that a VT220-like terminal sends to the guest.

Key names are Textual's ("up", "ctrl+a", "f5", "shift+tab"); nothing of Textual is imported.

Source: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html (PC-style function keys)
"""

from __future__ import annotations

import re

from kvtui.console.terminal import Mode

_MODIFIERS = {"shift": 1, "alt": 2, "meta": 2, "ctrl": 4}
_CURSOR = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}
_TILDE = {
    "insert": 2,
    "delete": 3,
    "pageup": 5,
    "pagedown": 6,
    **dict(zip((f"f{n}" for n in range(5, 13)), (15, 17, 18, 19, 20, 21, 23, 24), strict=True)),
    **dict(zip((f"f{n}" for n in range(13, 21)), (25, 26, 28, 29, 31, 32, 33, 34), strict=True)),
}
_SS3 = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}
_PLAIN = {"enter": "\r", "tab": "\t", "escape": "\x1b", "backspace": "\x7f", "space": " ", "newline": "\n"}
_CONTROL = {
    **{chr(code): chr(code & 0x1F) for code in range(ord("a"), ord("z") + 1)},
    "@": "\x00", "at": "\x00", "space": "\x00", "2": "\x00",
    "left_square_bracket": "\x1b", "[": "\x1b", "3": "\x1b",
    "backslash": "\x1c", "4": "\x1c",
    "right_square_bracket": "\x1d", "]": "\x1d", "5": "\x1d",
    "circumflex_accent": "\x1e", "^": "\x1e", "6": "\x1e",
    "underscore": "\x1f", "_": "\x1f", "minus": "\x1f", "slash": "\x1f", "7": "\x1f",
    "8": "\x7f", "question_mark": "\x7f",
    "backspace": "\x08", "enter": "\r", "tab": "\t",
}  # fmt: skip

_PASTE_END = re.compile(r"\x1b\[20[01]~")
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def encode(key: str, character: str | None, modes: Mode = Mode.NONE) -> bytes:
    """The bytes for a key; empty for a key that a serial line has no bytes for.

    `character` is what the key prints, if it prints something.
    """
    *modifiers, name = key.split("+") if key != "+" else ["+"]
    held = sum(_MODIFIERS.get(m, 0) for m in set(modifiers))
    if name in _CURSOR or name in _TILDE or name in _SS3:
        return _function(name, held, modes).encode()
    prefix = "\x1b" if held & 2 else ""
    if held & 4 and name in _CONTROL:
        return (prefix + _CONTROL[name]).encode()
    if name == "tab" and held & 1:
        return (prefix + "\x1b[Z").encode()
    if name == "enter" and Mode.NEWLINE in modes:
        return (prefix + "\r\n").encode()
    if name in _PLAIN and not (character and character.isprintable()):
        return (prefix + _PLAIN[name]).encode()
    if held & 4:
        return b""
    text = character or (name if len(name) == 1 else "")
    return (prefix + text).encode("utf-8", "ignore")


def _function(name: str, held: int, modes: Mode) -> str:
    if name in _TILDE:
        return f"\x1b[{_TILDE[name]};{held + 1}~" if held else f"\x1b[{_TILDE[name]}~"
    if name in _SS3:
        return f"\x1b[1;{held + 1}{_SS3[name]}" if held else f"\x1bO{_SS3[name]}"
    if held:
        return f"\x1b[1;{held + 1}{_CURSOR[name]}"
    return f"\x1b{'O' if Mode.APPLICATION_CURSOR in modes else '['}{_CURSOR[name]}"


def encode_paste(text: str, modes: Mode = Mode.NONE, *, controls: bool = False) -> bytes:
    """Pasted text as typed: lines end in CR. Control characters are removed unless allowed; marks never nest."""
    text = _PASTE_END.sub("", text).replace("\r\n", "\r").replace("\n", "\r")
    if not controls:
        text = _UNSAFE.sub("", text)
    data = text.encode("utf-8", "replace")
    return b"\x1b[200~" + data + b"\x1b[201~" if Mode.BRACKETED_PASTE in modes else data


def mouse(button: int, column: int, row: int, *, pressed: bool, modes: Mode) -> bytes:
    """A mouse report (cells from 0); empty when the guest did not ask for one or cannot be told this position."""
    if Mode.MOUSE not in modes:
        return b""
    if Mode.MOUSE_SGR in modes:
        return f"\x1b[<{button};{column + 1};{row + 1}{'M' if pressed else 'm'}".encode()
    if column > 222 or row > 222:
        return b""
    return bytes((0x1B, 0x5B, 0x4D, 32 + (button if pressed else 3), 33 + column, 33 + row))
