"""Keys as bytes."""

from __future__ import annotations

import pytest

from kvtui.console.keys import encode, encode_paste, mouse
from kvtui.console.terminal import Mode

APP = Mode.APPLICATION_CURSOR


@pytest.mark.parametrize(
    ("key", "character", "data"),
    [
        ("a", "a", b"a"),
        ("A", "A", b"A"),
        ("question_mark", "?", b"?"),
        ("space", " ", b" "),
        ("plus", "+", b"+"),
        ("u_umlaut", "ü", "ü".encode()),
        ("enter", "\r", b"\r"),
        ("tab", "\t", b"\t"),
        ("shift+tab", None, b"\x1b[Z"),
        ("escape", "\x1b", b"\x1b"),
        ("backspace", "\x7f", b"\x7f"),
        ("ctrl+c", "\x03", b"\x03"),
        ("ctrl+q", "\x11", b"\x11"),
        ("ctrl+p", "\x10", b"\x10"),
        ("ctrl+z", "\x1a", b"\x1a"),
        ("ctrl+s", "\x13", b"\x13"),
        ("ctrl+j", "\n", b"\n"),
        ("ctrl+@", "\x00", b"\x00"),
        ("ctrl+backslash", "\x1c", b"\x1c"),
        ("ctrl+right_square_bracket", "\x1d", b"\x1d"),
        ("ctrl+5", None, b"\x1d"),
        ("ctrl+circumflex_accent", "\x1e", b"\x1e"),
        ("ctrl+underscore", "\x1f", b"\x1f"),
        ("up", None, b"\x1b[A"),
        ("home", None, b"\x1b[H"),
        ("end", None, b"\x1b[F"),
        ("ctrl+left", None, b"\x1b[1;5D"),
        ("shift+up", None, b"\x1b[1;2A"),
        ("ctrl+shift+right", None, b"\x1b[1;6C"),
        ("insert", None, b"\x1b[2~"),
        ("delete", None, b"\x1b[3~"),
        ("pageup", None, b"\x1b[5~"),
        ("ctrl+pagedown", None, b"\x1b[6;5~"),
        ("f1", None, b"\x1bOP"),
        ("f4", None, b"\x1bOS"),
        ("f5", None, b"\x1b[15~"),
        ("f10", None, b"\x1b[21~"),
        ("f12", None, b"\x1b[24~"),
        ("f20", None, b"\x1b[34~"),
        ("shift+f1", None, b"\x1b[1;2P"),
        ("alt+x", "x", b"\x1bx"),
        ("alt+enter", None, b"\x1b\r"),
        ("ctrl+9", None, b""),
        ("scroll_lock", None, b""),
    ],
)
def test_a_key_sends_its_bytes(key: str, character: str | None, data: bytes) -> None:
    assert encode(key, character) == data


@pytest.mark.parametrize(
    ("key", "modes", "data"),
    [
        ("up", APP, b"\x1bOA"),
        ("end", APP, b"\x1bOF"),
        ("ctrl+up", APP, b"\x1b[1;5A"),
        ("enter", Mode.NEWLINE, b"\r\n"),
    ],
)
def test_modes_change_what_keys_send(key: str, modes: Mode, data: bytes) -> None:
    assert encode(key, None, modes) == data


@pytest.mark.parametrize(
    ("text", "modes", "data"),
    [
        ("ls\n", Mode.NONE, b"ls\r"),
        ("a\r\nb", Mode.NONE, b"a\rb"),
        ("a\tb", Mode.NONE, b"a\tb"),
        ("a\x1b[31mb\x03", Mode.NONE, b"a[31mb"),
        ("x", Mode.BRACKETED_PASTE, b"\x1b[200~x\x1b[201~"),
        ("x\x1b[201~rm", Mode.BRACKETED_PASTE, b"\x1b[200~xrm\x1b[201~"),
    ],
)
def test_pastes_are_typed_without_controls(text: str, modes: Mode, data: bytes) -> None:
    assert encode_paste(text, modes) == data


def test_controls_of_a_paste_pass_when_allowed() -> None:
    assert encode_paste("a\x03", controls=True) == b"a\x03"


def test_the_mouse_is_silent_until_asked() -> None:
    assert mouse(0, 1, 2, pressed=True, modes=Mode.NONE) == b""
    assert mouse(0, 1, 2, pressed=True, modes=Mode.MOUSE) == b'\x1b[M "#'
    assert mouse(0, 300, 2, pressed=True, modes=Mode.MOUSE) == b""
    assert mouse(0, 300, 2, pressed=False, modes=Mode.MOUSE | Mode.MOUSE_SGR) == b"\x1b[<0;301;3m"
