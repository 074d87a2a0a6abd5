"""CPU of a VMI: requests, topology, dedicated placement, NUMA, realtime, features; and the machine type.

Source: control plane facts 5.3 (domain.cpu, domain.machine, architecture).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kvtui.virtapi.admission import amounts
from kvtui.virtapi.admission.causes import Path, invalid, not_supported, required
from kvtui.virtapi.admission.text import go_list
from kvtui.virtapi.admission.vmi_memory import amount

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import CPU
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec

FEATURE_POLICIES = ("", "force", "require", "optional", "disable", "forbid")


def vcpus(cpu: CPU | None) -> int:
    """Cores, threads and sockets multiplied; what is not set counts as one, unless nothing is."""
    if cpu is None or not (cpu.cores or cpu.threads or cpu.sockets):
        return 0
    return (cpu.cores or 1) * (cpu.threads or 1) * (cpu.sockets or 1)


def validate_machine(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    machine = spec.domain.machine.type if spec.domain.machine else None
    if not machine:
        return []
    patterns = config.machine_patterns(spec.architecture or "")
    if any(fnmatchcase(machine, pattern) for pattern in patterns):
        return []
    own = field.child("domain", "machine", "type")
    return [invalid(f"{own} is not supported: {machine} (allowed values: {go_list(patterns)})", own)]


def validate_cpu(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    """Requests and limits, dedicated placement, NUMA, emulator thread, feature policies, sockets."""
    found = _requests(spec, field)
    cpu = spec.domain.cpu
    if cpu is None:
        return found
    own = field.child("domain", "cpu")
    if cpu.dedicated_cpu_placement:
        found += _dedicated(spec, cpu, field, config)
    found += _numa(spec, cpu, own, field)
    if cpu.isolate_emulator_thread and not cpu.dedicated_cpu_placement:
        found.append(
            invalid(
                "IsolateEmulatorThread should be only set in combination with DedicatedCPUPlacement",
                own.child("isolateEmulatorThread"),
            )
        )
    for position, feature in enumerate(cpu.features):
        if (feature.policy or "") not in FEATURE_POLICIES:
            found.append(
                not_supported(
                    f"CPU feature {feature.name} uses policy {feature.policy} that is not supported.",
                    own.child("features").item(position).child("policy"),
                )
            )
    return found + validate_sockets(cpu, own)


def validate_sockets(cpu: CPU | None, own: Path) -> list[Cause]:
    if cpu is None or not cpu.max_sockets or (cpu.sockets or 0) <= cpu.max_sockets:
        return []
    return [
        invalid("Number of sockets in CPU topology is greater than the maximum sockets allowed", own.child("sockets"))
    ]


def validate_realtime(spec: Spec, field: Path) -> list[Cause]:
    """Realtime guests need their own CPUs and the host's NUMA layout."""
    cpu = spec.domain.cpu
    if cpu is None or cpu.realtime is None:
        return []
    own, found = field.child("domain", "cpu"), []
    if not cpu.dedicated_cpu_placement:
        placement = own.child("dedicatedCpuPlacement")
        found.append(required(f"{placement} must be set to true when {own.child('realtime')} is used", placement))
    if cpu.numa is None or cpu.numa.guest_mapping_passthrough is None:
        mapping = own.child("numa", "guestMappingPassthrough")
        found.append(required(f"{mapping} must be defined when {own.child('realtime')} is used", mapping))
    return found


def _requests(spec: Spec, field: Path) -> list[Cause]:
    resources = field.child("domain", "resources")
    request_field, limit_field = resources.child("requests", "cpu"), resources.child("limits", "cpu")
    request, limit = amount(spec, "requests", "cpu"), amount(spec, "limits", "cpu")
    found = [
        invalid(f"{path} '{amounts.shown(given)}': must be greater than or equal to 0.", path)
        for path, given in ((request_field, request), (limit_field, limit))
        if amounts.milli(given) < 0
    ]
    if 0 < amounts.milli(limit) < amounts.milli(request):
        found.append(
            invalid(
                f"{request_field} '{amounts.shown(request)}' is greater than {limit_field} '{amounts.shown(limit)}'",
                request_field,
            )
        )
    return found


