"""The loop around a reconciler: retries, errors, requests to come again, the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from kvtui.controlloop.controller import Controller, Result
from kvtui.controlloop.expectations import Expectations
from kvtui.errors import Permanent, Transient
from kvtui.settings import ControlLoopSettings

SETTINGS = ControlLoopSettings(backoff_base=0.001, backoff_max=0.01, cache_sync_timeout=1)


async def outcome(first: Callable[[], Result | None], *, wanted: int) -> list[str]:
    """Passes over one key when the first one does this; waits for so many of them."""
    passes: list[str] = []
    reached = asyncio.Event()

    async def reconcile(key: str) -> Result | None:
        passes.append(key)
        if len(passes) >= wanted:
            reached.set()
        return first() if len(passes) == 1 else None

    controller: Controller[str] = Controller("test", reconcile, settings=SETTINGS, workers=2)
    running = asyncio.create_task(controller.run())
    controller.queue.add("a")
    await reached.wait()
    await controller.queue.wait_idle()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return passes


def failing(error: Exception) -> Callable[[], Result | None]:
    def fail() -> Result | None:
        raise error

    return fail


@pytest.mark.parametrize("error", [Transient("busy"), RuntimeError("a defect")])
async def test_a_failure_is_tried_again(error: Exception) -> None:
    assert await outcome(failing(error), wanted=2) == ["a", "a"]


async def test_a_permanent_failure_waits_for_a_change() -> None:
    assert await outcome(failing(Permanent("wrong")), wanted=1) == ["a"]


async def test_a_reconciler_can_ask_to_come_again() -> None:
    assert await outcome(lambda: Result(requeue_after=0.001), wanted=2) == ["a", "a"]


async def test_success_is_not_repeated() -> None:
    assert await outcome(lambda: None, wanted=1) == ["a"]


def test_expectations_are_met_one_by_one_or_lapse() -> None:
    moment = [0.0]
    expectations: Expectations[str] = Expectations(lambda: moment[0], lifetime=10)
    expectations.expect_creation("a", "pod-1")
    expectations.expect_creation("a", "pod-2")
    expectations.expect_deletion("b", "pod-3")
    assert expectations.creating("a")
    assert not expectations.deleting("a")
    expectations.seen_creation("a", "pod-1")
    assert not expectations.satisfied("a")
    expectations.seen_creation("a", "pod-2")
    assert expectations.satisfied("a")
    assert expectations.deleting("b")
    moment[0] = 11
    assert expectations.satisfied("b")


def test_seeing_what_nobody_expects_is_nothing() -> None:
    expectations: Expectations[str] = Expectations(lambda: 0.0)
    expectations.seen_creation("a", "x")
    expectations.seen_deletion("a", "x")
    expectations.forget("a")
    assert expectations.satisfied("a")
