"""What guests send and what the screen then shows."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtui.console.terminal import PLAIN, CursorPosition, Mode, Run, Terminal, TextStyle
from kvtui.console.terminal_pyte import PyteTerminal


def shown(terminal: Terminal) -> list[str]:
    lines = [terminal.text(y) for y in range(terminal.rows)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def fed(*pieces: bytes, rows: int = 5, columns: int = 20) -> PyteTerminal:
    terminal = PyteTerminal(rows, columns)
    for piece in pieces:
        terminal.feed(piece)
    return terminal


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"hello", ["hello"]),
        (b"a\r\nb", ["a", "b"]),
        (b"abc\b\bX", ["aXc"]),
        (b"a\tb", ["a       b"]),
        (b"12345678901234567890next", ["12345678901234567890", "next"]),
        (b"abc\x1b[2Dx", ["axc"]),
        (b"\x1b[3;4Hx", ["", "", "   x"]),
        (b"abc\x1b[1Kx", ["   x"]),
        (b"abcdef\x1b[3G\x1b[K", ["ab"]),
        (b"a\r\nb\r\nc\x1b[2J", []),
        (b"abc\r\x1b[2P", ["c"]),
        (b"abc\r\x1b[2@", ["  abc"]),
        (b"abcdef\r\x1b[3X", ["   def"]),
        (b"1\r\n2\r\n3\x1b[1;1H\x1b[L", ["", "1", "2", "3"]),
        (b"1\r\n2\r\n3\x1b[1;1H\x1b[M", ["2", "3"]),
        (b"ab\x1b[3b", ["abbbb"]),
        (b"\x1b7\x1b[4;4Hx\x1b8y", ["y", "", "", "   x"]),
        (b"\x1b(0lqk\x1b(B", ["┌─┐"]),
        (b"\x1b)0\x0elqk\x0fx", ["┌─┐x"]),
        ("grün 日本".encode(), ["grün 日本"]),
        ("e\u0301".encode(), ["é"]),
        (b"\x1b#8", ["E" * 20] * 5),
    ],
)
def test_sequences_change_the_screen(data: bytes, lines: list[str]) -> None:
    assert shown(fed(data)) == lines


def test_a_character_cut_in_the_middle_is_continued() -> None:
    data = "日本".encode()
    assert shown(fed(data[:1], data[1:4], data[4:])) == ["日本"]


def test_a_sequence_cut_in_the_middle_is_continued() -> None:
    assert shown(fed(b"\x1b", b"[", b"3", b"1", b"mred", b"\x1b[", b"0m")) == ["red"]


def test_broken_utf8_is_replaced() -> None:
    assert shown(fed(b"a\xff\xfeb")) == ["a\ufffd\ufffdb"]


@pytest.mark.parametrize(
    ("data", "style"),
    [
        (b"\x1b[1mx", TextStyle(bold=True)),
        (b"\x1b[1;4;7mx", TextStyle(bold=True, underline=True, reverse=True)),
        (b"\x1b[31mx", TextStyle(foreground="color(1)")),
        (b"\x1b[92;44mx", TextStyle(foreground="color(10)", background="color(4)")),
        (b"\x1b[38;5;208mx", TextStyle(foreground="color(208)")),
        (b"\x1b[38:5:208mx", TextStyle(foreground="color(208)")),
        (b"\x1b[48;2;1;2;3mx", TextStyle(background="#010203")),
        (b"\x1b[38:2::1:2:3mx", TextStyle(foreground="#010203")),
        (b"\x1b[2;31mx", TextStyle(foreground="color(1)", dim=True)),
        (b"\x1b[2;22mx", PLAIN),
        (b"\x1b[31m\x1b[mx", PLAIN),
        (b"\x1b[31;39mx", PLAIN),
        (b"\x1b[38;5;999mx", PLAIN),
        (b"\x1b[38;2;999;0;0mx", PLAIN),
        (b"\x1b[38;5mx", PLAIN),
        (b"\x1b[38mx", PLAIN),
    ],
)
def test_graphic_renditions(data: bytes, style: TextStyle) -> None:
    assert fed(data).line(0) == [Run("x", style)]


def test_lines_that_scroll_off_are_kept_and_counted() -> None:
    terminal = fed(*(b"line %d\r\n" % n for n in range(10)), rows=3)
    assert shown(terminal) == ["line 8", "line 9"]
    assert terminal.history == terminal.scrolled == 8
    assert [terminal.text(n) for n in (-1, -8)] == ["line 7", "line 0"]
    with pytest.raises(IndexError):
        terminal.line(-9)


def test_scrollback_is_bounded() -> None:
    terminal = PyteTerminal(3, 10, scrollback=5)
    terminal.feed(b"".join(b"%d\r\n" % n for n in range(100)))
    assert terminal.history == 5
    assert terminal.scrolled == 98
    assert terminal.text(-1) == "97"


def test_the_guest_cannot_erase_the_scrollback() -> None:
    terminal = fed(b"1\r\n2\r\n3\r\n4", b"\x1b[3J\x1bc", rows=2)
    assert terminal.history == 2


def test_the_alternate_screen_comes_and_goes_without_a_trace() -> None:
    terminal = fed(b"shell\r\n$ ", b"\x1b[?1049h\x1b[2J\x1b[Heditor")
    assert shown(terminal) == ["editor"]
    assert Mode.ALTERNATE_SCREEN in terminal.modes
    terminal.feed(b"\x1b[?1049lx")
    assert shown(terminal) == ["shell", "$ x"]
    assert terminal.history == 0


def test_a_scroll_region_keeps_the_rest() -> None:
    terminal = fed(b"top\x1b[5;1Hend\x1b[2;4r\x1b[4;1Ha\r\nb\r\nc")
    assert shown(terminal)[0] == "top"
    assert shown(terminal)[-1] == "end"
    assert terminal.history == 0


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (b"\x1b[?1h", Mode.APPLICATION_CURSOR),
        (b"\x1b[?2004h", Mode.BRACKETED_PASTE),
        (b"\x1b[?1000h\x1b[?1006h", Mode.MOUSE | Mode.MOUSE_SGR),
        (b"\x1b=", Mode.APPLICATION_KEYPAD),
        (b"\x1b[20h", Mode.NEWLINE),
        (b"\x1b[?1h\x1b[?1l", Mode.NONE),
        (b"\x1b[?1h\x1bc", Mode.NONE),
    ],
)
def test_modes(data: bytes, mode: Mode) -> None:
    assert fed(data).modes == mode


def test_the_cursor_can_be_hidden() -> None:
    assert fed(b"ab\x1b[?25l").cursor == CursorPosition(0, 2, visible=False)


def test_only_changed_rows_are_dirty() -> None:
    terminal = fed(b"a\r\nb\r\nc")
    assert terminal.feed(b"d") == {2}
    assert terminal.feed(b"\x1b[1;1Hx") == {0, 2}


def test_resizing_keeps_what_was_written() -> None:
    terminal = fed(b"1\r\n2\r\n3\r\n4\r\n5", rows=5)
    terminal.resize(2, 20)
    assert shown(terminal) == ["4", "5"]
    assert [terminal.text(n) for n in (-3, -1)] == ["1", "3"]
    terminal.resize(6, 40)
    assert (terminal.rows, terminal.columns) == (6, 40)
    assert shown(terminal) == ["4", "5"]


def test_a_note_is_a_dim_line_of_its_own_and_leaves_the_style() -> None:
    terminal = fed(b"\x1b[31mls")
    terminal.note("moved\x1b[31m")
    terminal.feed(b"x")
    assert shown(terminal) == ["ls", "moved [31m", "x"]
    assert terminal.line(1)[0].style == TextStyle(dim=True)
    assert terminal.line(2)[0].style == TextStyle(foreground="color(1)")


# Hostile guests


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b]0;title\x07",
        b"\x1b]2;title\x1b\\",
        b"\x1b]52;c;cm0gLXJmIC8=\x07",
        b"\x1b]8;;http://evil\x07",
        b'\x1bP$q"p\x1b\\',
        b"\x1bPq#0;2;0;0;0#0~~\x1b\\",
        b"\x1b_Gf=100;AAAA\x1b\\",
        b"\x1b^private\x1b\\",
        b"\x1bXstring\x1b\\",
        b"\x1b[21t\x1b[3;0;0t",
        b"\x1b[?1;2c\x1b[>c\x1b[=c",
        b"\x05",
        b"\x1b[c\x1b[6n\x1b]10;?\x07",
    ],
)
def test_strings_and_queries_show_nothing(data: bytes) -> None:
    terminal = fed(b"a", data, b"b")
    assert shown(terminal) == ["ab"]
    assert b"title" not in terminal.take_answers()


def test_answers_are_fixed() -> None:
    terminal = fed(b"abc\x1b[c\x1b[5n\x1b[6n\x1b[>c\x1b[x")
    assert terminal.take_answers() == b"\x1b[?6c\x1b[0n\x1b[1;4R"
    assert terminal.take_answers() == b""


def test_a_guest_that_only_asks_gets_a_bounded_answer() -> None:
    assert len(fed(b"\x1b[6n" * 100_000).take_answers()) <= 1024


def test_an_unterminated_string_does_not_hide_the_guest_for_ever() -> None:
    assert shown(fed(b"\x1b]0;" + b"x" * 5000 + b"\r\nlogin: "))[-1].endswith("login:")
    assert shown(fed(b"\x1b]0;never\nlogin: ")) == ["", "login:"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[999999999999999999999999C",
        b"\x1b[" + b"9" * 100_000 + b"A",
        b"\x1b[" + b"1;" * 100_000 + b"m",
        b"\x1b[9999999L\x1b[9999999M\x1b[9999999@\x1b[9999999P\x1b[9999999S\x1b[9999999T",
        b"x\x1b[99999999b",
        b"\x1b[99999999I\x1b[99999999Z",
        b"\x1b[?3h\x1b[?3l",
        b"\x1b[?6h\x1b[5d\x1b[6n",
        b"\x1b[\xc2\xb2m",
        b"\x1b7" * 10_000,
        b"\x1b[?1049h" * 1000,
        b"e" + "\u0301".encode() * 10_000,
        b"\x1b[5;2r\x1b[0;0r\x1b[99;1r",
        b"\x1b[1;1:2:3mx\x1b[:m\x1b[;;m",
    ],
)
def test_extreme_input_costs_little_and_changes_no_size(data: bytes) -> None:
    started = time.perf_counter()
    terminal = fed(data, b"\x1bc\x1b[1;1Hok")
    assert time.perf_counter() - started < 1.0
    assert (terminal.rows, terminal.columns) == (5, 20)
    assert shown(terminal)[0].startswith("ok")


def test_size_is_bounded() -> None:
    terminal = PyteTerminal(10**9, 10**9)
    assert (terminal.rows, terminal.columns) == (500, 1000)
    terminal.resize(0, -5)
    assert (terminal.rows, terminal.columns) == (1, 1)
    terminal.feed("日本\x1b[6n\r\nx".encode())


_PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b", b";", b"?", b"m", b"H", b"J", b"r", b"\r\n", "日".encode()]
    ),
    st.builds(
        lambda a, b, f: b"\x1b[%d;%d%c" % (a, b, f),
        st.integers(0, 99999),
        st.integers(0, 99999),
        st.sampled_from(b"ABCDEFGHIJKLMPSTXZ@bdfghlmnrsu"),
    ),
    st.builds(
        lambda n, f: b"\x1b[?%d%c" % (n, f),
        st.sampled_from([1, 3, 5, 6, 7, 25, 47, 1049, 2004]),
        st.sampled_from(b"hl"),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=40), st.integers(1, 8), st.integers(1, 12))
def test_no_input_breaks_the_terminal(pieces: list[bytes], rows: int, columns: int) -> None:
    terminal = PyteTerminal(rows, columns, scrollback=20)
    for index, piece in enumerate(pieces):
        dirty = terminal.feed(piece)
        assert all(0 <= y < terminal.rows for y in dirty)
        if index % 7 == 6:
            terminal.resize(max(1, rows - index % 3), columns + index % 4)
    for number in range(-terminal.history, terminal.rows):
        for run in terminal.line(number):
            assert all(char.isprintable() or char == "\u3000" or not char.isascii() for char in run.text)
            assert "\x1b" not in run.text
    assert terminal.history <= 20
    assert 0 <= terminal.cursor.row < terminal.rows
    assert 0 <= terminal.cursor.column < terminal.columns


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 10))
def test_how_bytes_are_cut_makes_no_difference(data: bytes, step: int) -> None:
    whole = fed(data)
    cut = fed(*(data[i : i + step] for i in range(0, len(data), step)))
    assert shown(whole) == shown(cut)
    assert whole.cursor == cut.cursor
