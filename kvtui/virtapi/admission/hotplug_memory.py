"""When guest memory can grow while the guest runs.

Source: control plane facts 3.2 step 17; kubevirt pkg/liveupdate/memory; node facts (virtio-mem blocks of 2 MiB,
1 GiB with 1 GiB huge pages).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.kubevirt.domain import CPU, Memory
from kvtui.virtapi.admission import amounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.kubevirt.domain import DomainSpec

GIB = 2**30
BLOCK = 2 * 2**20
"""Bytes by which memory grows."""


def block_size(domain: DomainSpec) -> int:
    """Bytes that guest and maxGuest must be multiples of."""
    pages = domain.memory.hugepages if domain.memory else None
    return GIB if pages is not None and pages.page_size == "1Gi" else BLOCK


def obstacle(domain: DomainSpec, architecture: str) -> str:
    """The first reason why this domain's memory could not grow to its maxGuest; empty when it can."""
    return next(_obstacles(domain, architecture), "")


def _obstacles(domain: DomainSpec, architecture: str) -> Iterator[str]:
    memory, cpu = domain.memory or Memory(), domain.cpu or CPU()
    if cpu.realtime is not None:
        yield "Memory hotplug is not compatible with realtime VMs"
    if cpu.numa is not None and cpu.numa.guest_mapping_passthrough is not None:
        yield "Memory hotplug is not compatible with guest mapping passthrough"
    if domain.launch_security is not None:
        yield "Memory hotplug is not compatible with encrypted VMs"
    if memory.guest is None:
        yield "Guest memory must be configured when memory hotplug is enabled"
    if memory.max_guest is None:
        yield "Max guest memory must be configured when memory hotplug is enabled"
    if amounts.exact(memory.guest) > amounts.exact(memory.max_guest):
        yield "Guest memory is greater than the configured maxGuest memory"
    block = block_size(domain)
    size = "1Gi" if block == GIB else "2Mi"
    if amounts.value(memory.guest) % block:
        yield f"Guest memory must be {size} aligned"
    if amounts.value(memory.max_guest) % block:
        yield f"MaxGuest must be {size} aligned"
    if architecture != "amd64":
        yield "Memory hotplug is only available for x86_64 VMs"
    if amounts.value(memory.guest) < GIB:
        yield "Memory hotplug is only available for VMs with at least 1Gi of guest memory"
