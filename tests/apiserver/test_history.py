"""On the wire: writes, watches, restarts and forgetting in any order give every client the exact history or a 410.

Clients do what real ones do: list, watch from the list's revision, go on from the last event after a disconnection,
and list again when they are told that the past is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.apiserver.api import CONFIG_MAPS, Api, config_map
from tests.fakes.cluster import running_server

KEPT = 6
"""Events that the server remembers after a restart."""
NAMES = ("a", "b", "c")
SELECTIONS: tuple[dict[str, str], ...] = (
    {},
    {"labelSelector": "in=yes"},
    {"fieldSelector": "metadata.name=a"},
    {"labelSelector": "in!=yes", "fieldSelector": "metadata.name!=b"},
)


@dataclass(frozen=True, slots=True)
class State:
    """An object as far as selectors and contents see it."""

    name: str
    inside: bool
    value: str

    def chosen(self, selection: int) -> bool:
        return (True, self.inside, self.name == "a", not self.inside and self.name != "b")[selection]


@dataclass(frozen=True, slots=True)
class Change:
    revision: int
    before: State | None
    after: State | None


Seen = tuple[str, str, str, int]
"""Type, name, value, revision."""


def shown(change: Change, selection: int) -> Seen | None:
    """What a client with this selection must hear of a change."""
    was = change.before is not None and change.before.chosen(selection)
    now = change.after is not None and change.after.chosen(selection)
    if not was and not now:
        return None
    kind = "ADDED" if now and not was else "MODIFIED" if now else "DELETED"
    state = change.after if now else change.before
    assert state is not None
    return kind, state.name, state.value, change.revision


@dataclass
class World:
    """What was written, in the order of revisions."""

    changes: list[Change] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)

    def note(self, revision: int, name: str, after: State | None) -> None:
        self.changes.append(Change(revision, self.states.get(name), after))
        if after is None:
            self.states.pop(name, None)
        else:
            self.states[name] = after

    def expected(self, selection: int, start: int) -> list[Seen]:
        return [s for c in self.changes if c.revision > start and (s := shown(c, selection)) is not None]

    def later(self, revision: int) -> int:
        return sum(1 for c in self.changes if c.revision > revision)


@dataclass
class Client:
    """One informer: a selection, where it began, what it has heard since."""

    selection: int
    start: int = 0
    position: int = 0
    heard: list[Seen] = field(default_factory=list)
    reading: asyncio.Task[None] | None = None

    async def connect(self, api: Api, world: World) -> None:
        """Watches on from where it is; begins anew when the server has forgotten that."""
        if not self.position:
            await self._list(api, world)
        query = {**SELECTIONS[self.selection], "watch": "1", "resourceVersion": str(self.position)}
        response = await api.session.get(CONFIG_MAPS, params=query)
        gone = response.status == 410
        if gone:
            assert world.later(self.position) > KEPT - len(NAMES), "forgotten too early"
            self.check(world, complete=False)
            response.close()
            self.position, self.heard = 0, []
            await self.connect(api, world)
            return
        assert response.status == 200
        self.reading = asyncio.create_task(self._read(response))

    async def _list(self, api: Api, world: World) -> None:
        listed = await api.get(CONFIG_MAPS, **SELECTIONS[self.selection])
        names = {i["metadata"]["name"]: i["data"]["v"] for i in listed.body["items"] if "v" in i.get("data", {})}
        assert names == {s.name: s.value for s in world.states.values() if s.chosen(self.selection)}
        self.start = self.position = int(listed.rv)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        async with response:
            with contextlib.suppress(aiohttp.ClientError):
                async for line in response.content:
                    self._hear(line)

    def _hear(self, line: bytes) -> None:
        event = msgspec.json.decode(line)
        meta = event["object"]["metadata"]
        self.position = int(meta["resourceVersion"])
        if meta["name"] in NAMES:
            self.heard.append((event["type"], meta["name"], event["object"]["data"]["v"], self.position))

    async def disconnected(self) -> None:
        if self.reading is not None:
            await self.reading
            self.reading = None

    def check(self, world: World, *, complete: bool) -> None:
        expected = world.expected(self.selection, self.start)
        assert self.heard == (expected if complete else expected[: len(self.heard)])

    async def catch_up(self, world: World) -> None:
        """Waits until it has heard as much as there is to hear."""
        wanted = len(world.expected(self.selection, self.start))
        async with asyncio.timeout(20):
            while len(self.heard) < wanted:
                await asyncio.sleep(0)


Step = tuple[str, str, int]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.integers(0, 9)),
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just(0)),
        st.tuples(st.just("watch"), st.just(""), st.integers(0, len(SELECTIONS) - 1)),
        st.tuples(st.just("burst"), st.sampled_from(NAMES), st.integers(KEPT, 2 * KEPT)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    min_size=4,
    max_size=24,
)


async def write(api: Api, world: World, name: str, number: int) -> None:
    after = State(name, number % 2 == 0, str(number))
    labels = {"in": "yes" if after.inside else "no"}
    if name not in world.states:
        answer = await api.post(CONFIG_MAPS, config_map(name, labels, v=after.value))
    else:
        answer = await api.merge(f"{CONFIG_MAPS}/{name}", {"metadata": {"labels": labels}, "data": {"v": after.value}})
    assert answer.code in (200, 201), answer.body
    if world.states.get(name) != after:  # writing what is there already changes nothing
        world.note(int(answer.rv), name, after)


async def delete(api: Api, world: World, name: str) -> None:
    if name not in world.states:
        return
    assert (await api.delete(f"{CONFIG_MAPS}/{name}")).code == 200
    listed = await api.get(CONFIG_MAPS, limit=1)
    world.note(int(listed.rv), name, None)


@contextlib.asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Api]:
    """The server ends its watches; clients do not hang up."""
    async with (
        contextlib.AsyncExitStack() as clients,
        running_server(directory, crds=False, history_events=KEPT) as server,
    ):
        yield Api(await clients.enter_async_context(server.session()))


async def live(directory: Path, script: list[Step]) -> None:
    world, clients = World(), [Client(0)]
    chapters: list[list[Step]] = [[]]
    for step in script:
        if step[0] == "restart":
            chapters.append([])
        else:
            chapters[-1].append(step)
    for number, chapter in enumerate(chapters):
        async with serving(directory) as api:
            for client in clients:
                await client.connect(api, world)
            for action, name, value in chapter:
                if action == "write":
                    await write(api, world, name, value)
                elif action == "delete":
                    await delete(api, world, name)
                elif action == "burst":
                    for turn in range(value):
                        await write(api, world, name, turn)
                else:
                    clients.append(Client(value))
                    await clients[-1].connect(api, world)
            if number == len(chapters) - 1:
                for client in clients:
                    await client.catch_up(world)
        for client in clients:
            await client.disconnected()
            client.check(world, complete=False)
    for client in clients:
        client.check(world, complete=True)


def test_every_client_hears_the_exact_history_or_that_it_is_gone() -> None:
    with tempfile.TemporaryDirectory() as prepared:

        async def prepare() -> None:
            async with serving(Path(prepared) / "first"):
                pass

        asyncio.run(prepare())

        @settings(
            max_examples=12,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            database=None,
            phases=[Phase.explicit, Phase.generate],  # a failing life is slow: it is not worth making it shorter
        )
        @example([("watch", "", 2), ("watch", "", 0), ("burst", "b", 2 * KEPT), ("restart", "", 0), ("write", "a", 1)])
        @given(steps)
        def lives(script: list[Step]) -> None:
            with tempfile.TemporaryDirectory() as directory:
                shutil.copytree(Path(prepared) / "first", Path(directory) / "engine")
                asyncio.run(live(Path(directory) / "engine", script))

        lives()
