"""I/O threads: how many, and which disk uses which -> <iothreads>, the iothread of a disk's or controller's driver.

Threads 1..n are shared by disks in turn; disks with a dedicated thread follow. Only virtio disks have threads of
their own; SCSI disks share their controller's. A supplemental pool serves every virtio disk with all its threads.

Source: KubeVirt's I/O threads; https://libvirt.org/formatdomain.html#iothreads-allocation
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element, group
from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import Disk
    from kvtui.domainxml.guest import Guest

MAX_THREADS = 4096
_FIELD = "spec.domain.ioThreads.supplementalPoolThreadCount"


def enabled(guest: Guest) -> bool:
    return guest.domain.io_threads_policy is not None or any(d.dedicated_io_thread for d in guest.devices.disks)


def supplemental_count(guest: Guest) -> int:
    """Threads of the supplemental pool; 0 without one. Raises ConversionError."""
    threads = guest.domain.io_threads
    if guest.domain.io_threads_policy != "supplementalPool" or threads is None:
        return 0
    count = threads.supplemental_pool_thread_count or 0
    if not 0 <= count <= MAX_THREADS:
        raise ConversionError(f"{count} is not between 0 and {MAX_THREADS}", field=_FIELD)
    return count


def _limit(guest: Guest) -> int:
    policy, resources = guest.domain.io_threads_policy, guest.domain.resources
    if policy is None or policy == "shared":
        return 1
    if policy != "auto":
        return 0
    if guest.isolated_emulator:
        return 1
    cpus = 1
    for amounts in (resources.requests, resources.limits) if resources else ():
        if "cpu" in amounts:
            cpus = guest.count(amounts["cpu"], "spec.domain.resources")
            break
    return 2 * min(cpus, MAX_THREADS)


def _shared_and_dedicated(guest: Guest) -> tuple[int, int]:
    if not enabled(guest) or guest.domain.io_threads_policy == "supplementalPool":
        return 0, 0
    dedicated = sum(1 for disk in guest.devices.disks if disk.dedicated_io_thread)
    shared = len(guest.devices.disks) - dedicated
    limit = _limit(guest)
    if shared + dedicated > limit:
        shared = max(limit - dedicated, 1)
    return shared, dedicated


def total(guest: Guest) -> int:
    """All I/O threads of the domain."""
    return supplemental_count(guest) or sum(_shared_and_dedicated(guest))


def _bus(disk: Disk) -> str | None:
    target = disk.disk or disk.lun or disk.cdrom
    return target.bus if target else None


def assignment(guest: Guest) -> dict[str, int]:
    """Thread of each virtio disk, by name; empty with a supplemental pool."""
    shared, dedicated = _shared_and_dedicated(guest)
    if not shared + dedicated:
        return {}
    threads: dict[str, int] = {}
    next_shared, next_dedicated = 1, shared + 1
    for disk in guest.devices.disks:
        if (_bus(disk) or guest.traits.disk_bus) != "virtio":
            continue
        if disk.dedicated_io_thread:
            threads[disk.name] = next_dedicated
            next_dedicated += 1
        else:
            threads[disk.name] = next_shared
            next_shared = next_shared % max(shared, 1) + 1
    return threads


def scsi_thread(guest: Guest) -> int | None:
    """Thread of the SCSI controller: the next shared one after the virtio disks that share. None if no SCSI disk asks
    for one, or if no thread is shared."""
    shared = _shared_and_dedicated(guest)[0]
    if not shared or not any(disk.dedicated_io_thread and _bus(disk) == "scsi" for disk in guest.devices.disks):
        return None
    sharing = sum(
        1
        for disk in guest.devices.disks
        if not disk.dedicated_io_thread and (_bus(disk) or guest.traits.disk_bus) == "virtio"
    )
    return sharing % shared + 1


def pool(guest: Guest) -> Element | None:
    """The list of all pool threads, for the driver of every virtio disk."""
    count = supplemental_count(guest)
    return group("iothreads", [element("iothread", id=n) for n in range(1, count + 1)]) if count else None


def build(guest: Guest) -> list[Element]:
    count = total(guest) if enabled(guest) else 0
    return [element("iothreads", count)] if count else []
