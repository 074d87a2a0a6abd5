"""How much memory a guest needs beside its own: page tables, the processes around it, device memory.

Source: kubevirt pkg/hypervisor/kvm/hypervisorbackend.go (GetMemoryOverhead); control plane facts 4.3. The fixed part is
what the observed Pods of 1.9 carry.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from kvtui.api import quantity
from kvtui.api.kubevirt.config import InterfaceBindingPlugin
from kvtui.api.kubevirt.domain import CPU, ResourceRequirements
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.controllers.amount import ZERO, Amount, mebi

MONITOR, LAUNCHER, VIRTLOGD, VIRTQEMUD, QEMU = 25, 100, 25, 40, 30
PER_VCPU = 8
IO_THREAD = 8
VIDEO = 32
ARM_FIRMWARE = 128
VFIO = 1024
DOWNWARD_METRICS = 1
EXEC_PROBES, PER_EXEC_PROBE = 100, 10
ENCRYPTION = 256
TPM = 53
GUARANTEED = 100
PASST = 250


def vcpus(cpu: CPU | None) -> int:
    """Sockets times cores times threads, where zeros do not count; 0 when nothing is set."""
    count = 0
    for factor in (cpu.cores, cpu.sockets, cpu.threads) if cpu else ():
        if factor:
            count = count * factor if count else factor
    return count


def wants_guaranteed(resources: ResourceRequirements | None) -> bool:
    """Requests equal limits for both CPU and memory."""
    if resources is None:
        return False
    for name in ("cpu", "memory"):
        request, limit = resources.requests.get(name), resources.limits.get(name)
        if request is None or limit is None or not quantity.parse(request):
            return False
        if quantity.parse(request) != quantity.parse(limit):
            return False
    return True


def has_vfio(spec: VirtualMachineInstanceSpec) -> bool:
    devices = spec.domain.devices
    return bool(devices.gpus or devices.host_devices) or any(i.sriov is not None for i in devices.interfaces)


def _counted_vcpus(spec: VirtualMachineInstanceSpec) -> int:
    if spec.domain.cpu is not None:
        return max(vcpus(spec.domain.cpu), 1)
    resources = spec.domain.resources or ResourceRequirements()
    named = resources.limits.get("cpu") or resources.requests.get("cpu") or 1
    return max(quantity.value(named), 1)


def _page_tables(spec: VirtualMachineInstanceSpec) -> Amount:
    requests = spec.domain.resources.requests if spec.domain.resources else {}
    if "memory" not in requests:
        return ZERO
    return Amount(Decimal(Amount.of(requests["memory"]).kilo() * 1000 // 512), binary=False)


def _parts(spec: VirtualMachineInstanceSpec) -> Iterable[int]:
    """Mebibytes of everything that is counted in those."""
    domain, devices = spec.domain, spec.domain.devices
    yield MONITOR + LAUNCHER + VIRTLOGD + VIRTQEMUD + QEMU
    yield PER_VCPU * _counted_vcpus(spec) + IO_THREAD
    if devices.autoattach_graphics_device is not False:
        yield VIDEO
    if spec.architecture == "arm64":
        yield ARM_FIRMWARE
    if has_vfio(spec):
        yield VFIO
    if any(v.downward_metrics is not None for v in spec.volumes):
        yield DOWNWARD_METRICS
    probes = [p for p in (spec.liveness_probe, spec.readiness_probe) if p is not None and p.exec is not None]
    if probes:
        yield EXEC_PROBES + PER_EXEC_PROBE * len(probes)
    if domain.launch_security is not None and (domain.launch_security.sev or domain.launch_security.snp):
        yield ENCRYPTION
    if devices.tpm is not None and devices.tpm.enabled is not False:
        yield TPM
    if (domain.cpu is not None and domain.cpu.dedicated_cpu_placement) or wants_guaranteed(domain.resources):
        yield GUARANTEED


def memory_overhead(
    spec: VirtualMachineInstanceSpec,
    *,
    ratio: Decimal | None = None,
    plugins: dict[str, InterfaceBindingPlugin] | None = None,
) -> Amount:
    """Bytes beside the guest's memory.

    `ratio` is the cluster's additionalGuestMemoryOverheadRatio, `plugins` its network bindings.
    """
    total = _page_tables(spec)
    for count in _parts(spec):
        total += mebi(count)
    memory = spec.domain.memory
    if memory is not None and memory.reserved_overhead is not None and memory.reserved_overhead.added_overhead:
        total += Amount.of(memory.reserved_overhead.added_overhead)
    if ratio is not None:
        more = int(total.kilo() * (float(ratio) - 1.0))  # in floating point, as upstream rounds
        total += Amount(Decimal(more * 1000), binary=False)
    return total + _network_overhead(spec, plugins or {})


def _network_overhead(spec: VirtualMachineInstanceSpec, plugins: dict[str, InterfaceBindingPlugin]) -> Amount:
    total = ZERO
    interfaces = spec.domain.devices.interfaces
    if any(i.passt_binding is not None for i in interfaces):
        total += mebi(PASST)
    for name in sorted({i.binding.name for i in interfaces if i.binding is not None}):
        plugin = plugins.get(name)
        needed = plugin.compute_resource_overhead if plugin else None
        if needed is not None and "memory" in needed.requests:
            total += Amount.of(needed.requests["memory"])
    return total
