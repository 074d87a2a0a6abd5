"""What start, stop and restart write, as patches. Pure.

Source: control plane facts 6.2 and 2.4; kubevirt pkg/virt-api/rest/lifecycle.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvtui.api.kubevirt.subresources import RestartOptions, StartOptions, StopOptions
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.virtapi.admission.vm_validate import run_strategy
from kvtui.virtapi.subresources.refusals import VM, Refused, bad_request, conflict, internal

Patch = list[dict[str, Any]]

FINAL = ("Succeeded", "Failed")
UNDERWAY = "unable to complete request: stop/start already underway"
RECOVERY = (
    "VM recovery required: Volume migration failed, leaving some volumes pointing to non-consistent targets; manual "
    "intervention is needed to reassign them to their original volumes."
)
FORCED_GRACE = 1
"""Seconds that a forced restart leaves the guest."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Patches in the order in which they are made; empty ones are not made."""

    vmi: Patch
    vm: Patch
    status: Patch
    undo_vmi: Patch
    """Made when the patch of the status fails."""


def _plan(*, vmi: Patch | None = None, vm: Patch | None = None, status: Patch | None = None) -> Plan:
    return Plan(vmi or [], vm or [], status or [], [])


def _refused(vm: VirtualMachine, cause: str) -> Refused:
    return conflict(VM, vm.metadata.name, cause)


def _condition(vm: VirtualMachine, type_: str) -> bool:
    return any(condition.type == type_ and condition.status == "True" for condition in vm.status.conditions)


def is_final(vmi: VirtualMachineInstance) -> bool:
    return vmi.status.phase in FINAL


def _lives(vmi: VirtualMachineInstance | None) -> bool:
    return vmi is not None and not is_final(vmi)


def start(vm: VirtualMachine, vmi: VirtualMachineInstance | None, raw: dict[str, Any], options: StartOptions) -> Plan:
    """`raw`: the VM as stored. Raises Refused."""
    if vmi is not None and not is_final(vmi) and vmi.status.phase not in (None, "", "Unknown"):
        raise _refused(vm, "VM is already running")
    if _condition(vm, "ManualRecoveryRequired"):
        raise _refused(vm, RECOVERY)
    strategy, phase = run_strategy(vm.spec), vmi.status.phase if vmi is not None else None
    data = {"paused": "true"} if options.paused else {}
    request: dict[str, Any] = {"action": "Start"} | ({"data": data} if data else {})
    match strategy:
        case "Halted":
            if options.paused and vm.spec.template.spec.start_strategy != "Paused":
                return _plan(status=requests(raw, [request]))
            return _plan(vm=running(raw, run=True))
        case "RerunOnFailure" if phase == "Failed":
            raise _refused(vm, "RerunOnFailure does not support starting VM from failed state")
        case "RerunOnFailure" | "Manual":
            lingers = vmi is not None and is_final(vmi)
            changes = [_stop(vmi), request] if vmi is not None and lingers else [request]
            return _plan(status=requests(raw, changes))
        case "WaitAsReceiver":
            return _plan()
        case _:
            raise _refused(vm, f"{strategy} does not support manual start requests")


def _stop(vmi: VirtualMachineInstance) -> dict[str, Any]:
    return {"action": "Stop", "uid": vmi.metadata.uid}


def stop(vm: VirtualMachine, vmi: VirtualMachineInstance | None, raw: dict[str, Any], options: StopOptions) -> Plan:
    """`raw`: the VM as stored. Raises Refused."""
    strategy, grace = run_strategy(vm.spec), options.grace_period
    shorter = grace_patch(vmi, grace) if vmi is not None and _lives(vmi) and grace is not None else []
    match strategy:
        case "Halted":
            if vmi is None or is_final(vmi):
                raise _refused(vm, "VM is not running")
            present = vmi.spec.termination_grace_period_seconds
            if grace is None or (present is not None and grace >= present):
                raise _refused(vm, "Halted only supports manual stop requests with a shorter graceperiod")
            return _plan(vmi=shorter, status=requests(raw, [_stop(vmi)]))
        case "Manual" | "RerunOnFailure":
            if vmi is None or is_final(vmi):
                raise _refused(vm, "VM is not running")
            return _plan(vmi=shorter, status=requests(raw, [_stop(vmi)]))
        case _:
            return _plan(vmi=shorter, vm=running(raw, run=False))


def restart(
    vm: VirtualMachine, vmi: VirtualMachineInstance | None, raw: dict[str, Any], options: RestartOptions
) -> Plan:
    """`raw`: the VM as stored. Raises Refused."""
    grace = options.grace_period_seconds
    if grace is not None and grace > 0:
        raise bad_request("For force restart, only gracePeriod=0 is supported for now")
    if grace is not None and grace < 0:
        raise bad_request("gracePeriod has to be greater or equal to 0")
    if _condition(vm, "VolumesChange"):
        raise _refused(vm, RECOVERY)
    strategy = run_strategy(vm.spec)
    if strategy in ("Halted", "Once"):
        raise _refused(vm, f"RunStategy {strategy} does not support manual restart requests")
    if vmi is None:
        raise _refused(vm, "VM is not running: Halted")
    status = requests(raw, [_stop(vmi), {"action": "Start"}])
    if grace is None:
        return _plan(status=status)
    present = vmi.spec.termination_grace_period_seconds
    path = "/spec/terminationGracePeriodSeconds"
    undo: Patch = [{"op": "test", "path": path, "value": FORCED_GRACE}]
    undo.append(
        {"op": "remove", "path": path} if present is None else {"op": "replace", "path": path, "value": present}
    )
    return Plan(grace_patch(vmi, FORCED_GRACE), [], status, undo)


def grace_patch(vmi: VirtualMachineInstance, seconds: int) -> Patch:
    """Gives the guest another time to shut down."""
    path, present = "/spec/terminationGracePeriodSeconds", vmi.spec.termination_grace_period_seconds
    if present is None:
        return [{"op": "add", "path": path, "value": seconds}]
    return [{"op": "test", "path": path, "value": present}, {"op": "replace", "path": path, "value": seconds}]


def running(raw: dict[str, Any], *, run: bool) -> Patch:
    """Switches the VM on or off in whichever field it says so."""
    spec = raw.get("spec") or {}
    name = "running" if spec.get("runStrategy") is None else "runStrategy"
    value: str | bool = run
    if name == "runStrategy":
        value = "Always" if run else "Halted"
    path = f"/spec/{name}"
    return [
        {"op": "test", "path": path, "value": spec.get(name)},
        {"op": "replace" if name in spec else "add", "path": path, "value": value},
    ]


def requests(raw: dict[str, Any], changes: list[dict[str, Any]]) -> Patch:
    """Asks the VM's controller for the changes. Raises Refused (500) while others are under way.

    A bare stop takes the place of what was asked before. A VM that failed to start forgets it.
    """
    status = raw.get("status") or {}
    if not status:
        return [{"op": "add", "path": "/status", "value": {"stateChangeRequests": changes}}]
    path, present = "/status/stateChangeRequests", status.get("stateChangeRequests")
    only_stop = [change["action"] for change in changes] == ["Stop"]
    if present and not only_stop:
        raise internal(UNDERWAY)
    patch: Patch = [{"op": "test", "path": path, "value": present}]
    patch.append({"op": "replace" if present else "add", "path": path, "value": changes})
    if "startFailure" in status:
        patch.append({"op": "remove", "path": "/status/startFailure"})
    return patch
