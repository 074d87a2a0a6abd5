"""How far a DataVolume is: phase, conditions and progress, from its claim and its worker. Pure.

Source: containerized-data-importer pkg/controller/datavolume; cdi facts 3.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

import msgspec

from kvtui.api.cdi.datavolume import DataVolume, DataVolumeCondition, DataVolumeStatus
from kvtui.api.core.pod import ContainerStatus, Pod
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.times import to_time
from kvtui.api.wire import evolve
from kvtui.api.worker import PROGRESS_ANNOTATION, Outcome, Progress
from kvtui.controllers.datavolume import names

_DONE = {"clone": "Clone Complete", "upload": "Upload Complete"}
_WORDS = {"clone": ("CloneScheduled", "CloneInProgress"), "upload": ("UploadScheduled", "UploadReady")}
_IMPORT = ("ImportScheduled", "ImportInProgress")
_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")


@dataclass(frozen=True, slots=True)
class Running:
    """The Running condition."""

    status: str = "False"
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no claim or no worker."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class View:
    """What is known at one moment."""

    dv: DataVolume
    claim: PersistentVolumeClaim | None
    pod: Pod | None
    storage_class: StorageClass | None
    kind: str
    """import, clone, upload or external."""
    now: datetime
    refusal: Refusal | None = None


def waits_for_consumer(view: View) -> bool:
    """Whether the claim is only bound once somebody uses it, and nobody does yet."""
    claim = view.claim
    if claim is None or claim.status.phase == "Bound":
        return False
    mode = view.storage_class.volume_binding_mode if view.storage_class is not None else None
    return mode == "WaitForFirstConsumer" and names.IMMEDIATE not in claim.metadata.annotations


def already_filled(dv: DataVolume, claim: PersistentVolumeClaim) -> bool:
    """A claim that holds the data before any work: restored, adopted or populated for this DataVolume."""
    return claim.metadata.annotations.get(names.POPULATED_FOR) == dv.metadata.name


def running_of(pod: Pod | None, claim: PersistentVolumeClaim, kind: str) -> Running:
    """From the worker's container, or from the claim's annotations when the worker is gone."""
    done = _DONE.get(kind, "Import Complete")
    if claim.metadata.annotations.get(names.POD_PHASE) == "Succeeded":
        return Running("False", "Completed", done)
    if pod is None:
        noted = claim.metadata.annotations
        return Running("False", noted.get(names.RUNNING_REASON, ""), noted.get(names.RUNNING_MESSAGE, ""))
    if pod.status.phase == "Succeeded":
        return Running("False", "Completed", done)
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable":
            return Running("False", "Unschedulable", "Importer pod cannot be scheduled")
    status = container(pod)
    if status is None:
        return Running()
    last = status.state.terminated or status.last_state.terminated
    if status.state.running is not None:
        return Running("True", "Pod is running")
    if last is not None and last.exit_code:
        return Running("False", last.reason or "Error", last.message)
    if (waiting := status.state.waiting) is not None:
        reason = "ImagePullFailed" if waiting.reason in _PULLS else waiting.reason
        return Running("False", reason, waiting.message)
    return Running()


def container(pod: Pod) -> ContainerStatus | None:
    return next(iter(pod.status.container_statuses), None)


def is_ready(pod: Pod) -> bool:
    """Whether the worker of an upload takes one."""
    return pod.status.phase == "Running" and any(
        c.type == "Ready" and c.status == "True" for c in pod.status.conditions
    )


def outcome_of(pod: Pod) -> Outcome | None:
    """What a worker that succeeded left as its last word."""
    status = container(pod)
    if status is None or status.state.terminated is None or status.state.terminated.exit_code:
        return None
    try:
        return msgspec.json.decode(status.state.terminated.message, type=Outcome)
    except msgspec.MsgspecError:
        return Outcome(ok=True)


def is_fatal(pod: Pod) -> bool:
    """Whether the worker's failure cannot be mended by another try."""
    status = container(pod)
    ended = status.state.terminated or status.last_state.terminated if status is not None else None
    return ended is not None and ended.exit_code != 0 and ended.reason == "ChecksumError"


