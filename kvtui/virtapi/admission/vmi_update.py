"""What may change on a VMI, and by whom. The first finding answers alone.

Source: control plane facts 5.5 and 5.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.kubevirt.domain import CPU, Memory
from kvtui.virtapi.admission import amounts, identity
from kvtui.virtapi.admission.causes import Path, duplicate, invalid, not_supported, required
from kvtui.virtapi.admission.hotplug import validate_hotplug_disk
from kvtui.virtapi.admission.same import same
from kvtui.virtapi.admission.vmi_spec import RESERVED_LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.admission import UserInfo
    from kvtui.api.kubevirt.domain import Disk
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec, Volume
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig


def validate_update(
    new: VirtualMachineInstance, old: VirtualMachineInstance, config: ClusterConfig, user: UserInfo
) -> list[Cause]:
    """One cause, or several when they are about utility volumes."""
    component = identity.is_component(user, config.namespace)
    if config.gate("NodeRestriction") and identity.is_handler(user, config.namespace):
        found = _first(_node_restriction(new, old, user))
        if found:
            return found
    if not same(new.spec, old.spec):
        if not component:
            return [not_supported("update of VMI object is restricted")]
        found = (
            _first(_headroom(new.spec, old.spec))
            or _first(_storage(new, old, config))
            or _utility_volumes(new.spec, config)
            or _first(_changed_utility_volumes(new.spec, old))
        )
        if found:
            return found
    if not component and _reserved(new) != _reserved(old):
        return [
            not_supported("modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited")
        ]
    return []


def _first(findings: Iterator[Cause]) -> list[Cause]:
    found = next(findings, None)
    return [] if found is None else [found]


def _reserved(vmi: VirtualMachineInstance) -> dict[str, str]:
    return {key: value for key, value in vmi.metadata.labels.items() if key in RESERVED_LABELS}


def _node_restriction(new: VirtualMachineInstance, old: VirtualMachineInstance, user: UserInfo) -> Iterator[Cause]:
    """A node's agent writes only instances that run there, come from there or go there."""
    node = identity.node_of(user)
    if not node:
        yield invalid("Node restriction failed, virt-handler service account is missing node name")
        return
    state = old.status.migration_state
    target = (state.target_node if state else None) or ""
    source = (state.source_node if state else None) or ""
    if node not in (old.status.node_name or "", source, target):
        yield invalid("Node restriction, virt-handler is only allowed to modify VMIs it owns")
    if not target and new.status.migration_state is not None and new.status.migration_state.target_node:
        yield invalid("Node restriction, virt-handler is not allowed to set target node")


def _headroom(new: VirtualMachineInstanceSpec, old: VirtualMachineInstanceSpec) -> Iterator[Cause]:
    sockets = [(spec.domain.cpu or CPU()).max_sockets for spec in (new, old)]
    if all(sockets) and sockets[0] != sockets[1]:
        yield invalid("CPU topology maxSockets changed")
    guests = [(spec.domain.memory or Memory()).max_guest for spec in (new, old)]
    if None not in guests and amounts.exact(guests[0]) != amounts.exact(guests[1]):
        yield invalid("Memory maxGuest changed")


