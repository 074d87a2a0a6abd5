"""Our words as libvirt's numbers: flags and parameters of calls. Pure.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import libvirt

from kvtui.node.hypervisor import Affect, MigrateRequest, Share, ShutdownMode, XmlKind

UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")
PERIOD = 100_000
"""Microseconds in which a domain may use its quota."""

XML = {
    XmlKind.LIVE: 0,
    XmlKind.INACTIVE: libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE,
    XmlKind.MIGRATABLE: libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE,
}
SHUTDOWN = {
    ShutdownMode.DEFAULT: libvirt.VIR_DOMAIN_SHUTDOWN_DEFAULT,
    ShutdownMode.ACPI: libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
    ShutdownMode.AGENT: libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
}
REBOOT = {
    ShutdownMode.DEFAULT: libvirt.VIR_DOMAIN_REBOOT_DEFAULT,
    ShutdownMode.ACPI: libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN,
    ShutdownMode.AGENT: libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT,
}
GUEST_INFO = (
    libvirt.VIR_DOMAIN_GUEST_INFO_OS
    | libvirt.VIR_DOMAIN_GUEST_INFO_TIMEZONE
    | libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME
    | libvirt.VIR_DOMAIN_GUEST_INFO_INTERFACES
)


def migrate_params(request: MigrateRequest) -> tuple[dict[str, Any], int]:
    """Parameters and flags of migrateToURI3."""
    wanted = request.flags
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST
    for on, flag in (
        (wanted.copy_disks, libvirt.VIR_MIGRATE_NON_SHARED_INC),
        (wanted.unsafe, libvirt.VIR_MIGRATE_UNSAFE),
        (wanted.auto_converge, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
        (wanted.post_copy, libvirt.VIR_MIGRATE_POSTCOPY),
        (wanted.paused, libvirt.VIR_MIGRATE_PAUSED),
        (wanted.parallel, libvirt.VIR_MIGRATE_PARALLEL),
        (wanted.tunnelled, libvirt.VIR_MIGRATE_TUNNELLED),
    ):
        flags |= flag if on else 0
    params: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: request.uri,
        libvirt.VIR_MIGRATE_PARAM_DISKS_URI: request.disks_uri if request.disks else "",
        libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: list(request.disks),
        libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: request.bandwidth,
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: request.destination_xml,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: request.persistent_xml,
        libvirt.VIR_MIGRATE_PARAM_DEST_NAME: request.destination_name,
        libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS: request.parallel_connections,
    }
    return {name: value for name, value in params.items() if value}, flags


def share_params(share: Share, *, unified: bool | None = None) -> tuple[dict[str, int], dict[str, int]]:
    """Scheduler and memory parameters. `unified` is for control groups v2, by default as this machine has them.

    There a weight takes the place of shares; the formula is Kubernetes' own.
    """
    scheduler: dict[str, int] = {}
    if share.cpu_shares:
        unified = UNIFIED.exists() if unified is None else unified
        weight = 1 + (share.cpu_shares - 2) * 9999 // 262142
        scheduler[libvirt.VIR_DOMAIN_SCHEDULER_CPU_SHARES] = weight if unified else share.cpu_shares
    if share.cpu_limit:
        scheduler[libvirt.VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD] = PERIOD
        scheduler[libvirt.VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA] = max(1000, share.cpu_limit * PERIOD // 1000)
    memory = {libvirt.VIR_DOMAIN_MEMORY_HARD_LIMIT: share.memory_limit // 1024} if share.memory_limit else {}
    return scheduler, memory


def affected(affect: Affect) -> int:
    flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if Affect.LIVE in affect else 0
    return int(flags | (libvirt.VIR_DOMAIN_AFFECT_CONFIG if Affect.CONFIG in affect else 0))


def version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
