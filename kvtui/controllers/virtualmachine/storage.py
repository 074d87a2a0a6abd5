"""Volumes of a running VM: plugged in and out, media changed, moved to other claims.

Source: kubevirt pkg/virt-controller/watch/{vm,volume-migration}; control plane
facts 2.9, 5.6.
"""

from __future__ import annotations

from kvtui.api.kubevirt.domain import Disk
from kvtui.api.kubevirt.vmi import (
    PersistentVolumeClaimInfo,
    StorageMigratedVolumeInfo,
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VirtualMachineInstanceSpec,
    Volume,
)
from kvtui.api.wire import evolve
from kvtui.controllers import conditions
from kvtui.controllers.launcher.volumes import claim_of, is_hotpluggable
from kvtui.controllers.virtualmachine.outcome import NOT_LIVE, Outcome
from kvtui.controllers.virtualmachine.view import View

HOTPLUG_BUSES = ("virtio", "scsi")


def apply_volumes(view: View, wanted: VirtualMachineInstanceSpec, vmi: VirtualMachineInstance) -> Outcome:
    """The VMI with the volumes and disks that the template asks for, as far as they can change live."""
    # Memory dumps come and go by request, see memorydump.
    new = {v.name: v for v in wanted.volumes if v.memory_dump is None}
    old = {v.name: v for v in vmi.spec.volumes if v.memory_dump is None}
    moved = {n for n in new.keys() & old.keys() if claim_of(new[n]) != claim_of(old[n]) and _is_claim(new[n], old[n])}
    media = {n for n in moved if is_hotpluggable(new[n]) and is_hotpluggable(old[n]) and _is_cdrom(wanted, n)}
    moved -= media
    if any(new[n] != old[n] and n not in moved | media and not _same_source(new[n], old[n]) for n in new & old.keys()):
        return Outcome(vmi, NOT_LIVE)
    if moved:
        if _goes_back(new, vmi, moved):
            return Outcome(_cancel_migration(view, new, vmi))
        return _migrate(view, wanted, vmi, moved)
    added = [v for n, v in new.items() if n not in old]
    removed = [v for n, v in old.items() if n not in new]
    if not added and not removed and not media:
        return Outcome(vmi)
    if not view.config.gate("DeclarativeHotplugVolumes") and not view.config.gate("HotplugVolumes"):
        return Outcome(vmi, NOT_LIVE)
    if any(not is_hotpluggable(v) for v in (*added, *removed)):
        return Outcome(vmi, NOT_LIVE)
    if any(not _pluggable_disk(_disk(wanted, v.name), v) for v in added):
        return Outcome(vmi, NOT_LIVE)
    # Another medium goes in once the one before is out: an instance's volume never changes under its name.
    return Outcome(_with_volumes(wanted, vmi, added, media | {v.name for v in removed}))


def _is_claim(new: Volume, old: Volume) -> bool:
    return claim_of(new) is not None and claim_of(old) is not None and new.ephemeral is None and old.ephemeral is None


def _same_source(new: Volume, old: Volume) -> bool:
    """Defaults that admission filled in are no difference."""
    if new.container_disk is not None and old.container_disk is not None:
        filled = new.container_disk.image_pull_policy or old.container_disk.image_pull_policy
        new = evolve(new, container_disk=evolve(new.container_disk, image_pull_policy=filled))
    return new == old


def _disk(spec: VirtualMachineInstanceSpec, name: str) -> Disk | None:
    return next((d for d in spec.domain.devices.disks if d.name == name), None)


def _is_cdrom(spec: VirtualMachineInstanceSpec, name: str) -> bool:
    disk = _disk(spec, name)
    return disk is not None and disk.cdrom is not None


def _pluggable_disk(disk: Disk | None, volume: Volume) -> bool:
    if volume.memory_dump is not None:
        return True
    if disk is None:
        return False
    if disk.cdrom is not None:
        return True
    if disk.lun is not None:
        return disk.lun.bus == "scsi"
    return disk.disk is not None and disk.disk.bus in HOTPLUG_BUSES


