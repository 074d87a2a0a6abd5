"""The state machine of a migration: one step at a time, so that every phase can be seen; pure.

Source: kubevirt pkg/virt-controller/watch/migration/migration.go; control plane facts 8.2 to 8.6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import (
    VirtualMachineInstance,
    VirtualMachineInstanceMigrationSourceState,
    VirtualMachineInstanceMigrationState,
    VirtualMachineInstanceMigrationTargetState,
)
from kvtui.api.times import from_time, to_time
from kvtui.api.wire import evolve
from kvtui.controllers import conditions, names
from kvtui.controllers.migration.policy import UTILITY_VOLUMES_TIMEOUT
from kvtui.controllers.migration.view import HANDED_OFF, WITH_POD, View, backoff_left, is_final
from kvtui.controllers.virtualmachineinstance import pods

UNSCHEDULABLE_TIMEOUT = "kubevirt.io/migrationUnschedulablePodTimeoutSeconds"
PENDING_TIMEOUT = "kubevirt.io/migrationPendingPodTimeoutSeconds"
UTILITY_TIMEOUT = "kubevirt.io/migrationUtilityVolumesTimeoutSeconds"
DEFAULT_UNSCHEDULABLE, DEFAULT_PENDING = 300, 900
RECHECK = 5.0

SUCCEEDED = "Source node reported migration succeeded"


@dataclass(frozen=True, slots=True)
class Next:
    """What to do in this pass. Unset fields change nothing."""

    phase: str | None = None
    failure: str | None = None
    """Why the phase is Failed; becomes the event."""
    create_target: bool = False
    delete_target: str | None = None
    """Why the target Pod is to go."""
    hand_off: bool = False
    abort: bool = False
    """Ask the source to give up."""
    tell_vmi: str | None = None
    """The VMI's migration state is to become failed with this reason."""
    mark_ready: bool = False
    """Note on the target Pod when its domain was ready."""
    set_conditions: tuple[tuple[str, str, str], ...] = ()
    """(type, reason, message), all True."""
    drop_conditions: tuple[str, ...] = ()
    unschedulable: bool = False
    """Say that the target Pod finds no node."""
    backoff: bool = False
    """Say on the VMI that earlier failures hold this migration back."""
    wake: float | None = None


def _fail(reason: str, *, delete_target: str | None = None, tell_vmi: str | None = None) -> Next:
    return Next(phase="Failed", failure=reason, delete_target=delete_target, tell_vmi=tell_vmi)


NEEDLESS = "migration target pod is needed no more"


def plan(view: View) -> Next:
    """The next step of a migration that is not final."""
    vmi, target, phase = view.vmi, view.target, view.phase
    if vmi is None:
        return _fail("Migration failed because vmi does not exist.")
    if (vmi.status.phase or "") in ("Succeeded", "Failed"):
        return _fail("Migration failed vmi shutdown during migration.", delete_target=NEEDLESS)
    if view.deleting and phase not in HANDED_OFF and view.state is None:
        about = f"migration canceled and pod {target.key} is deleted" if target is not None else None
        stopped = _fail("Migration failed due to being canceled", delete_target=about)
        return replace(stopped, set_conditions=(("migrationAbortRequested", "", ""),))
    if target is not None and pods.is_going_down(target):
        told = "Target pod is down" if phase in HANDED_OFF else None
        return _fail("Migration failed because target pod shutdown during migration", tell_vmi=told)
    if target is None and phase in WITH_POD:
        told = "Target pod is down" if phase in HANDED_OFF else None
        return _fail("Migration target pod was removed during active migration.", tell_vmi=told)
    if phase in HANDED_OFF:
        if vmi.status.migration_state is None:
            why = "VMI's migration state was cleared during the active migration."
            return _fail(why, delete_target=NEEDLESS)
        if view.state is None:
            why = "VMI's migration state was taken over by another migration job during active migration."
            return _fail(why, delete_target=NEEDLESS)
        if view.state.failed:
            return _fail("source node reported migration failed", delete_target=NEEDLESS)
    step = _progress(view, vmi, target)
    if view.deleting:
        aborting = phase == "Running" and view.state is not None and not view.state.abort_requested
        marks = (*step.set_conditions, ("migrationAbortRequested", "", ""))
        return Next(phase=step.phase, hand_off=step.hand_off, abort=aborting, set_conditions=marks, wake=step.wake)
    return step


