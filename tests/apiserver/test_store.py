"""The store: history is exact across restarts and compactions, a full disk changes nothing, backups restore."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvtui.apiserver import database, status
from kvtui.apiserver.database import Change
from kvtui.apiserver.record import Record
from kvtui.apiserver.store import Bucket, Event, HistoryLimits, Stale, Store

NAMES = ("a", "b", "c")


def body(name: str, value: int) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name}, "value": value}


async def put(store: Store, bucket: Bucket, name: str, value: int) -> Record:
    key = ("ns", name)
    old = bucket.get_latest(key)
    change = Change.CREATED if old is None else Change.UPDATED
    return await store.submit(bucket, key, change, body(name, value), expected=old)


async def remove(store: Store, bucket: Bucket, name: str) -> Record | None:
    key = ("ns", name)
    old = bucket.get_latest(key)
    if old is None:
        return None
    return await store.submit(bucket, key, Change.DELETED, old.decode(), expected=old)


Seen = tuple[int, int, str, int]
"""Revision, change, name, value."""


def seen(event: Event) -> Seen:
    return (event.rv, int(event.change), event.record.name, event.record.decode()["value"])


@dataclass
class World:
    """The store under test, what really happened, and the watches that are open."""

    path: Path
    now: float = 1000.0
    happened: list[Seen] = field(default_factory=list)
    watches: list[tuple[int, list[Seen]]] = field(default_factory=list)
    store: Store = field(init=False)
    bucket: Bucket = field(init=False)

    def open(self) -> None:
        self.store = Store(self.path, limits=HistoryLimits(age=10.0), clock=lambda: self.now)
        self.store.load()
        self.bucket = self.store.bucket("things")
        self.bucket.listeners.append(self._deliver)

    def _deliver(self, event: Event) -> None:
        for revision, events in self.watches:
            if event.rv > revision:
                events.append(seen(event))

    def watch(self, revision: int) -> None:
        """From a past revision on; history that is gone must say so."""
        try:
            events = [seen(e) for e in self.bucket.since(revision)]
        except status.Failure as failure:
            if failure.code != 410 or revision >= self.bucket.floor:
                raise
            return
        self.watches.append((revision, events))

    def check(self) -> None:
        for revision, events in self.watches:
            assert events == [h for h in self.happened if h[0] > revision]
        state = {r.name: r.decode()["value"] for r in self.bucket.scan()}
        expected: dict[str, int] = {}
        for _, change, name, value in self.happened:
            if change == Change.DELETED:
                expected.pop(name, None)
            else:
                expected[name] = value
        assert state == expected
        assert self.bucket.keys == sorted(self.bucket.records)


Step = tuple[str, str, int]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES), st.integers(0, 9)),
        st.tuples(st.just("burst"), st.sampled_from(NAMES), st.integers(1, 5)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES), st.just(0)),
        st.tuples(st.just("watch"), st.just(""), st.integers(0, 30)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
        st.tuples(st.just("compact"), st.just(""), st.integers(0, 12)),
        st.tuples(st.just("past"), st.just(""), st.integers(0, 30)),
    ),
    max_size=40,
)


async def live(world: World, script: list[Step]) -> None:
    world.open()
    try:
        for action, name, number in script:
            await act(world, action, name, number)
            world.check()
    finally:
        await world.store.close()


async def act(world: World, action: str, name: str, number: int) -> None:
    store, bucket = world.store, world.bucket
    match action:
        case "put":
            created = bucket.get_latest(("ns", name)) is None
            record = await put(store, bucket, name, number)
            change = Change.CREATED if created else Change.UPDATED
            world.happened.append((record.rv, int(change), name, number))
        case "burst":
            await burst(world, name, number)
        case "remove":
            gone = await remove(store, bucket, name)
            if gone is not None:
                world.happened.append((gone.rv, int(Change.DELETED), name, gone.decode()["value"]))
        case "watch":
            world.watch(number)
        case "restart":
            await store.close()
            before = store.revision
            world.watches.clear()  # connections do not survive; clients come back with a revision
            world.open()
            assert world.store.revision >= before
        case "compact":
            world.now += number
            store.compact()
        case "past":
            look_back(world, number)


async def burst(world: World, name: str, number: int) -> None:
    """Several writes of one name that are decided before the first is durable."""
    futures = []
    for value in range(number):
        key = ("ns", name)
        old = world.bucket.get_latest(key)
        change = Change.CREATED if old is None else Change.UPDATED
        futures.append((change, value, world.store.submit(world.bucket, key, change, body(name, value), expected=old)))
    for change, value, future in futures:
        world.happened.append(((await future).rv, int(change), name, value))


def look_back(world: World, revision: int) -> None:
    """A list of a past revision shows exactly what was there then."""
    try:
        records = world.bucket.at(revision)
    except status.Failure as failure:
        if failure.code != 410:
            raise
        return
    expected: dict[str, int] = {}
    for rv, change, name, value in world.happened:
        if rv > revision:
            break
        if change == Change.DELETED:
            expected.pop(name, None)
        else:
            expected[name] = value
    assert {r.name: r.decode()["value"] for r in records} == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_every_watch_sees_the_exact_history_or_is_told_that_it_is_gone(script: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(live(World(Path(directory) / "state.db"), script))


async def test_a_write_on_an_old_state_is_stale(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    store.load()
    bucket = store.bucket("things")
    first = await put(store, bucket, "a", 1)
    await put(store, bucket, "a", 2)
    with pytest.raises(Stale):
        store.submit(bucket, ("ns", "a"), Change.UPDATED, body("a", 3), expected=first)
    await store.close()


async def test_a_full_database_refuses_and_forgets_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db", max_bytes=64 * 4096)
    store.load()
    bucket = store.bucket("things")
    stored: dict[str, int] = {}
    refused = 0
    for number in range(200):
        try:
            obj = body(f"n{number}", number)
            obj["filler"] = "x" * 4000
            await store.submit(bucket, ("ns", f"n{number}"), Change.CREATED, obj, expected=None)
            stored[f"n{number}"] = number
        except status.Failure as failure:
            if failure.code != 507:
                raise
            refused += 1
            assert bucket.get_latest(("ns", f"n{number}")) is None
    assert refused > 0
    await store.close()
    again = Store(tmp_path / "state.db")
    again.load()
    assert {r.name: r.decode()["value"] for r in again.bucket("things").scan()} == stored
    await again.close()


async def test_room_that_is_reserved_for_the_log_is_not_taken_for_contents(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    store.load()
    for number in range(3):
        await put(store, store.bucket("things"), f"n{number}", number)
    log = (tmp_path / "state.db-wal").read_bytes()
    assert log.endswith(bytes(2**20))
    (tmp_path / "crashed.db").write_bytes((tmp_path / "state.db").read_bytes())
    (tmp_path / "crashed.db-wal").write_bytes(log)
    await store.close()
    again = Store(tmp_path / "crashed.db")
    again.load()
    bucket = again.bucket("things")
    assert {r.name: r.decode()["value"] for r in bucket.scan()} == {"n0": 0, "n1": 1, "n2": 2}
    await put(again, bucket, "n0", 5)
    await again.close()


async def test_a_database_has_one_server(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    store.load()
    await put(store, store.bucket("things"), "a", 1)
    with pytest.raises(database.DatabaseBroken, match="in use"):
        Store(tmp_path / "state.db")
    await store.close()


async def test_something_else_is_not_taken_for_a_database(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is not a database, it is a text of some length" * 100)
    with pytest.raises(database.DatabaseBroken, match="not a kvtui database"):
        Store(tmp_path / "state.db")


async def test_a_backup_made_while_writing_restores_with_newer_revisions(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    store.load()
    bucket = store.bucket("things")
    for number in range(50):
        await put(store, bucket, "a", number)
    backup = asyncio.create_task(store.backup(tmp_path / "copy"))
    last = await put(store, bucket, "b", 1)
    await backup
    await put(store, bucket, "a", 99)
    newest = store.revision
    await store.close()
    await asyncio.to_thread(database.restore, tmp_path / "copy", tmp_path / "state.db")
    again = Store(tmp_path / "state.db")
    again.load()
    record = again.bucket("things").get(("ns", "a"))
    assert record is not None
    assert record.decode()["value"] == 49
    assert again.revision > newest >= last.rv
    with pytest.raises(status.Failure) as raised:
        again.bucket("things").since(newest)
    assert raised.value.code == 410
    await again.close()


async def test_old_versions_leave_the_file(tmp_path: Path) -> None:
    now = 0.0
    store = Store(tmp_path / "state.db", limits=HistoryLimits(age=1.0), clock=lambda: now)
    store.load()
    bucket = store.bucket("things")
    for number in range(300):
        await put(store, bucket, "a", number)
    now = 100.0
    while store.compact():
        pass
    await put(store, bucket, "b", 1)
    await store.close()
    again = Store(tmp_path / "state.db")
    again.load()
    things = again.bucket("things")
    assert [r.name for r in things.scan()] == ["a", "b"]
    assert len(things.history) <= 2
    await again.close()
