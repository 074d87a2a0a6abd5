"""Disks of a VMI: names, targets, buses, serials, caching, block sizes; and boot order across disks and NICs.

Source: control plane facts 5.3. Some fields repeat the way to the disks, as upstream's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid, not_supported, required
from kvtui.virtapi.admission.text import dns_label, go_list, is_pci_address
from kvtui.virtapi.admission.vmi_firmware import SERIAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kvtui.api.kubevirt.domain import Disk
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, Volume
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

LONGEST_SERIAL = 256
SMALLEST_BLOCK = 512
LARGEST_BLOCK = 2 * 2**20
"""Bytes."""
CACHE_MODES = ("none", "writethrough", "writeback")
IO_MODES = ("native", "threads")
ERROR_POLICIES = ("stop", "ignore", "report", "enospace")
BUSES = ("virtio", "scsi", "sata", "usb")


def target_of(disk: Disk) -> str:
    """The member that says how the guest sees the disk; empty when nothing is said."""
    if disk.disk is not None:
        return "disk"
    if disk.lun is not None:
        return "lun"
    return "cdrom" if disk.cdrom is not None else ""


def bus_of(disk: Disk) -> str:
    target = disk.disk or disk.lun or disk.cdrom
    return (target.bus if target else None) or ""


def validate_disks(disks: Sequence[Disk], field: Path) -> list[Cause]:
    """`field` is the path of the list."""
    found: list[Cause] = []
    for position, disk in enumerate(disks):
        at, doubled = field.item(position), field.child("domain", "devices", "disks")
        found += [
            invalid(f"{at} and {field.item(other)} must not have the same Name.", at.child("name"))
            for other in range(position)
            if disks[other].name == disk.name
        ]
        if sum(target is not None for target in (disk.disk, disk.lun, disk.cdrom)) > 1:
            found.append(invalid(f"{at} can only have a single target type defined", at))
        found += _pci_address(disk, doubled.child("disk").item(position))
        if disk.boot_order is not None and disk.boot_order < 1:
            found.append(invalid(f"{at} must have a boot order > 0, if supplied", at.child("bootOrder")))
        found += _bus(disk, at, doubled.item(position))
        found += _reservation(disk, at)
        found += _serial(disk, at)
        found += _modes(disk, field, at, doubled.item(position))
        found += [invalid(wrong, doubled.item(position).child("name")) for wrong in dns_label(disk.name)]
        found += _block_size(disk, at)
    return found


def _pci_address(disk: Disk, own: Path) -> Iterator[Cause]:
    address = disk.disk.pci_address if disk.disk else None
    if not address:
        return
    name = own.child("name")
    if bus_of(disk) != "virtio":
        yield invalid(
            f"disk {name} - setting a PCI address is only possible with bus type virtio.", own.child("pciAddress")
        )
    if not is_pci_address(address):
        yield invalid(f"disk {name} has malformed PCI address ({address}).", own.child("pciAddress"))


def _bus(disk: Disk, at: Path, doubled: Path) -> Iterator[Cause]:
    bus, target = bus_of(disk), target_of(disk)
    if not bus:
        return
    own = at.child(target, "bus")
    if bus == "ide":
        yield invalid("IDE bus is not supported", own)
    elif bus == "virtio" and target == "cdrom":
        yield invalid(f"Bus type {bus} is invalid for CD-ROM device", own)
    elif bus == "sata" and disk.disk is not None and disk.disk.readonly:
        yield invalid(f"{bus} hard-disks do not support read-only.", own)
    elif bus not in BUSES:
        yield invalid(f"{at} is set with an unrecognized bus {bus}, must be one of: {go_list(BUSES)}", own)
    if disk.dedicated_io_thread and bus != "virtio":
        yield not_supported(f"IOThreads are not supported for disks on a {bus} bus", doubled)


def _reservation(disk: Disk, at: Path) -> Iterator[Cause]:
    """A bus that is not named is no SCSI bus either."""
    if disk.lun is None or not disk.lun.reservation or disk.lun.bus == "scsi":
        return
    message = f"Persistent reservation requires a SCSI bus, but {disk.lun.bus or ''} was specified"
    yield invalid(message, at.child("lun", "bus"))


def _serial(disk: Disk, at: Path) -> Iterator[Cause]:
    own = at.child("serial")
    if disk.serial and not SERIAL.fullmatch(disk.serial):
        yield invalid(f"{at} must be made up of the following characters [A-Za-z0-9_.+-], if specified", own)
    if disk.serial and len(disk.serial) > LONGEST_SERIAL:
        yield invalid(f"{at} must be less than or equal to {LONGEST_SERIAL} in length, if specified", own)


def _modes(disk: Disk, field: Path, at: Path, doubled: Path) -> Iterator[Cause]:
    if disk.cache and disk.cache not in CACHE_MODES:
        yield invalid(f"{at.child('cache')} has invalid value {disk.cache}", at.child("cache"))
    if disk.io and disk.io not in IO_MODES:
        yield not_supported(
            f"Disk IO mode for {field} is not supported. Supported modes are: native, threads.", doubled.child("io")
        )
    if disk.error_policy is not None and disk.error_policy not in ERROR_POLICIES:
        own = at.child("errorPolicy")
        yield invalid(f'{own} has invalid value "{disk.error_policy}"', own)


def _block_size(disk: Disk, at: Path) -> list[Cause]:
    if disk.block_size is None or disk.block_size.custom is None:
        return []
    own, custom = at.child("blockSize"), disk.block_size.custom
    match = disk.block_size.match_volume
    if match is not None and match.enabled is not False:
        return [invalid("Block size matching can't be enabled together with a custom value", own)]
    logical, physical, granularity = custom.logical or 0, custom.physical or 0, custom.discard_granularity
    fields = own.child("custom")
    if logical > physical:
        return [
            invalid(
                f"Logical size {logical} must be the same or less than the physical size of {physical}",
                fields.child("logical"),
            )
        ]
    if bus_of(disk) == "sata" and logical != SMALLEST_BLOCK:
        return [invalid(f"Logical size {logical} must be {SMALLEST_BLOCK} for SATA devices", fields.child("logical"))]
    if granularity is not None and logical and granularity % logical:
        return [
            invalid(
                f"Discard granularity {granularity} must be multiples of logical size {logical}",
                fields.child("discardGranularity"),
            )
        ]
    return [*_size(logical, fields.child("logical")), *_size(physical, fields.child("physical"))]


def _size(size: int, own: Path) -> list[Cause]:
    if size < SMALLEST_BLOCK:
        return [invalid(f"Provided size of {size} is less than the supported minimum size of {SMALLEST_BLOCK}", own)]
    if size > LARGEST_BLOCK:
        return [invalid(f"Provided size of {size} is greater than the supported maximum size of {LARGEST_BLOCK}", own)]
    return [invalid(f"Provided size of {size} is not a power of 2", own)] if size & (size - 1) else []


def validate_disk_volumes(spec: VirtualMachineInstanceSpec, field: Path, config: ClusterConfig) -> list[Cause]:
    """Every disk has a volume that suits it, and no boot order is given twice, NICs included."""
    found: list[Cause] = []
    volumes = {volume.name: volume for volume in spec.volumes}
    orders: set[int] = set()
    disks = field.child("domain", "devices", "disks")
    for position, disk in enumerate(spec.domain.devices.disks):
        at, volume = disks.item(position), volumes.get(disk.name)
        if volume is None:
            found += _without_volume(disk, at, config)
        else:
            found += _with_volume(disk, volume, at)
        if disk.boot_order is not None:
            if disk.boot_order in orders:
                own = at.child("bootOrder")
                found.append(invalid(f"Boot order for {own} already set for a different device.", own))
            orders.add(disk.boot_order)
    for position, interface in enumerate(spec.domain.devices.interfaces):
        order = interface.boot_order
        if order is None:
            continue
        if order < 1:  # the path really is this short
            at = field.item(position)
            found.append(invalid(f"{at} must have a boot order > 0, if supplied", at.child("bootOrder")))
            continue
        own = field.child("domain", "devices", "interfaces").item(position).child("bootOrder")
        if order in orders:
            found.append(invalid(f"Boot order for {own} already set for a different device.", own))
        orders.add(order)
    return found


def _without_volume(disk: Disk, at: Path, config: ClusterConfig) -> list[Cause]:
    if disk.cdrom is None:
        return [invalid(f"{at.child('Name')} '{disk.name}' not found.", at.child("name"))]
    if not config.gate("DeclarativeHotplugVolumes"):
        return [
            invalid(
                "DeclarativeHotplugVolumes feature gate not enabled, cannot define an empty CD-ROM disk",
                at.child("name"),
            )
        ]
    return []


def _with_volume(disk: Disk, volume: Volume, at: Path) -> Iterator[Cause]:
    if disk.lun is not None and volume.persistent_volume_claim is None and volume.data_volume is None:
        own = at.child("lun")
        yield invalid(f"{own} can only be mapped to a DataVolume or PersistentVolumeClaim volume.", own)
    if volume.downward_metrics is None:
        return
    if disk.disk is None:
        own = at.child("disk")
        yield required(f"DownwardMetrics volume must be mapped to a disk, but disk is not set on {own}.", own)
    elif (disk.disk.bus or "") not in ("virtio", ""):
        own = at.child("disk", "bus")
        yield invalid(f"DownwardMetrics volume must be mapped to virtio bus, but {own} is set to {disk.disk.bus}", own)
