"""How the screen looks: fixed data, clock and size. Read every difference before accepting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from textual.pilot import Pilot

from kvtui.tui.glyphs import ASCII
from tests.tui.apps import canned_app

SnapCompare = Callable[..., bool]


def keys(*presses: str) -> Callable[[Pilot[str]], Awaitable[None]]:
    async def run(pilot: Pilot[str]) -> None:
        for press in (*("",) * 3, *presses, *("",) * 3):
            if press:
                await pilot.press(press)
            await pilot.pause()

    return run


SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)


@pytest.mark.parametrize("theme", ["dark", "light", "ansi", "mono"])
def test_the_list_in_every_theme(snap_compare: SnapCompare, theme: str) -> None:
    app = canned_app(theme=theme)
    assert snap_compare(app, run_before=keys("0", "j", "space", "space"), terminal_size=MIDDLE)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_list_at_every_size(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(canned_app(), run_before=keys("j", "j"), terminal_size=size)


def test_the_list_in_ascii(snap_compare: SnapCompare) -> None:
    assert snap_compare(canned_app(glyphs=ASCII, theme="mono"), run_before=keys("j"), terminal_size=SMALL)


@pytest.mark.parametrize("number", ["2", "3", "4", "5"])
def test_the_other_views(snap_compare: SnapCompare, number: str) -> None:
    assert snap_compare(canned_app(), run_before=keys(number), terminal_size=MIDDLE)


def test_a_migration_shows_its_progress(snap_compare: SnapCompare) -> None:
    assert snap_compare(canned_app(), run_before=keys("3", "enter"), terminal_size=SMALL)


@pytest.mark.parametrize(
    "presses",
    [
        pytest.param(("question_mark",), id="help"),
        pytest.param(("a",), id="actions"),
        pytest.param(("o",), id="sort"),
        pytest.param(("j", "p"), id="chord"),
        pytest.param(("j", "x"), id="prompt"),
        pytest.param(("j", "p", "X"), id="dialog"),
        pytest.param(("asterisk", "D"), id="typed"),
        pytest.param(("slash", "w", "e", "b"), id="filter"),
        pytest.param(("n",), id="create"),
        pytest.param(("n", "ctrl+s"), id="create-wrong"),
        pytest.param(("j", "d"), id="describe"),
    ],
)
def test_popups_and_prompts(snap_compare: SnapCompare, presses: tuple[str, ...]) -> None:
    assert snap_compare(canned_app(), run_before=keys(*presses), terminal_size=SMALL)


def test_nothing_is_there(snap_compare: SnapCompare) -> None:
    assert snap_compare(canned_app([]), run_before=keys(), terminal_size=SMALL)


def test_the_terminal_is_too_small(snap_compare: SnapCompare) -> None:
    assert snap_compare(canned_app(), run_before=keys(), terminal_size=(50, 12))
