"""A hypervisor in memory. The contract suite holds it and libvirt to the same behaviour.

Beyond the protocol a test can take the daemon away (`disconnect`, `reconnect`), let guests act by themselves
(`guest_powers_off`, `guest_obeys`), make disks fail and have calls refused.
"""

from __future__ import annotations

import asyncio
import copy
import uuid as uuids
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from kvtui.errors import Unreachable
from kvtui.node import owner
from kvtui.node.hypervisor import (
    Affect,
    AgentChanged,
    AgentUnavailable,
    ConnectionChanged,
    DeviceAdded,
    DeviceRemoved,
    DiskError,
    DomainGone,
    DomainId,
    DomainState,
    DomainStatus,
    Event,
    EventHandler,
    HypervisorRefused,
    JobStats,
    LifecycleChanged,
    LifecycleKind,
    MigrateRequest,
    NodeFacts,
    NotRunning,
    OwnedDomain,
    Reason,
    Screenshot,
    Share,
    ShutdownMode,
    Unsubscribe,
    XmlKind,
)

CAPABILITIES = """
<capabilities>
  <host><uuid>11111111-2222-3333-4444-555555555555</uuid><cpu><arch>x86_64</arch></cpu>
    <secmodel><model>none</model></secmodel>
    <secmodel><model>dac</model><baselabel type='kvm'>+64055:+108</baselabel></secmodel>
  </host>
  <guest><os_type>hvm</os_type><arch name='x86_64'><machine canonical='pc-q35-7.2'>q35</machine></arch></guest>
</capabilities>
"""
DOMAIN_CAPABILITIES = """
<domainCapabilities><cpu>
  <mode name='host-passthrough' supported='no'/>
  <mode name='host-model' supported='yes'><model>EPYC</model><vendor>AMD</vendor>
    <feature policy='require' name='x2apic'/></mode>
  <mode name='custom' supported='yes'><model usable='yes'>qemu64</model><model usable='yes'>Nehalem</model>
    <model usable='no'>Skylake-Server</model></mode>
</cpu></domainCapabilities>
"""


_DOWN = DomainStatus(DomainState.SHUTOFF)
_ALL = Share()


@dataclass(slots=True)
class FakeDomain:
    """One domain."""

    id: DomainId
    xml: Element
    status: DomainStatus = _DOWN
    live: Element | None = None
    obeys: bool = True
    """Shuts down when asked to."""
    asked: int = 0
    """Shutdown requests so far."""
    agent: dict[str, str] | None = None
    """Answers of the guest agent by command; None when there is none."""
    commands: list[str] = field(default_factory=list)
    """What the guest agent was asked."""
    errors: list[DiskError] = field(default_factory=list)
    share: Share = _ALL
    forwards: list[tuple[str, int, int, bool]] = field(default_factory=list)


