"""Changes of a running VM's template: what reaches the instance at once, and what needs a restart.

Each handler takes the VMI so far and gives the VMI as it should be, or a reason to restart, or a reason to wait.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (addRestartRequiredIfNeeded, handleCPUChangeRequest, ...);
control plane facts 2.9.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from kvtui.api import quantity
from kvtui.api.kubevirt.domain import CPU, Memory
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.wire import Quantity, evolve
from kvtui.controllers import conditions
from kvtui.controllers.amount import Amount
from kvtui.controllers.launcher.volumes import is_hotpluggable
from kvtui.controllers.virtualmachine import networks, storage
from kvtui.controllers.virtualmachine.outcome import NOT_LIVE, Outcome
from kvtui.controllers.virtualmachine.status import SyncError
from kvtui.controllers.virtualmachine.view import View, is_migrating

SOCKETS_TOO_MANY = "CPU sockets updated in template spec to a value higher than what's available"
SOCKETS_FEWER = "Reduction of CPU socket count requires a restart"
SOCKETS_ARM = "CPU hotplug is not supported on arm64"
_MEMORY = "memory updated in template spec"
MEMORY_FAILED = f"{_MEMORY}. Memory-hotplug failed and is not available for this VM configuration"
MEMORY_NOT_MIGRATABLE = f"{_MEMORY}. Memory-hotplug is only available for migratable VMs"
MEMORY_NO_MAXIMUM = f"{_MEMORY}. Memory-hotplug is not available for this VM configuration"
MEMORY_BELOW_BOOT = f"{_MEMORY} to a value lower than what the VM started with"
MEMORY_TOO_MUCH = f"{_MEMORY} to a value higher than what's available"
MEBI, GIBI = 2**20, 2**30

Spec = VirtualMachineInstanceSpec


Handler = Callable[[View, Spec, VirtualMachineInstance], Outcome]


def evaluate(view: View, started: Spec | None, wanted: Spec) -> Outcome:
    """`started` and `wanted`: template of the start and of now, both with instancetype and preference applied."""
    vmi = view.vmi
    assert vmi is not None
    if started is not None and not _same_but_live(started, wanted, live=view.config.live_update):
        return Outcome(vmi, NOT_LIVE)
    outcome = Outcome(vmi)
    handlers: list[Handler] = [networks.apply, storage.apply_volumes]
    if view.config.live_update and not vmi.metadata.deletion_timestamp:
        handlers += [_cpu, _placement, _memory]
    for handler in handlers:
        step = handler(view, wanted, outcome.vmi)
        outcome = Outcome(step.vmi, outcome.restart or step.restart, outcome.error or step.error)
        if outcome.restart is not None:
            return Outcome(vmi if step.restart else outcome.vmi, outcome.restart, outcome.error)
    return outcome


def _same_but_live(started: Spec, wanted: Spec, *, live: bool) -> bool:
    """Whether only fields differ that can change while the guest runs."""
    plugged = {v.name for spec in (started, wanted) for v in spec.volumes if is_hotpluggable(v)}
    return _without_live(started, plugged, live=live) == _without_live(wanted, plugged, live=live)


def _without_live(spec: Spec, plugged: set[str], *, live: bool) -> Spec:
    domain = spec.domain
    disks = [d for d in domain.devices.disks if d.name not in plugged]
    devices = evolve(domain.devices, disks=disks, interfaces=[])
    firmware = domain.firmware
    if firmware is not None:
        firmware = evolve(firmware, uuid=None)
        firmware = None if firmware == type(firmware)() else firmware
    domain = evolve(domain, devices=devices, firmware=firmware)
    spec = evolve(spec, domain=domain, volumes=[], networks=[])
    if not live:
        return spec
    cpu = evolve(domain.cpu, sockets=None) if domain.cpu is not None else None
    memory = evolve(domain.memory, guest=None) if domain.memory is not None else None
    domain = evolve(domain, cpu=cpu or CPU(), memory=memory or Memory())
    return evolve(spec, domain=domain, node_selector={}, affinity=None, tolerations=[])


def _cpu(view: View, wanted: Spec, vmi: VirtualMachineInstance) -> Outcome:
    new, old = wanted.domain.cpu, vmi.spec.domain.cpu
    if new is None or old is None or not new.sockets or new.sockets == (old.sockets or 0):
        return Outcome(vmi)
    if vmi.spec.architecture == "arm64":
        return Outcome(vmi, SOCKETS_ARM)
    if new.sockets > (old.max_sockets or 0):
        return Outcome(vmi, SOCKETS_TOO_MANY)
    if new.sockets < (old.sockets or 0):
        return Outcome(vmi, SOCKETS_FEWER)
    if conditions.is_true(vmi.status.conditions, "HotVCPUChange"):
        return Outcome(vmi, error=SyncError("HotPlugCPUError", "another CPU hotplug is in progress"))
    if is_migrating(vmi, view.now):
        return Outcome(vmi, error=SyncError("HotPlugCPUError", "CPU hotplug is not allowed while VMI is migrating"))
    more = (new.sockets - (old.sockets or 0)) * (old.cores or 1) * (old.threads or 1)
    spec = _shifted(vmi.spec, "cpu", Amount(Decimal(more), binary=False))
    domain = evolve(spec.domain, cpu=evolve(old, sockets=new.sockets))
    return Outcome(evolve(vmi, spec=evolve(spec, domain=domain)))


def _shifted(spec: Spec, name: str, by: Amount) -> Spec:
    """Requests and limits of one resource grow with what is plugged in, where they are set."""
    resources = spec.domain.resources
    if resources is None:
        return spec

    def grown(values: dict[str, Quantity]) -> dict[str, Quantity]:
        return {**values, name: str(Amount.of(values[name]) + by)} if name in values else values

    resources = evolve(resources, requests=grown(resources.requests), limits=grown(resources.limits))
    return evolve(spec, domain=evolve(spec.domain, resources=resources))


def _placement(view: View, wanted: Spec, vmi: VirtualMachineInstance) -> Outcome:
    """Counts for the next migration."""
    spec = evolve(
        vmi.spec, node_selector=wanted.node_selector, affinity=wanted.affinity, tolerations=wanted.tolerations
    )
    return Outcome(evolve(vmi, spec=spec))


def _memory(view: View, wanted: Spec, vmi: VirtualMachineInstance) -> Outcome:
    new = wanted.domain.memory.guest if wanted.domain.memory else None
    present = vmi.spec.domain.memory
    if new is None or present is None or present.guest is None:
        return Outcome(vmi)
    size, old = quantity.value(new), quantity.value(present.guest)
    if size == old:
        return Outcome(vmi)
    found = vmi.status.conditions
    if conditions.is_false(found, "HotMemoryChange"):
        return Outcome(vmi, MEMORY_FAILED)
    if not conditions.is_true(found, "LiveMigratable"):
        return Outcome(vmi, MEMORY_NOT_MIGRATABLE)
    if present.max_guest is None:
        return Outcome(vmi, MEMORY_NO_MAXIMUM)
    if problem := _not_pluggable(vmi.spec, size, quantity.value(present.max_guest)):
        return Outcome(vmi, f"memory hotplug not supported, {problem}")
    at_boot = vmi.status.memory.guest_at_boot if vmi.status.memory else None
    if at_boot is not None and size < quantity.value(at_boot):
        return Outcome(vmi, MEMORY_BELOW_BOOT)
    if size > quantity.value(present.max_guest):
        return Outcome(vmi, MEMORY_TOO_MUCH)
    if conditions.is_true(found, "HotMemoryChange"):
        return Outcome(vmi, error=SyncError("HotPlugMemoryError", "another memory hotplug is in progress"))
    if is_migrating(vmi, view.now):
        message = "memory hotplug is not allowed while VMI is migrating"
        return Outcome(vmi, error=SyncError("HotPlugMemoryError", message))
    spec = _shifted(vmi.spec, "memory", Amount(Decimal(size - old)))
    domain = evolve(spec.domain, memory=evolve(present, guest=new))
    return Outcome(evolve(vmi, spec=evolve(spec, domain=domain)))


def _not_pluggable(spec: Spec, size: int, maximum: int) -> str | None:
    """Why memory cannot be plugged in; None when it can. Source: node facts 7.3."""
    domain = spec.domain
    if spec.architecture not in (None, "amd64"):
        return "CPU architecture is not amd64"
    if domain.cpu is not None and domain.cpu.realtime is not None:
        return "Memory hotplug is not compatible with realtime VMs"
    if domain.cpu is not None and domain.cpu.numa is not None and domain.cpu.numa.guest_mapping_passthrough:
        return "Memory hotplug is not compatible with guest mapping passthrough"
    if domain.launch_security is not None:
        return "Memory hotplug is not compatible with encrypted VMs"
    huge = domain.memory.hugepages.page_size if domain.memory and domain.memory.hugepages else None
    unit = GIBI if huge == "1Gi" else 2 * MEBI
    if size < GIBI:
        return "Memory hotplug is only available for VMs with at least 1Gi of guest memory"
    if size % unit or maximum % unit:
        return f"Memory guest and maxGuest must be multiples of {quantity.binary(unit)}"
    return None
