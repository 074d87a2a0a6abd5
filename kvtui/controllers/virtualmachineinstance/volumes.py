"""Volumes of a VMI as the control plane sees them: whether they are ready, and their entries in the status.

Source: kubevirt pkg/virt-controller/watch/vmi/{storage,volume-hotplug}.go, pkg/storage/types; facts 3.4, 3.7, node 7.1.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vmi import (
    HotplugVolumeStatus,
    PersistentVolumeClaimInfo,
    VirtualMachineInstance,
    Volume,
    VolumeStatus,
)
from kvtui.api.wire import evolve
from kvtui.controllers.launcher.volumes import claim_of, is_hotpluggable
from kvtui.controllers.virtualmachineinstance import pods

DV_DONE = "Succeeded"
DV_WAITS = ("WaitForFirstConsumer", "PendingPopulation")
DV_FAILED = "Failed"
PREALLOCATED = "cdi.kubevirt.io/storage.preallocation"
AGENT_PHASES = ("MountedToPod", "Ready", "MemoryDumpInProgress", "MemoryDumpCompleted", "MemoryDumpFailed")
"""Set by the node agent; only it goes back from them."""
DETACHING = "Detaching"
"""No longer in the spec, but still with the guest."""

Claims = Mapping[str, PersistentVolumeClaim | None]
DataVolumes = Mapping[str, DataVolume]


class Readiness(enum.Enum):
    """Of all DataVolumes that a VMI uses."""

    READY = enum.auto()
    WAITING = enum.auto()
    FIRST_CONSUMER = enum.auto()
    """Some only wait to be placed."""
    FAILED = enum.auto()


def permanent(vmi: VirtualMachineInstance) -> list[Volume]:
    """Volumes that must be there before the launcher."""
    return [v for v in vmi.spec.volumes if not is_hotpluggable(v)]


def data_volumes_readiness(vmi: VirtualMachineInstance, found: DataVolumes) -> Readiness:
    """A DataVolume that does not exist counts as ready: its claim decides then.

    A claim that a DataVolume fills is as unready by its own name as by the DataVolume's.
    """
    used = {claim_of(v) for v in permanent(vmi)}
    phases = [volume.status.phase or "" for name, volume in found.items() if name in used]
    if DV_FAILED in phases:
        return Readiness.FAILED
    if any(phase != DV_DONE and phase not in DV_WAITS for phase in phases):
        return Readiness.WAITING
    return Readiness.FIRST_CONSUMER if any(phase in DV_WAITS for phase in phases) else Readiness.READY


def missing_claim(vmi: VirtualMachineInstance, claims: Claims) -> str | None:
    """Why a launcher cannot be made for want of a claim; None when all are there."""
    for volume in permanent(vmi):
        name = claim_of(volume)
        if name is None or claims.get(name) is not None:
            continue
        if volume.ephemeral is not None:
            return f"failed to render launch manifest: didn't find PVC {name}"
        return f"PVC {vmi.metadata.namespace}/{name} does not exist, waiting for it to appear"
    return None


def claim_info(claim: PersistentVolumeClaim) -> PersistentVolumeClaimInfo:
    spec, status = claim.spec, claim.status
    return PersistentVolumeClaimInfo(
        claim_name=claim.metadata.name,
        access_modes=spec.access_modes,
        volume_mode=spec.volume_mode,
        capacity=status.capacity,
        requests=spec.resources.requests if spec.resources else {},
        preallocated=claim.metadata.annotations.get(PREALLOCATED) == "true",
        filesystem_overhead=claim.metadata.annotations.get("kvtui.io/filesystem-overhead", "0.06"),
    )


def volume_statuses(vmi: VirtualMachineInstance, launcher: Pod | None, claims: Claims) -> list[VolumeStatus]:
    """The whole list, sorted by name; what the agent has written is kept."""
    present = {s.name: s for s in vmi.status.volume_status}
    wanted = {v.name: v for v in vmi.spec.volumes}
    statuses = [_status(volume, present.get(name), launcher, claims) for name, volume in wanted.items()]
    leaving = [s for name, s in present.items() if name not in wanted and _still_attached(s)]
    statuses += [evolve(s, phase=DETACHING) for s in leaving]
    return sorted(statuses, key=lambda s: s.name)


def _status(volume: Volume, present: VolumeStatus | None, launcher: Pod | None, claims: Claims) -> VolumeStatus:
    status = present or VolumeStatus(name=volume.name)
    name = claim_of(volume)
    claim = claims.get(name) if name is not None else None
    if claim is not None:
        status = evolve(status, persistent_volume_claim_info=claim_info(claim))
    if not is_hotpluggable(volume):
        return status
    if launcher is not None and status.hotplug_volume is None:
        attached = HotplugVolumeStatus(attach_pod_name=launcher.metadata.name, attach_pod_uid=launcher.metadata.uid)
        status = evolve(status, hotplug_volume=attached)
    if status.phase in AGENT_PHASES:
        return status
    phase, reason, message = _hotplug_phase(volume, claim, launcher)
    return evolve(status, phase=phase, reason=reason, message=message)


def _hotplug_phase(volume: Volume, claim: PersistentVolumeClaim | None, launcher: Pod | None) -> tuple[str, str, str]:
    if claim is None:
        return "Pending", "PVCNotReady", f"PVC {claim_of(volume)} does not exist"
    if claim.status.phase != "Bound":
        return "Pending", "PVCNotReady", f"PVC is in phase {claim.status.phase or 'Pending'}"
    if launcher is None or not launcher.spec.node_name or pods.is_going_down(launcher):
        return "Bound", "PVCReady", "PVC is in phase Bound"
    return "AttachedToNode", "SuccessfulCreate", f"Volume {volume.name} can be reached from {launcher.spec.node_name}"


def _still_attached(status: VolumeStatus) -> bool:
    """Until the agent says UnMountedFromPod."""
    return status.hotplug_volume is not None and status.phase in ("AttachedToNode", DETACHING, *AGENT_PHASES)


def claims_to_place(vmi: VirtualMachineInstance, claims: Claims) -> Sequence[PersistentVolumeClaim]:
    """Claims of hot-plugged volumes that wait for a node; the VMI's is the only one possible."""
    found = (claims.get(claim_of(v) or "") for v in vmi.spec.volumes if is_hotpluggable(v))
    return [c for c in found if c is not None and c.status.phase != "Bound" and not c.spec.volume_name]
