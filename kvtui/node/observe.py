"""What a live domain's description tells: devices by the names of the spec, agent channel, memory, topology. Pure.

Our devices carry the user alias ua-<name>, so they are recognised wherever libvirt put them.

Source: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from kvtui.node.status import DomainNic

AGENT_CHANNEL = "org.qemu.guest_agent.0"
_UNITS = {"b": 1, "bytes": 1, "k": 1024, "kib": 1024, "m": 2**20, "mib": 2**20, "g": 2**30, "gib": 2**30}


@dataclass(frozen=True, slots=True)
class LiveDisk:
    """A disk of the domain."""

    name: str
    """Of the disk in the spec; empty for one that is not ours."""
    target: str
    device: str
    source: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class LiveDomain:
    """The parts of a description that the agent reads."""

    uuid: str
    name: str
    machine: str
    nics: tuple[DomainNic, ...]
    disks: tuple[LiveDisk, ...]
    agent_connected: bool
    memory: int
    """Bytes that the guest has now."""
    plugged: int
    """Bytes of pluggable memory that were asked for; -1 without such a device."""
    vcpus: int
    """Plugged now."""
    topology: tuple[int, int, int] | None
    """Sockets, cores, threads at most."""
    serial_socket: str
    serial_log: str
    vnc_socket: str
    taps: tuple[tuple[str, str], ...] = ()
    """Target device and name of each NIC that is ours."""
    pinned: tuple[tuple[int, int], ...] = ()
    """vCPUs that may not run everywhere, and on how many CPUs they may."""
    panic: str = ""
    """Model of the device by which the guest tells that its kernel panicked."""
    cpuset: int = 0
    """On how many CPUs all others may run; 0 is everywhere."""

    @property
    def devices(self) -> dict[str, str]:
        """Names in the spec by target, as statistics know disks and NICs."""
        return {**dict(self.taps), **{d.target: d.name for d in self.disks if d.name}}

    def affinity(self, cpus: int) -> int:
        """Pairs of a vCPU and a CPU that may come together on a node with so many CPUs."""
        pinned = {vcpu: count for vcpu, count in self.pinned if vcpu < self.vcpus}
        return sum(pinned.values()) + (self.vcpus - len(pinned)) * (self.cpuset or cpus)

    @property
    def targets(self) -> dict[str, str]:
        """Target by volume; an empty drive holds none."""
        return {d.name: d.target for d in self.disks if d.name and (d.source or d.device != "cdrom")}

    @property
    def plugged_topology(self) -> tuple[int, int, int] | None:
        if self.topology is None:
            return None
        _, cores, threads = self.topology
        return max(1, self.vcpus // max(1, cores * threads)), cores, threads


def parse(xml: str) -> Element:
    """libvirt's own serialisation, which it has validated."""
    return ElementTree.fromstring(xml)  # noqa: S314


def alias(device: Element) -> str:
    """The spec's name of a device; empty for one that is not ours."""
    found = device.find("alias")
    name = found.get("name", "") if found is not None else ""
    return name.removeprefix("ua-") if name.startswith("ua-") else ""


def read(domain: Element) -> LiveDomain:
    """Everything at once."""
    os_type = domain.find("os/type")
    topology = domain.find("cpu/topology")
    vcpu = domain.find("vcpu")
    vcpus = int((vcpu.get("current") or vcpu.text or "1") if vcpu is not None else 1)
    serial = domain.find("devices/serial[@type='unix']/source")
    log = domain.find("devices/serial/log")
    vnc, panic = domain.find("devices/graphics[@type='vnc']"), domain.find("devices/panic")
    return LiveDomain(
        uuid=domain.findtext("uuid", ""),
        name=domain.findtext("name", ""),
        machine=os_type.get("machine", "") if os_type is not None else "",
        nics=tuple(_nic(n) for n in domain.findall("devices/interface") if alias(n)),
        disks=tuple(_disk(d) for d in domain.findall("devices/disk")),
        agent_connected=any(
            target.get("name") == AGENT_CHANNEL and target.get("state") == "connected"
            for target in domain.findall("devices/channel/target")
        ),
        memory=_bytes(domain.find("currentMemory")) or _bytes(domain.find("memory")),
        plugged=_plugged(domain),
        vcpus=vcpus,
        topology=_topology(topology),
        serial_socket=serial.get("path", "") if serial is not None else "",
        serial_log=log.get("file", "") if log is not None else "",
        vnc_socket=_vnc(vnc),
        taps=tuple(_taps(domain)),
        pinned=tuple((int(p.get("vcpu", "0")), _cpus(p.get("cpuset"))) for p in domain.findall("cputune/vcpupin")),
        panic=panic.get("model", "") if panic is not None else "",
        cpuset=_cpus(vcpu.get("cpuset")) if vcpu is not None else 0,
    )


def _taps(domain: Element) -> Iterator[tuple[str, str]]:
    for interface in domain.findall("devices/interface"):
        target = interface.find("target")
        if target is not None and alias(interface):
            yield target.get("dev", ""), alias(interface)


def _cpus(words: str | None) -> int:
    """How many CPUs a list such as 0-3,^2,8 has."""
    chosen: set[int] = set()
    for word in (words or "").replace(" ", "").split(","):
        first, _, last = word.removeprefix("^").partition("-")
        if first:
            span = set(range(int(first), int(last or first) + 1))
            chosen = chosen - span if word.startswith("^") else chosen | span
    return len(chosen)


def _topology(found: Element | None) -> tuple[int, int, int] | None:
    if found is None:
        return None
    sockets, cores, threads = (int(found.get(k, "1")) for k in ("sockets", "cores", "threads"))
    return sockets, cores, threads


def _plugged(domain: Element) -> int:
    devices = domain.findall("devices/memory[@model='virtio-mem']")
    return sum(_bytes(d.find("target/requested")) for d in devices) if devices else -1


def _vnc(graphics: Element | None) -> str:
    if graphics is None:
        return ""
    listen = graphics.find("listen[@type='socket']")
    return (listen.get("socket") if listen is not None else None) or graphics.get("socket") or ""


def _nic(interface: Element) -> DomainNic:
    mac, link, driver = interface.find("mac"), interface.find("link"), interface.find("driver")
    return DomainNic(
        name=alias(interface),
        mac=mac.get("address", "") if mac is not None else "",
        link_up=link is None or link.get("state") != "down",
        queues=int(driver.get("queues", "1")) if driver is not None else 1,
    )


def _disk(disk: Element) -> LiveDisk:
    source, target = disk.find("source"), disk.find("target")
    path = (source.get("file") or source.get("dev") or "") if source is not None else ""
    return LiveDisk(
        name=alias(disk),
        target=target.get("dev", "") if target is not None else "",
        device=disk.get("device", "disk"),
        source=path,
        read_only=disk.find("readonly") is not None,
    )


def _bytes(found: Element | None) -> int:
    if found is None or not found.text:
        return 0
    return int(found.text) * _UNITS.get(found.get("unit", "KiB").lower(), 1024)
