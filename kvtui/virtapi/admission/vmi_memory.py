"""Memory of a VMI: requests, limits, huge pages, guest memory.

Source: control plane facts 5.3 (domain.resources, domain.memory).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission import amounts
from kvtui.virtapi.admission.causes import Path, invalid, required

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.api.wire import Quantity
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec

SMALLEST = 1_000_000
"""Bytes that a memory request must reach."""


def amount(spec: Spec, list_name: str, resource: str) -> Quantity | None:
    """One entry of domain.resources.requests or .limits."""
    resources = spec.domain.resources
    return None if resources is None else amounts.of(getattr(resources, list_name), resource)


def validate_memory(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    """Requests and limits, then huge pages, then guest memory against the limit."""
    return [*_requests(spec, field), *_hugepages(spec, field), *_guest(spec, field, config)]


def _requests(spec: Spec, field: Path) -> list[Cause]:
    found: list[Cause] = []
    resources = field.child("domain", "resources")
    request_field, limit_field = resources.child("requests", "memory"), resources.child("limits", "memory")
    request, limit = amount(spec, "requests", "memory"), amount(spec, "limits", "memory")
    if amounts.value(request) < 0:
        found.append(
            invalid(f"{request_field} '{amounts.shown(request)}': must be greater than or equal to 0.", request_field)
        )
    elif amounts.value(request) > 0 and amounts.exact(request) < SMALLEST:
        found.append(
            invalid(f"{request_field} '{amounts.shown(request)}': must be greater than or equal to 1M.", request_field)
        )
    if amounts.value(limit) < 0:
        found.append(
            invalid(f"{limit_field} '{amounts.shown(limit)}': must be greater than or equal to 0.", limit_field)
        )
    if 0 < amounts.value(limit) < amounts.value(request):
        found.append(
            invalid(
                f"{request_field} '{amounts.shown(request)}' is greater than {limit_field} '{amounts.shown(limit)}'",
                request_field,
            )
        )
    return found


def _hugepages(spec: Spec, field: Path) -> list[Cause]:
    """A page must fit into what is asked for, and pages must fill it; guest memory stands in for a request."""
    memory = spec.domain.memory
    if memory is None or memory.hugepages is None:
        return []
    size_field = field.child("domain", "memory", "hugepages", "pageSize")
    size = memory.hugepages.page_size or ""
    wrong = amounts.complaint(size)
    if wrong:
        return [invalid(f"{size_field} '{size}': {amounts.FORMAT_WRONG}", size_field)]
    request_field = field.child("domain", "resources", "requests", "memory")
    request = amount(spec, "requests", "memory")
    page, asked = amounts.value(size), amounts.value(request if request is not None else memory.guest)
    if asked < page:
        return [
            invalid(
                f"{request_field} '{amounts.shown(request)}' must be equal to or larger than page size "
                f"{size_field} '{size}'",
                request_field,
            )
        ]
    if page and asked % page:
        return [
            invalid(
                f"{request_field} '{amounts.shown(request)}' is not a multiple of the page size {size_field} '{size}'",
                request_field,
            )
        ]
    return []


def _guest(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    """Guest memory within the limit, unless the limit follows it (LiveUpdate)."""
    memory = spec.domain.memory
    if config.live_update or memory is None or memory.guest is None:
        return []
    limit = amount(spec, "limits", "memory")
    if not 0 != amounts.value(limit) < amounts.value(memory.guest):
        return []
    guest_field = field.child("domain", "memory", "guest")
    limit_field = field.child("domain", "resources", "limits", "memory")
    return [
        invalid(
            f"{guest_field} '{amounts.shown(memory.guest)}' must be equal to or less than the memory limit "
            f"{limit_field} '{amounts.shown(limit)}'",
            guest_field,
        )
    ]


def validate_memory_given(spec: Spec, field: Path) -> list[Cause]:
    """Some memory must be asked for; only instances are held to it."""
    memory = spec.domain.memory
    if amounts.value(amount(spec, "requests", "memory")):
        return []
    if memory is not None and (memory.guest is not None or memory.hugepages is not None):
        return []
    domain = field.child("domain")
    return [
        required(
            f"no memory requested, at least one of '{domain}.memory.guest', '{domain}.memory.hugepages.pageSize' "
            f"or '{domain}.resources.requests.memory' must be set"
        )
    ]


def validate_reserved_overhead(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    memory = spec.domain.memory
    if memory is None or memory.reserved_overhead is None or config.gate("ReservedOverheadMemlock"):
        return []
    return [
        invalid(
            "Reserved overhead memlock feature gate is not enabled in kubevirt-config",
            field.child("domain", "memory", "reservedOverhead"),
        )
    ]