class FakeHypervisor:
    """Implements the protocol."""

    def __init__(self, engine: str = "engine") -> None:
        self.engine = engine
        self.fakes: dict[DomainId, FakeDomain] = {}
        self.refusals: dict[str, HypervisorRefused] = {}
        """Error by name of method, raised at its next call."""
        self._handlers: list[EventHandler] = []
        self._connected = asyncio.Event()
        self._down = False

    # For tests

    def disconnect(self) -> None:
        self._down = True
        if self._connected.is_set():
            self._connected.clear()
            self._tell(ConnectionChanged(connected=False))

    def reconnect(self) -> None:
        self._down = False
        self._connected.set()
        self._tell(ConnectionChanged(connected=True))

    def guest_powers_off(self, domain: DomainId) -> None:
        self._stop(self._get(domain), Reason.SHUTDOWN)

    def guest_crashes(self, domain: DomainId) -> None:
        self._stop(self._get(domain), Reason.CRASHED)

    def disk_fails(self, domain: DomainId, target: str, *, no_space: bool) -> None:
        fake = self._get(domain)
        fake.errors = [DiskError(target, no_space)]
        self._change(fake, DomainState.PAUSED, Reason.IOERROR, LifecycleKind.SUSPENDED)

    def agent_connects(self, domain: DomainId, answers: dict[str, str]) -> None:
        fake = self._get(domain)
        fake.agent = answers
        self._channel(fake, "connected")
        self._tell(AgentChanged(domain, connected=True))

    def agent_goes(self, domain: DomainId) -> None:
        fake = self._get(domain)
        fake.agent = None
        self._channel(fake, "disconnected")
        self._tell(AgentChanged(domain, connected=False))

    def _channel(self, fake: FakeDomain, state: str) -> None:
        assert fake.live is not None
        for target in fake.live.findall("devices/channel/target"):
            target.set("state", state)

    # The protocol

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    async def run(self) -> None:
        if not self._down:
            self.reconnect()
        await asyncio.get_running_loop().create_future()

    async def wait_connected(self) -> None:
        await self._connected.wait()

    def subscribe(self, handler: EventHandler) -> Unsubscribe:
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)

    async def facts(self) -> NodeFacts:
        self._check("facts")
        return NodeFacts(4, 8 * 2**30, "9.0.0", "7.2.0", "FAKE", "fake")

    async def capabilities(self) -> str:
        self._check("capabilities")
        return CAPABILITIES

    async def domain_capabilities(self, arch: str, machine: str, kind: str) -> str:
        self._check("domain_capabilities")
        return DOMAIN_CAPABILITIES

    async def domains(self) -> list[OwnedDomain]:
        self._check("domains")
        found = []
        for fake in self.fakes.values():
            record = owner.find(fake.xml)
            if record is not None and record.engine == self.engine:
                found.append(OwnedDomain(fake.id, fake.xml.findtext("name", ""), record, fake.status))
        return found

    async def foreign_memory(self) -> int:
        self._check("foreign_memory")
        return sum(
            int(fake.xml.findtext("memory", "0")) * 1024
            for fake in self.fakes.values()
            if fake.status.state.active and ((record := owner.find(fake.xml)) is None or record.engine != self.engine)
        )

    async def define(self, xml: str) -> DomainId:
        self._check("define")
        try:
            element = ET.fromstring(xml)
        except ET.ParseError as error:
            raise HypervisorRefused(f"(domain_definition):1: {error}", 27) from error
        name = element.findtext("name")
        if not name:
            raise HypervisorRefused("XML error: missing name", 27)
        if element.find("uuid") is None:
            ET.SubElement(element, "uuid").text = str(uuids.uuid4())
        uuid = DomainId(element.findtext("uuid", ""))
        for other in self.fakes.values():
            if other.xml.findtext("name") == name and other.id != uuid:
                raise HypervisorRefused(f"operation failed: domain '{name}' already exists with uuid {other.id}", 9)
            if other.id == uuid and other.xml.findtext("name") != name:
                known = other.xml.findtext("name")
                raise HypervisorRefused(f"operation failed: domain '{known}' is already defined with uuid {uuid}", 9)
        if uuid in self.fakes:
            self.fakes[uuid].xml = element
        else:
            self.fakes[uuid] = FakeDomain(uuid, element)
        self._tell(LifecycleChanged(uuid, LifecycleKind.DEFINED))
        return uuid

    async def start(self, domain: DomainId, *, paused: bool = False) -> None:
        self._check("start")
        fake = self._get(domain)
        if fake.status.state.active:
            raise NotRunning("Requested operation is not valid: domain is already running", 55)
        fake.live = copy.deepcopy(fake.xml)
        self._change(fake, DomainState.RUNNING, Reason.BOOTED, LifecycleKind.STARTED)
        if paused:
            self._change(fake, DomainState.PAUSED, Reason.USER, LifecycleKind.SUSPENDED)

    async def status(self, domain: DomainId) -> DomainStatus:
        self._check("status")
        return self._get(domain).status

    async def xml(self, domain: DomainId, kind: XmlKind = XmlKind.LIVE) -> str:
        self._check("xml")
        fake = self._get(domain)
        element = fake.xml if kind is XmlKind.INACTIVE or fake.live is None else fake.live
        return ET.tostring(element, encoding="unicode")

    async def suspend(self, domain: DomainId) -> None:
        self._check("suspend")
        self._change(self._active(domain), DomainState.PAUSED, Reason.USER, LifecycleKind.SUSPENDED)

    async def resume(self, domain: DomainId) -> None:
        self._check("resume")
        fake = self._active(domain)
        self._change(fake, DomainState.RUNNING, Reason.UNPAUSED, LifecycleKind.RESUMED)

    async def shutdown(self, domain: DomainId, mode: ShutdownMode = ShutdownMode.DEFAULT) -> None:
        self._check("shutdown")
        fake = self._active(domain)
        fake.asked += 1
        if fake.obeys:
            self._stop(fake, Reason.SHUTDOWN)

    async def reboot(self, domain: DomainId, mode: ShutdownMode = ShutdownMode.DEFAULT) -> None:
        self._check("reboot")
        self._active(domain)

    async def reset(self, domain: DomainId) -> None:
        self._check("reset")
        self._active(domain)

    async def destroy(self, domain: DomainId, *, graceful: bool = True) -> None:
        self._check("destroy")
        self._stop(self._active(domain), Reason.DESTROYED)

    async def undefine(self, domain: DomainId, *, keep_state: bool = False) -> None:
        self._check("undefine")
        fake = self._get(domain)
        if not fake.status.state.active:
            del self.fakes[domain]
        self._tell(LifecycleChanged(domain, LifecycleKind.UNDEFINED))

    async def set_metadata(self, domain: DomainId, uri: str, element: str, prefix: str) -> None:
        self._check("set_metadata")
        fake = self._get(domain)
        made = ET.fromstring(element)
        made.tag = f"{{{uri}}}{made.tag.rpartition('}')[2]}"
        for document in (fake.xml, fake.live):
            if document is None:
                continue
            parent = document.find("metadata")
            parent = ET.SubElement(document, "metadata") if parent is None else parent
            for old in [e for e in parent if e.tag.startswith(f"{{{uri}}}")]:
                parent.remove(old)
            parent.append(copy.deepcopy(made))

    async def metadata(self, domain: DomainId, uri: str) -> str | None:
        self._check("metadata")
        found = [e for e in self._get(domain).xml.findall("metadata/*") if e.tag.startswith(f"{{{uri}}}")]
        return ET.tostring(found[0], encoding="unicode") if found else None

    async def attach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        self._check("attach")
        fake = self._get(domain)
        made = ET.fromstring(device)
        for document in self._affected(fake, affect):
            devices = document.find("devices")
            assert devices is not None
            target = made.find("target")
            if target is not None and any(
                (t := d.find("target")) is not None and t.get("dev") == target.get("dev")
                for d in devices.findall(made.tag)
            ):
                raise HypervisorRefused(f"Operation failed: target {target.get('dev')} already exists", 9)
            devices.append(copy.deepcopy(made))
        self._tell(DeviceAdded(domain, _alias(made)))

    async def detach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        self._check("detach")
        fake = self._get(domain)
        wanted = ET.fromstring(device)
        for document in self._affected(fake, affect):
            devices = document.find("devices")
            assert devices is not None
            found = [d for d in devices.findall(wanted.tag) if _same(d, wanted)]
            if not found:
                raise HypervisorRefused("device not found", 99)
            devices.remove(found[0])
        self._tell(DeviceRemoved(domain, _alias(wanted)))

    async def update(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        self._check("update")
        fake = self._get(domain)
        wanted = ET.fromstring(device)
        for document in self._affected(fake, affect):
            devices = document.find("devices")
            assert devices is not None
            found = [d for d in devices.findall(wanted.tag) if _same(d, wanted)]
            if not found:
                raise HypervisorRefused("device not found", 99)
            position = list(devices).index(found[0])
            devices.remove(found[0])
            devices.insert(position, copy.deepcopy(wanted))

    async def resize_block(self, domain: DomainId, target: str, size: int) -> None:
        self._check("resize_block")
        self._active(domain)

    async def set_vcpus(self, domain: DomainId, count: int) -> None:
        self._check("set_vcpus")
        fake = self._get(domain)
        for document in self._affected(fake, Affect.BOTH):
            vcpu = document.find("vcpu")
            assert vcpu is not None
            vcpu.set("current", str(count))

    async def set_memory(self, domain: DomainId, size: int) -> None:
        self._check("set_memory")
        fake = self._active(domain)
        assert fake.live is not None
        current = fake.live.find("currentMemory")
        current = ET.SubElement(fake.live, "currentMemory") if current is None else current
        current.text = str(size // 1024)

    async def limit(self, domain: DomainId, share: Share) -> None:
        self._check("limit")
        self._active(domain).share = share

    async def forward(self, domain: DomainId, interface: str, here: int, there: int, *, udp: bool = False) -> None:
        self._check("forward")
        self._active(domain).forwards.append((interface, here, there, udp))

    async def migrate(self, domain: DomainId, request: MigrateRequest) -> None:
        self._check("migrate")
        self._stop(self._active(domain), Reason.MIGRATED)

    async def start_postcopy(self, domain: DomainId) -> None:
        self._check("start_postcopy")

    async def set_max_downtime(self, domain: DomainId, milliseconds: int) -> None:
        self._check("set_max_downtime")

    async def job(self, domain: DomainId) -> JobStats:
        self._check("job")
        self._active(domain)
        return JobStats()

    async def completed_job(self, domain: DomainId) -> JobStats:
        self._check("completed_job")
        return JobStats()

    async def abort_job(self, domain: DomainId) -> None:
        self._check("abort_job")
        self._active(domain)

    async def agent_command(self, domain: DomainId, command: str, timeout: float = 5.0) -> str:
        self._check("agent_command")
        fake = self._active(domain)
        if fake.agent is None:
            raise AgentUnavailable("QEMU guest agent is not connected", 86)
        fake.commands.append(command)
        return fake.agent.get(command, '{"return": {}}')

    async def guest_info(self, domain: DomainId) -> Mapping[str, object]:
        self._check("guest_info")
        if self._active(domain).agent is None:
            raise AgentUnavailable("QEMU guest agent is not connected", 86)
        return {"hostname": "guest", "os.name": "Test", "os.id": "test"}

    async def freeze(self, domain: DomainId) -> None:
        await self.agent_command(domain, "freeze")

    async def thaw(self, domain: DomainId) -> None:
        await self.agent_command(domain, "thaw")

    async def set_guest_time(self, domain: DomainId, seconds: int) -> None:
        await self.agent_command(domain, "time")

    async def screenshot(self, domain: DomainId) -> Screenshot:
        self._check("screenshot")
        self._active(domain)
        return Screenshot("image/png", b"\x89PNG\r\n")

    async def core_dump(self, domain: DomainId, path: str) -> None:
        self._check("core_dump")
        self._active(domain)
        Path(path).write_bytes(b"\x7fELF")

    async def disk_errors(self, domain: DomainId) -> Sequence[DiskError]:
        self._check("disk_errors")
        return self._active(domain).errors

    async def stats(self) -> Mapping[DomainId, Mapping[str, object]]:
        self._check("stats")
        return {f.id: {"cpu.time": 10**9, "balloon.rss": 1024} for f in self.fakes.values() if f.status.state.active}

    async def memory_stats(self, domain: DomainId) -> Mapping[str, int]:
        self._check("memory_stats")
        memory = self._active(domain).xml.find("memory")
        if memory is None:
            return {}
        return {"actual": int(memory.text or 0) // (1024 if memory.get("unit") == "b" else 1)}

    # Inside

    def _check(self, name: str) -> None:
        if self._down or not self._connected.is_set():
            raise Unreachable("libvirt is not connected")
        refusal = self.refusals.pop(name, None)
        if refusal is not None:
            raise refusal

    def _get(self, domain: DomainId) -> FakeDomain:
        if domain not in self.fakes:
            raise DomainGone(f"Domain not found: no domain with matching uuid '{domain}'")
        return self.fakes[domain]

    def _active(self, domain: DomainId) -> FakeDomain:
        fake = self._get(domain)
        if not fake.status.state.active:
            raise NotRunning("Requested operation is not valid: domain is not running", 55)
        return fake

    def _affected(self, fake: FakeDomain, affect: Affect) -> list[Element]:
        documents = []
        if Affect.LIVE in affect:
            if fake.live is None:
                raise NotRunning("Requested operation is not valid: domain is not running", 55)
            documents.append(fake.live)
        if Affect.CONFIG in affect:
            documents.append(fake.xml)
        return documents

    def _change(self, fake: FakeDomain, state: DomainState, reason: Reason, kind: LifecycleKind) -> None:
        fake.status = DomainStatus(state, reason)
        self._tell(LifecycleChanged(fake.id, kind))

    def _stop(self, fake: FakeDomain, reason: Reason) -> None:
        fake.live = None
        self._change(fake, DomainState.SHUTOFF, reason, LifecycleKind.STOPPED)

    def _tell(self, event: Event) -> None:
        for handler in list(self._handlers):
            handler(event)


def _alias(device: Element) -> str:
    found = device.find("alias")
    return found.get("name", "") if found is not None else ""


def _same(one: Element, other: Element) -> bool:
    if _alias(one) and _alias(one) == _alias(other):
        return True
    first, second = one.find("target"), other.find("target")
    return first is not None and second is not None and first.get("dev") == second.get("dev")
