"""libvirt behind the hypervisor protocol: what each method asks of it.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import libvirt
import libvirt_qemu

from kvtui.node import libvirt_events, libvirt_flags, owner
from kvtui.node.hypervisor import (
    Affect,
    DiskError,
    DomainId,
    DomainStatus,
    HypervisorRefused,
    JobStats,
    MigrateRequest,
    NodeFacts,
    OwnedDomain,
    Owner,
    Screenshot,
    Share,
    ShutdownMode,
    XmlKind,
)
from kvtui.node.libvirt_connection import OPEN, LibvirtConnection
from kvtui.node.libvirt_flags import affected
from kvtui.node.libvirt_threads import AGENT_CODES, Lane

MODIFY = 120.0
"""Seconds for define, start, destroy and device changes; a start under load takes long."""
ASKED = 8.0
"""Seconds for asking a guest to shut down or reboot; libvirt takes five to find that an agent says nothing."""


class LibvirtHypervisor(LibvirtConnection):
    """Implements the protocol. All methods raise Unreachable while there is no connection."""

    def __init__(self, uri: str, engine: str) -> None:
        """`engine` tells our domains from those of another engine on the same daemon."""
        super().__init__(uri)
        self.engine = engine
        self._owners: dict[DomainId, Owner] = {}

    async def facts(self) -> NodeFacts:
        def read(connection: Any) -> NodeFacts:
            info = connection.getInfo()
            try:
                # getInfo adds up NUMA cells, which do not know of memory that came later.
                memory = int(connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)["total"]) * 1024
            except (libvirt.libvirtError, KeyError):
                memory = int(info[1]) * 2**20  # the test driver has no other answer
            return NodeFacts(
                cpus=int(info[2]),
                memory=memory,
                version=libvirt_flags.version(connection.getLibVersion()),
                hypervisor_version=libvirt_flags.version(connection.getVersion()),
                driver=str(connection.getType()),
                hostname=str(connection.getHostname()),
            )

        return await self.call(Lane.SHORT, read, OPEN)

    async def capabilities(self) -> str:
        return await self.call(Lane.SHORT, lambda c: str(c.getCapabilities()), OPEN)

    async def domain_capabilities(self, arch: str, machine: str, kind: str) -> str:
        return await self.call(
            Lane.SHORT, lambda c: str(c.getDomainCapabilities(None, arch, machine or None, kind)), OPEN
        )

    async def domains(self) -> list[OwnedDomain]:
        def read(connection: Any) -> list[OwnedDomain]:
            found = []
            for handle in connection.listAllDomains(0):
                try:
                    record = self._owner_of(handle)
                    if record is None or record.engine != self.engine:
                        continue
                    uuid = DomainId(handle.UUIDString())
                    status = libvirt_events.status_of(*handle.state())
                    found.append(OwnedDomain(uuid, str(handle.name()), record, status))
                except libvirt.libvirtError as error:
                    if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                        raise
            return found

        return await self.call(Lane.SHORT, read, 60.0)

    def _owner_of(self, handle: Any) -> Owner | None:
        uuid = DomainId(handle.UUIDString())
        if (known := self._owners.get(uuid)) is not None:
            return known
        try:
            element = handle.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, owner.URI)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                return None
            raise
        record = owner.from_element(ET.fromstring(element))  # noqa: S314  # libvirt's own serialisation
        if record is not None:
            self._owners[uuid] = record
        return record

    async def foreign_memory(self) -> int:
        def read(connection: Any) -> int:
            total = 0
            for handle in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                try:
                    record = self._owner_of(handle)
                    if record is None or record.engine != self.engine:
                        total += int(handle.info()[2]) * 1024
                except libvirt.libvirtError as error:
                    if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                        raise
            return total

        return await self.call(Lane.SHORT, read, 60.0)

    async def define(self, xml: str) -> DomainId:
        uuid = await self.call(Lane.MODIFY, lambda c: str(c.defineXML(xml).UUIDString()), MODIFY)
        self._owners.pop(DomainId(uuid), None)
        return DomainId(uuid)

    async def start(self, domain: DomainId, *, paused: bool = False) -> None:
        flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
        await self.on(domain, lambda d: d.createWithFlags(flags), Lane.MODIFY, MODIFY)

    async def status(self, domain: DomainId) -> DomainStatus:
        return await self.on(domain, lambda d: libvirt_events.status_of(*d.state()))

    async def xml(self, domain: DomainId, kind: XmlKind = XmlKind.LIVE) -> str:
        return await self.on(domain, lambda d: str(d.XMLDesc(libvirt_flags.XML[kind])))

    async def suspend(self, domain: DomainId) -> None:
        await self.on(domain, lambda d: d.suspend())

    async def resume(self, domain: DomainId) -> None:
        await self.on(domain, lambda d: d.resume())

    async def shutdown(self, domain: DomainId, mode: ShutdownMode = ShutdownMode.DEFAULT) -> None:
        flags = libvirt_flags.SHUTDOWN[mode]
        # libvirt waits up to a minute for an agent that took the request and says nothing more; a button is pressed.
        lane = Lane.SHORT if mode is ShutdownMode.ACPI else Lane.REQUEST
        await self.on(domain, lambda d: d.shutdownFlags(flags) if flags else d.shutdown(), lane, ASKED)

    async def reboot(self, domain: DomainId, mode: ShutdownMode = ShutdownMode.DEFAULT) -> None:
        lane = Lane.SHORT if mode is ShutdownMode.ACPI else Lane.REQUEST
        await self.on(domain, lambda d: d.reboot(libvirt_flags.REBOOT[mode]), lane, ASKED)

    async def reset(self, domain: DomainId) -> None:
        await self.on(domain, lambda d: d.reset(0))

    async def destroy(self, domain: DomainId, *, graceful: bool = True) -> None:
        flags = libvirt.VIR_DOMAIN_DESTROY_GRACEFUL if graceful else 0
        await self.on(domain, lambda d: d.destroyFlags(flags), Lane.MODIFY, MODIFY)

    async def undefine(self, domain: DomainId, *, keep_state: bool = False) -> None:
        flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        if keep_state:
            flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
        else:
            flags |= libvirt.VIR_DOMAIN_UNDEFINE_NVRAM

        def drop(handle: Any) -> None:
            try:
                handle.undefineFlags(flags)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
                    raise
                handle.undefine()  # a driver that knows no flags keeps no such files either

        await self.on(domain, drop, Lane.MODIFY, MODIFY)
        self._handles.pop(domain, None)
        self._owners.pop(domain, None)

    async def set_metadata(self, domain: DomainId, uri: str, element: str, prefix: str) -> None:
        def write(handle: Any) -> None:
            flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
            if handle.isActive():
                flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
            handle.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, element, prefix, uri, flags)

        await self.on(domain, write, Lane.MODIFY)

    async def metadata(self, domain: DomainId, uri: str) -> str | None:
        def read(handle: Any) -> str | None:
            try:
                return str(handle.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, uri))
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    return None
                raise

        return await self.on(domain, read)

    async def attach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        await self.on(domain, lambda d: d.attachDeviceFlags(device, affected(affect)), Lane.MODIFY, MODIFY)

    async def detach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        await self.on(domain, lambda d: d.detachDeviceFlags(device, affected(affect)), Lane.MODIFY, MODIFY)

    async def update(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        await self.on(domain, lambda d: d.updateDeviceFlags(device, affected(affect)), Lane.MODIFY, MODIFY)

    async def resize_block(self, domain: DomainId, target: str, size: int) -> None:
        flags = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
        if size == 0:
            flags = libvirt.VIR_DOMAIN_BLOCK_RESIZE_CAPACITY
        await self.on(domain, lambda d: d.blockResize(target, size, flags), Lane.MODIFY, MODIFY)

    async def set_vcpus(self, domain: DomainId, count: int) -> None:
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
        await self.on(domain, lambda d: d.setVcpusFlags(count, flags), Lane.MODIFY, MODIFY)

    async def set_memory(self, domain: DomainId, size: int) -> None:
        await self.on(domain, lambda d: d.setMemory(size // 1024), Lane.MODIFY)

    async def limit(self, domain: DomainId, share: Share) -> None:
        scheduler, memory = libvirt_flags.share_params(share)

        def apply(handle: Any) -> None:
            if scheduler:
                handle.setSchedulerParametersFlags(scheduler, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            if memory:
                handle.setMemoryParameters(memory, libvirt.VIR_DOMAIN_AFFECT_LIVE)

        await self.on(domain, apply, Lane.MODIFY)

    async def pin(self, domain: DomainId, kind: str, number: int, cpus: Collection[int]) -> None:
        cpumap = tuple(cpu in cpus for cpu in range(max(cpus, default=0) + 1))
        live = libvirt.VIR_DOMAIN_AFFECT_LIVE

        def apply(handle: Any) -> None:
            match kind:
                case "vcpu":
                    handle.pinVcpuFlags(number, cpumap, live)
                case "iothread":
                    handle.pinIOThread(number, cpumap, live)
                case _:
                    handle.pinEmulator(cpumap, live)

        await self.on(domain, apply, Lane.MODIFY)

    async def forward(self, domain: DomainId, interface: str, here: int, there: int, *, udp: bool = False) -> None:
        # libvirt itself forwards ports only with passt; QEMU's own network has this one way.
        rule = f"{'udp' if udp else 'tcp'}:127.0.0.1:{here:d}-:{there:d}"
        command = f"hostfwd_add hostua-{interface} {rule}"
        flags = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        answer = await self.on(domain, lambda d: str(libvirt_qemu.qemuMonitorCommand(d, command, flags)))
        if answer.strip():
            raise HypervisorRefused(answer.strip())

    async def migrate(self, domain: DomainId, request: MigrateRequest) -> None:
        params, flags = libvirt_flags.migrate_params(request)
        await self.on(domain, lambda d: d.migrateToURI3(request.destination, params, flags), Lane.LONG, None)

    async def start_postcopy(self, domain: DomainId) -> None:
        await self.on(domain, lambda d: d.migrateStartPostCopy(0), Lane.MONITOR)

    async def set_max_downtime(self, domain: DomainId, milliseconds: int) -> None:
        await self.on(domain, lambda d: d.migrateSetMaxDowntime(milliseconds, 0), Lane.MONITOR)

    async def job(self, domain: DomainId) -> JobStats:
        return await self.on(domain, lambda d: libvirt_events.job_of(d.jobStats(0)), Lane.MONITOR)

    async def completed_job(self, domain: DomainId) -> JobStats:
        flags = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED
        return await self.on(domain, lambda d: libvirt_events.job_of(d.jobStats(flags)), Lane.MONITOR)

    async def abort_job(self, domain: DomainId) -> None:
        await self.on(domain, lambda d: d.abortJob(), Lane.ABORT, 30.0)

    async def agent_command(self, domain: DomainId, command: str, timeout: float = 5.0) -> str:
        seconds = max(1, round(timeout))

        def ask(handle: Any) -> str:
            return str(libvirt_qemu.qemuAgentCommand(handle, command, seconds, 0))

        return await self.on_agent(domain, ask, timeout + 5, patience=seconds)

    async def guest_info(self, domain: DomainId) -> Mapping[str, object]:
        def read(handle: Any) -> dict[str, object]:
            try:
                return dict(handle.guestInfo(libvirt_flags.GUEST_INFO, 0))
            except libvirt.libvirtError as error:
                if error.get_error_code() in AGENT_CODES:
                    raise
                return dict(handle.guestInfo(0, 0))  # whatever an agent can that cannot all of it

        return await self.on_agent(domain, read, 25.0)

    async def freeze(self, domain: DomainId) -> None:
        await self.on_agent(domain, lambda d: d.fsFreeze(), 45.0, Lane.REQUEST, patience=30)

    async def thaw(self, domain: DomainId) -> None:
        await self.on_agent(domain, lambda d: d.fsThaw(), 45.0, Lane.REQUEST, patience=30)

    async def set_guest_time(self, domain: DomainId, seconds: int) -> None:
        await self.on_agent(domain, lambda d: d.setTime({"seconds": seconds, "nseconds": 0}, 0), 15.0)

    async def screenshot(self, domain: DomainId) -> Screenshot:
        def take(connection: Any) -> Screenshot:
            stream = connection.newStream(0)
            handle = connection.lookupByUUIDString(domain)
            data = bytearray()
            try:
                mime = handle.screenshot(stream, 0, 0)
                stream.recvAll(lambda _stream, chunk, _opaque: data.extend(chunk), None)
                stream.finish()
            except libvirt.libvirtError:
                stream.abort()
                raise
            return Screenshot(str(mime), bytes(data))

        return await self.call(Lane.REQUEST, take, 20.0)

    async def core_dump(self, domain: DomainId, path: str) -> None:
        form, flags = libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_RAW, libvirt.VIR_DUMP_MEMORY_ONLY
        await self.on(domain, lambda d: d.coreDumpWithFormat(path, form, flags), Lane.LONG, None)

    async def disk_errors(self, domain: DomainId) -> Sequence[DiskError]:
        found = await self.on(domain, lambda d: dict(d.diskErrors()))
        return [DiskError(target, code == libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE) for target, code in found.items()]

    async def stats(self, *, dirty_rates: bool = False) -> Mapping[DomainId, Mapping[str, object]]:
        def read(connection: Any) -> dict[DomainId, Mapping[str, object]]:
            groups = (
                libvirt.VIR_DOMAIN_STATS_BALLOON
                | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
                | libvirt.VIR_DOMAIN_STATS_VCPU
                | libvirt.VIR_DOMAIN_STATS_INTERFACE
                | libvirt.VIR_DOMAIN_STATS_BLOCK
                | (libvirt.VIR_DOMAIN_STATS_DIRTYRATE if dirty_rates else 0)
            )
            flags = (
                libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
                | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED
                | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
            )
            return {DomainId(d.UUIDString()): dict(values) for d, values in connection.getAllDomainStats(groups, flags)}

        return await self.call(Lane.SHORT, read)

    async def sample_dirty_rate(self, domain: DomainId) -> None:
        await self.on(domain, lambda d: d.startDirtyRateCalc(1, 0), Lane.SAMPLE)

    async def memory_stats(self, domain: DomainId) -> Mapping[str, int]:
        return await self.on(domain, lambda d: {str(k): int(v) for k, v in d.memoryStats().items()})
