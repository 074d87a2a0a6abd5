"""Run strategies: what is done with an instance that is absent, alive or finished."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.controllers.virtualmachine.strategy import Decision, SetStrategy, Start, Stop, Wait, decide, set_to_start
from kvtui.controllers.virtualmachine.view import View
from tests.controllers.builders import NOW, vm, vmi

STOP: dict[str, Any] = {"action": "Stop", "uid": "vmi-uid"}
OTHER_STOP: dict[str, Any] = {"action": "Stop", "uid": "somebody-else"}
START: dict[str, Any] = {"action": "Start"}


def view(strategy: str, phase: str | None, *requests: dict[str, Any], **status: Any) -> View:
    machine = vm(strategy=strategy, status={"stateChangeRequests": list(requests), **status})
    return View(vm=machine, now=NOW, vmi=vmi(phase=phase) if phase else None)


@pytest.mark.parametrize(
    ("strategy", "phase", "requests", "decision"),
    [
        ("Always", None, (), Start()),
        ("Always", "Running", (), Wait()),
        ("Always", "Running", (STOP,), Stop()),
        ("Always", "Running", (OTHER_STOP,), Wait()),
        ("Always", "Running", (START, STOP), Wait()),
        ("Always", "Succeeded", (), Stop()),
        ("Always", "Failed", (), Stop()),
        ("RerunOnFailure", None, (START,), Start()),
        ("RerunOnFailure", "Running", (STOP,), Stop()),
        ("RerunOnFailure", "Failed", (), Stop(rerun=True)),
        ("RerunOnFailure", "Failed", (STOP,), Stop()),
        ("RerunOnFailure", "Succeeded", (), Stop()),
        ("Manual", None, (), Wait()),
        ("Manual", None, (START,), Start()),
        ("Manual", "Failed", (), Wait()),
        ("Manual", "Failed", (STOP,), Stop()),
        ("Halted", None, (), Wait()),
        ("Halted", None, (START,), SetStrategy("Always")),
        ("Halted", "Running", (), Stop()),
        ("Once", None, (), Start()),
        ("Once", "Running", (STOP,), Wait()),
        ("Once", "Failed", (), Wait()),
        ("WaitAsReceiver", None, (), Start()),
        ("WaitAsReceiver", "WaitingForSync", (), Wait()),
    ],
)
def test_strategy_decides(
    strategy: str, phase: str | None, requests: tuple[dict[str, Any], ...], decision: Decision
) -> None:
    assert decide(view(strategy, phase, *requests)) == decision


def test_a_vm_that_is_new_to_rerun_on_failure_starts_and_a_stopped_one_does_not() -> None:
    assert decide(view("RerunOnFailure", None)) == Start()
    assert decide(view("RerunOnFailure", None, runStrategy="Always")) == Start()
    assert decide(view("RerunOnFailure", None, runStrategy="RerunOnFailure")) == Wait()


@pytest.mark.parametrize("strategy", ["Always", "RerunOnFailure"])
def test_starts_wait_for_the_backoff(strategy: str) -> None:
    failure = {"consecutiveFailCount": 1, "retryAfterTimestamp": "2026-03-01T12:00:09Z"}
    assert decide(view(strategy, None, startFailure=failure)) == Wait(9.0)


def test_once_and_manual_do_not_wait_for_the_backoff() -> None:
    failure = {"consecutiveFailCount": 1, "retryAfterTimestamp": "2026-03-01T12:00:09Z"}
    assert decide(view("Once", None, startFailure=failure)) == Start()
    assert decide(view("Manual", None, START, startFailure=failure)) == Start()


def test_a_received_vm_gets_its_strategy_back() -> None:
    instance = vmi(status={"migrationState": {"completed": True}})
    machine = vm(strategy="WaitAsReceiver", metadata={"annotations": {"kubevirt.io/restore-run-strategy": "Manual"}})
    assert decide(View(vm=machine, now=NOW, vmi=instance)) == SetStrategy("Manual")


@pytest.mark.parametrize(
    ("strategy", "phase", "requests", "wanted"),
    [
        ("Always", None, (), True),
        ("Halted", None, (), False),
        ("Manual", None, (), False),
        ("Manual", None, (START,), True),
        ("Manual", "Running", (), True),
        ("Manual", "Running", (STOP,), False),
        ("RerunOnFailure", "Succeeded", (), False),
        ("RerunOnFailure", "Failed", (), True),
        ("Once", None, (), True),
        ("Once", "Failed", (), False),
    ],
)
def test_set_to_start(strategy: str, phase: str | None, requests: tuple[dict[str, Any], ...], *, wanted: bool) -> None:
    assert set_to_start(view(strategy, phase, *requests)) is wanted
