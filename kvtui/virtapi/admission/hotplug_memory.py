"""When guest memory can grow while the guest runs.

Source: control plane facts 3.2 step 17; node facts (virtio-mem blocks of 2 MiB, 1 GiB with 1 GiB huge pages).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission import amounts
from kvtui.virtapi.admission.causes import Path, invalid

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import DomainSpec
    from kvtui.errors import Cause

GIB = 2**30
BLOCK = 2 * 2**20
"""Bytes by which memory grows."""


def block_size(domain: DomainSpec) -> int:
    """Bytes that guest and maxGuest must be multiples of."""
    pages = domain.memory.hugepages if domain.memory else None
    if pages is not None and pages.page_size and not amounts.complaint(pages.page_size):
        return GIB if amounts.value(pages.page_size) == GIB else BLOCK
    return BLOCK


def obstacles(domain: DomainSpec, architecture: str, field: Path) -> list[Cause]:
    """Why the guest memory of this domain could not grow to its maxGuest; `field` is the domain's path."""
    found: list[Cause] = []
    memory, cpu = domain.memory, domain.cpu
    if cpu is not None and cpu.realtime is not None:
        found.append(invalid("Memory hotplug is not compatible with realtime VMs", field.child("cpu", "realtime")))
    if cpu is not None and cpu.numa is not None and cpu.numa.guest_mapping_passthrough is not None:
        found.append(
            invalid(
                "Memory hotplug is not compatible with guest mapping passthrough",
                field.child("cpu", "numa", "guestMappingPassthrough"),
            )
        )
    if domain.launch_security is not None:
        found.append(invalid("Memory hotplug is not compatible with encrypted VMs", field.child("launchSecurity")))
    found += _amounts(domain, field.child("memory"))
    if architecture != "amd64":
        root = Path(field.removesuffix(".domain"))
        found.append(invalid("Memory hotplug is only available for x86_64 VMs", root.child("architecture")))
    if memory is not None and memory.guest is not None and not found and amounts.value(memory.guest) < GIB:
        found.append(
            invalid(
                "Memory hotplug is only available for VMs with at least 1Gi of guest memory",
                field.child("memory", "guest"),
            )
        )
    return found


def _amounts(domain: DomainSpec, field: Path) -> list[Cause]:
    memory, block = domain.memory, block_size(domain)
    size = "1Gi" if block == GIB else "2Mi"
    found: list[Cause] = []
    if memory is None or memory.guest is None:
        found.append(invalid("Guest memory must be configured when memory hotplug is enabled", field.child("guest")))
    elif amounts.exact(memory.guest) > amounts.exact(memory.max_guest):
        found.append(invalid("Guest memory is greater than the configured maxGuest memory", field.child("guest")))
    elif amounts.value(memory.guest) % block:
        found.append(invalid(f"Guest memory must be {size} aligned", field.child("guest")))
    if memory is not None and memory.max_guest is not None and amounts.value(memory.max_guest) % block:
        found.append(invalid(f"MaxGuest must be {size} aligned", field.child("maxGuest")))
    return found
