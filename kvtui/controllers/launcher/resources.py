"""Requests and limits of a launcher's containers.

Source: kubevirt pkg/virt-controller/services/renderresources.go; control plane facts 4.3.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kvtui.api import quantity
from kvtui.api.core.pod import ContainerResources
from kvtui.api.kubevirt.domain import GPU, HostDevice, ResourceRequirements
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.controllers.amount import ZERO, Amount
from kvtui.controllers.clusterconfig import CPU_ALLOCATION_RATIO, MEMORY_OVERCOMMIT, Configuration
from kvtui.controllers.launcher.overhead import vcpus, wants_guaranteed

DEVICE = "devices.kubevirt.io/"
EVEN_PARITY = "alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity"
EPHEMERAL_STORAGE = Amount.of("50M")
AUTO_MEMORY_RATIO = Decimal(2)

Amounts = dict[str, Amount]


@dataclass(frozen=True, slots=True)
class AutoLimits:
    """Limits that a namespace's quota demands and that the VMI does not give itself."""

    cpu: bool = False
    memory_ratio: Decimal | None = None
    """Memory limit as a multiple of the request."""


def is_dedicated(spec: VirtualMachineInstanceSpec) -> bool:
    return bool(spec.domain.cpu is not None and spec.domain.cpu.dedicated_cpu_placement)


def is_guaranteed(spec: VirtualMachineInstanceSpec) -> bool:
    """Whether all containers must have requests equal to limits."""
    return is_dedicated(spec) or wants_guaranteed(spec.domain.resources)


def compute_resources(
    spec: VirtualMachineInstanceSpec,
    overhead: Amount,
    config: Configuration,
    *,
    annotations: dict[str, str],
    auto: AutoLimits,
    networks: dict[str, str],
) -> ContainerResources:
    """Of the container that is the guest. `networks`: network name -> device resource that its attachment needs."""
    given = spec.domain.resources or ResourceRequirements()
    requests = {name: Amount.of(value) for name, value in given.requests.items()}
    limits = {name: Amount.of(value) for name, value in given.limits.items()}
    calculated_requests: Amounts = {}
    calculated_limits: Amounts = {}

    _add_ephemeral_storage(requests, limits)
    _default_memory(spec, requests, limits, config.developer.memory_overcommit or MEMORY_OVERCOMMIT)
    if is_dedicated(spec):
        _pin(spec, requests, limits, annotations)
    else:
        _share(spec, calculated_requests, calculated_limits, config, auto)
    huge = spec.domain.memory.hugepages if spec.domain.memory else None
    if huge is not None and huge.page_size:
        size = _huge_pages(spec, requests, limits, overhead)
        calculated_requests[f"hugepages-{huge.page_size}"] = calculated_limits[f"hugepages-{huge.page_size}"] = size
    else:
        if not given.overcommit_guest_overhead:
            requests["memory"] = requests.get("memory", ZERO) + overhead
        if "memory" in limits:
            limits["memory"] += overhead
    if auto.memory_ratio is not None and "memory" not in limits and "memory" in requests:
        request = requests["memory"]
        calculated_limits["memory"] = Amount(Decimal(int(request.whole * auto.memory_ratio)), request.binary)
    devices = device_resources(spec, config, networks)
    counted = {name: Amount(Decimal(count), binary=False) for name, count in devices.items()}
    return ContainerResources(
        requests=_texts({**calculated_requests, **requests, **counted}),
        limits=_texts({**calculated_limits, **limits, **counted}),
        claims=_claims(spec),
    )


def _texts(amounts: Amounts) -> dict[str, Any]:
    return {name: str(amount) for name, amount in sorted(amounts.items())}


def _add_ephemeral_storage(requests: Amounts, limits: Amounts) -> None:
    requests["ephemeral-storage"] = requests.get("ephemeral-storage", ZERO) + EPHEMERAL_STORAGE
    if "ephemeral-storage" in limits:
        limits["ephemeral-storage"] += EPHEMERAL_STORAGE


