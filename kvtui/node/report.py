"""The rooms around a running domain, kept in step with it, and what they know for its status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol
from xml.etree.ElementTree import Element

import structlog

from kvtui.api import quantity
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controlloop.controller import Result
from kvtui.node import credentials, migratable
from kvtui.node.build import NodeTraits
from kvtui.node.console import Closed, Consoles
from kvtui.node.cpus import Cpus
from kvtui.node.credentials import Credentials
from kvtui.node.guestagent import GuestAgents
from kvtui.node.hypervisor import DomainId, DomainStatus, Hypervisor, XmlKind
from kvtui.node.limits import Limits
from kvtui.node.memorydump import MemoryDumps
from kvtui.node.network.sandbox import Networks
from kvtui.node.observe import LiveDomain, parse, read
from kvtui.node.probes import Probes
from kvtui.node.rootless import PortForwards
from kvtui.node.state import Record, Records
from kvtui.node.status import Observation

log = structlog.get_logger()


class Plugging(Protocol):
    """Brings the devices of a running domain into step with the spec."""

    async def sync(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None: ...

    def memory_failure(self, uid: str) -> str: ...

    async def gone(self, uid: str) -> None: ...


def _requested(vmi: VirtualMachineInstance, live: LiveDomain) -> int:
    at_boot = vmi.status.memory.guest_at_boot if vmi.status and vmi.status.memory else None
    return quantity.value(at_boot) + live.plugged if at_boot and live.plugged >= 0 else 0


class Migrations(Protocol):
    """Moves guests from and to this node."""

    async def look(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus | None) -> Result | None: ...

    async def abort(self, uid: str) -> None: ...

    async def close(self, uid: str) -> None: ...


class Reporter:
    """Implements the domain room's companions."""

    def __init__(
        self,
        *,
        node: str,
        hypervisor: Hypervisor,
        records: Records,
        networks: Networks,
        consoles: Consoles,
        agents: GuestAgents,
        keys: Credentials,
        traits: Callable[[], NodeTraits],
        plugging: Plugging | None = None,
        probes: Probes,
        limits: Limits,
        cpus: Cpus,
        dumps: MemoryDumps,
        forwards: PortForwards | None = None,
        migrations: Migrations,
        forget: Callable[[Record], Awaitable[None]],
    ) -> None:
        self._node = node
        self._hypervisor = hypervisor
        self._records = records
        self._networks = networks
        self._consoles = consoles
        self._agents = agents
        self._credentials = keys
        self._traits = traits
        self._plugging = plugging
        self._probes = probes
        self._limits = limits
        self._cpus = cpus
        self._dumps = dumps
        self._forwards = forwards
        self._migrations = migrations
        self._forget = forget
        self._live: dict[str, LiveDomain] = {}

    def live(self, uid: str) -> LiveDomain | None:
        """The domain as it was when it was last looked at."""
        return self._live.get(uid)

    async def sync(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus) -> None:
        """Consoles, guest agent and devices follow the domain."""
        console = self._consoles.open(record.uid, self._records.directory(record.uid))
        description = await self._describe(record)
        live = self._live[record.uid] = read(description)
        console.domain = live.name
        await console.keep_log()
        self._agents.watch(record.uid, DomainId(record.domain), connected=live.agent_connected)
        self._credentials.watch(vmi, DomainId(record.domain), connected=live.agent_connected)
        spec = vmi.spec
        self._probes.watch(
            record.uid, DomainId(record.domain), record.pod_uid, spec.readiness_probe, spec.liveness_probe
        )
        await self._limits.sync(record)
        await self._cpus.sync(vmi, record, description)
        self._dumps.sync(vmi, record)
        if self._forwards is not None:
            await self._forwards.sync(vmi, record)
        if self._plugging is not None:
            await self._plugging.sync(vmi, record, live)

    async def observe(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus) -> Observation:
        live = read(await self._describe(record))
        network = self._networks.get(record.pod_uid)
        guest = self._agents.get(record.uid)
        directory = self._records.directory(record.uid)
        sizes = {}
        for disk in live.disks:
            if disk.name and disk.source.endswith(".iso") and disk.source.startswith(str(directory.qemu)):
                path = directory.own_of(disk.source)
                if path.exists():
                    sizes[disk.name] = path.stat().st_size
        return Observation(
            domain=domain,
            machine=live.machine,
            agent_connected=live.agent_connected,
            agent_supported=guest.supports(*credentials.needed(vmi)),
            nics=live.nics,
            pod_interfaces={n.name: n.pod_interface for n in network.nics} if network else {},
            pod_ips={n.name: n.ips for n in network.nics} if network else {},
            guest_nics=guest.nics,
            guest_os=guest.os,
            frozen=guest.frozen,
            credentials=self._credentials.outcome(record.uid),
            targets=live.targets,
            sizes=sizes,
            dumps=self._dumps.states(record.uid),
            memory=live.memory,
            requested=_requested(vmi, live),
            memory_failure=self._plugging.memory_failure(record.uid) if self._plugging is not None else "",
            topology=live.plugged_topology,
            verdicts=migratable.verdicts(vmi, node=self._node, host_model=bool(self._traits().guests.host_model)),
            migration_method=migratable.method(vmi),
        )

    async def _describe(self, record: Record) -> Element:
        return parse(await self._hypervisor.xml(DomainId(record.domain), XmlKind.LIVE))

    async def migrate(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus | None) -> Result | None:
        return await self._migrations.look(vmi, record, domain)

    async def abort_migration(self, record: Record) -> None:
        await self._migrations.abort(record.uid)

    async def gone(self, record: Record) -> None:
        await self._consoles.close(record.uid, Closed.MOVED if record.moved else Closed.ENDED)
        self._live.pop(record.uid, None)
        self._agents.forget(record.uid)
        self._credentials.forget(record.uid)
        self._probes.forget(record.uid)
        if self._plugging is not None:
            await self._plugging.gone(record.uid)
        self._limits.forget(record.uid)
        self._dumps.forget(record.uid)
        await self._migrations.close(record.uid)
        await self._forget(record)
