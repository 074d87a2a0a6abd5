"""The next version of a VMI: phase, conditions, Pods, volumes, finalizers; pure.

The node agent owns a VMI from Scheduled on; the control plane then only watches over its Pod.

Source: kubevirt pkg/virt-controller/watch/vmi/{vmi,lifecycle}.go (updateStatus); control plane facts 3.3, 3.5, 3.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import (
    CPUTopology,
    MemoryStatus,
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VirtualMachineInstancePhaseTransitionTimestamp,
    VirtualMachineInstanceStatus,
)
from kvtui.api.times import to_time
from kvtui.api.wire import evolve
from kvtui.controllers import conditions, names
from kvtui.controllers.launcher.render import IMAGE
from kvtui.controllers.virtualmachineinstance import hotplug, pods, volumes
from kvtui.controllers.virtualmachineinstance.plan import FINAL, UNPROCESSED, Situation, SyncError
from kvtui.controllers.virtualmachineinstance.volumes import Readiness

Condition = VirtualMachineInstanceCondition
_To = Callable[[str], VirtualMachineInstance]
FIRST_CID = 3
"""Below are the hypervisor's and the host's own."""


def next_version(at: Situation, error: SyncError | None, *, used_cids: Iterable[int] = ()) -> VirtualMachineInstance:
    """The VMI as it should be stored. Equal to `at.vmi` when nothing is to be written."""
    vmi, launcher = at.vmi, at.launcher
    status = evolve(vmi.status, active_pods=_active_pods(at.pods))
    if vmi.metadata.deletion_timestamp is None and at.phase == "":
        status = with_phase(status, "Pending", at.now)
    vmi = evolve(vmi, status=status)
    vmi, error = _phase(at, vmi, launcher, error, used_cids)
    if launcher is not None:
        vmi = _with_age(vmi, launcher)
    status = evolve(vmi.status, conditions=_conditions(at, vmi, launcher, error))
    if launcher is not None and (vmi.status.phase or "") not in (*UNPROCESSED, "Scheduling"):
        status = evolve(status, volume_status=volumes.volume_statuses(vmi, launcher, at.claims))
        return hotplug.with_changes(evolve(vmi, status=status), launcher, at.now)
    return evolve(vmi, status=status)


def _with_age(vmi: VirtualMachineInstance, launcher: Pod) -> VirtualMachineInstance:
    """Marked when its launcher is not of the kind that would be made today."""
    compute = next((c for c in launcher.spec.containers if c.name == "compute"), None)
    labels = {k: v for k, v in vmi.metadata.labels.items() if k != names.OUTDATED}
    if compute is not None and compute.image not in ("", IMAGE):
        labels[names.OUTDATED] = ""
    return evolve(vmi, metadata=evolve(vmi.metadata, labels=labels))


def _active_pods(owned: Sequence[Pod]) -> dict[str, str]:
    return {p.metadata.uid: p.spec.node_name for p in owned if not pods.is_final(p) and not pods.is_temporary(p)}


def with_phase(status: VirtualMachineInstanceStatus, phase: str, now: datetime) -> VirtualMachineInstanceStatus:
    """With the phase, and the time of the first transition into it."""
    if status.phase == phase:
        return status
    times = status.phase_transition_timestamps
    if all(t.phase != phase for t in times):
        times = [
            *times,
            VirtualMachineInstancePhaseTransitionTimestamp(phase=phase, phase_transition_timestamp=to_time(now)),
        ]
    return evolve(status, phase=phase, phase_transition_timestamps=times)


def _phase(
    at: Situation,
    vmi: VirtualMachineInstance,
    launcher: Pod | None,
    error: SyncError | None,
    used_cids: Iterable[int],
) -> tuple[VirtualMachineInstance, SyncError | None]:
    def to(phase: str) -> VirtualMachineInstance:
        return evolve(vmi, status=with_phase(vmi.status, phase, at.now))

    match at.phase:
        case "" | "Pending":
            return _leave_pending(at, to, vmi, launcher), error
        case "WaitingForSync" if launcher is not None:
            return to("Scheduling"), error
        case "Scheduling":
            return _leave_scheduling(at, vmi, launcher, error, used_cids)
        case "WaitingForSync" if vmi.metadata.deletion_timestamp:
            return to("Failed"), error
        case "Scheduled" | "Running" if launcher is None:
            # Deliberately without a transition time, as upstream's plain JSON patch.
            return evolve(vmi, status=evolve(vmi.status, phase="Failed")), error
        case "Succeeded" | "Failed":
            return _release(at, vmi), error
    return vmi, error


def _leave_pending(at: Situation, to: _To, vmi: VirtualMachineInstance, launcher: Pod | None) -> VirtualMachineInstance:
    if launcher is not None:
        return to("Scheduling")
    broken = at.readiness is Readiness.FAILED or any(
        pods.is_temporary(p) and p.status.phase == "Failed" for p in at.pods
    )
    if vmi.metadata.deletion_timestamp or broken:
        return to("Failed")
    receiver = names.CREATE_MIGRATION_TARGET in vmi.metadata.annotations
    if receiver and names.MIGRATION_TARGET_NODE not in vmi.metadata.labels:
        return to("WaitingForSync")
    vmi = _as_admitted(vmi)
    if at.hints is not None and vmi.status.topology_hints is None:
        return evolve(vmi, status=evolve(vmi.status, topology_hints=at.hints))
    return vmi


def _as_admitted(vmi: VirtualMachineInstance) -> VirtualMachineInstance:
    """What admission gives a new VMI, for clusters where it did not run."""
    if names.VMI_FINALIZER not in vmi.metadata.finalizers:
        metadata = evolve(vmi.metadata, finalizers=[*vmi.metadata.finalizers, names.VMI_FINALIZER])
        vmi = evolve(vmi, metadata=metadata)
    cpu, memory, status = vmi.spec.domain.cpu, vmi.spec.domain.memory, vmi.status
    if status.current_cpu_topology is None and cpu is not None:
        topology = CPUTopology(sockets=cpu.sockets, cores=cpu.cores, threads=cpu.threads)
        status = evolve(status, current_cpu_topology=topology)
    if status.memory is None and memory is not None and memory.guest is not None:
        size = memory.guest
        status = evolve(status, memory=MemoryStatus(guest_at_boot=size, guest_current=size, guest_requested=size))
    return evolve(vmi, status=status)


def _leave_scheduling(
    at: Situation,
    vmi: VirtualMachineInstance,
    launcher: Pod | None,
    error: SyncError | None,
    used_cids: Iterable[int],
) -> tuple[VirtualMachineInstance, SyncError | None]:
    status = vmi.status
    if launcher is None or pods.is_going_down(launcher):
        receiver = names.CREATE_MIGRATION_TARGET in vmi.metadata.annotations
        return evolve(vmi, status=with_phase(status, "WaitingForSync" if receiver else "Failed", at.now)), error
    if problem := pods.set_up_error(launcher):
        error = SyncError(*problem)
    status = evolve(status, qos_class=launcher.status.qos_class or None)
    if not pods.is_ready(launcher) or vmi.metadata.deletion_timestamp:
        return evolve(vmi, status=status), error
    dedicated = vmi.spec.domain.cpu is not None and vmi.spec.domain.cpu.dedicated_cpu_placement
    if dedicated and launcher.status.qos_class != "Guaranteed":
        message = "failed to guarantee pod resources"
        return evolve(vmi, status=status), SyncError("FailedGuaranteeResources", message)
    status = with_phase(status, "Scheduled", at.now)
    status = evolve(
        status,
        node_name=launcher.spec.node_name,
        migration_transport="Unix",
        launcher_container_image_version=launcher.spec.containers[0].image if launcher.spec.containers else None,
    )
    if vmi.spec.domain.devices.autoattach_vsock and status.vsockcid is None:
        status = evolve(status, vsockcid=free_cid(used_cids))
    metadata = evolve(vmi.metadata, labels={**vmi.metadata.labels, names.NODE_NAME: launcher.spec.node_name})
    return evolve(vmi, metadata=metadata, status=status), error


def free_cid(used: Iterable[int]) -> int:
    """The lowest VSOCK context id that no VMI has."""
    taken = set(used)
    return next(cid for cid in range(FIRST_CID, 2**32) if cid not in taken)


def _release(at: Situation, vmi: VirtualMachineInstance) -> VirtualMachineInstance:
    """A finished VMI without Pods lets go: its own finalizer, and the VM's when there is no VM to take note."""
    if at.pods:
        return vmi
    dropped = {names.VMI_FINALIZER} | (set() if at.owner_exists else {names.VM_FINALIZER})
    metadata = evolve(
        vmi.metadata,
        finalizers=[f for f in vmi.metadata.finalizers if f not in dropped],
        labels={k: v for k, v in vmi.metadata.labels.items() if k != names.OUTDATED},
    )
    return evolve(vmi, metadata=metadata, status=evolve(vmi.status, launcher_container_image_version=None))


