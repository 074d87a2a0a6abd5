"""Console sessions against a console endpoint, and the keys of the console screen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import ObjectKey, from_wire
from kvtui.client.kubeconfig import Endpoint
from kvtui.client.rest import Client
from kvtui.tui.app import KvtuiApp
from kvtui.tui.model.cluster import Health, Link
from kvtui.tui.model.console import ConsoleSession, ConsoleState
from kvtui.tui.model.session import Preferences, Session
from kvtui.tui.screens.console import ConsoleScreen
from kvtui.tui.screens.main import MainScreen
from kvtui.tui.theme import directories, load_all
from tests.fakes.console_server import ConsoleServer, console_server
from tests.tui import canned
from tests.tui.apps import main_screen, shown

KEY = ObjectKey("default", "web-01")


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Turns the loop until something holds."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


@dataclass(slots=True)
class Stage:
    """A session and the endpoint it talks to."""

    server: ConsoleServer
    session: Session

    @property
    def console(self) -> ConsoleSession:
        return self.session.consoles.sessions[0]

    def text(self) -> str:
        terminal = self.console.terminal
        lines = [terminal.text(n) for n in range(-terminal.history, terminal.rows)]
        return "\n".join(lines).rstrip("\n")

    def put(self, vmi: VirtualMachineInstance) -> None:
        self.session.cluster.informer(VirtualMachineInstance).store.put(vmi)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with console_server() as server:
        endpoint = Endpoint(server=server.url, context="lab-east", namespace="default")
        async with Client(endpoint) as client:
            preferences = Preferences(hold=0, detail_delay=0)
            session = Session(client, preferences, canned.fixed_clock, cached=canned.wireframe())
            session.cluster.health = Health(Link.LIVE, 0.038)
            consoles = asyncio.create_task(session.consoles.run())
            await asyncio.sleep(0)
            try:
                yield Stage(server, session)
            finally:
                consoles.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await consoles


async def test_a_viewer_sees_what_was_printed_before(stage: Stage) -> None:
    stage.server.print(b"Booting\r\nlogin: ")
    stage.session.consoles.open(KEY)
    await until(lambda: stage.text() == "Booting\nlogin:")
    assert stage.console.state is ConsoleState.LIVE
    stage.console.send(b"root\r")
    await until(lambda: stage.server.typed == b"root\r")


async def test_after_a_break_nothing_is_lost_or_doubled(stage: Stage) -> None:
    stage.server.print(b"one\r\n")
    stage.session.consoles.open(KEY)
    await until(lambda: "one" in stage.text())
    await stage.server.drop()
    stage.server.print(b"two\r\n")
    stage.console.reconnect()
    await until(lambda: "two" in stage.text())
    assert stage.text() == "one\ntwo"
    assert stage.server.requests == ["", "5"]


async def test_bytes_that_the_server_did_not_keep_are_said(stage: Stage) -> None:
    stage.server.print(b"one\r\n")
    stage.session.consoles.open(KEY)
    await until(lambda: "one" in stage.text())
    await stage.server.drop()
    stage.server.print(b"lost\r\nkept\r\n")
    stage.server.forget(11)
    stage.console.reconnect()
    await until(lambda: "kept" in stage.text())
    assert "6 bytes were not kept by the server" in stage.text()


async def test_a_moved_vm_leaves_a_rule_with_both_nodes(stage: Stage) -> None:
    stage.server.print(b"before\r\n")
    stage.session.consoles.open(KEY)
    await until(lambda: "before" in stage.text())
    stage.put(canned.vmi("web-01", node="node-c"))
    stage.server.print(b"after\r\n")
    await until(lambda: "after" in stage.text())
    assert "---- 12:04:00 web-01 moved from node-a to node-c ----" in stage.text().splitlines()


async def test_a_stopped_vm_is_waited_for(stage: Stage) -> None:
    stage.put(canned.vmi("web-01", "Succeeded"))
    stage.session.consoles.open(KEY)
    await until(lambda: stage.console.state is ConsoleState.WAITING)
    assert stage.console.banner == "web-01 is stopped. Ctrl+] s starts it, Ctrl+] x closes this console."
    stage.console.send(b"x")
    assert stage.console.not_sent
    stage.put(canned.vmi("web-01"))
    stage.server.print(b"login: ")
    await until(lambda: "login" in stage.text())
    assert stage.server.typed == b""


async def test_input_is_held_while_the_vm_moves_and_sent_once(stage: Stage) -> None:
    stage.session.consoles.open(KEY)
    await until(lambda: stage.console.state is ConsoleState.LIVE)
    moving = from_wire(
        {
            "metadata": canned.meta("web-01"),
            "spec": {"domain": {"devices": {}}},
            "status": {"phase": "Running", "nodeName": "node-a", "migrationState": {"sourceNode": "node-a"}},
        },
        VirtualMachineInstance,
    )
    stage.put(moving)
    stage.server.status = 503
    await stage.server.drop()
    await until(lambda: stage.console.state is ConsoleState.LOST)
    assert stage.console.banner == "web-01 is moving. Input is held."
    stage.console.send(b"ls\r")
    stage.console.send(b"x" * 300)
    stage.server.status = 0
    stage.console.reconnect()
    await until(lambda: bool(stage.server.typed))
    assert stage.server.typed == b"ls\r"


async def test_upstream_lets_one_client_in_and_nobody_fights(stage: Stage) -> None:
    stage.server.offsets = False
    stage.session.consoles.open(KEY)
    await until(lambda: stage.console.state is ConsoleState.LIVE)
    await stage.server.drop(1000)
    await until(lambda: stage.console.state is ConsoleState.TAKEN)
    assert "Another client took this console." in stage.console.banner
    stage.console.reconnect()
    await until(lambda: stage.console.state is ConsoleState.LIVE)
    assert stage.server.requests == ["", ""]


async def test_a_refusal_names_the_right(stage: Stage) -> None:
    stage.server.status = 403
    stage.session.consoles.open(KEY)
    await until(lambda: stage.console.state is ConsoleState.DENIED)
    assert "You may not open consoles in default" in stage.console.banner


async def test_questions_from_the_past_are_not_answered(stage: Stage) -> None:
    stage.server.print(b"\x1b[6n\x1b[c" * 10 + b"login: ")
    stage.session.consoles.open(KEY)
    await until(lambda: "login" in stage.text())
    stage.console.send(b"x")
    await until(lambda: stage.server.typed == b"x")


async def test_one_connection_per_vm_however_often_it_is_opened(stage: Stage) -> None:
    first = stage.session.consoles.open(KEY)
    assert stage.session.consoles.open(KEY) is first
    await until(lambda: stage.server.viewers == 1)
    stage.server.print(b"kept\r\n")
    await until(lambda: "kept" in stage.text())
    first.close()
    await until(lambda: first.state is ConsoleState.CLOSED)
    again = stage.session.consoles.open(KEY)
    assert again is not first
    await until(lambda: again.state is ConsoleState.LIVE)
    assert "kept" in stage.text()


# The screen


@contextlib.asynccontextmanager
async def console_screen(stage: Stage, size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[KvtuiApp, object]]:
    app = KvtuiApp(stage.session, load_all(directories()), follow=False)
    async with app.run_test(size=size) as pilot:
        main_screen(app).table.go_to(KEY)
        await pilot.press("c")
        await until(lambda: isinstance(app.screen, ConsoleScreen))
        await until(lambda: stage.console.state is ConsoleState.LIVE)
        await pilot.pause(0.05)
        yield app, pilot


async def press(pilot: object, *keys: str) -> None:
    await pilot.press(*keys)  # type: ignore[attr-defined]
    await pilot.pause(0.05)  # type: ignore[attr-defined]


async def test_every_key_goes_to_the_guest(stage: Stage) -> None:
    async with console_screen(stage) as (app, pilot):
        assert "KEYS GO TO GUEST web-01" in shown(app)
        await press(pilot, "ctrl+c", "ctrl+q", "ctrl+p", "question_mark", "escape", "tab", "f1", "ctrl+z", "q", "1")
        await until(lambda: len(stage.server.typed) >= 11)
        assert bytes(stage.server.typed) == b"\x03\x11\x10?\x1b\t\x1bOP\x1aq1"
        assert isinstance(app.screen, ConsoleScreen)


async def test_the_prefix_leaves_and_the_session_stays(stage: Stage) -> None:
    async with console_screen(stage) as (app, pilot):
        await press(pilot, "ctrl+right_square_bracket")
        assert "leave" in shown(app)
        await press(pilot, "full_stop")
        assert isinstance(app.screen, MainScreen)
        assert "9 Cons 1" in shown(app)
        assert stage.console.state is ConsoleState.LIVE
        assert bytes(stage.server.typed) == b""


async def test_the_prefix_twice_reaches_the_guest(stage: Stage) -> None:
    async with console_screen(stage) as (_, pilot):
        await press(pilot, "ctrl+5", "ctrl+right_square_bracket", "a")
        await until(lambda: bytes(stage.server.typed) == b"\x1da")


async def test_a_press_after_the_prefix_that_means_nothing_is_said(stage: Stage) -> None:
    async with console_screen(stage) as (app, pilot):
        await press(pilot, "ctrl+right_square_bracket", "E")
        assert "Ctrl+] E does nothing." in shown(app)
        await press(pilot, "a")
        await until(lambda: bytes(stage.server.typed) == b"a")


async def test_the_guest_is_drawn_and_never_passed_through(stage: Stage) -> None:
    async with console_screen(stage) as (app, _):
        stage.server.print(b"\x1b]0;evil\x07\x1b]52;c;QUJD\x1b\\\x1b[31mroot\x1b[0m# ")
        await until(lambda: "root#" in shown(app))
        assert "evil" not in shown(app)
        assert "\x1b" not in shown(app)


async def test_reading_the_scrollback_stays_put_while_output_goes_on(stage: Stage) -> None:
    async with console_screen(stage) as (app, pilot):
        stage.server.print(b"".join(b"line %d\r\n" % n for n in range(100)))
        await until(lambda: "line 99" in shown(app))
        await press(pilot, "ctrl+right_square_bracket", "left_square_bracket", "g")
        assert "line 0" in shown(app)
        stage.server.print(b"".join(b"more %d\r\n" % n for n in range(10)))
        await until(lambda: "more 9" in stage.text())
        assert "line 0\n" in shown(app)
        assert "more" not in shown(app)
        await press(pilot, "slash", *"line 42", "enter")
        assert "line 42" in shown(app)
        await press(pilot, "escape")
        await until(lambda: "more 9" in shown(app))
        await press(pilot, "x")
        await until(lambda: bytes(stage.server.typed) == b"x")


async def test_a_large_paste_asks(stage: Stage) -> None:
    async with console_screen(stage) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, ConsoleScreen)
        screen.take_paste("one\ntwo\x1b[31m\n")
        await press(pilot, "n")
        assert "Not pasted." in shown(app)
        screen.take_paste("one\ntwo\x1b[31m\n")
        assert "Paste" in screen.query_one("#console-status").text  # type: ignore[attr-defined]
        await press(pilot, "y")
        await until(lambda: bytes(stage.server.typed) == b"one\rtwo[31m\r")


async def test_read_only_watches(stage: Stage) -> None:
    stage.session.preferences = Preferences(read_only=True)
    async with console_screen(stage) as (app, pilot):
        await press(pilot, "a", "b")
        assert "input locked" in shown(app)
        assert bytes(stage.server.typed) == b""


async def test_the_guest_gets_the_whole_screen_but_two_lines(stage: Stage) -> None:
    async with console_screen(stage) as (_, pilot):
        assert (stage.console.terminal.rows, stage.console.terminal.columns) == (22, 80)
        await pilot.resize_terminal(100, 40)  # type: ignore[attr-defined]
        await press(pilot)
        assert (stage.console.terminal.rows, stage.console.terminal.columns) == (38, 100)


async def test_leaving_and_coming_back_under_a_flood(stage: Stage) -> None:
    async def flood() -> None:
        number = 0
        while True:
            number += 1
            stage.server.print(b"line %d\r\n" % number)
            await asyncio.sleep(0)

    async with console_screen(stage) as (app, pilot):
        flooding = asyncio.create_task(flood())
        try:
            for _ in range(4):
                await press(pilot, "ctrl+right_square_bracket", "full_stop")
                await until(lambda: isinstance(app.screen, MainScreen))
                await press(pilot, "c")
                await until(lambda: isinstance(app.screen, ConsoleScreen))
        finally:
            flooding.cancel()
        assert stage.console.state is ConsoleState.LIVE
        await until(lambda: "line" in shown(app))
