"""Changes of a running VM's template: what reaches the instance at once, and what needs a restart.

Each handler takes the VMI so far and gives the VMI as it should be, or a reason to restart, or a reason to wait.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (addRestartRequiredIfNeeded, handleCPUChangeRequest, ...);
control plane facts 2.9.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from kvtui.api import quantity
from kvtui.api.kubevirt.domain import Firmware, Memory
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.wire import Quantity, evolve
from kvtui.controllers import conditions
from kvtui.controllers.amount import Amount
from kvtui.controllers.launcher.volumes import is_hotpluggable
from kvtui.controllers.virtualmachine import networks, storage
from kvtui.controllers.virtualmachine.outcome import NOT_LIVE, Outcome
from kvtui.controllers.virtualmachine.status import SyncError
from kvtui.controllers.virtualmachine.view import View, is_migrating
from kvtui.virtapi.admission import hotplug_memory

SOCKETS_TOO_MANY = "CPU sockets updated in template spec to a value higher than what's available"
SOCKETS_FEWER = "Reduction of CPU socket count requires a restart"
SOCKETS_QUEUES = "Changes to CPU sockets require a restart when NetworkInterfaceMultiQueue is enabled"
SOCKETS_ARM = "CPU hotplug is not supported on arm64"
_MEMORY = "memory updated in template spec"
MEMORY_FAILED = f"{_MEMORY}. Memory-hotplug failed and is not available for this VM configuration"
MEMORY_NOT_MIGRATABLE = f"{_MEMORY}. Memory-hotplug is only available for migratable VMs"
MEMORY_NO_MAXIMUM = f"{_MEMORY}. Memory-hotplug is not available for this VM configuration"
MEMORY_NOT_SUPPORTED = "memory hotplug not supported, {}"
MEMORY_BELOW_BOOT = f"{_MEMORY} to a value lower than what the VM started with"

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
        handlers += [_cpu, _placement, _tolerations, _memory]
    for handler in handlers:
        step = handler(view, wanted, outcome.vmi)
        outcome = Outcome(step.vmi, outcome.restart or step.restart, outcome.error or step.error)
        if outcome.restart is not None:
            return Outcome(vmi if step.restart else outcome.vmi, outcome.restart, outcome.error)
    return outcome


def _same_but_live(started: Spec, wanted: Spec, *, live: bool) -> bool:
    """Whether only fields differ that can change while the guest runs."""
    plugged = {v.name for spec in (started, wanted) for v in spec.volumes if is_hotpluggable(v)}
    started = _as_wanted(started, wanted)
    if live:
        started = _with_live_amounts(started, wanted)
    return _without_live(started, plugged, live=live) == _without_live(wanted, plugged, live=live)


def _without_live(spec: Spec, plugged: set[str], *, live: bool) -> Spec:
    domain = spec.domain
    disks = [d for d in domain.devices.disks if d.name not in plugged]
    devices = evolve(domain.devices, disks=disks, interfaces=[])
    spec = evolve(spec, domain=evolve(domain, devices=devices), volumes=[], networks=[])
    if not live:
        return spec
    return evolve(spec, node_selector={}, affinity=None, tolerations=[])


def _as_wanted(started: Spec, wanted: Spec) -> Spec:
    """The start's template with what may change live, and with the identity that old VMs are given later."""
    before, now = started.domain, wanted.domain
    if now.firmware is not None and now.firmware.uuid and not (before.firmware and before.firmware.uuid):
        before = evolve(before, firmware=evolve(before.firmware or Firmware(), uuid=now.firmware.uuid))
    return evolve(started, domain=before)


def _with_live_amounts(started: Spec, wanted: Spec) -> Spec:
    before, now = started.domain, wanted.domain
    if before.cpu is not None and now.cpu is not None:
        before = evolve(before, cpu=evolve(before.cpu, sockets=now.cpu.sockets))
    if now.memory is not None and now.memory.guest is not None:
        before = evolve(before, memory=evolve(before.memory or Memory(), guest=now.memory.guest))
    return evolve(started, domain=before)


