"""The status of a VM: the printable word, conditions, requests, start failures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.wire import from_wire
from kvtui.controllers.virtualmachine.printable import printable_status
from kvtui.controllers.virtualmachine.startfailure import delay, next_failure
from kvtui.controllers.virtualmachine.status import Backoff, SyncError, next_status
from kvtui.controllers.virtualmachine.view import View
from tests.controllers.builders import NOW, vm, vmi

BACKOFF = Backoff(step=10, limit=300, jitter=lambda most: 0.0)
TEMPLATE: dict[str, Any] = {"spec": {"dataVolumeTemplates": [{"metadata": {"name": "disk"}, "spec": {}}]}}


def condition(type_: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def dv(phase: str, **status: Any) -> DataVolume:
    return from_wire({"metadata": {"name": "disk"}, "status": {"phase": phase, **status}}, DataVolume)


def claim(phase: str) -> PersistentVolumeClaim:
    return from_wire({"metadata": {"name": "disk"}, "status": {"phase": phase}}, PersistentVolumeClaim)


FAILED = {"consecutiveFailCount": 2, "lastFailedVMIUID": "vmi-uid"}
MIGRATING = {"migrationState": {"startTimestamp": "2026-03-01T11:59:00Z"}}
MIGRATED = {"migrationState": {"startTimestamp": "2026-03-01T11:50:00Z", "endTimestamp": "2026-03-01T11:51:00Z"}}

CASES: list[tuple[str, View]] = [
    ("Terminating", View(vm=vm(metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"}), now=NOW, vmi=vmi())),
    ("Stopping", View(vm=vm(), now=NOW, vmi=vmi(metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"}))),
    ("Stopping", View(vm=vm(), now=NOW, vmi=vmi(), deleting=True)),
    ("Migrating", View(vm=vm(), now=NOW, vmi=vmi(status=MIGRATING))),
    ("Running", View(vm=vm(), now=NOW, vmi=vmi(status=MIGRATED))),
    ("Paused", View(vm=vm(), now=NOW, vmi=vmi(status={"conditions": [condition("Paused", "True")]}))),
    (
        "ErrorPvcNotFound",
        View(
            vm=vm(),
            now=NOW,
            vmi=vmi(
                phase="Pending",
                status={
                    "conditions": [
                        condition("Synchronized", "False", "FailedPvcNotFound"),
                        condition("PodScheduled", "False", "Unschedulable"),
                    ]
                },
            ),
        ),
    ),
    ("DataVolumeError", View(vm=vm(**TEMPLATE), now=NOW, data_volumes={"disk": dv("Failed")})),
    (
        "DataVolumeError",
        View(
            vm=vm(**TEMPLATE),
            now=NOW,
            data_volumes={"disk": dv("ImportInProgress", conditions=[condition("Running", "False", "Error")])},
        ),
    ),
    (
        "ErrorUnschedulable",
        View(
            vm=vm(),
            now=NOW,
            vmi=vmi(phase="Scheduling", status={"conditions": [condition("PodScheduled", "False", "Unschedulable")]}),
        ),
    ),
    ("Provisioning", View(vm=vm(**TEMPLATE), now=NOW, data_volumes={"disk": dv("ImportInProgress")})),
    ("Provisioning", View(vm=vm(strategy="Halted", **TEMPLATE), now=NOW, data_volumes={"disk": dv("Pending")})),
    (
        "WaitingForVolumeBinding",
        View(
            vm=vm(**TEMPLATE),
            now=NOW,
            data_volumes={"disk": dv("WaitForFirstConsumer")},
            claims={"disk": claim("Pending")},
        ),
    ),
    (
        "Stopped",
        View(
            vm=vm(strategy="Halted", **TEMPLATE),
            now=NOW,
            data_volumes={"disk": dv("WaitForFirstConsumer")},
            claims={"disk": claim("Pending")},
        ),
    ),
    (
        "ErrImagePull",
        View(
            vm=vm(),
            now=NOW,
            vmi=vmi(phase="Scheduling", status={"conditions": [condition("Synchronized", "False", "ErrImagePull")]}),
        ),
    ),
    (
        "ImagePullBackOff",
        View(
            vm=vm(),
            now=NOW,
            vmi=vmi(
                phase="Scheduling", status={"conditions": [condition("Synchronized", "False", "ImagePullBackOff")]}
            ),
        ),
    ),
    ("Starting", View(vm=vm(), now=NOW, creating=True)),
    ("Starting", View(vm=vm(), now=NOW, vmi=vmi(phase="Scheduled"))),
    ("CrashLoopBackOff", View(vm=vm(status={"startFailure": FAILED}), now=NOW)),
    (
        "CrashLoopBackOff",
        View(vm=vm(strategy="Once", status={"startFailure": FAILED}), now=NOW, vmi=vmi(phase="Failed")),
    ),
    ("Stopped", View(vm=vm(strategy="Manual", status={"startFailure": FAILED}), now=NOW)),
    ("Stopped", View(vm=vm(strategy="Halted"), now=NOW)),
    ("Stopped", View(vm=vm(strategy="Manual"), now=NOW, vmi=vmi(phase="Succeeded"))),
    ("WaitingForReceiver", View(vm=vm(strategy="WaitAsReceiver"), now=NOW, vmi=vmi(phase="WaitingForSync"))),
    ("Unknown", View(vm=vm(), now=NOW, vmi=vmi(phase="Unknown"))),
]


@pytest.mark.parametrize(("word", "view"), CASES, ids=[f"{n}-{w}" for n, (w, _) in enumerate(CASES)])
def test_printable_status(word: str, view: View) -> None:
    assert printable_status(view) == word


@pytest.mark.parametrize(("failures", "seconds"), [(1, 10), (2, 40), (3, 90), (4, 160), (5, 250), (6, 300), (9, 300)])
def test_failed_starts_wait_longer_each_time(failures: int, seconds: float) -> None:
    assert delay(failures, step=10, limit=300, jitter=lambda most: 0.0) == seconds


def test_jitter_adds_at_most_half() -> None:
    assert delay(2, step=10, limit=300, jitter=lambda most: most) == 60


def failure_after(view: View) -> int | None:
    found = next_failure(view, step=10, limit=300, jitter=lambda most: 0.0)
    return found.consecutive_fail_count if found is not None else None


def test_a_start_failure_is_counted_once_per_instance() -> None:
    early = vmi(phase="Failed")
    assert failure_after(View(vm=vm(), now=NOW, vmi=early)) == 1
    counted = vm(status={"startFailure": {"consecutiveFailCount": 1, "lastFailedVMIUID": "vmi-uid"}})
    assert failure_after(View(vm=counted, now=NOW, vmi=early)) == 1
    another = vm(status={"startFailure": {"consecutiveFailCount": 1, "lastFailedVMIUID": "older"}})
    assert failure_after(View(vm=another, now=NOW, vmi=early)) == 2


def test_an_instance_that_has_run_clears_the_failures() -> None:
    machine = vm(status={"startFailure": FAILED})
    crashed = vmi(phase="Failed", status=vmi_status_of_a_crash())
    assert failure_after(View(vm=machine, now=NOW, vmi=crashed)) is None
    assert failure_after(View(vm=vm(strategy="Manual", status={"startFailure": FAILED}), now=NOW)) is None
    assert failure_after(View(vm=machine, now=NOW)) == 2


def vmi_status_of_a_crash() -> dict[str, Any]:
    return {"phaseTransitionTimestamps": [{"phase": "Running", "phaseTransitionTimestamp": "2026-03-01T11:30:00Z"}]}


def test_conditions_of_the_instance_are_mirrored_and_dropped_with_it() -> None:
    machine = vm(status={"conditions": [condition("AgentConnected", "True")]})
    instance = vmi(status={"conditions": [condition("Ready", "True"), condition("LiveMigratable", "True")]})
    status = next_status(View(vm=machine, now=NOW, vmi=instance), None, None, BACKOFF)
    assert {c.type: c.status for c in status.conditions} == {"Ready": "True", "LiveMigratable": "True"}
    assert status.ready is True
    assert status.created is True
    assert status.run_strategy == "Always"


def test_a_stopped_vm_keeps_what_its_last_instance_said() -> None:
    machine = vm(strategy="Halted", status={"created": True, "conditions": [condition("LiveMigratable", "True")]})
    status = next_status(View(vm=machine, now=NOW), None, None, BACKOFF)
    assert {c.type for c in status.conditions} == {"LiveMigratable", "Ready"}
    assert status.created is None
    assert status.run_strategy is None, "the VM never had an instance under this status"


def test_failure_and_restart_required_come_and_go() -> None:
    view = View(vm=vm(), now=NOW, vmi=vmi())
    status = next_status(view, SyncError("FailedCreate", "no room"), "changed", BACKOFF)
    found = {c.type: (c.status, c.reason, c.message) for c in status.conditions}
    assert found["Failure"] == ("True", "FailedCreate", "no room")
    assert found["RestartRequired"] == ("True", None, "changed")
    after = next_status(
        replace(view, vm=vm(status={"conditions": [condition("Failure", "True")]})), None, None, BACKOFF
    )
    assert "Failure" not in {c.type for c in after.conditions}


@pytest.mark.parametrize(
    ("requests", "phase", "left"),
    [
        ([{"action": "Stop", "uid": "vmi-uid"}, {"action": "Start"}], None, ["Start"]),
        ([{"action": "Stop", "uid": "vmi-uid"}, {"action": "Start"}], "Running", ["Stop", "Start"]),
        ([{"action": "Stop", "uid": "old"}, {"action": "Start"}], "Running", ["Start"]),
        ([{"action": "Start"}], "Running", []),
        ([{"action": "Start"}], "Failed", ["Start"]),
        ([{"action": "Start"}], None, ["Start"]),
    ],
)
def test_fulfilled_requests_are_dropped_one_at_a_time(
    requests: list[dict[str, str]], phase: str | None, left: list[str]
) -> None:
    machine = vm(status={"stateChangeRequests": requests})
    view = View(vm=machine, now=NOW, vmi=vmi(phase=phase) if phase else None)
    status = next_status(view, None, None, BACKOFF)
    assert [r.action for r in status.state_change_requests] == left


def test_generations() -> None:
    machine = vm(metadata={"generation": 5})
    status = next_status(View(vm=machine, now=NOW, vmi=vmi()), None, None, BACKOFF)
    assert (status.observed_generation, status.desired_generation) == (1, 5)
