"""No more than a few requests begin in one turn of the loop."""

from __future__ import annotations

import asyncio

from kvtui.apiserver.turns import Turns


async def test_a_crowd_is_let_in_a_few_at_a_time_and_in_order() -> None:
    turns = Turns(at_once=4)
    begun: list[int] = []
    per_turn: list[int] = []

    async def request(number: int) -> None:
        await turns.wait()
        begun.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(request(number))
        while len(begun) < 20:
            before = len(begun)
            await asyncio.sleep(0)
            per_turn.append(len(begun) - before)
    assert begun == list(range(20))
    assert max(per_turn) <= 4


async def test_one_alone_does_not_wait() -> None:
    turns = Turns()
    turn = turns.wait()
    try:
        turn.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")


async def test_who_has_left_takes_no_turn() -> None:
    turns = Turns(at_once=1)
    first, leaving, staying = (asyncio.create_task(turns.wait()) for _ in range(3))
    await asyncio.sleep(0)
    leaving.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(first, staying)
    assert leaving.cancelled()
