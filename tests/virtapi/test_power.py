"""What start, stop and restart write."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.subresources import RestartOptions, StartOptions, StopOptions
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.virtapi.subresources import power
from kvtui.virtapi.subresources.refusals import Refused

Object = dict[str, Any]

ALWAYS: Object = {"runStrategy": "Always"}
HALTED: Object = {"runStrategy": "Halted"}
MANUAL: Object = {"runStrategy": "Manual"}
RERUN: Object = {"runStrategy": "RerunOnFailure"}
ONCE: Object = {"runStrategy": "Once"}


def vm(spec: Object, status: Object | None = None) -> Object:
    return {"metadata": {"name": "web", "namespace": "demo"}, "spec": spec, "status": status or {"created": True}}


def vmi(phase: str, grace: int | None = 180) -> VirtualMachineInstance:
    spec: Object = {"domain": {"devices": {}}} | ({} if grace is None else {"terminationGracePeriodSeconds": grace})
    data = {"metadata": {"name": "web", "uid": "u"}, "spec": spec, "status": {"phase": phase}}
    return from_wire(data, VirtualMachineInstance)


STOP = {"action": "Stop", "uid": "u"}
START = {"action": "Start"}


def switched(old: Object) -> list[Object]:
    name, before = next(iter(old.items()))
    after: Any = not before if isinstance(before, bool) else {"Halted": "Always"}.get(before, "Halted")
    path = f"/spec/{name}"
    return [{"op": "test", "path": path, "value": before}, {"op": "replace", "path": path, "value": after}]


def asked(*changes: Object, before: list[Object] | None = None) -> list[Object]:
    path = "/status/stateChangeRequests"
    return [
        {"op": "test", "path": path, "value": before},
        {"op": "replace" if before else "add", "path": path, "value": list(changes)},
    ]


def plan(verb: str, raw: Object, instance: VirtualMachineInstance | None, **options: Any) -> power.Plan:
    typed = from_wire(raw, VirtualMachine)
    match verb:
        case "start":
            return power.start(typed, instance, raw, StartOptions(**options))
        case "stop":
            return power.stop(typed, instance, raw, StopOptions(**options))
        case _:
            return power.restart(typed, instance, raw, RestartOptions(**options))


@pytest.mark.parametrize(
    ("verb", "spec", "phase", "options", "template", "status"),
    [
        ("start", HALTED, None, {}, switched(HALTED), []),
        ("start", {"running": False}, None, {}, switched({"running": False}), []),
        ("start", HALTED, None, {"paused": True}, [], asked({"action": "Start", "data": {"paused": "true"}})),
        ("start", MANUAL, None, {}, [], asked(START)),
        ("start", MANUAL, "Failed", {}, [], asked(STOP, START)),
        ("start", RERUN, "Succeeded", {}, [], asked(STOP, START)),
        ("start", {"runStrategy": "WaitAsReceiver"}, None, {}, [], []),
        ("stop", ALWAYS, "Running", {}, switched(ALWAYS), []),
        ("stop", ONCE, None, {}, [*switched(ONCE)], []),
        ("stop", MANUAL, "Running", {}, [], asked(STOP)),
        ("stop", RERUN, "Running", {}, [], asked(STOP)),
        ("stop", HALTED, "Running", {"grace_period": 0}, [], asked(STOP)),
        ("restart", ALWAYS, "Running", {}, [], asked(STOP, START)),
        ("restart", MANUAL, "Running", {"grace_period_seconds": 0}, [], asked(STOP, START)),
    ],
)
def test_patches(
    verb: str, spec: Object, phase: str | None, options: Object, template: list[Object], status: list[Object]
) -> None:
    made = plan(verb, vm(spec), vmi(phase) if phase else None, **options)
    assert made.vm == template
    assert made.status == status


@pytest.mark.parametrize(
    ("verb", "spec", "phase", "options", "code", "cause"),
    [
        ("start", ALWAYS, "Running", {}, 409, "VM is already running"),
        ("start", HALTED, "Scheduling", {}, 409, "VM is already running"),
        ("start", ALWAYS, None, {}, 409, "Always does not support manual start requests"),
        ("start", ONCE, "Failed", {}, 409, "Once does not support manual start requests"),
        ("start", RERUN, "Failed", {}, 409, "RerunOnFailure does not support starting VM from failed state"),
        ("stop", MANUAL, None, {}, 409, "VM is not running"),
        ("stop", MANUAL, "Succeeded", {}, 409, "VM is not running"),
        ("stop", HALTED, None, {}, 409, "VM is not running"),
        (
            "stop",
            HALTED,
            "Running",
            {"grace_period": 180},
            409,
            "Halted only supports manual stop requests with a shorter graceperiod",
        ),
        ("restart", HALTED, None, {}, 409, "RunStategy Halted does not support manual restart requests"),
        ("restart", ALWAYS, None, {}, 409, "VM is not running: Halted"),
        ("restart", ALWAYS, "Running", {"grace_period_seconds": 5}, 400, "only gracePeriod=0 is supported"),
        ("restart", ALWAYS, "Running", {"grace_period_seconds": -1}, 400, "greater or equal to 0"),
    ],
)
def test_refusals(verb: str, spec: Object, phase: str | None, options: Object, code: int, cause: str) -> None:
    with pytest.raises(Refused) as caught:
        plan(verb, vm(spec), vmi(phase) if phase else None, **options)
    assert caught.value.code == code
    assert cause in str(caught.value)


def test_a_stop_takes_the_place_of_what_was_asked() -> None:
    raw = vm(MANUAL, {"stateChangeRequests": [START], "startFailure": {"consecutiveFailCount": 1}})
    forgets = {"op": "remove", "path": "/status/startFailure"}
    assert plan("stop", raw, vmi("Running")).status == [*asked(STOP, before=[START]), forgets]


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_nothing_else_is_asked_twice(verb: str) -> None:
    raw = vm(MANUAL, {"stateChangeRequests": [STOP]})
    with pytest.raises(Refused) as caught:
        plan(verb, raw, vmi("Failed") if verb == "start" else vmi("Running"))
    assert caught.value.code == 500
    assert "stop/start already underway" in str(caught.value)


def test_a_shorter_grace_period_comes_first() -> None:
    path = "/spec/terminationGracePeriodSeconds"
    made = plan("stop", vm(ALWAYS), vmi("Running"), grace_period=5)
    assert made.vmi == [{"op": "test", "path": path, "value": 180}, {"op": "replace", "path": path, "value": 5}]


def test_a_forced_restart_is_undone_when_it_fails() -> None:
    path = "/spec/terminationGracePeriodSeconds"
    made = plan("restart", vm(ALWAYS), vmi("Running", None), grace_period_seconds=0)
    assert made.vmi == [{"op": "add", "path": path, "value": 1}]
    assert made.undo_vmi == [{"op": "test", "path": path, "value": 1}, {"op": "remove", "path": path}]


def test_a_vm_without_status_gets_one() -> None:
    raw = vm(MANUAL) | {"status": {}}
    assert plan("start", raw, None).status == [
        {"op": "add", "path": "/status", "value": {"stateChangeRequests": [START]}}
    ]