def _progress(view: View, vmi: VirtualMachineInstance, target: Pod | None) -> Next:
    match view.phase:
        case "":
            return _eligible(view, vmi)
        case "Pending":
            return _pending(view, vmi, target)
        case "Scheduling":
            if target is not None and pods.is_ready(target):
                return Next(phase="Scheduled", drop_conditions=("migrationRejectedByResourceQuota",))
            return replace(_wait_for_pod(view, target), drop_conditions=("migrationRejectedByResourceQuota",))
        case "Scheduled":
            return Next(phase="PreparingTarget") if view.state is not None else Next(hand_off=True)
        case "PreparingTarget":
            state = view.state
            ready = state is not None and state.target_node and state.target_node_address
            return Next(phase="TargetReady") if ready else Next()
        case "TargetReady":
            started = view.state is not None and view.state.start_timestamp
            return Next(phase="Running") if started else Next()
        case "Running":
            return _running(view, vmi, target)
    return Next()


def _eligible(view: View, vmi: VirtualMachineInstance) -> Next:
    """Another migration that is still under way has the VMI for itself."""
    state = vmi.status.migration_state
    if state is None or not state.migration_uid or state.migration_uid == view.uid:
        return Next(phase="Pending")
    holder = next((m for m in view.others if m.metadata.uid == state.migration_uid), None)
    if holder is None or is_final(holder):
        return Next(phase="Pending")
    return _fail("VMI is not eligible for migration because another migration job is in progress.")


def _seconds(view: View, annotation: str, default: int) -> int:
    text = view.migration.metadata.annotations.get(annotation, "")
    return int(text) if text.isdigit() else default


def _age(view: View) -> float:
    created = view.migration.metadata.creation_timestamp
    return (view.now - from_time(created)).total_seconds() if created else 0.0


def _pending(view: View, vmi: VirtualMachineInstance, target: Pod | None) -> Next:
    if target is not None:
        return Next(phase="Scheduling")
    if _backup_runs(vmi):
        message = "Migration waits until the backup of the VMI is done"
        mark = ("migrationBlockedByBackup", "BackupInProgress", message)
        return Next(set_conditions=(mark,), wake=RECHECK)
    done = ["migrationBlockedByBackup"]
    if vmi.spec.utility_volumes:
        default = view.options.utility_volumes_timeout or UTILITY_VOLUMES_TIMEOUT
        left = _seconds(view, UTILITY_TIMEOUT, default) - _age(view)
        if left <= 0:
            return _fail("timed out waiting for utility volumes to be detached")
        message = "Migration waits until utility volumes are detached"
        mark = ("migrationBlockedByUtilityVolumes", "UtilityVolumesPresent", message)
        return Next(set_conditions=(mark,), drop_conditions=tuple(done), wake=min(left, RECHECK))
    done.append("migrationBlockedByUtilityVolumes")
    dropped = tuple(done)
    if (left := backoff_left(view)) > 0:
        return Next(backoff=True, wake=left, drop_conditions=dropped)
    alive = [p for p in view.pods if not pods.is_final(p) and not pods.is_temporary(p)]
    if vmi.status.phase != "Running" or len(alive) > 1 or vmi.metadata.deletion_timestamp:
        return Next(wake=RECHECK, drop_conditions=dropped)
    if not view.may_start:
        return Next(drop_conditions=dropped)
    return Next(create_target=True, drop_conditions=dropped)


def _backup_runs(vmi: VirtualMachineInstance) -> bool:
    tracking = vmi.status.changed_block_tracking
    backup = tracking.backup_status if tracking is not None else None
    return backup is not None and not backup.completed


