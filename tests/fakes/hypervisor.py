"""A hypervisor in memory. The contract suite holds it and libvirt to the same behaviour.

Beyond the protocol a test can take the daemon away (`disconnect`, `reconnect`), let guests act by themselves
(`guest_powers_off`, `guest_obeys`), make disks fail and have calls refused.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import uuid as uuids
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from kvtui.errors import Unreachable
from kvtui.node import cpusets, owner
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


M = TypeVar("M", bound=Callable[..., Coroutine[Any, Any, Any]])


def answering(method: M) -> M:
    """A call that needs the daemon, and that a test may have it refuse."""

    @functools.wraps(method)
    async def checked(self: FakeHypervisor, *args: Any, **more: Any) -> Any:
        self._check(method.__name__)
        return await method(self, *args, **more)

    return cast("M", checked)


class FakeHypervisor:
    """Implements the protocol."""

    def __init__(self, engine: str = "engine") -> None:
        self.engine = engine
        self.fakes: dict[DomainId, FakeDomain] = {}
        self.refusals: dict[str, HypervisorRefused] = {}
        """Error by name of method, raised at its next call."""
        self.pressed: list[DomainId] = []
        self.stats_calls = 0
        self.more_stats: dict[DomainId, Mapping[str, object]] = {}
        """What `stats` tells of a domain beyond what every guest has."""
        self.sampled: list[DomainId] = []
        """Whose dirty rate was sampled."""
        """Whose power button was pressed."""
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

    def guest_panics(self, domain: DomainId) -> None:
        self._tell(LifecycleChanged(domain, LifecycleKind.CRASHED, 0))
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

    @answering
    async def facts(self) -> NodeFacts:
        return NodeFacts(4, 8 * 2**30, "9.0.0", "7.2.0", "FAKE", "fake")

    @answering
    async def capabilities(self) -> str:
        return CAPABILITIES

    @answering
    async def domain_capabilities(self, arch: str, machine: str, kind: str) -> str:
        return DOMAIN_CAPABILITIES

    @answering
    async def domains(self) -> list[OwnedDomain]:
        found = []
        for fake in self.fakes.values():
            record = owner.find(fake.xml)
            if record is not None and record.engine == self.engine:
                found.append(OwnedDomain(fake.id, fake.xml.findtext("name", ""), record, fake.status))
        return found

    @answering
    async def foreign_memory(self) -> int:
        return sum(
            int(fake.xml.findtext("memory", "0")) * 1024
            for fake in self.fakes.values()
            if fake.status.state.active and ((record := owner.find(fake.xml)) is None or record.engine != self.engine)
        )

    @answering
    async def define(self, xml: str) -> DomainId:
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

    @answering
    async def start(self, domain: DomainId, *, paused: bool = False) -> None:
        fake = self._get(domain)
        if fake.status.state.active:
            raise NotRunning("Requested operation is not valid: domain is already running", 55)
        fake.live = copy.deepcopy(fake.xml)
        self._change(fake, DomainState.RUNNING, Reason.BOOTED, LifecycleKind.STARTED)
        if paused:
            self._change(fake, DomainState.PAUSED, Reason.USER, LifecycleKind.SUSPENDED)

    @answering
    async def status(self, domain: DomainId) -> DomainStatus:
        return self._get(domain).status

    @answering
    async def xml(self, domain: DomainId, kind: XmlKind = XmlKind.LIVE) -> str:
        fake = self._get(domain)
        element = fake.xml if kind is XmlKind.INACTIVE or fake.live is None else fake.live
        return ET.tostring(element, encoding="unicode")

    @answering
    async def suspend(self, domain: DomainId) -> None:
        self._change(self._active(domain), DomainState.PAUSED, Reason.USER, LifecycleKind.SUSPENDED)

    @answering
    async def resume(self, domain: DomainId) -> None:
        fake = self._active(domain)
        self._change(fake, DomainState.RUNNING, Reason.UNPAUSED, LifecycleKind.RESUMED)

    @answering
    async def shutdown(self, domain: DomainId, mode: ShutdownMode = ShutdownMode.DEFAULT) -> None:
        fake = self._active(domain)
        if mode is ShutdownMode.ACPI:
            self.pressed.append(domain)
        fake.asked += 1
        if fake.obeys:
            self._stop(fake, Reason.SHUTDOWN)

    @answering
    async def reboot(self, domain: DomainId, mode: ShutdownMode = ShutdownMode.DEFAULT) -> None:
        self._active(domain)

    @answering
    async def reset(self, domain: DomainId) -> None:
        self._active(domain)

    @answering
    async def destroy(self, domain: DomainId, *, graceful: bool = True) -> None:
        self._stop(self._active(domain), Reason.DESTROYED)

    @answering
    async def undefine(self, domain: DomainId, *, keep_state: bool = False) -> None:
        fake = self._get(domain)
        if not fake.status.state.active:
            del self.fakes[domain]
        self._tell(LifecycleChanged(domain, LifecycleKind.UNDEFINED))

    @answering
    async def set_metadata(self, domain: DomainId, uri: str, element: str, prefix: str) -> None:
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

    @answering
    async def metadata(self, domain: DomainId, uri: str) -> str | None:
        found = [e for e in self._get(domain).xml.findall("metadata/*") if e.tag.startswith(f"{{{uri}}}")]
        return ET.tostring(found[0], encoding="unicode") if found else None

    @answering
    async def attach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        fake = self._get(domain)
        made = ET.fromstring(device)
        for devices in self._devices(fake, affect):
            target = made.find("target")
            if target is not None and any(
                (t := d.find("target")) is not None and t.get("dev") == target.get("dev")
                for d in devices.findall(made.tag)
            ):
                raise HypervisorRefused(f"Operation failed: target {target.get('dev')} already exists", 9)
            devices.append(copy.deepcopy(made))
        self._tell(DeviceAdded(domain, _alias(made)))

    @answering
    async def detach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        fake = self._get(domain)
        wanted = ET.fromstring(device)
        for devices in self._devices(fake, affect):
            devices.remove(_find(devices, wanted))
        self._tell(DeviceRemoved(domain, _alias(wanted)))

    @answering
    async def update(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
        fake = self._get(domain)
        wanted = ET.fromstring(device)
        for devices in self._devices(fake, affect):
            devices[list(devices).index(_find(devices, wanted))] = copy.deepcopy(wanted)

    @answering
    async def resize_block(self, domain: DomainId, target: str, size: int) -> None:
        self._active(domain)

    @answering
    async def set_vcpus(self, domain: DomainId, count: int) -> None:
        fake = self._get(domain)
        for document in self._affected(fake, Affect.BOTH):
            vcpu = document.find("vcpu")
            assert vcpu is not None
            vcpu.set("current", str(count))

    @answering
    async def set_memory(self, domain: DomainId, size: int) -> None:
        fake = self._active(domain)
        assert fake.live is not None
        current = fake.live.find("currentMemory")
        current = ET.SubElement(fake.live, "currentMemory") if current is None else current
        current.text = str(size // 1024)

    @answering
    async def limit(self, domain: DomainId, share: Share) -> None:
        self._active(domain).share = share

    @answering
    async def pin(self, domain: DomainId, kind: str, number: int, cpus: Collection[int]) -> None:
        live = self._active(domain).live
        assert live is not None
        tuning = live.find("cputune")
        tuning = ET.SubElement(live, "cputune") if tuning is None else tuning
        which = {} if kind == "emulator" else {kind: str(number)}
        for old in [p for p in tuning.findall(f"{kind}pin") if which.items() <= p.attrib.items()]:
            tuning.remove(old)
        ET.SubElement(tuning, f"{kind}pin", {**which, "cpuset": cpusets.format_list(cpus)})

    @answering
    async def forward(self, domain: DomainId, interface: str, here: int, there: int, *, udp: bool = False) -> None:
        self._active(domain).forwards.append((interface, here, there, udp))

    @answering
    async def migrate(self, domain: DomainId, request: MigrateRequest) -> None:
        self._stop(self._active(domain), Reason.MIGRATED)

    @answering
    async def start_postcopy(self, domain: DomainId) -> None:
        return

    @answering
    async def set_max_downtime(self, domain: DomainId, milliseconds: int) -> None:
        return

    @answering
    async def job(self, domain: DomainId) -> JobStats:
        self._active(domain)
        return JobStats()

    @answering
    async def completed_job(self, domain: DomainId) -> JobStats:
        return JobStats()

    @answering
    async def abort_job(self, domain: DomainId) -> None:
        self._active(domain)

    @answering
    async def agent_command(self, domain: DomainId, command: str, timeout: float = 5.0) -> str:
        fake = self._active(domain)
        if fake.agent is None:
            raise AgentUnavailable("QEMU guest agent is not connected", 86)
        fake.commands.append(command)
        return fake.agent.get(command, '{"return": {}}')

    @answering
    async def guest_info(self, domain: DomainId) -> Mapping[str, object]:
        if self._active(domain).agent is None:
            raise AgentUnavailable("QEMU guest agent is not connected", 86)
        return {"hostname": "guest", "os.name": "Test", "os.id": "test"}

    async def freeze(self, domain: DomainId) -> None:
        await self.agent_command(domain, "freeze")

    async def thaw(self, domain: DomainId) -> None:
        await self.agent_command(domain, "thaw")

    async def set_guest_time(self, domain: DomainId, seconds: int) -> None:
        await self.agent_command(domain, "time")

    @answering
    async def screenshot(self, domain: DomainId) -> Screenshot:
        self._active(domain)
        return Screenshot("image/png", b"\x89PNG\r\n")

    @answering
    async def core_dump(self, domain: DomainId, path: str) -> None:
        self._active(domain)
        Path(path).write_bytes(b"\x7fELF")

    @answering
    async def disk_errors(self, domain: DomainId) -> Sequence[DiskError]:
        return self._active(domain).errors

    @answering
    async def stats(self, *, dirty_rates: bool = False) -> Mapping[DomainId, Mapping[str, object]]:
        self.stats_calls += 1
        found: dict[DomainId, Mapping[str, object]] = {}
        for fake in self.fakes.values():
            if fake.status.state.active:
                rate = {"dirtyrate.calc_status": 2, "dirtyrate.megabytes_per_second": 3}
                found[fake.id] = {
                    "cpu.time": 10**9,
                    "balloon.rss": 1024,
                    **self.more_stats.get(fake.id, {}),
                    **(rate if dirty_rates and fake.id in self.sampled else {}),
                }
        return found

    @answering
    async def sample_dirty_rate(self, domain: DomainId) -> None:
        self._active(domain)
        self.sampled.append(domain)

    @answering
    async def memory_stats(self, domain: DomainId) -> Mapping[str, int]:
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

    def _devices(self, fake: FakeDomain, affect: Affect) -> list[Element]:
        return [devices for document in self._affected(fake, affect) for devices in document.findall("devices")]

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


def _find(devices: Element, wanted: Element) -> Element:
    found = next((d for d in devices.findall(wanted.tag) if _same(d, wanted)), None)
    if found is None:
        raise HypervisorRefused("device not found", 99)
    return found


def _same(one: Element, other: Element) -> bool:
    if _alias(one) and _alias(one) == _alias(other):
        return True
    first, second = one.find("target"), other.find("target")
    return first is not None and second is not None and first.get("dev") == second.get("dev")