def _conditions(
    at: Situation, vmi: VirtualMachineInstance, launcher: Pod | None, error: SyncError | None
) -> list[Condition]:
    phase = vmi.status.phase or ""
    found = conditions.put(vmi.status.conditions, ready_condition(vmi, launcher, at.now))
    found = _scheduled(found, at, launcher, error)
    if error is not None:
        made = conditions.make(Condition, "Synchronized", "False", error.reason, error.message, now=at.now)
        found = conditions.put(found, made)
    elif phase in (*UNPROCESSED, "Scheduling", *FINAL) or _is_ours(found):
        found = conditions.without(found, "Synchronized")
    provisioning = phase in UNPROCESSED and at.readiness is Readiness.FIRST_CONSUMER
    if provisioning:
        found = conditions.put(found, conditions.make(Condition, "Provisioning", "True", now=at.now))
    else:
        found = conditions.without(found, "Provisioning")
    found = _data_volumes(found, at)
    if vmi.status.evacuation_node_name:
        made = conditions.make(Condition, "EvictionRequested", "True", "EvictionRequested", now=at.now)
        return conditions.put(found, made)
    return conditions.without(found, "EvictionRequested")


def _is_ours(found: Sequence[Condition]) -> bool:
    """Whether Synchronized was set by the control plane; the agent's own has another reason."""
    present = conditions.find(found, "Synchronized")
    return present is not None and (present.reason or "") in _OUR_REASONS


