"""The next status of a VM; pure.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (updateStatus); control plane facts 2.3 (9), 2.7, 2.8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kvtui.api.kubevirt.vm import VirtualMachineCondition, VirtualMachineStateChangeRequest, VirtualMachineStatus
from kvtui.api.times import to_time
from kvtui.api.wire import evolve
from kvtui.controllers import conditions, names
from kvtui.controllers.virtualmachine.printable import printable_status
from kvtui.controllers.virtualmachine.startfailure import Jitter, next_failure
from kvtui.controllers.virtualmachine.view import View, is_final

Condition = VirtualMachineCondition
OWN = ("Ready", "Failure", "RestartRequired", "ManualRecoveryRequired")
"""Conditions that are not mirrored from the VMI."""


@dataclass(frozen=True, slots=True)
class SyncError:
    """Why the last pass failed; becomes condition Failure."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long failed starts wait."""

    step: float
    limit: float
    jitter: Jitter


def next_status(
    view: View, error: SyncError | None, restart_required: str | None, backoff: Backoff
) -> VirtualMachineStatus:
    """`restart_required`: the message, or None when a restart would change nothing."""
    vmi = view.vmi
    status = view.vm.status
    status = evolve(
        status,
        created=True if vmi is not None else None,
        ready=True if vmi is not None and conditions.is_true(vmi.status.conditions, "Ready") else None,
    )
    if vmi is not None:
        observed = vmi.metadata.annotations.get(names.VM_GENERATION, "")
        status = evolve(
            status,
            observed_generation=int(observed) if observed.isdigit() else status.observed_generation,
            desired_generation=view.vm.metadata.generation,
        )
    if vmi is not None or status.run_strategy:
        status = evolve(status, run_strategy=view.strategy)
    status = evolve(
        status,
        state_change_requests=_trimmed(view),
        start_failure=next_failure(view, step=backoff.step, limit=backoff.limit, jitter=backoff.jitter),
        conditions=_conditions(view, error, restart_required),
    )
    after = replace(view, vm=evolve(view.vm, status=status))
    return evolve(status, printable_status=printable_status(after))


def _trimmed(view: View) -> list[VirtualMachineStateChangeRequest]:
    """Without the first request once it has been fulfilled."""
    requests, request, vmi = view.vm.status.state_change_requests, view.request, view.vmi
    if request is None:
        return requests
    if request.action == "Stop":
        done = vmi is None or not request.uid or request.uid != vmi.metadata.uid
    else:
        done = vmi is not None and not vmi.metadata.deletion_timestamp and not is_final(vmi)
    return requests[1:] if done else requests


def _conditions(view: View, error: SyncError | None, restart_required: str | None) -> list[Condition]:
    found = list(view.vm.status.conditions)
    if view.vmi is not None:
        mirrored = [
            Condition(
                type=c.type,
                status=c.status,
                reason=c.reason,
                message=c.message,
                last_probe_time=c.last_probe_time,
                last_transition_time=c.last_transition_time,
            )
            for c in view.vmi.status.conditions
            if c.type not in OWN
        ]
        kept = {c.type for c in mirrored}
        found = [c for c in found if c.type in OWN or c.type in kept]
        for condition in mirrored:
            found = _replaced(found, condition)
    found = _put_ready(view, found)
    if error is None:
        found = conditions.without(found, "Failure")
    else:
        found = _put(found, "Failure", error.reason, error.message, view)
    if restart_required is None:
        return conditions.without(found, "RestartRequired")
    return _put(found, "RestartRequired", "", restart_required, view)


def _replaced(found: list[Condition], condition: Condition) -> list[Condition]:
    if all(c.type != condition.type for c in found):
        return [*found, condition]
    return [condition if c.type == condition.type else c for c in found]


def _put_ready(view: View, found: list[Condition]) -> list[Condition]:
    if view.vmi is None:
        made = conditions.make(Condition, "Ready", "False", "VMINotExists", "VMI does not exist", now=view.now)
        return conditions.put(found, made)
    ready = conditions.find(view.vmi.status.conditions, "Ready")
    if ready is None:
        message = "VMI is missing the Ready condition"
        made = conditions.make(Condition, "Ready", "False", "VMIConditionMissing", message, now=view.now)
        return conditions.put(found, made)
    made = Condition(
        type="Ready",
        status=ready.status,
        reason=ready.reason,
        message=ready.message,
        last_probe_time=ready.last_probe_time,
        last_transition_time=ready.last_transition_time or to_time(view.now),
    )
    return conditions.put(found, made)


def _put(found: list[Condition], type_: str, reason: str, message: str, view: View) -> list[Condition]:
    """A changed message counts here, since it is all that the user has to go by."""
    present = conditions.find(found, type_)
    if present is not None and (present.reason or "", present.message or "") == (reason, message):
        return found
    return _replaced(found, conditions.make(Condition, type_, "True", reason, message, now=view.now))
