"""Queues: order, no duplicates, no key with two workers, pauses."""

from __future__ import annotations

import asyncio

from kvtui.controlloop.workqueue import WorkQueue


async def test_keys_come_in_order_and_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("b", "a", "b"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["b", "a"]
    assert len(queue) == 0


async def test_a_key_that_is_worked_on_comes_again_only_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "b"
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done(), "a is still being worked on"
    queue.done("a")
    assert await waiting == "a"


async def test_of_two_delays_the_shorter_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    loop = asyncio.get_running_loop()
    started = loop.time()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    assert await queue.get() == "a"
    assert loop.time() - started < 5
    queue.done("a")
    await queue.wait_idle()


async def test_adding_overtakes_a_delay() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_failures_wait_longer_until_the_key_succeeds() -> None:
    queue: WorkQueue[str] = WorkQueue(backoff_base=1, backoff_max=10)
    pauses = [queue.add_failed("a") for _ in range(6)]
    assert 0.8 <= pauses[0] <= 1.2
    assert 6 <= pauses[3] <= 10 * 1.2
    assert pauses[5] <= 10 * 1.2
    queue.forget("a")
    assert queue.add_failed("a") <= 1.2
    queue.close()


async def test_idle_means_nothing_waits_and_nothing_is_worked_on() -> None:
    queue: WorkQueue[str] = WorkQueue()
    await queue.wait_idle()
    queue.add("a")
    await queue.get()
    idle = asyncio.ensure_future(queue.wait_idle())
    await asyncio.sleep(0)
    assert not idle.done()
    queue.done("a")
    await idle


async def test_closing_drops_what_was_planned() -> None:
    queue: WorkQueue[str] = WorkQueue()
    due = asyncio.Event()
    queue.add_after("a", 0.001)
    asyncio.get_running_loop().call_later(0.002, due.set)
    queue.close()
    await due.wait()
    assert len(queue) == 0