def _with_volumes(
    wanted: VirtualMachineInstanceSpec,
    vmi: VirtualMachineInstance,
    added: list[Volume],
    removed: set[str],
) -> VirtualMachineInstance:
    volumes = [*(v for v in vmi.spec.volumes if v.name not in removed), *added]
    template_disks = {d.name for d in wanted.domain.devices.disks}
    # An ejected medium leaves its drive, any other removed volume takes its disk along.
    disks = [d for d in vmi.spec.domain.devices.disks if d.name not in removed or d.name in template_disks]
    present = {d.name for d in disks}
    for volume in added:
        disk = _disk(wanted, volume.name)
        if disk is not None and disk.name not in present:
            disks.append(disk if disk.serial else evolve(disk, serial=volume.name))
    devices = evolve(vmi.spec.domain.devices, disks=disks)
    spec = evolve(vmi.spec, volumes=volumes, domain=evolve(vmi.spec.domain, devices=devices))
    return evolve(vmi, spec=spec)


def _claim_info(view: View, name: str) -> PersistentVolumeClaimInfo:
    claim = view.claims.get(name)
    if claim is None:
        return PersistentVolumeClaimInfo(claim_name=name)
    return PersistentVolumeClaimInfo(
        claim_name=name,
        access_modes=claim.spec.access_modes,
        volume_mode=claim.spec.volume_mode,
        capacity=claim.status.capacity,
        requests=claim.spec.resources.requests if claim.spec.resources else {},
    )


def _migrate(view: View, wanted: VirtualMachineInstanceSpec, vmi: VirtualMachineInstance, moved: set[str]) -> Outcome:
    """Points the instance at the new claims and asks for the migration that copies them."""
    if view.vm.spec.update_volumes_strategy != "Migration" or not view.config.live_update:
        return Outcome(vmi, NOT_LIVE)
    new = {v.name: v for v in wanted.volumes}
    invalid = [n for n in sorted(moved) if _unmovable(wanted, vmi, n)]
    if invalid:
        return Outcome(vmi, f"invalid volumes to update with migration: {', '.join(invalid)}")
    if (
        any(i.destination_pvc_info is not None for i in vmi.status.migrated_volumes)
        and {i.volume_name for i in vmi.status.migrated_volumes} == moved
    ):
        return Outcome(vmi)
    infos = [
        StorageMigratedVolumeInfo(
            volume_name=v.name,
            source_pvc_info=_claim_info(view, claim_of(v) or ""),
            destination_pvc_info=_claim_info(view, claim_of(new[v.name]) or ""),
        )
        for v in vmi.spec.volumes
        if v.name in moved
    ]
    made = conditions.make(
        VirtualMachineInstanceCondition, "VolumesChange", "True", "", "migrate volumes", now=view.now
    )
    status = evolve(vmi.status, migrated_volumes=infos, conditions=conditions.put(vmi.status.conditions, made))
    volumes = [new[v.name] if v.name in moved else v for v in vmi.spec.volumes]
    return Outcome(evolve(vmi, spec=evolve(vmi.spec, volumes=volumes), status=status))


def _unmovable(wanted: VirtualMachineInstanceSpec, vmi: VirtualMachineInstance, name: str) -> bool:
    """Shared disks, LUNs and filesystems cannot be copied while the guest runs."""
    disk = _disk(vmi.spec, name)
    filesystem = any(f.name == name for f in wanted.domain.devices.filesystems)
    return filesystem or disk is None or bool(disk.shareable) or disk.lun is not None


def _goes_back(new: dict[str, Volume], vmi: VirtualMachineInstance, moved: set[str]) -> bool:
    """Whether the template names the original claims again while they are being copied."""
    infos = {i.volume_name: i.source_pvc_info for i in vmi.status.migrated_volumes}
    if not conditions.is_true(vmi.status.conditions, "VolumesChange"):
        return False
    return all((info := infos.get(n)) is not None and info.claim_name == claim_of(new[n]) for n in moved)


def _cancel_migration(view: View, new: dict[str, Volume], vmi: VirtualMachineInstance) -> VirtualMachineInstance:
    made = conditions.make(
        VirtualMachineInstanceCondition, "VolumesChange", "False", "VolumesChangeCancellation", now=view.now
    )
    spec = evolve(vmi.spec, volumes=[new.get(v.name, v) for v in vmi.spec.volumes])
    return evolve(vmi, spec=spec, status=evolve(vmi.status, conditions=conditions.put(vmi.status.conditions, made)))
