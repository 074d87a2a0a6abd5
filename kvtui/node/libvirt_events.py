"""libvirt's event callbacks as our event values.

Callbacks run in libvirt's event thread, must not raise and must not call libvirt: each makes a value and hands it on.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventID
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import libvirt

from kvtui.node.hypervisor import (
    AgentChanged,
    BlockJobChanged,
    DeviceAdded,
    DeviceRemovalFailed,
    DeviceRemoved,
    DiskFailed,
    DomainId,
    DomainState,
    DomainStatus,
    Event,
    GuestRebooted,
    JobCompleted,
    JobKind,
    JobStats,
    LifecycleChanged,
    LifecycleKind,
    MemorySizeChanged,
    MigrationIterated,
    Reason,
    TrayMoved,
    WatchdogFired,
)

STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: DomainState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.PMSUSPENDED,
}
_PAUSED = (
    Reason.UNKNOWN,
    Reason.USER,
    Reason.MIGRATION,
    Reason.SAVE,
    Reason.DUMP,
    Reason.IOERROR,
    Reason.WATCHDOG,
    Reason.FROM_SNAPSHOT,
    Reason.SHUTTING_DOWN,
    Reason.SNAPSHOT,
    Reason.CRASHED,
    Reason.STARTING_UP,
    Reason.POSTCOPY,
    Reason.POSTCOPY_FAILED,
    Reason.API_ERROR,
)
_SHUTOFF = (
    Reason.UNKNOWN,
    Reason.SHUTDOWN,
    Reason.DESTROYED,
    Reason.CRASHED,
    Reason.MIGRATED,
    Reason.SAVED,
    Reason.FAILED,
    Reason.FROM_SNAPSHOT,
    Reason.DAEMON,
)
_CRASHED = (Reason.UNKNOWN, Reason.PANICKED)
_RUNNING = {1: Reason.BOOTED, 2: Reason.MIGRATION, 5: Reason.UNPAUSED, 11: Reason.POSTCOPY, 13: Reason.POSTCOPY_FAILED}

LIFECYCLE = (
    LifecycleKind.DEFINED,
    LifecycleKind.UNDEFINED,
    LifecycleKind.STARTED,
    LifecycleKind.SUSPENDED,
    LifecycleKind.RESUMED,
    LifecycleKind.STOPPED,
    LifecycleKind.SHUTDOWN,
    LifecycleKind.PMSUSPENDED,
    LifecycleKind.CRASHED,
)


def status_of(state: int, reason: int) -> DomainStatus:
    """The pair that virDomainGetState gives."""
    known = STATES.get(state, DomainState.NOSTATE)
    table: Mapping[int, Reason] | tuple[Reason, ...]
    match known:
        case DomainState.PAUSED:
            table = _PAUSED
        case DomainState.SHUTOFF:
            table = _SHUTOFF
        case DomainState.CRASHED:
            table = _CRASHED
        case DomainState.RUNNING:
            table = _RUNNING
        case _:
            table = ()
    if isinstance(table, tuple):
        return DomainStatus(known, table[reason] if 0 <= reason < len(table) else Reason.UNKNOWN)
    return DomainStatus(known, table.get(reason, Reason.OTHER))


def job_of(raw: Mapping[str, Any]) -> JobStats:
    """The dictionary of virDomainGetJobStats."""
    operation = {4: JobKind.MIGRATION_IN, 5: JobKind.MIGRATION_OUT}
    kind = int(raw.get("type", 0))

    def number(name: str) -> int:
        return int(raw.get(name, 0))

    return JobStats(
        kind=operation.get(number("operation"), JobKind.OTHER) if kind else JobKind.NONE,
        active=kind in (libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED),
        elapsed=number("time_elapsed"),
        downtime=int(raw["downtime"]) if "downtime" in raw else None,
        data_total=number("data_total"),
        data_processed=number("data_processed"),
        data_remaining=number("data_remaining"),
        memory_total=number("memory_total"),
        memory_processed=number("memory_processed"),
        memory_remaining=number("memory_remaining"),
        memory_rate=number("memory_bps"),
        dirty_rate=number("memory_dirty_rate") * (number("memory_page_size") or 4096),
        disk_total=number("disk_total"),
        disk_processed=number("disk_processed"),
        disk_remaining=number("disk_remaining"),
        iteration=number("memory_iteration"),
        postcopy_requests=number("memory_postcopy_requests"),
    )


def _uuid(domain: Any) -> DomainId:
    return DomainId(domain.UUIDString())


Convert = Callable[..., Event]

CONVERTERS: dict[int, Convert] = {
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: lambda dom, event, detail: LifecycleChanged(
        _uuid(dom), LIFECYCLE[event] if event < len(LIFECYCLE) else LifecycleKind.DEFINED, detail
    ),
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: lambda dom: GuestRebooted(_uuid(dom)),
    libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG: lambda dom, action: WatchdogFired(_uuid(dom), action),
    libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: lambda dom, source, alias, _action, reason: DiskFailed(
        _uuid(dom), source or "", alias or "", reason or ""
    ),
    libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE: lambda dom, alias, _reason: TrayMoved(_uuid(dom), alias or ""),
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: lambda dom, alias: DeviceAdded(_uuid(dom), alias or ""),
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: lambda dom, alias: DeviceRemoved(_uuid(dom), alias or ""),
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED: lambda dom, alias: DeviceRemovalFailed(_uuid(dom), alias or ""),
    libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: lambda dom, state, _reason: AgentChanged(
        _uuid(dom), state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
    ),
    libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION: lambda dom, iteration: MigrationIterated(_uuid(dom), iteration),
    libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED: lambda dom, params: JobCompleted(_uuid(dom), job_of(params)),
    libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE: lambda dom, alias, size: MemorySizeChanged(
        _uuid(dom), alias or "", size * 1024
    ),
    libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2: lambda dom, target, _type, status: BlockJobChanged(
        _uuid(dom), target or "", status
    ),
}


def register(connection: Any, deliver: Callable[[Event], None]) -> list[int]:
    """Registers for every event that the driver knows; `deliver` is called in libvirt's event thread.

    The numbers that come back are for `deregister`: a connection is only freed when no callback holds it.
    """

    def callback(_connection: Any, *arguments: Any) -> int:
        *values, convert = arguments
        try:
            event = convert(*values)
        except (libvirt.libvirtError, TypeError, ValueError, IndexError):
            return 0  # an unreadable event is a lost hint; the regular look repairs it
        deliver(event)
        return 0

    numbers = []
    for number, convert in CONVERTERS.items():
        try:
            numbers.append(int(connection.domainEventRegisterAny(None, number, callback, convert)))
        except libvirt.libvirtError:
            continue  # this driver does not have that event
    return numbers


def deregister(connection: Any, numbers: list[int]) -> None:
    for number in numbers:
        try:
            connection.domainEventDeregisterAny(number)
        except libvirt.libvirtError:
            continue  # the daemon is gone, and with it the registration
