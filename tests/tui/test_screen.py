"""What keys do on the screen, on canned objects without a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvtui.api.wire import ObjectKey
from kvtui.tui.app import KvtuiApp
from kvtui.tui.screens.confirm import Confirm
from kvtui.tui.screens.create import CreateVm
from kvtui.tui.screens.main import MainScreen
from kvtui.tui.screens.migrate import Migrate
from kvtui.tui.screens.picker import Picker
from tests.tui import canned
from tests.tui.apps import canned_app, main_screen, shown

SIZE = (80, 24)


def status(app: KvtuiApp) -> str:
    return main_screen(app).bar("status").text


def cursor(app: KvtuiApp) -> str:
    row = main_screen(app).row
    return row.key.name if row is not None else ""


async def test_the_first_look() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        text = shown(app)
        assert "[1 VMs]" in text
        assert "lab-east" in text
        assert "db-01" in text
        await pilot.press("question_mark", *"migr")
        await pilot.pause()
        assert "Keys for VMs" in shown(app)
        assert "m  migrate" in shown(app)
        await pilot.press("escape", "escape", "down", "4")
        await pilot.pause()
        assert "node-a" in shown(app)
        await pilot.press("less_than_sign")
        await pilot.pause()
        assert "[1 VMs]" in shown(app)
        assert cursor(app) == "db-01"
        await pilot.press("ctrl+c")
        assert status(app).startswith("Press q to quit.")
        assert app.is_running
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


async def test_finding_and_inspecting() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("0")
        await pilot.pause()
        assert "NAMESPACE" in shown(app)
        await pilot.press("slash", *"status:paused", "enter", "enter")
        await pilot.pause()
        assert "1 of 8" in shown(app)
        assert "[Overview]" in shown(app)
        await pilot.press("right_square_bracket", "right_square_bracket")
        await pilot.pause()
        assert "[Conditions]" in shown(app)
        assert "Ready" in shown(app)
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert "8 rows" in shown(app)
        await pilot.press("slash", *"10.0.1.31", "enter")
        await pilot.pause()
        assert cursor(app) == "web-01"
        await pilot.press("Y", "i")
        assert status(app).startswith("Copied 10.0.1.31")
        await pilot.press("escape", "o")
        await pilot.pause()
        assert isinstance(app.screen, Picker)
        await pilot.press(*"AGE", "enter")
        await pilot.pause()
        assert "sort AGE" in shown(app)
        assert cursor(app) == "web-01"


async def test_escape_while_filtering_brings_all_rows_back() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("slash", *"web")
        await pilot.pause()
        assert len(main_screen(app).view.collection) == 3
        await pilot.press("escape")
        await pilot.pause()
        assert len(main_screen(app).view.collection) == 7


async def test_a_filter_that_makes_no_sense_is_answered() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("slash", *"color>3", "enter")
        await pilot.pause()
        assert "no column is called color" in status(app)


async def test_marks_survive_sorting_and_filtering() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("space", "space", "O", "slash", *"web", "enter")
        await pilot.pause()
        assert "2 marked (2 hidden)" in shown(app)
        await pilot.press("minus")
        await pilot.pause()
        assert "0 marked" in shown(app)


async def test_a_range_of_marks() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("v", "j", "j", "v", "j")
        await pilot.pause()
        assert "3 marked" in shown(app)


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("s", "start: db-01 is Running already"),
        ("M", "abort migration: db-01 has no active migration"),
        ("less_than_sign", "There is no place before this one."),
        ("6", "View 6 (ReplicaSets) is not in this version"),
        ("u", "Nothing waits to be undone."),
        ("e", "edit: not in this version. Use kubectl edit virtualmachine db-01"),
        ("Q", "Q does nothing here. ? shows the keys."),
        ("equals_sign", "two panes need 100"),
        ("9", "No console is open"),
    ],
)
async def test_no_key_is_dead(key: str, answer: str) -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j", key)
        await pilot.pause()
        assert answer in status(app)


async def test_a_chord_lists_its_continuations_and_waits() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j", "p")
        await pilot.pause()
        assert "pause" in shown(app)
        assert "force stop" in shown(app)
        await pilot.press("u")
        await pilot.pause()
        assert "unpause: db-01 is not paused" in status(app)
        await pilot.press("p", "escape")
        await pilot.pause()
        assert "s start" in shown(app)


async def test_level_1_asks_in_one_line_and_any_other_key_is_no() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j", "x")
        await pilot.pause()
        assert "Stop default/db-01? y/N" in status(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "Not sent: db-01." in status(app)
        assert app.screen is main_screen(app)


async def test_level_2_has_its_focus_on_cancel() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j", "p", "X")
        await pilot.pause()
        dialog = app.screen
        assert isinstance(dialog, Confirm)
        assert "What will happen" in shown(app)
        assert "like pulling the plug" in shown(app)
        assert dialog.on_cancel
        await pilot.press("enter")
        await pilot.pause()
        assert "Not stopped: db-01." in status(app)


async def test_level_3_wants_the_count_of_several() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("asterisk", "D")
        await pilot.pause()
        assert "Delete 7 objects?" in shown(app)
        await pilot.press("6", "tab", "enter")
        await pilot.pause()
        assert isinstance(app.screen, Confirm)
        await pilot.press("escape")
        await pilot.pause()
        assert "Not deleted: 7 objects." in status(app)


async def test_a_server_that_does_not_answer_is_said() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j", "x", "y")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "No answer to: stop db-01. It may or may not have been received." in status(app)


async def test_read_only_disables_every_write() -> None:
    app = canned_app(read_only=True)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "READ-ONLY" in shown(app)
        for keys in (("x",), ("D",), ("m",), ("n",), ("p", "p")):
            await pilot.press("j", *keys)
            await pilot.pause()
            assert status(app).startswith("READ-ONLY")


async def test_protection_from_deletion_answers_at_once() -> None:
    objects = [canned.vm("safe", labels={"kubevirt.io/vm-delete-protection": "True"})]
    app = canned_app(objects)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("D")
        await pilot.pause()
        assert "safe is protected from deletion" in status(app)


async def test_the_migrate_dialog_lists_what_blocks() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        main_screen(app).table.go_to(ObjectKey("default", "web-03"))
        await pilot.press("m")
        for _ in range(100):
            await pilot.pause(0.02)
            if isinstance(app.screen, Migrate):
                break
        await pilot.pause()
        assert "any suitable node" in shown(app)
        assert "PVC root is not shared" in shown(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "1 finding block this." in shown(app)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, MainScreen)


async def test_the_progress_of_a_migration() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        main_screen(app).table.go_to(ObjectKey("default", "db-02"))
        await pilot.press("g", "m", "enter")
        await pilot.pause()
        text = shown(app)
        for word in ("Remaining", "Verdict", "CONVERGING", "Numbers", "node-a -> node-b", "RUNNING"):
            assert word in text
        await pilot.press("x")
        await pilot.pause()
        assert "Abort the migration default/mig-db-02? y/N" in status(app)


async def test_the_create_form_checks_while_typing() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("n")
        await pilot.pause()
        form = app.screen
        assert isinstance(form, CreateVm)
        assert "[1 Name]" in shown(app)
        await pilot.press("ctrl+u", *"web-01")
        await pilot.pause()
        assert "web-01 exists in default" in shown(app)
        await pilot.press("ctrl+u", *"app-01", "tab", "tab", "tab")
        await pilot.pause()
        assert "[2 Source]" in shown(app)
        await pilot.press("escape", "8")
        await pilot.pause()
        assert "2 Source!" in shown(app)
        assert "an image such as" in shown(app)
        await pilot.press("2", "tab", *"quay.io/disks/fedora:42", "escape", "8")
        await pilot.pause()
        assert "kvtui create vm --name app-01" in shown(app)
        assert "kind: VirtualMachine" in shown(app)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is main_screen(app)


async def test_the_command_line_suggests() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("colon", *"migrat", "enter")
        await pilot.pause()
        assert 'Did you mean "migrate"?' in status(app)
        await pilot.press("colon", *"vm /db", "enter")
        await pilot.pause()
        assert "2 of 7 rows" in shown(app)
        await pilot.press("colon", *"theme light", "enter")
        await pilot.pause()
        assert app.theme == "light"


async def test_the_palette_finds_actions_and_objects() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("ctrl+p", *"nodes node-b", "enter")
        await pilot.pause()
        assert cursor(app) == "node-b"


async def test_all_actions_are_shown_with_reasons() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("a")
        await pilot.pause()
        assert "stop: batch-07 is not running" in shown(app)


async def test_going_from_an_event_to_its_object() -> None:
    app = canned_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("5")
        await pilot.pause()
        assert "GuestMem" in shown(app)
        await pilot.press("enter")
        await pilot.pause()
        assert "[1 VMs]" in shown(app)
        assert cursor(app) == "web-03"


@pytest.mark.parametrize(
    ("size", "expected"),
    [((58, 15), "Terminal is 58x15. kvtui needs 60x16."), ((60, 16), "[1 VMs]"), ((200, 60), "── batch-07 ──")],
)
async def test_every_size_shows_something_useful(size: tuple[int, int], expected: str) -> None:
    app = canned_app()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.pause()
        assert expected in shown(app)


async def test_resizing_keeps_the_cursor_and_redraws() -> None:
    app = canned_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("j", "j")
        await pilot.resize_terminal(50, 10)
        await pilot.pause()
        assert "kvtui needs 60x16" in shown(app)
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        await pilot.pause()
        assert cursor(app) == "db-02"
        assert "── db-02 ──" in shown(app)


async def test_hostile_texts_of_objects_are_inert() -> None:
    evil = "x\x1b]52;c;AAAA\x07\x1b[31m\u202e"
    objects = [canned.event("e", "web", "Evil", evil * 3, type_="Warning")]
    app = canned_app(objects)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("5", "tab")
        await pilot.pause()
        assert "\x1b" not in shown(app)
        assert "\u202e" not in shown(app)


def every_command() -> Iterator[str]:
    from kvtui.tui.commands import GLOBAL

    yield from (command.id for command in GLOBAL if not command.id.startswith("view."))


@pytest.mark.parametrize("id_", every_command())
def test_every_command_is_carried_out_by_something(id_: str) -> None:
    assert callable(getattr(MainScreen, "do_" + id_.replace(".", "_").replace("-", "_")))
