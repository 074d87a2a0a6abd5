"""The screen against a real API server: watches repaint rows, keys become requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.meta import Resource
from kvtui.api.registry import kind_of
from kvtui.api.wire import ObjectKey, to_wire
from kvtui.client import kubeconfig
from kvtui.client.rest import Client
from kvtui.tui.app import KvtuiApp
from kvtui.tui.model.session import Preferences, Session
from kvtui.tui.theme import directories, load_all
from tests.fakes.cluster import RunningServer, running_server
from tests.tui import canned
from tests.tui.apps import main_screen, shown


async def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def put(client: Client, obj: Resource) -> None:
    """Creates an object with its status."""
    await client.create(obj)
    kind = kind_of(type(obj))
    if status := to_wire(obj).get("status"):
        await client.patch(type(obj), obj.key, {"status": status}, subresource="status" if kind.status else "")


@contextlib.asynccontextmanager
async def screen(path: Path, **preferences: object) -> AsyncIterator[tuple[KvtuiApp, Client, object]]:
    """The program on the context of a kubeconfig."""
    async with Client(await kubeconfig.load(path)) as client:
        chosen = Preferences(**({"hold": 0.0, "detail_delay": 0.0} | preferences))  # type: ignore[arg-type]
        session = Session(client, chosen, canned.fixed_clock, lambda: ["kvtui"])
        app = KvtuiApp(session, load_all(directories()))
        async with app.run_test(size=(100, 28)) as pilot:
            await until(lambda: session.cluster.synced)
            yield app, client, pilot


async def press(pilot: object, *keys: str) -> None:
    await pilot.press(*keys)  # type: ignore[attr-defined]
    await pilot.pause()  # type: ignore[attr-defined]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path) as running:
        yield running


async def test_rows_follow_the_watch(server: RunningServer) -> None:
    async with screen(server.kubeconfig) as (app, client, _):
        await until(lambda: "No virtual machines in default." in shown(app))
        await put(client, canned.vm("web-01"))
        await until(lambda: "Stopped" in shown(app))
        await client.patch_status(VirtualMachine, ("default", "web-01"), {"printableStatus": "Running"})
        await until(lambda: "Running" in shown(app))
        await client.delete(VirtualMachine, ("default", "web-01"))
        await until(lambda: "No virtual machines in default." in shown(app))


async def test_deleting_with_its_confirmation(server: RunningServer) -> None:
    async with screen(server.kubeconfig) as (app, client, pilot):
        await put(client, canned.vm("web-01"))
        await until(lambda: "web-01" in shown(app))
        await press(pilot, "D", "y")
        await until(lambda: "delete web-01: sent" in main_screen(app).bar("status").text)
        assert await client.find(VirtualMachine, ("default", "web-01")) is None


async def test_a_held_deletion_can_be_undone(server: RunningServer) -> None:
    async with screen(server.kubeconfig, hold=30.0) as (app, client, pilot):
        await put(client, canned.vm("web-01"))
        await until(lambda: "web-01" in shown(app))
        await press(pilot, "D", "y")
        await until(lambda: "Deleting web-01 in 30 s. u undoes" in main_screen(app).bar("status").text)
        await press(pilot, "u")
        await until(lambda: "Not deleted: web-01." in main_screen(app).bar("status").text)
        assert await client.find(VirtualMachine, ("default", "web-01")) is not None


async def test_creating_puts_the_cursor_on_the_new_row(server: RunningServer) -> None:
    async with screen(server.kubeconfig) as (app, client, pilot):
        await put(client, canned.vm("aaa"))
        await until(lambda: "aaa" in shown(app))
        await press(pilot, "n")
        await press(pilot, "ctrl+u", *"app-01", "escape", "2", "tab", *"quay.io/disks/fedora:42", "escape", "8")
        await until(lambda: "Server check  ok" in shown(app))
        await press(pilot, "ctrl+s")
        await until(lambda: "app-01" in shown(app) and "[1 VMs]" in shown(app))
        await until(lambda: main_screen(app).table.place.key == ObjectKey("default", "app-01"))
        made = await client.get(VirtualMachine, ("default", "app-01"))
        assert made.spec.run_strategy == "Always"


async def test_aborting_a_migration_deletes_its_object(server: RunningServer) -> None:
    async with screen(server.kubeconfig) as (app, client, pilot):
        await put(client, canned.migration("mig", "web-01", numbers=canned.progress(2**30)))
        await press(pilot, "3")
        await until(lambda: "CONVERGING" in shown(app))
        await press(pilot, "x", "y")
        await until(lambda: "abort mig: sent" in main_screen(app).bar("status").text)
        assert await client.find(VirtualMachineInstanceMigration, ("default", "mig")) is None


async def test_cordoning_several_nodes_is_one_job_with_a_result_each(server: RunningServer) -> None:
    async with screen(server.kubeconfig) as (app, client, pilot):
        for name in ("node-a", "node-b"):
            await put(client, canned.node(name))
        await press(pilot, "4")
        await until(lambda: "node-b" in shown(app))
        await press(pilot, "asterisk", "C")
        assert "Cordon 2 objects?" in shown(app)
        await press(pilot, "y")
        await until(lambda: "2 done" in main_screen(app).bar("status").text)
        assert (await client.get(Node, ("", "node-a"))).spec.unschedulable
        await until(lambda: shown(app).count("Cordoned") == 2)


async def test_a_user_without_rights_reads_which_one_is_missing(server: RunningServer) -> None:
    path = server.kubeconfig_for("somebody")
    async with Client(await kubeconfig.load(path)) as client:
        session = Session(client, Preferences(hold=0, detail_delay=0), canned.fixed_clock)
        app = KvtuiApp(session, load_all(directories()))
        async with app.run_test(size=(100, 28)):
            await until(lambda: "You may not list virtualmachines in default (403)." in shown(app))
            assert "Needed: get, list, watch on virtualmachines.kubevirt.io" in shown(app)


async def test_a_server_that_is_away_keeps_the_rows_and_says_so(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running_server(tmp_path) as server:
            app, client, pilot = await stack.enter_async_context(screen(server.kubeconfig))
            await put(client, canned.vm("web-01"))
            await until(lambda: "web-01" in shown(app))
        app.session.cluster.probe()
        await until(lambda: "OFFLINE" in shown(app))
        assert "web-01" in shown(app)
        await press(pilot, "D")
        assert "Not sent: kvtui does not answer. Nothing was changed." in "".join(
            message.text for message in app.session.journal.messages
        )