_OUR_REASONS = (
    "FailedCreate",
    "FailedDelete",
    "FailedPvcNotFound",
    "FailedDataVolumeImport",
    "ErrImagePull",
    "ImagePullBackOff",
    pods.SANDBOX_ERROR,
    "FailedGuaranteeResources",
    "FailedBackendStorageCreate",
    "BackendStorageNotReady",
    "FailedPodPatch",
)


def ready_condition(vmi: VirtualMachineInstance, launcher: Pod | None, now: datetime) -> Condition:
    """Ready follows the launcher's readiness once the guest runs."""

    def no(reason: str, message: str) -> Condition:
        return conditions.make(Condition, "Ready", "False", reason, message, now=now)

    if launcher is None:
        return no("PodNotExists", "virt-launcher pod has not yet been scheduled")
    if pods.is_going_down(launcher):
        return no("PodTerminating", "virt-launcher pod is terminating")
    if vmi.status.phase != "Running":
        return no("GuestNotRunning", "Guest VM is not reported as running")
    ready = pods.condition(launcher, "Ready")
    if ready is None:
        return no("PodConditionMissing", "virt-launcher pod is missing the Ready condition")
    return Condition(
        type="Ready",
        status=ready.status,
        reason=ready.reason or None,
        message=ready.message or None,
        last_probe_time=ready.last_probe_time,
        last_transition_time=ready.last_transition_time or to_time(now),
    )


def _scheduled(found: list[Condition], at: Situation, launcher: Pod | None, error: SyncError | None) -> list[Condition]:
    """PodScheduled is there only while it is False."""
    if launcher is None and at.phase in UNPROCESSED:
        if error is not None and error.reason == "FailedPvcNotFound":
            made = conditions.make(Condition, "PodScheduled", "False", "Unschedulable", error.message, now=at.now)
            return conditions.put(found, made)
        waiting = next((p for p in at.pods if pods.is_temporary(p)), None)
        if waiting is None:
            return conditions.without(found, "PodScheduled")
        launcher = waiting
    scheduled = pods.condition(launcher, "PodScheduled") if launcher is not None else None
    if scheduled is None or scheduled.status != "False":
        return conditions.without(found, "PodScheduled")
    made = conditions.make(Condition, "PodScheduled", "False", scheduled.reason, scheduled.message, now=at.now)
    present = conditions.find(found, "PodScheduled")
    if present is not None and present.message != made.message:
        found = conditions.without(found, "PodScheduled")
    return conditions.put(found, made)


def _data_volumes(found: list[Condition], at: Situation) -> list[Condition]:
    used = [v.data_volume.name for v in at.vmi.spec.volumes if v.data_volume is not None]
    known = [at.data_volumes[name] for name in used if name in at.data_volumes]
    if not known:
        return conditions.without(found, "DataVolumesReady")
    ready = all(dv.status.phase == volumes.DV_DONE for dv in known)
    made = conditions.make(
        Condition,
        "DataVolumesReady",
        "True" if ready else "False",
        "AllDVsReady" if ready else "NotAllDVsReady",
        "All of the VMI's DVs are bound and not running" if ready else "Not all of the VMI's DVs are ready",
        now=at.now,
    )
    return conditions.put(found, made)