def _storage(new: VirtualMachineInstance, old: VirtualMachineInstance, config: ClusterConfig) -> Iterator[Cause]:
    permanent = _permanent(old)
    migrated = {volume.volume_name for volume in new.status.migrated_volumes}
    volumes, old_volumes = _volumes(new.spec), _volumes(old.spec)
    disks, old_disks = _disks(new.spec), _disks(old.spec)
    yield from _counts(new.spec, volumes, config)
    if len(volumes.keys() & permanent) != len(old_volumes.keys() & permanent):
        yield invalid("Number of permanent volumes has changed")
    for name, volume in volumes.items():
        disk, old_disk = disks.get(name), old_disks.get(name)
        if name not in permanent:
            continue
        if name not in old_volumes:
            yield invalid(f"permanent volume {name}, not found")
        elif name not in migrated:
            if not same(volume, old_volumes[name]):
                yield invalid(f"permanent volume {name}, changed")
            if not same(disk, old_disk):
                yield invalid(f"permanent disk {name}, changed")
    for name, volume in volumes.items():
        if name in permanent:
            continue
        disk, old_disk = disks.get(name), old_disks.get(name)
        if name in old_volumes:
            if name not in migrated and not same(volume, old_volumes[name]):
                yield invalid(f"hotplug volume {name}, changed")
            if volume.memory_dump is None and disk is None:
                yield invalid(f"volume {name} doesn't have a matching disk")
            if volume.memory_dump is None and not same(disk, old_disk):
                yield invalid(f"hotplug disk {name}, changed")
        elif volume.data_volume is None and volume.persistent_volume_claim is None and volume.memory_dump is None:
            yield invalid(f"volume {name} is not a PVC or DataVolume")
        elif volume.memory_dump is None:
            if disk is None:
                yield invalid(f"disk {name} does not exist")
            elif old_disk is None:
                yield from validate_hotplug_disk(disk, name, "Hotplug configuration")


def _permanent(old: VirtualMachineInstance) -> set[str]:
    return {status.name for status in old.status.volume_status if status.hotplug_volume is None}


def _volumes(spec: VirtualMachineInstanceSpec) -> dict[str, Volume]:
    return {volume.name: volume for volume in spec.volumes}


def _disks(spec: VirtualMachineInstanceSpec) -> dict[str, Disk]:
    return {disk.name: disk for disk in spec.domain.devices.disks if disk.name}


def _counts(spec: VirtualMachineInstanceSpec, volumes: dict[str, Volume], config: ClusterConfig) -> Iterator[Cause]:
    """Every volume belongs to one disk or filesystem; only an empty CD-ROM drive may go without."""
    names = {name for name, volume in volumes.items() if volume.memory_dump is None}
    trays = config.gate("DeclarativeHotplugVolumes")
    wanted = len(spec.domain.devices.filesystems) + sum(
        disk.name in names or disk.cdrom is None or not trays for disk in spec.domain.devices.disks
    )
    if wanted != len(names):
        yield invalid(f"mismatch between volumes declared ({len(names)}) and required ({wanted})")


def _utility_volumes(spec: VirtualMachineInstanceSpec, config: ClusterConfig) -> list[Cause]:
    field, found = Path("spec.utilityVolumes"), []
    if spec.utility_volumes and not config.gate("UtilityVolumes"):
        return [invalid("UtilityVolumes feature gate is not enabled", field)]
    names: dict[str, int] = {}
    positions = {volume.name: position for position, volume in enumerate(spec.volumes)}
    for position, volume in enumerate(spec.utility_volumes):
        at = field.item(position)
        if not volume.name:
            found.append(required("UtilityVolume 'name' must be set", at.child("name")))
        if volume.name in names:
            other = field.item(names[volume.name])
            found.append(duplicate(f"{at} and {other} must not have the same Name.", at.child("name")))
        names.setdefault(volume.name, position)
        if volume.name in positions:
            found.append(
                duplicate(
                    f"{at} conflicts with spec.volumes[{positions[volume.name]}]. UtilityVolume names must be unique "
                    "across both volumes and utilityVolumes.",
                    at.child("name"),
                )
            )
        if not volume.claim_name:
            found.append(required("UtilityVolume PVC 'claimName' must be set", at.child("claimName")))
    return found


def _changed_utility_volumes(new: VirtualMachineInstanceSpec, old: VirtualMachineInstance) -> Iterator[Cause]:
    permanent = _permanent(old)
    for volume in new.utility_volumes:
        if volume.name in permanent:
            yield invalid(
                f"utility volume {volume.name} cannot be a permanent volume, utility volumes must always be hotplug"
            )
    known = {volume.name: volume for volume in old.spec.utility_volumes}
    for volume in new.utility_volumes:
        if volume.name in known and volume != known[volume.name]:
            yield invalid(f"utility volume {volume.name} has changed")
