"""Disks, LUNs and CD-ROMs: spec.domain.devices.disks -> <disk>.

Source: https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvtui.domainxml import disknames, iothreads, pci
from kvtui.domainxml.elements import Element, alias, element, group
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.volumes import Source, empty_drive, hotplugged_source, volume_source

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import CustomBlockSize, Disk, DiskTarget
    from kvtui.domainxml.context import BlockSizes
    from kvtui.domainxml.guest import Guest

ERROR_POLICIES = frozenset({"stop", "ignore", "report", "enospace"})
PLUGGED_PHASES = frozenset({"MountedToPod", "Ready"})


@dataclass(frozen=True, slots=True)
class _Slot:
    """A disk of the spec with what its neighbours decide about it."""

    disk: Disk
    field: str
    device: str
    """disk, lun or cdrom."""
    bus: str
    target: str
    unit: int
    """Index of the target name, the unit on the SCSI controller."""
    thread: int | None
    """I/O thread."""

    @property
    def virtio(self) -> bool:
        return self.bus == "virtio"


def build(guest: Guest) -> list[Element]:
    # Every disk is converted, so that a wrong one is reported even while it waits to be plugged in.
    converted = [(slot, _disk(guest, slot)) for slot in _slots(guest)]
    return [xml for slot, xml in converted if _is_attached(guest, slot.disk)]


def build_one(guest: Guest, name: str) -> Element | None:
    """The element of the disk with this name, attached or not; None if the spec has none. Raises ConversionError."""
    return next((_disk(guest, slot) for slot in _slots(guest) if slot.disk.name == name), None)


def _slots(guest: Guest) -> list[_Slot]:
    kinds = []
    for index, disk in enumerate(guest.devices.disks):
        field = f"spec.domain.devices.disks[{index}]"
        if disk.disk is None and disk.lun is not None:
            device, bus = "lun", disk.lun.bus
        elif disk.disk is None and disk.cdrom is not None:
            device, bus = "cdrom", disk.cdrom.bus
        else:
            device, bus = "disk", disk.disk.bus if disk.disk else None
        kinds.append((disk, field, device, bus or guest.traits.disk_bus))
    kept = {name: entry.target for name, entry in guest.volume_status.items()}
    names = disknames.assign(((d.name, disknames.prefix_of(bus, field)) for d, field, _, bus in kinds), kept)
    threads = iothreads.assignment(guest)
    return [
        _Slot(disk, field, device, bus, *names[disk.name], threads.get(disk.name) if bus == "virtio" else None)
        for disk, field, device, bus in kinds
    ]


def _is_attached(guest: Guest, disk: Disk) -> bool:
    """Permanent, plugged in, or an empty drive. Before the status lists volumes, all count as permanent."""
    if disk.name not in guest.volumes:
        return True
    status = guest.volume_status.get(disk.name)
    if status is not None:
        return status.hotplug_volume is None or status.phase in PLUGGED_PHASES or not _has_permanent(guest)
    return not _has_permanent(guest)


def _has_permanent(guest: Guest) -> bool:
    return any(entry.hotplug_volume is None for entry in guest.volume_status.values())


def _source(guest: Guest, slot: _Slot) -> Source:
    name = slot.disk.name
    if name not in guest.volumes:
        if slot.device != "cdrom":
            raise ConversionError(f"no matching volume with name {name} found", field=slot.field)
        return empty_drive()
    index, volume = guest.volumes[name]
    status = guest.volume_status.get(name)
    if status is not None and status.hotplug_volume is not None:
        return hotplugged_source(guest, volume)
    return volume_source(guest, volume, index)


def _disk(guest: Guest, slot: _Slot) -> Element:
    disk, target = slot.disk, slot.disk.disk
    cache = _cache(slot)
    source = _source(guest, slot)
    parts = [_driver(guest, slot, source, cache), source.element]
    if slot.device == "lun" and disk.lun and disk.lun.reservation:
        source.element.append(_reservations(guest))
    if source.backing is not None:
        parts.append(source.backing)
    tray = (disk.cdrom.tray or None) if slot.device == "cdrom" and disk.cdrom else None
    parts.append(element("target", dev=slot.target, bus=slot.bus, tray=tray))
    if slot.device == "disk":
        if disk.serial:
            parts.append(element("serial", disk.serial))
        if disk.shareable:
            parts.append(element("shareable"))
    if _is_readonly(slot) or source.metrics:
        parts.append(element("readonly"))
    if disk.boot_order is not None:
        parts.append(element("boot", order=disk.boot_order))
    parts += _block_io(guest, slot, source)
    parts += _address(slot, target)
    parts.append(alias(disk.name))
    model = guest.virtio if source.metrics or (slot.device == "disk" and slot.virtio) else None
    return group("disk", parts, type=source.kind, device=slot.device, model=model)


def _cache(slot: _Slot) -> str | None:
    """Explicit, or none for a disk that several guests write."""
    disk = slot.disk
    if slot.device == "disk" and disk.shareable:
        if disk.cache not in (None, "", "none"):
            raise ConversionError(
                f"a sharable disk requires cache = none got: {disk.cache}", field=f"{slot.field}.cache"
            )
        return "none"
    return disk.cache or None


def _driver(guest: Guest, slot: _Slot, source: Source, cache: str | None) -> Element:
    disk = slot.disk
    policy = disk.error_policy or "stop"
    if policy not in ERROR_POLICIES:
        raise ConversionError(f"error policy {policy} not recognized", field=f"{slot.field}.errorPolicy")
    thread, pool = slot.thread, iothreads.pool(guest) if slot.virtio else None
    if source.metrics:
        return element("driver", pool, name="qemu", type=source.format, error_policy=policy, iothread=thread)
    thin = slot.device != "cdrom" and disk.name not in guest.context.preallocated_volumes
    return element(
        "driver",
        pool,
        name="qemu",
        type=source.format,
        cache=cache,
        io=disk.io or None,
        error_policy=policy,
        discard="unmap" if thin or source.discards else None,
        iothread=thread,
        queues=guest.topology.vcpus if slot.virtio and guest.devices.block_multi_queue else None,
        iommu="on" if slot.virtio and guest.iommu else None,
    )


def _is_readonly(slot: _Slot) -> bool:
    disk = slot.disk
    if slot.device == "cdrom":
        return disk.cdrom is None or disk.cdrom.readonly is not False
    target = disk.lun if slot.device == "lun" else disk.disk
    return bool(target and target.readonly)


def _reservations(guest: Guest) -> Element:
    helper = element("source", type="unix", path=guest.paths.reservation_socket(), mode="client")
    return element("reservations", helper, managed="no", migration="yes")


def _address(slot: _Slot, target: DiskTarget | None) -> list[Element]:
    name = slot.disk.name
    if slot.device == "disk" and target and target.pci_address:
        field = f"{slot.field}.disk.pciAddress"
        if not slot.virtio:
            raise ConversionError(
                f"setting a pci address is not allowed for non-virtio bus types, for disk {name}", field=field
            )
        return [pci.address(target.pci_address, f"failed to configure disk {name}", field)]
    if slot.bus == "scsi" and slot.device != "cdrom":
        return [element("address", type="drive", controller=0, bus=0, unit=slot.unit)]
    return []


def matching_sources(guest: Guest) -> dict[str, str]:
    """File or device of each disk that asks to match its volume's block sizes, by name."""
    return {slot.disk.name: _path(_source(guest, slot)) for slot in _slots(guest) if _matches_volume(slot.disk)}


