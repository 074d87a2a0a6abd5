"""Watches: start, order, transitions of selectors, bookmarks, the end of history."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from kvtui.apiserver.selection import Selection
from kvtui.apiserver.selectors import EVERYTHING, FieldSelector
from kvtui.apiserver.store import Store
from kvtui.apiserver.watch import STALLED, WatchHub
from tests.apiserver.api import CONFIG_MAPS, Api, config_map
from tests.fakes.cluster import RunningServer, running_server

ROOT_CA = "kube-root-ca.crt"


async def test_a_watch_without_revision_starts_with_what_is_there(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    async with api.watch(CONFIG_MAPS) as watch:
        assert await watch.take(2) == [("ADDED", "a"), ("ADDED", ROOT_CA)]
        await api.delete(f"{CONFIG_MAPS}/a")
        assert await watch.take(1) == [("DELETED", "a")]


async def test_a_watch_from_a_list_misses_nothing(api: Api) -> None:
    revision = (await api.get(CONFIG_MAPS)).rv
    await api.post(CONFIG_MAPS, config_map("a"))
    await api.merge(f"{CONFIG_MAPS}/a", {"data": {"x": "1"}})
    async with api.watch(CONFIG_MAPS, resourceVersion=revision) as watch:
        await api.delete(f"{CONFIG_MAPS}/a")
        assert await watch.take(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_deleted_event_has_the_revision_of_the_deletion(api: Api) -> None:
    created = await api.post(CONFIG_MAPS, config_map("a"))
    async with api.watch(CONFIG_MAPS, resourceVersion=created.rv) as watch:
        await api.delete(f"{CONFIG_MAPS}/a")
        event = await watch.next()
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(created.rv)


async def test_objects_enter_and_leave_a_selection(api: Api) -> None:
    revision = (await api.get(CONFIG_MAPS)).rv
    async with api.watch(CONFIG_MAPS, resourceVersion=revision, labelSelector="in=yes") as watch:
        await api.post(CONFIG_MAPS, config_map("a"))
        await api.merge(f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"in": "yes"}}, "data": {"v": "1"}})
        await api.merge(f"{CONFIG_MAPS}/a", {"data": {"v": "2"}})
        out = await api.merge(f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"in": "no"}}, "data": {"v": "3"}})
        await api.delete(f"{CONFIG_MAPS}/a")
        await api.post(CONFIG_MAPS, config_map("b", labels={"in": "yes"}))
        events = [await watch.next() for _ in range(4)]
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in events] == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "b"),
    ]
    assert events[2]["object"]["data"] == {"v": "2"}
    assert events[2]["object"]["metadata"]["resourceVersion"] == out.rv


async def test_a_watch_of_one_name(api: Api) -> None:
    async with api.watch(CONFIG_MAPS, fieldSelector="metadata.name=b", resourceVersion=0) as watch:
        await api.post(CONFIG_MAPS, config_map("a"))
        await api.post(CONFIG_MAPS, config_map("b"))
        assert await watch.take(1) == [("ADDED", "b")]


async def test_streaming_lists_end_with_a_bookmark(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with api.watch(CONFIG_MAPS, **query) as watch:
        events = [await watch.next() for _ in range(3)]
        assert [e["type"] for e in events] == ["ADDED", "ADDED", "BOOKMARK"]
        bookmark = events[2]["object"]
        assert bookmark["kind"] == "ConfigMap"
        assert bookmark["apiVersion"] == "v1"
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await api.post(CONFIG_MAPS, config_map("b"))
        assert await watch.take(1) == [("ADDED", "b")]


async def test_wrong_combinations_of_watch_parameters_are_invalid(api: Api) -> None:
    for query in (
        {"sendInitialEvents": "true"},
        {"resourceVersionMatch": "NotOlderThan"},
        {"sendInitialEvents": "true", "resourceVersionMatch": "Exact"},
    ):
        answer = await api.get(CONFIG_MAPS, watch="true", **query)
        assert (answer.code, answer.reason) == (422, "Invalid")


async def test_a_watch_ends_when_its_time_is_over_with_a_bookmark_before(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    async with api.watch(CONFIG_MAPS, timeoutSeconds=3, allowWatchBookmarks="true", resourceVersion=1) as watch:
        events = await watch.rest()
    assert events[-1]["type"] == "BOOKMARK"


async def test_a_revision_that_history_has_lost_is_410(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False, history_seconds=0.0) as server, server.session() as session:
        api = Api(session)
        await api.post(CONFIG_MAPS, config_map("a"))
        async with asyncio.timeout(20):
            while (await api.get(CONFIG_MAPS, resourceVersion="1", resourceVersionMatch="Exact")).code != 410:
                await api.merge(f"{CONFIG_MAPS}/a", {"data": {"x": "y"}})
        answer = await api.get(CONFIG_MAPS, watch="1", resourceVersion="1")
    assert (answer.code, answer.reason) == (410, "Expired")
    assert answer.message.startswith("too old resource version: 1 (")


async def test_a_watch_from_the_future_is_silent_until_then(api: Api) -> None:
    revision = int((await api.get(CONFIG_MAPS)).rv)
    async with api.watch(CONFIG_MAPS, resourceVersion=revision + 1) as watch:
        await api.post(CONFIG_MAPS, config_map("a"))
        await api.post(CONFIG_MAPS, config_map("b"))
        assert await watch.take(1) == [("ADDED", "b")]


async def test_a_read_from_the_future_is_a_timeout(api: Api) -> None:
    answer = await api.get(CONFIG_MAPS, resourceVersion="999999")
    assert (answer.code, answer.reason) == (504, "Timeout")
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_history_outlives_a_restart(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, server.session() as session:
        api = Api(session)
        revision = (await api.get(CONFIG_MAPS)).rv
        await api.post(CONFIG_MAPS, config_map("a"))
        await api.merge(f"{CONFIG_MAPS}/a", {"data": {"x": "1"}})
        await api.delete(f"{CONFIG_MAPS}/a")
    async with running_server(tmp_path, crds=False) as server, server.session() as session:
        api = Api(session)
        async with api.watch(CONFIG_MAPS, resourceVersion=revision) as watch:
            assert await watch.take(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_two_watches_see_the_same_sequence(api: Api) -> None:
    revision = (await api.get(CONFIG_MAPS)).rv

    async def follow() -> list[tuple[str, str]]:
        async with api.watch(CONFIG_MAPS, resourceVersion=revision) as watch:
            return [
                (e["type"], e["object"]["metadata"]["resourceVersion"]) for e in [await watch.next() for _ in range(60)]
            ]

    async with asyncio.TaskGroup() as tasks:
        followers = [tasks.create_task(follow()) for _ in range(5)]
        for number in range(20):
            tasks.create_task(touch(api, f"m{number}"))
    assert all(f.result() == followers[0].result() for f in followers)


async def touch(api: Api, name: str) -> None:
    await api.post(CONFIG_MAPS, config_map(name))
    await api.merge(f"{CONFIG_MAPS}/{name}", {"data": {"x": "1"}})
    await api.delete(f"{CONFIG_MAPS}/{name}")


async def test_a_watch_over_a_websocket(api: Api, server: RunningServer) -> None:
    revision = (await api.get(CONFIG_MAPS)).rv
    async with (
        server.session() as session,
        session.ws_connect(f"{CONFIG_MAPS}?watch=1&resourceVersion={revision}") as socket,
    ):
        await api.post(CONFIG_MAPS, config_map("a"))
        message = await socket.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.TEXT
        assert message.json()["object"]["metadata"]["name"] == "a"


async def test_a_reader_that_does_not_keep_up_is_ended_and_delays_nobody(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False, watch_queue=20) as server, server.session() as session:
        api = Api(session)
        revision = (await api.get(CONFIG_MAPS)).rv
        async with api.watch(CONFIG_MAPS, resourceVersion=revision):
            for number in range(60):
                await api.post(CONFIG_MAPS, config_map(f"m{number}", x="y" * 200_000))
            metrics = await api.get("/metrics")
        assert "apiserver_registered_watchers" in metrics.body


async def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    store.load()
    hub = WatchHub(store, queue_limit=10)
    cut: list[str] = []
    for name, since in (("stuck", 1.0), ("slow", 20.0), ("idle", 0.0)):
        watcher = hub.open(store.bucket("things"), Selection(None, EVERYTHING, FieldSelector(())))
        watcher.writing_since = since
        watcher.cut_off = lambda name=name: cut.append(name)  # type: ignore[misc]
    assert hub.sweep(STALLED + 2) == 1
    assert cut == ["stuck"]
    await store.close()
