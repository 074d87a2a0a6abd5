"""Nobody keeps the event loop for long: its turns are measured, large work goes elsewhere, crowds come in slowly."""

from __future__ import annotations

import asyncio
import contextlib
import time

from kvtui.apiserver import blocks
from kvtui.apiserver.beside import LARGE, beside
from tests.apiserver.api import CONFIG_MAPS, Api, config_map
from tests.fakes.cluster import RunningServer


def test_a_turn_that_works_for_long_is_measured() -> None:
    async def work() -> tuple[float, float]:
        turn = blocks.of_running_loop()
        assert turn is not None
        await asyncio.sleep(0)
        turn.forget()
        end = time.thread_time() + 0.03
        while time.thread_time() < end:
            pass
        await asyncio.sleep(0)
        return turn.longest, turn.longest_work

    with asyncio.Runner(loop_factory=blocks.new_event_loop) as runner:
        longest, work_ = runner.run(work())
    assert longest >= 0.03
    assert 0.03 <= work_ <= longest + 0.001


def test_waiting_is_no_work() -> None:
    async def wait() -> float:
        turn = blocks.of_running_loop()
        assert turn is not None
        turn.forget()
        await asyncio.sleep(0.05)
        return turn.longest_work

    with asyncio.Runner(loop_factory=blocks.new_event_loop) as runner:
        assert runner.run(wait()) < 0.03


async def test_only_large_work_goes_to_a_thread() -> None:
    import threading

    here = threading.get_ident()
    assert await beside(LARGE - 1, threading.get_ident) == here
    assert await beside(LARGE, threading.get_ident) != here


async def test_connections_that_say_nothing_keep_nobody_out(server: RunningServer) -> None:
    host, port = server.url.removeprefix("https://").split(":")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            _, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
        async with asyncio.timeout(20), server.session() as session:
            assert (await Api(session).get(CONFIG_MAPS)).code == 200


async def test_a_large_object_is_written_and_patched_like_any_other(api: Api) -> None:
    text = "x" * 4096
    data = {f"k{number}": text for number in range(100)}
    made = await api.post(CONFIG_MAPS, config_map("large", None, **data))
    assert made.code == 201
    patched = await api.merge(f"{CONFIG_MAPS}/large", {"data": {"k0": "y"}})
    assert (patched.code, patched.body["data"]["k0"], patched.body["data"]["k99"]) == (200, "y", text)
    applied = await api.apply(f"{CONFIG_MAPS}/large", config_map("large", k0="z"), force="true")
    assert (applied.code, applied.body["data"]["k0"]) == (200, "z")
    both = await asyncio.gather(
        api.merge(f"{CONFIG_MAPS}/large", {"data": {"a": "1"}}), api.merge(f"{CONFIG_MAPS}/large", {"data": {"b": "2"}})
    )
    assert [answer.code for answer in both] == [200, 200]
    found = (await api.get(f"{CONFIG_MAPS}/large")).body["data"]
    assert (found["a"], found["b"]) == ("1", "2")


async def test_a_change_reaches_every_one_of_many_watchers(api: Api) -> None:
    revision = (await api.get(CONFIG_MAPS)).body["metadata"]["resourceVersion"]
    async with contextlib.AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(api.watch(CONFIG_MAPS, resourceVersion=revision)) for _ in range(60)]
        for name in ("a", "b", "c"):
            await api.post(CONFIG_MAPS, config_map(name))
        seen = [await watch.take(3) for watch in watches]
    assert seen == [[("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]] * 60
