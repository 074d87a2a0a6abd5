"""CPUs that VMs have for themselves alone: what a kubelet's CPU manager does with its static policy.

A launcher is given its CPUs when it is admitted, in its record, so they are its own before anything uses them and until
the record is gone, whoever is killed in between. What is free follows from the records alone. All other guests keep to
the CPUs that are left: those that start are told so in their description, those that run are pinned anew.

Processes of the host and guests of others on the same libvirt are not moved: they may run on any CPU.

Source: https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/#static-policy
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

import structlog

from kvtui.api import quantity
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.domainxml import ConversionError, HostCell
from kvtui.errors import InvalidObject, Transient, Unsupported
from kvtui.node import cpuallocation, cpusets, threadpins
from kvtui.node.cpuallocation import NotEnoughCpus, Pool
from kvtui.node.hypervisor import DomainId, Hypervisor, HypervisorRefused
from kvtui.node.state import Record, Records

log = structlog.get_logger()
COMPUTE = "compute"
NONE = "all"
"""The setting that keeps every CPU for all."""


class CpusTaken(Transient):
    """Enough CPUs will be free once earlier VMs are cleared away."""


class NeverEnoughCpus(Unsupported):
    """This node never has so many CPUs to give to one VM."""


class Cpus:
    """Who has which CPUs of a node."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        records: Records,
        cells: Callable[[], tuple[HostCell, ...]],
        pins: Callable[[VirtualMachineInstance], Element | None],
        reserved: str = "",
        exclusive: bool = True,
    ) -> None:
        """`pins` gives the <cputune> of a VMI with CPUs of its own. Without `exclusive` nobody gets any."""
        self._hypervisor = hypervisor
        self._records = records
        self._cells = cells
        self._pins = pins
        self._exclusive = exclusive and reserved != NONE
        self._reserved: frozenset[int] = frozenset()
        try:
            self._reserved = cpusets.parse(reserved) if reserved != NONE else frozenset()
        except InvalidObject as error:
            log.error("the CPUs to reserve are not understood; the first core is", error=str(error))

    @property
    def pool(self) -> Pool:
        return cpuallocation.pool(self._cells(), self._reserved)

    @property
    def exclusive(self) -> frozenset[int]:
        """CPUs that can be given to one VM alone, taken or not."""
        return self.pool.exclusive if self._exclusive else frozenset()

    def of(self, uid: str) -> tuple[int, ...]:
        """Those of the VMI with this UID; empty for one that shares."""
        record = self._records.get(uid)
        return tuple(record.cpus) if record is not None else ()

    def taken(self) -> frozenset[int]:
        return frozenset(cpu for record in self._records for cpu in record.cpus)

    def shared(self) -> frozenset[int]:
        """Where all others run."""
        whole = self.pool
        return whole.all - self.taken() or whole.reserved

    def allowed(self, uid: str) -> str:
        """The list of CPUs for the whole domain of a VMI; empty when it may run anywhere."""
        own = self.of(uid)
        if own:
            return cpusets.format_list(own)
        return cpusets.format_list(self.shared()) if self.taken() else ""

    def admit(self, pod: Pod, vmi: VirtualMachineInstance) -> tuple[int, ...]:
        """The CPUs for a new launcher, to be written into its record at once. Raises CpusTaken, NeverEnoughCpus."""
        if not is_dedicated(vmi):
            return ()
        count, most, free = _asked(pod), self.exclusive, self.exclusive - self.taken()
        if count > len(most):
            raise NeverEnoughCpus(
                "Allocate failed due to not enough cpus available to satisfy request: "
                f"requested={count}, available={len(most)}, which is unexpected"
            )
        try:
            given = cpuallocation.allocate(self._cells(), free, count)
        except NotEnoughCpus as error:
            raise CpusTaken(f"{count} CPUs are wanted, and {len(free)} are free") from error
        log.info("CPUs given", vmi=str(vmi.key), cpus=cpusets.format_list(given))
        return tuple(sorted(given))

    def fits(self, vmi: VirtualMachineInstance) -> bool:
        """Whether the CPUs that a VMI was given are enough for what its spec says now."""
        return not is_dedicated(vmi) or self._tuning(vmi) is not None

    def _tuning(self, vmi: VirtualMachineInstance) -> Element | None:
        try:
            return self._pins(vmi)
        except ConversionError as error:
            log.debug("the CPUs do not fit the spec", vmi=str(vmi.key), error=str(error))
            return None

    async def sync(self, vmi: VirtualMachineInstance, record: Record, domain: Element) -> None:
        """Pins the threads of a running domain as they should be. `domain` is its live description."""
        own = None
        if record.cpus:
            tuning = self._tuning(vmi)
            if tuning is None:
                return  # the spec has grown, and a launcher with more CPUs is to come
            own = threadpins.read(_wrapped(tuning))
        target = threadpins.wanted(own, frozenset(record.cpus), self.shared() if self.taken() else frozenset())
        for thread, cpus in threadpins.steps(domain, target, self.pool.all):
            try:
                await self._hypervisor.pin(DomainId(record.domain), thread.kind, thread.number, cpus)
            except HypervisorRefused as error:
                if record.cpus:
                    raise
                log.warning("a guest stays on CPUs of others", vmi=str(vmi.key), error=str(error))
                return
            log.info(
                "thread pinned",
                vmi=str(vmi.key),
                thread=f"{thread.kind} {thread.number}",
                cpus=cpusets.format_list(cpus),
            )


def is_dedicated(vmi: VirtualMachineInstance) -> bool:
    cpu = vmi.spec.domain.cpu
    return cpu is not None and bool(cpu.dedicated_cpu_placement)


def of_domain(domain: Element) -> tuple[int, ...]:
    """The CPUs that a domain with CPUs of its own was given, from its description."""
    return tuple(sorted(threadpins.read(domain).common))


def _asked(pod: Pod) -> int:
    """CPUs that the launcher's container is limited to."""
    resources = next((c.resources for c in pod.spec.containers if c.name == COMPUTE), None)
    limit = resources.limits.get("cpu") if resources is not None else None
    return max(1, quantity.value(limit)) if limit is not None else 1


def _wrapped(tuning: Element) -> Element:
    domain = Element("domain")
    domain.append(tuning)
    return domain