def _cpu(view: View, wanted: Spec, vmi: VirtualMachineInstance) -> Outcome:
    new, old = wanted.domain.cpu, vmi.spec.domain.cpu
    if new is None or old is None or not new.sockets or new.sockets == (old.sockets or 0):
        return Outcome(vmi)
    if conditions.is_true(vmi.status.conditions, "HotVCPUChange"):
        return _waits(vmi, "HotPlugCPUError", "another CPU hotplug is in progress")
    if is_migrating(vmi, view.now):
        return _waits(vmi, "HotPlugCPUError", "CPU hotplug is not allowed while VMI is migrating")
    if vmi.spec.architecture == "arm64":
        return Outcome(vmi, SOCKETS_ARM)
    if new.sockets > (old.max_sockets or 0):
        return Outcome(vmi, SOCKETS_TOO_MANY)
    if new.sockets < (old.sockets or 0):
        return Outcome(vmi, SOCKETS_FEWER)
    if wanted.domain.devices.network_interface_multiqueue:
        return Outcome(vmi, SOCKETS_QUEUES)
    more = (new.sockets - (old.sockets or 0)) * (old.cores or 1) * (old.threads or 1)
    spec = _shifted(vmi.spec, "cpu", Amount(Decimal(more), binary=False))
    domain = evolve(spec.domain, cpu=evolve(old, sockets=new.sockets))
    return Outcome(evolve(vmi, spec=evolve(spec, domain=domain)))


ENCOUNTERED = {
    "HotPlugCPUError": "Error encountered while handling CPU change request",
    "AffinityChangeError": "Error encountered while handling node affinity change request",
    "TolerationsChangeError": "Error encountered while handling tolerations change request",
    "HotPlugMemoryError": "error encountered while handling memory hotplug requests",
}
"""How the message of each reason begins."""


def _waits(vmi: VirtualMachineInstance, reason: str, message: str) -> Outcome:
    """Nothing happens now; it is tried again."""
    return Outcome(vmi, error=SyncError(reason, f"{ENCOUNTERED[reason]}: {message}"))


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
    old = vmi.spec
    if (wanted.node_selector, wanted.affinity) == (old.node_selector, old.affinity):
        return Outcome(vmi)
    if is_migrating(vmi, view.now):
        return _waits(vmi, "AffinityChangeError", "Node affinity should not be changed during VMI migration")
    return Outcome(evolve(vmi, spec=evolve(old, node_selector=wanted.node_selector, affinity=wanted.affinity)))


def _tolerations(view: View, wanted: Spec, vmi: VirtualMachineInstance) -> Outcome:
    if wanted.tolerations == vmi.spec.tolerations:
        return Outcome(vmi)
    if is_migrating(vmi, view.now):
        return _waits(vmi, "TolerationsChangeError", "tolerations should not be changed during VMI migration")
    return Outcome(evolve(vmi, spec=evolve(vmi.spec, tolerations=wanted.tolerations)))


def _memory(view: View, wanted: Spec, vmi: VirtualMachineInstance) -> Outcome:
    new = wanted.domain.memory.guest if wanted.domain.memory else None
    present, found = vmi.spec.domain.memory, vmi.status.conditions
    if new is None or present is None or present.guest is None:
        return Outcome(vmi)
    if conditions.is_false(found, "HotMemoryChange"):
        return Outcome(vmi, MEMORY_FAILED)
    size, old = quantity.value(new), quantity.value(present.guest)
    if size == old:
        return Outcome(vmi)
    if not conditions.is_true(found, "LiveMigratable"):
        return Outcome(vmi, MEMORY_NOT_MIGRATABLE)
    if present.max_guest is None:
        return Outcome(vmi, MEMORY_NO_MAXIMUM)
    if conditions.is_true(found, "HotMemoryChange"):
        return _waits(vmi, "HotPlugMemoryError", "another memory hotplug is in progress")
    if is_migrating(vmi, view.now):
        return _waits(vmi, "HotPlugMemoryError", "memory hotplug is not allowed while VMI is migrating")
    template = wanted.domain.memory or Memory()
    planned = evolve(wanted.domain, memory=evolve(template, max_guest=present.max_guest))
    if problem := hotplug_memory.obstacle(planned, wanted.architecture or vmi.spec.architecture or "amd64"):
        return Outcome(vmi, MEMORY_NOT_SUPPORTED.format(problem))
    at_boot = vmi.status.memory.guest_at_boot if vmi.status.memory else None
    if at_boot is not None and size < quantity.value(at_boot):
        return Outcome(vmi, MEMORY_BELOW_BOOT)
    spec = _shifted(vmi.spec, "memory", Amount(Decimal(size - old)))
    domain = evolve(spec.domain, memory=evolve(present, guest=new))
    return Outcome(evolve(vmi, spec=evolve(spec, domain=domain)))