def _wait_for_pod(view: View, target: Pod | None) -> Next:
    """Patience with a target Pod that does not start."""
    if target is None or target.status.phase != "Pending" or not target.metadata.creation_timestamp:
        return Next()
    age = (view.now - from_time(target.metadata.creation_timestamp)).total_seconds()
    scheduled = pods.condition(target, "PodScheduled")
    stuck = scheduled is not None and scheduled.status == "False" and scheduled.reason == "Unschedulable"
    limits = {"pending": _seconds(view, PENDING_TIMEOUT, DEFAULT_PENDING)}
    if stuck:
        limits["unschedulable"] = _seconds(view, UNSCHEDULABLE_TIMEOUT, DEFAULT_UNSCHEDULABLE)
    why, limit = min(limits.items(), key=lambda item: item[1])
    if age < limit:
        return Next(unschedulable=stuck, wake=limit - age)
    # The migration fails in the next pass, for want of its target.
    return Next(delete_target=f"{why} pod {target.key} timeout period exceeded", unschedulable=stuck)


def _running(view: View, vmi: VirtualMachineInstance, target: Pod | None) -> Next:
    state = view.state
    assert state is not None
    ready = state.target_node_domain_ready_timestamp
    unmarked = target is not None and names.MIGRATION_TARGET_READY not in target.metadata.annotations
    mark = bool(ready) and unmarked
    if state.completed and not state.failed and not _waits_for_change(vmi, state.end_timestamp):
        return Next(phase="Succeeded", mark_ready=mark)
    return Next(mark_ready=mark)


def _waits_for_change(vmi: VirtualMachineInstance, ended: str | None) -> bool:
    """Whether what was to take effect with this migration has yet to; what came up after its end waits for the next."""
    found = [c for c in vmi.status.conditions if not (ended and (c.last_transition_time or "") > ended)]
    return (
        conditions.find(found, "HotVCPUChange") is not None
        or conditions.is_true(found, "HotMemoryChange")
        or conditions.is_true(found, "MigrationRequired")
    )


def handed_off(view: View, claims: tuple[str, str] | None) -> VirtualMachineInstance:
    """The VMI with the state from which both agents work.

    `claims` hold its persistent state, if any: on the source's side, and on the target's.
    """
    kept, wanted = claims or (None, None)
    vmi, source, target = view.vmi, view.source, view.target
    assert vmi is not None
    assert target is not None
    node = vmi.status.node_name
    source_name = source.metadata.name if source is not None else None
    state = VirtualMachineInstanceMigrationState(
        migration_uid=view.uid,
        source_node=node,
        source_pod=source_name,
        target_node=target.spec.node_name,
        target_pod=target.metadata.name,
        source_persistent_state_pvc_name=kept,
        target_persistent_state_pvc_name=wanted,
        migration_policy_name=view.policy,
        migration_configuration=view.options,
        target_memory_overhead=target.metadata.annotations.get(names.MEMORY_OVERHEAD),
        source_state=VirtualMachineInstanceMigrationSourceState(
            node=node,
            pod=source_name,
            migration_uid=view.uid,
            domain_name=vmi.metadata.name,
            domain_namespace=vmi.metadata.namespace,
            virtual_machine_instance_uid=vmi.metadata.uid,
            persistent_state_pvc_name=kept,
        ),
        target_state=VirtualMachineInstanceMigrationTargetState(
            node=target.spec.node_name,
            pod=target.metadata.name,
            migration_uid=view.uid,
            domain_name=vmi.metadata.name,
            domain_namespace=vmi.metadata.namespace,
            virtual_machine_instance_uid=vmi.metadata.uid,
            persistent_state_pvc_name=wanted,
        ),
    )
    labels = {**vmi.metadata.labels, names.MIGRATION_TARGET_NODE: target.spec.node_name}
    return evolve(
        vmi,
        metadata=evolve(vmi.metadata, labels=labels),
        status=evolve(vmi.status, migration_state=state),
    )


def with_failed_state(view: View, reason: str) -> VirtualMachineInstance | None:
    """The VMI told that its migration is over; None when it knows, or when its state is about another one."""
    vmi, state = view.vmi, view.state
    if vmi is None or state is None or state.completed:
        return None
    now = to_time(view.now)
    state = evolve(
        state,
        failed=True,
        completed=True,
        failure_reason=reason,
        start_timestamp=state.start_timestamp or now,
        end_timestamp=now,
    )
    labels = {k: v for k, v in vmi.metadata.labels.items() if k != names.MIGRATION_TARGET_NODE}
    return evolve(
        vmi,
        metadata=evolve(vmi.metadata, labels=labels),
        status=evolve(vmi.status, migration_state=state),
    )