def _dedicated(spec: Spec, cpu: CPU, field: Path, config: ClusterConfig) -> list[Cause]:
    """Whole CPUs, the same number requested, allowed and given to the guest."""
    domain = field.child("domain")
    requests, limits = domain.child("resources", "requests"), domain.child("resources", "limits")
    own = domain.child("cpu", "dedicatedCpuPlacement")
    request, limit = amount(spec, "requests", "cpu"), amount(spec, "limits", "cpu")
    memory_request, memory_limit = amount(spec, "requests", "memory"), amount(spec, "limits", "memory")
    asked, allowed, guest = amounts.value(request), amounts.value(limit), vcpus(cpu)
    found: list[Cause] = []
    memory = spec.domain.memory
    given = memory is not None and (memory.hugepages is not None or memory.guest is not None)
    if not amounts.value(memory_request) and not amounts.value(memory_limit) and not given:
        found.append(
            invalid(
                f"{requests.child('memory')}, {limits.child('memory')}, {domain.child('memory', 'hugepages')} or "
                f"{domain.child('memory', 'guest')} should be provided",
                limits.child("memory"),
            )
        )
    if asked > 0 and asked * 1000 != amounts.milli(request):
        found.append(invalid("provided resources CPU requests must be an interger", requests.child("cpu")))
    if allowed > 0 and allowed * 1000 != amounts.milli(limit):
        found.append(invalid("provided resources CPU limits must be an interger", limits.child("cpu")))
    memory_asked, memory_allowed = amounts.value(memory_request), amounts.value(memory_limit)
    if memory_asked > 0 and memory_allowed > 0 and memory_asked != memory_allowed:
        path = requests.child("memory")
        found.append(invalid(f"{path} must be equal to {limits.child('memory')}", path))
    both = f"{requests.child('cpu')} or {limits.child('cpu')}"
    cores = domain.child("cpu", "cores")
    if not asked and not allowed and not guest:
        found.append(invalid(f"either {both} or {cores} must be provided when DedicatedCPUPlacement is true ", own))
    if asked > 0 and allowed > 0 and asked != allowed:
        found.append(invalid(f"{both} must be equal when DedicatedCPUPlacement is true ", own))
    if (asked > 0 or allowed > 0) and guest and asked != guest and allowed != guest:
        found.append(
            invalid(
                f"{both} must not be provided at the same time with {cores} when DedicatedCPUPlacement is true ", own
            )
        )
    return found + _threads(spec, cpu, field, config)


def _threads(spec: Spec, cpu: CPU, field: Path, config: ClusterConfig) -> list[Cause]:
    threads, found = cpu.threads or 0, []
    path = field.child("domain", "cpu", "threads")
    if threads > 1 and (spec.architecture or config.default_architecture) == "arm64":
        architecture = field.child("architecture")
        found.append(
            invalid(
                f"threads must not be greater than 1 at {path} (got {threads}) when {architecture} is arm64",
                architecture,
            )
        )
    if threads > 2:
        found.append(
            invalid(
                f"Not more than two threads must be provided at {path} (got {threads}) "
                "when DedicatedCPUPlacement is true",
                field.child("domain", "cpu", "dedicatedCpuPlacement"),
            )
        )
    return found


def _numa(spec: Spec, cpu: CPU, own: Path, field: Path) -> list[Cause]:
    if cpu.numa is None or cpu.numa.guest_mapping_passthrough is None:
        return []
    path, found = own.child("numa", "guestMappingPassthrough"), []
    if not cpu.dedicated_cpu_placement:
        found.append(
            invalid(
                f"{own.child('dedicatedCpuPlacement')} must be set to true "
                f"when NUMA topology strategy is set in {path}",
                path,
            )
        )
    if spec.domain.memory is None or spec.domain.memory.hugepages is None:
        pages = field.child("domain", "memory", "hugepages")
        found.append(invalid(f"{pages} must be requested when NUMA topology strategy is set in {path}", path))
    return found
