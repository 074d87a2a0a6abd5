"""Rules for disks that join a running guest.

Source: control plane facts 5.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.kubevirt.domain import Disk
    from kvtui.errors import Cause

DISK_BUSES = ("scsi", "virtio")
BOOT_ORDER_DISK = "spec.domain.devices.disks[1]"
"""What upstream calls every disk with a bad boot order."""


def validate_hotplug_disk(disk: Disk | None, name: str, prefix: str, field: str = "") -> Iterator[Cause]:
    """The first finding counts. `prefix` begins the messages; `field` is where the request stands, if anywhere."""
    if disk is None:
        yield invalid(f"{prefix} for [{name}] requires the disk field to be set.", field)
        return
    bus = ""
    if disk.disk is not None:
        bus = disk.disk.bus or ""
        if bus not in DISK_BUSES:
            message = f"{prefix} for disk [{name}] requires bus to be 'scsi' or 'virtio'. [{bus}] is not permitted."
            yield invalid(message, field)
    elif disk.lun is not None:
        bus = disk.lun.bus or ""
        if bus != "scsi":
            message = f"{prefix} for LUN [{name}] requires bus to be 'scsi'. [{bus}] is not permitted."
            yield invalid(message, field)
    else:
        yield invalid(f"{prefix} for [{name}] requires diskDevice of type 'disk' or 'lun' to be used.", field)
    if disk.dedicated_io_thread and bus != "virtio":
        yield invalid(f"{prefix} for [{name}] requires virtio bus for IOThreads.", field)
    if disk.boot_order is not None and disk.boot_order < 1:
        yield invalid(f"{BOOT_ORDER_DISK} must have a boot order > 0, if supplied", f"{BOOT_ORDER_DISK}.bootOrder")
