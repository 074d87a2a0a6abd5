"""Informers and event recorders against a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvtui.api.core.config import ConfigMap, Event
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import ObjectKey
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.controlloop.informer import Informer, Store
from kvtui.controlloop.recorder import EventRecorder
from kvtui.settings import ControlLoopSettings
from tests.fakes.cluster import running_server

QUICK = ControlLoopSettings(backoff_base=0.01, backoff_max=0.1)


def config(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)


class Watcher:
    """Remembers what an informer told, and waits for more."""

    def __init__(self, informer: Informer[ConfigMap]) -> None:
        self.seen: list[tuple[str | None, str | None]] = []
        self._changed = asyncio.Event()
        informer.subscribe(self._note)

    def _note(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        obj = new or old
        if obj is None or obj.metadata.namespace != "default" or obj.metadata.name.startswith("kube-"):
            return
        self.seen.append((old.data.get("v") if old else None, new.data.get("v") if new else None))
        self._changed.set()

    async def until(self, holds: Callable[[list[tuple[str | None, str | None]]], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds(self.seen):
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(p.run()) for p in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_handlers_see_old_and_new(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, Client(await load(server.kubeconfig)) as client:
        await client.create(config("a", v="1"))
        informer = Informer(client, ConfigMap, settings=QUICK)
        watcher = Watcher(informer)
        async with running(informer):
            await informer.wait_synced()
            await client.patch(ConfigMap, ("default", "a"), {"data": {"v": "2"}})
            await client.delete(ConfigMap, ("default", "a"))
            await watcher.until(lambda seen: len(seen) == 3)
        assert watcher.seen == [(None, "1"), ("1", "2"), ("2", None)]
        assert informer.get(("default", "a")) is None


async def test_a_server_that_comes_back_is_caught_up_with(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as outer:
        stack = contextlib.AsyncExitStack()
        server = await stack.enter_async_context(running_server(tmp_path, crds=False))
        port = int(server.url.rsplit(":", 1)[1])
        client = await outer.enter_async_context(Client(await load(server.kubeconfig)))
        await client.create(config("kept", v="1"))
        await client.create(config("dropped", v="1"))
        informer = Informer(client, ConfigMap, settings=QUICK)
        watcher = Watcher(informer)
        async with running(informer):
            await watcher.until(lambda seen: len(seen) == 2)
            await stack.aclose()
            async with running_server(tmp_path, crds=False, port=port):
                await client.patch(ConfigMap, ("default", "kept"), {"data": {"v": "2"}})
                await client.delete(ConfigMap, ("default", "dropped"))
                await watcher.until(lambda seen: ("1", "2") in seen and ("1", None) in seen)
        assert len(watcher.seen) == 4, "nothing is told twice"


async def test_a_broken_handler_does_not_stop_the_others(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, Client(await load(server.kubeconfig)) as client:
        informer = Informer(client, ConfigMap, settings=QUICK)

        def broken(old: ConfigMap | None, new: ConfigMap | None) -> None:
            raise ValueError("cannot take this")

        informer.subscribe(broken)
        watcher = Watcher(informer)
        async with running(informer):
            await client.create(config("a", v="1"))
            await watcher.until(lambda seen: (None, "1") in seen)


async def test_a_kind_that_is_not_served_counts_as_empty_where_that_is_allowed(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, Client(await load(server.kubeconfig)) as client:
        optional = Informer(client, VirtualMachine, settings=QUICK, optional=True)
        demanded = Informer(client, VirtualMachine, settings=QUICK)
        async with running(optional, demanded):
            async with asyncio.timeout(10):
                await optional.wait_synced()
            assert list(optional.all()) == []
            assert not demanded.synced
            assert demanded.failure is not None


def test_indices_follow_changes() -> None:
    store: Store[ConfigMap] = Store()
    store.put(config("a", owner="x"))
    store.add_index("owner", lambda c: [c.data["owner"]] if "owner" in c.data else [])
    store.put(config("b", owner="x"))
    assert [c.metadata.name for c in store.by_index("owner", "x")] == ["a", "b"]
    store.put(config("a", owner="y"))
    assert [c.metadata.name for c in store.by_index("owner", "x")] == ["b"]
    store.drop(ObjectKey("default", "b"))
    assert store.by_index("owner", "x") == []
    assert [c.metadata.name for c in store.all("default")] == ["a"]
    assert list(store.all("elsewhere")) == []


async def test_the_same_event_is_counted_and_not_repeated(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, Client(await load(server.kubeconfig)) as client:
        about = await client.create(config("a"))
        recorder = EventRecorder(client, "tester", lambda: datetime(2026, 3, 1, tzinfo=UTC), settings=QUICK)
        async with running(recorder):
            for _ in range(3):
                recorder.normal(about, "Tried", "It was tried")
            recorder.warning(about, "Failed", "It failed")
            await recorder.wait_written()
        events = {e.reason: e for e in (await client.list(Event, "default")).items if e.source.component == "tester"}
        assert (events["Tried"].count, events["Tried"].type) == (3, "Normal")
        assert (events["Failed"].count, events["Failed"].type) == (1, "Warning")
        assert events["Tried"].involved_object.name == "a"


async def test_an_event_about_something_that_is_gone_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, Client(await load(server.kubeconfig)) as client:
        recorder = EventRecorder(client, "tester", lambda: datetime(2026, 3, 1, tzinfo=UTC), settings=QUICK)
        async with running(recorder):
            lost = ConfigMap(metadata=ObjectMeta(name="a", namespace="no-such-namespace"))
            recorder.normal(lost, "Lost", "nobody hears this")
            recorder.normal(config("b"), "Heard", "somebody does")
            await recorder.wait_written()
        reasons = {e.reason for e in (await client.list(Event, "default")).items if e.source.component == "tester"}
        assert reasons == {"Heard"}