def _path(source: Source) -> str:
    return source.element.get("dev") or source.element.get("file") or ""


def _matches_volume(disk: Disk) -> bool:
    sizes = disk.block_size
    wanted = sizes.match_volume if sizes and not sizes.custom else None
    return wanted is not None and wanted.enabled is not False


def _block_io(guest: Guest, slot: _Slot, source: Source) -> list[Element]:
    sizes = slot.disk.block_size
    if sizes is None:
        return []
    if custom := sizes.custom:
        _check_size(guest, custom, slot.field)
        return [_blockio(custom.logical, custom.physical, custom.discard_granularity)]
    if not _matches_volume(slot.disk):
        return []
    found = guest.context.block_sizes.get(slot.disk.name)
    if found is None or not (found.logical or found.physical):
        raise ConversionError(
            f"failed to configure disk with block size detection enabled: {_unmeasured(source)}",
            field=f"{slot.field}.blockSize.matchVolume",
        )
    return [_blockio(*matched(found))]


def _check_size(guest: Guest, custom: CustomBlockSize, field: str) -> None:
    """A channel device's block is a page at most."""
    logical, physical, most = custom.logical or 0, custom.physical or 0, guest.traits.max_block_size
    if most and max(logical, physical) > most:
        raise ConversionError(
            f"custom block size (logical={logical}, physical={physical}) exceeds the maximum supported size of {most} "
            f"for architecture {guest.arch.value}",
            field=f"{field}.blockSize.custom",
        )


def _unmeasured(source: Source) -> str:
    path = _path(source)
    if not path:
        return "disk is neither a block device nor a file"
    if source.kind == "block":
        return f"lstat {path}: no such file or directory"
    return f"failed to stat file {path}: no such file or directory"


def matched(sizes: BlockSizes) -> tuple[int, int, int]:
    """Logical, physical and discard sizes to show the guest: a size that is 0 mirrors the other one, and a discard
    granularity that is no multiple of the logical size becomes the physical size."""
    logical = sizes.logical or sizes.physical
    physical = sizes.physical or sizes.logical
    discard = sizes.discard_granularity
    return logical, physical, discard if discard % logical == 0 else physical


def _blockio(logical: int | None, physical: int | None, discard: int | None) -> Element:
    return element(
        "blockio",
        logical_block_size=logical or None,
        physical_block_size=physical or None,
        discard_granularity=discard,
    )
