"""The quiet wire: a terminal behind it shows what one without it shows, and gets fewer bytes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kvtui.console.terminal import TextStyle
from kvtui.console.terminal_pyte import PyteTerminal
from kvtui.tui.wire import Style, Wire, change, styled

ROWS, COLUMNS = 6, 24
STYLES = (
    "0", "1", "7", "22", "27", "39", "49", "31", "97", "44", "38;5;200", "38;2;1;2;3", "48;2;9;8;7",
    "0;1;38;2;1;2;3;48;2;9;8;7", "7;38;2;4;5;6", "",
)  # fmt: skip


@st.composite
def pieces(draw: st.DrawFn) -> str:
    """A place, a style and text there; wide characters only at even columns, so that none is ever halved."""
    row, column = draw(st.integers(1, ROWS)), draw(st.integers(0, COLUMNS // 2 - 1)) * 2 + 1
    room = (COLUMNS - column + 1) // 2
    text = "".join(draw(st.lists(st.sampled_from(["ab", "a ", "  ", "x\u2500", "\u4e16", "e\u0301o"]), max_size=room)))
    return f"\x1b[{row};{column}H\x1b[{draw(st.sampled_from(STYLES))}m{text}\x1b[0m"


frames = st.lists(
    st.one_of(
        st.lists(pieces(), max_size=12).map("".join),
        st.sampled_from(
            ["\x1b[2J", "\x1b[?25l", "\x1b[1;1H\r\n\x1b[32mgo\x1b[0m", "\x1b]0;title\x07", "\x1b[2;5H\x1b[K"]
        ),
    ),
    max_size=8,
)


def shows(terminal: PyteTerminal) -> list[object]:
    """Every cell with its style; what cannot be seen is left out: a blank's foreground, plain blanks at the end."""
    cells: list[object] = []
    for row in range(ROWS):
        for run in terminal.line(row):
            seen = run.style.reverse or run.style.underline or run.style.strike
            blank = run.style if seen else replace(run.style, foreground="", bold=False, dim=False)
            cells += [(row, char, blank if char == " " else run.style) for char in run.text]
        while cells and cells[-1] == (row, " ", TextStyle()):
            cells.pop()
    return cells


@given(frames)
def test_the_terminal_shows_the_same(written: list[str]) -> None:
    wire = Wire()
    plain, quiet = PyteTerminal(ROWS, COLUMNS), PyteTerminal(ROWS, COLUMNS)
    for frame in written:
        plain.feed(frame.encode())
        quiet.feed(wire.filter(frame).encode())
        assert shows(quiet) == shows(plain)
        assert (quiet.cursor.row, min(quiet.cursor.column, COLUMNS - 1)) == (
            plain.cursor.row,
            min(plain.cursor.column, COLUMNS - 1),
        )


@given(st.lists(st.sampled_from(STYLES)), st.lists(st.sampled_from(STYLES)))
def test_a_change_of_style_leads_to_it(first: list[str], second: list[str]) -> None:
    before = after = Style()
    for params in first:
        before = styled(before, params)
    for params in second:
        after = styled(after, params)
    assert styled(before, change(before, after).removeprefix("\x1b[").removesuffix("m")) == after or before == after


def test_what_stands_there_already_is_not_sent() -> None:
    wire = Wire()
    frame = "\x1b[?2026h\x1b[3;1H\x1b[38;2;1;2;3mname  \x1b[0m\x1b[38;2;1;2;3;1mRunning\x1b[0m\x1b[1;1H\x1b[?2026l"
    assert "Running" in wire.filter(frame)
    assert wire.filter(frame) == ""
    assert (
        wire.filter(frame.replace("Running", "Stopped")).count("\x1b[") == 4
    )  # frame, place, colour is that of before
    wire.forget()
    assert "Running" in wire.filter(frame)


def test_unknown_sequences_go_through_and_the_screen_counts_as_unknown() -> None:
    wire = Wire()
    wire.filter("\x1b[1;1Habc")
    assert wire.filter("\x1b[1;1H\x1b[2K") == "\x1b[1;1H\x1b[2K\x1b[1;1H"
    assert wire.filter("\x1b[1;1Habc").endswith("abc")