def _default_memory(spec: VirtualMachineInstanceSpec, requests: Amounts, limits: Amounts, overcommit: int) -> None:
    if limits.get("memory", ZERO).value and not requests.get("memory", ZERO).value:
        requests["memory"] = limits["memory"]
    memory = spec.domain.memory
    if "memory" in requests or memory is None:
        return
    huge = memory.hugepages.page_size if memory.hugepages else None
    size = Amount.of(memory.guest) if memory.guest is not None else Amount.of(huge) if huge else ZERO
    if size.value <= 0:
        return
    if overcommit != MEMORY_OVERCOMMIT and not huge:
        size = Amount(Decimal(size.whole * 100 // overcommit), size.binary)
    requests["memory"] = size


def _io_threads(spec: VirtualMachineInstanceSpec) -> int:
    threads = spec.domain.io_threads
    return (threads.supplemental_pool_thread_count or 0) if threads else 0


def _share(
    spec: VirtualMachineInstanceSpec, requests: Amounts, limits: Amounts, config: Configuration, auto: AutoLimits
) -> None:
    count = vcpus(spec.domain.cpu) + _io_threads(spec)
    ratio = config.developer.cpu_allocation_ratio or CPU_ALLOCATION_RATIO
    if count and ratio > 0:
        requests["cpu"] = Amount(Decimal(-(-count * 1000 // ratio)) / 1000, binary=False)
        if auto.cpu:
            limits["cpu"] = Amount(Decimal(count), binary=False)


def _pin(spec: VirtualMachineInstanceSpec, requests: Amounts, limits: Amounts, annotations: dict[str, str]) -> None:
    cpu = spec.domain.cpu
    assert cpu is not None
    count = Decimal(vcpus(cpu) + _io_threads(spec))
    if not vcpus(cpu):
        named = limits.get("cpu") or requests.get("cpu") or ZERO
        count = named.value + _io_threads(spec)
    if cpu.isolate_emulator_thread:
        pool = _io_threads(spec) if spec.domain.io_threads_policy == "supplementalPool" else 0
        even = EVEN_PARITY in annotations and (count + pool) % 2 == 0
        count += 2 if even else 1
    requests["cpu"] = limits["cpu"] = Amount(count, binary=False)
    if "memory" in requests:
        limits["memory"] = requests["memory"]


def _huge_pages(spec: VirtualMachineInstanceSpec, requests: Amounts, limits: Amounts, overhead: Amount) -> Amount:
    """Moves the guest to huge pages; what is requested beyond it stays ordinary memory beside the overhead."""
    requested = requests.get("memory", ZERO)
    guest = Amount.of(spec.domain.memory.guest) if spec.domain.memory and spec.domain.memory.guest is not None else None
    size, more, above = requested, ZERO, ZERO
    if guest is not None:
        if requested.value > guest.value:
            size, more = guest, requested - guest
        if "memory" in limits and limits["memory"].value > guest.value:
            above = limits["memory"] - guest
    requests["memory"] = more + overhead
    if "memory" in limits:
        limits["memory"] = above + overhead
    return size


def device_resources(spec: VirtualMachineInstanceSpec, config: Configuration, networks: dict[str, str]) -> Counter[str]:
    """Counts of extended resources: request and limit are the same."""
    devices = spec.domain.devices
    counts: Counter[str] = Counter()
    if not config.use_emulation:
        counts[f"{DEVICE}kvm"] = 1
    auto_nic = devices.autoattach_pod_interface is not False
    if auto_nic or devices.interfaces:
        counts[f"{DEVICE}tun"] = 1
    virtio = any((i.model or "virtio") == "virtio" for i in devices.interfaces) or (auto_nic and not devices.interfaces)
    if virtio and not config.use_emulation:
        counts[f"{DEVICE}vhost-net"] = 1
    if devices.autoattach_vsock:
        counts[f"{DEVICE}vhost-vsock"] = 1
    security = spec.domain.launch_security
    if security is not None and (security.sev or security.snp):
        counts[f"{DEVICE}sev"] = 1
    if security is not None and security.tdx:
        counts[f"{DEVICE}tdx"] = 1
    if any(d.lun is not None and d.lun.reservation for d in devices.disks):
        counts[f"{DEVICE}pr-helper"] = 1
    if config.gate("IOMMUFD") and (devices.gpus or devices.host_devices):
        counts[f"{DEVICE}iommufd"] = 1
    counts.update(d.device_name for d in passed_through(spec) if d.device_name and not d.claim_name)
    counts.update(networks.values())
    return counts


def passed_through(spec: VirtualMachineInstanceSpec) -> list[GPU | HostDevice]:
    return [*spec.domain.devices.gpus, *spec.domain.devices.host_devices]


def _claims(spec: VirtualMachineInstanceSpec) -> list[dict[str, Any]]:
    wanted = [(d.claim_name, d.request_name) for d in passed_through(spec) if d.claim_name]
    wanted += [
        (n.resource_claim.claim_name, n.resource_claim.request_name)
        for n in spec.networks
        if n.resource_claim is not None and n.resource_claim.claim_name
    ]
    return [{"name": name, **({"request": request} if request else {})} for name, request in wanted]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a helper container is given unless the cluster says otherwise."""

    kind: str
    """Its type in supportContainerResources."""
    cpu_request: str = ""
    memory_request: str = ""
    cpu_limit: str = ""
    memory_limit: str = ""
    ephemeral_storage: str = ""


CONSOLE_LOG = Sidecar("guest-console-log", "5m", "35M", "15m", "60M")
CONTAINER_DISK = Sidecar("container-disk", "1m", "1M", "10m", "40M", "50M")
VIRTIOFS = Sidecar("virtiofs", "10m", "1M", "100m", "80M")
HOOK = Sidecar("sidecar", cpu_limit="200m", memory_limit="64M")


def sidecar_resources(sidecar: Sidecar, spec: VirtualMachineInstanceSpec, config: Configuration) -> ContainerResources:
    guaranteed = is_guaranteed(spec)
    requests = {"cpu": sidecar.cpu_request, "memory": sidecar.memory_request}
    limits = {"cpu": sidecar.cpu_limit, "memory": sidecar.memory_limit}
    if sidecar is HOOK and not guaranteed:
        limits = {}
    for override in config.configuration.support_container_resources:
        if override.type == sidecar.kind:
            requests |= {n: str(v) for n, v in override.resources.requests.items() if n in ("cpu", "memory")}
            limits |= {n: str(v) for n, v in override.resources.limits.items() if n in ("cpu", "memory")}
    if guaranteed:
        requests |= {name: value for name, value in limits.items() if value}
    if sidecar.ephemeral_storage:
        requests["ephemeral-storage"] = sidecar.ephemeral_storage
    return ContainerResources(
        requests={n: str(Amount.of(v)) for n, v in sorted(requests.items()) if v},
        limits={n: str(Amount.of(v)) for n, v in sorted(limits.items()) if v},
    )


def qos_class(resources: list[ContainerResources]) -> str:
    """Guaranteed, Burstable or BestEffort, as a kubelet would classify the Pod."""
    named = [{n for n in (*r.requests, *r.limits) if n in ("cpu", "memory")} for r in resources]
    if not any(named):
        return "BestEffort"
    for r in resources:
        for name in ("cpu", "memory"):
            limit = r.limits.get(name)
            if limit is None or quantity.parse(r.requests.get(name, limit)) != quantity.parse(limit):
                return "Burstable"
    return "Guaranteed"