def phase_of(view: View) -> str:
    """The phase, in upstream's order of evaluation."""
    dv, claim, pod = view.dv, view.claim, view.pod
    present = dv.status.phase or ""
    if present == "Succeeded":
        return present if claim is None or claim.status.phase != "Lost" else "Failed"
    if claim is None:
        if view.refusal is not None:
            return "CloneScheduled" if view.kind == "clone" and present else present
        return "Pending" if present == "" else present
    if already_filled(dv, claim) and claim.status.phase in ("Pending", "Bound"):
        return "Succeeded"
    if claim.status.phase == "Lost":
        return "Failed"
    if claim.metadata.annotations.get(names.FATAL) == "true":
        return "Failed"
    if claim.metadata.annotations.get(names.POD_PHASE) == "Succeeded":
        return "Succeeded"
    if view.kind == "external":
        return "Succeeded" if claim.status.phase == "Bound" else "Pending"
    scheduled, working = _WORDS.get(view.kind, _IMPORT)
    if pod is not None and view.kind == "upload":
        return working if is_ready(pod) else scheduled
    if pod is not None:
        started = pod.status.phase in ("Running", "Succeeded", "Failed") or present == working
        return working if started else scheduled
    if waits_for_consumer(view):
        return "WaitForFirstConsumer"
    if claim.status.phase != "Bound":
        return "Pending"
    if view.kind == "upload" and present == working:
        return scheduled
    return present if present in (scheduled, working) else "PVCBound"


def progress_of(view: View, phase: str) -> str:
    """N/A, a percentage with two decimals, or 100.0% at the end; never less than before."""
    before = view.dv.status.progress or ""
    if view.kind in ("external", "upload"):
        return before or "N/A"
    if phase == "Succeeded":
        return "100.0%"
    text = view.pod.metadata.annotations.get(PROGRESS_ANNOTATION, "") if view.pod is not None else ""
    try:
        percent = msgspec.json.decode(text, type=Progress).percent if text else None
    except msgspec.MsgspecError:
        percent = None
    if percent is None:
        return before or "N/A"
    # 100 % is only told once the worker has succeeded.
    shown = min(percent, 99.99)
    with contextlib.suppress(ValueError):
        shown = max(shown, float(before.rstrip("%")))
    return f"{shown:.2f}%"


def next_status(view: View) -> DataVolumeStatus:
    """The whole next status."""
    dv, claim = view.dv, view.claim
    if claim is None:
        refusal = view.refusal or Refusal("NotFound", "No PVC found")
        phase = phase_of(view)
        ready = refusal if phase == "" and view.refusal else Refusal("", "")
        conditions = _conditions(dv, ("False", refusal.reason, refusal.message), ready, Running(), phase, view.now)
        return evolve(dv.status, phase=phase or None, conditions=conditions)
    phase = phase_of(view)
    running = Running() if view.kind == "external" else running_of(view.pod, claim, view.kind)
    bound = {
        "Bound": ("True", "Bound", f"PVC {claim.metadata.name} Bound"),
        "Lost": ("False", "ClaimLost", "Claim Lost"),
    }.get(claim.status.phase, ("False", "Pending", f"PVC {claim.metadata.name} Pending"))
    if view.refusal is not None:
        bound = ("False", view.refusal.reason, view.refusal.message)
    return DataVolumeStatus(
        claim_name=claim.metadata.name,
        phase=phase or None,
        progress=progress_of(view, phase),
        restart_count=_restarts(claim),
        conditions=_conditions(dv, bound, Refusal("", ""), running, phase, view.now),
    )


def _restarts(claim: PersistentVolumeClaim) -> int | None:
    text = claim.metadata.annotations.get(names.POD_RESTARTS, "0")
    return int(text) if text.isdigit() and text != "0" else None


def _conditions(
    dv: DataVolume, bound: tuple[str, str, str], not_ready: Refusal, running: Running, phase: str, now: datetime
) -> list[DataVolumeCondition]:
    if phase == "Succeeded" and running.status != "True":
        ready = ("True", "", "")
    elif running.status == "True":
        ready = ("False", "TransferRunning", "")
    else:
        ready = ("False", not_ready.reason, not_ready.message)
    wanted = {"Bound": bound, "Ready": ready, "Running": (running.status, running.reason, running.message)}
    present = {c.type: c for c in dv.status.conditions}
    return [_condition(present.get(type_), type_, *values, now) for type_, values in wanted.items()]


def _condition(
    old: DataVolumeCondition | None, type_: str, status: str, reason: str, message: str, now: datetime
) -> DataVolumeCondition:
    if old is not None and (old.status, old.reason or "", old.message or "") == (status, reason, message):
        return old
    changed = old is None or old.status != status
    return DataVolumeCondition(
        type=type_,
        status=status,
        reason=reason or None,
        message=message or None,
        last_transition_time=to_time(now) if changed or old is None else old.last_transition_time,
        last_heartbeat_time=to_time(now),
    )
