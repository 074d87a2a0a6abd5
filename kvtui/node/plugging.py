"""Devices of a running domain brought into step with the spec: disks, CD-ROM media, NICs, CPUs, memory.

Every look compares names of the spec with aliases of the live domain, so a change that was cut short is simply seen
again. vCPUs are only ever added: taking one from a running QEMU kills it.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainAttachDeviceFlags
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable
from xml.etree.ElementTree import Element, SubElement

import structlog

from kvtui.api import quantity
from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, Volume
from kvtui.controlloop.recorder import EventRecorder
from kvtui.domainxml import to_text
from kvtui.domainxml.hotplug import MEMORY_ALIAS, disk_xml, interface_xml, memory_device_xml, resized_memory
from kvtui.domainxml.placement import DiskFacts
from kvtui.errors import KvtuiError
from kvtui.node import build
from kvtui.node.build import Builder
from kvtui.node.hypervisor import Affect, DomainId, Hypervisor
from kvtui.node.network.sandbox import Networks
from kvtui.node.observe import LiveDomain, alias, parse
from kvtui.node.start import Starter
from kvtui.node.state import Record, Records
from kvtui.node.volumes.claims import ClaimPending
from kvtui.node.volumes.room import Prepared

log = structlog.get_logger()
PLUGGABLE = ("AttachedToNode", "MountedToPod", "Ready")
MEMORY_BLOCK = 2 * 2**20


class Devices:
    """Implements the reporter's plugging."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        records: Records,
        networks: Networks,
        starter: Starter,
        builder: Builder,
        recorder: EventRecorder,
        attachment: Callable[[str, str], Awaitable[str]],
    ) -> None:
        """`attachment` gives the CNI configuration of a network by namespace and name."""
        self._hypervisor = hypervisor
        self._records = records
        self._networks = networks
        self._starter = starter
        self._builder = builder
        self._recorder = recorder
        self._attachment = attachment

    async def sync(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        """Applies what differs. One device that cannot be changed does not keep the others from it."""
        failure: KvtuiError | None = None
        for change in (self._disks, self._media, self._nics, self._cpus, self._memory):
            try:
                await change(vmi, self._records.get(record.uid) or record, live)
            except ClaimPending as error:
                log.debug("a volume to plug is not there yet", vmi=str(vmi.key), error=str(error))
            except KvtuiError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    # Disks

    async def _disks(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        present = live.targets
        wanted = to_plug(vmi, present)
        if wanted:
            prepared = await self._starter.prepare(vmi, record)
            for name in wanted:
                # Known before it is there, so that it is also taken away when it is no longer wanted.
                record = await self._records.change(record, hotplugged=sorted({*record.hotplugged, name}))
                xml = await self._disk(vmi, prepared, name)
                await self._hypervisor.attach(DomainId(record.domain), to_text(xml))
                log.info("disk plugged", vmi=str(vmi.key), volume=name)
        gone = to_unplug(vmi, record.hotplugged)
        for name in gone:
            if name in present:
                element = await self._live_device(record, "disk", name)
                if element is not None:
                    await self._hypervisor.detach(DomainId(record.domain), to_text(element))
            else:
                record = await self._records.change(record, hotplugged=[v for v in record.hotplugged if v != name])
                self._recorder.normal(vmi, "VolumeUnplugged", f"Volume {name} has been unplugged")

    async def _disk(self, vmi: VirtualMachineInstance, prepared: Prepared, name: str) -> Element:
        context = await asyncio.to_thread(self._builder.context, vmi, prepared)
        element = disk_xml(vmi, context, name)
        facts = await asyncio.to_thread(_facts, element)
        return disk_xml(vmi, context, name, facts)

    async def _media(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        drives = {d.name: d for d in live.disks if d.device == "cdrom" and d.name}
        volumes = {v.name for v in vmi.spec.volumes}
        changed = [
            disk.name
            for disk in vmi.spec.domain.devices.disks
            if disk.cdrom is not None
            and disk.name in drives
            and (disk.name in volumes) != bool(drives[disk.name].source)
        ]
        if not changed:
            return
        prepared = await self._starter.prepare(vmi, record)
        for name in changed:
            wanted = await self._disk(vmi, prepared, name)
            element = await self._live_device(record, "disk", name)
            if element is None:
                continue
            for tag in ("source", "backingStore"):
                for old in element.findall(tag):
                    element.remove(old)
            source = wanted.find("source")
            inserted = source is not None and bool(source.attrib)
            if source is not None and inserted:
                element.append(source)
            await self._hypervisor.update(DomainId(record.domain), to_text(element))
            log.info("medium changed", vmi=str(vmi.key), drive=name, inserted=inserted)

    async def _live_device(self, record: Record, tag: str, name: str) -> Element | None:
        domain = parse(await self._hypervisor.xml(DomainId(record.domain)))
        return next((d for d in domain.findall(f"devices/{tag}") if alias(d) == name), None)

    # NICs

    async def _nics(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        present = {n.name: n for n in live.nics}
        networks = {n.name: n for n in vmi.spec.networks}
        for interface in vmi.spec.domain.devices.interfaces:
            nic = present.get(interface.name)
            network = networks.get(interface.name)
            if interface.state == "absent":
                if nic is not None:
                    await self._unplug_nic(record, interface.name)
                elif (pod := self._networks.get(record.pod_uid)) is not None and pod.nic(interface.name) is not None:
                    await self._networks.unplug(record.pod_uid, interface.name)
            elif nic is None and network is not None and network.multus is not None and _by_tap(interface):
                config = await self._attachment(vmi.metadata.namespace, network.multus.network_name)
                made = await self._networks.plug(record.pod_uid, vmi, interface.name, config)
                attachment = build.attachment(made)
                prepared = await self._starter.prepare(vmi, record)
                context = await asyncio.to_thread(self._builder.context, vmi, prepared)
                xml = interface_xml(vmi, context, interface.name, attachment, vhost_net=self._builder.vhost_net)
                await self._hypervisor.attach(DomainId(record.domain), to_text(xml))
                log.info("NIC plugged", vmi=str(vmi.key), interface=interface.name)
            elif nic is not None and (interface.state == "down") == nic.link_up:
                await self._set_link(record, interface)

    async def _unplug_nic(self, record: Record, name: str) -> None:
        element = await self._live_device(record, "interface", name)
        if element is not None:
            # The stored definition may have the NIC at another address.
            for address in element.findall("address"):
                element.remove(address)
            await self._hypervisor.detach(DomainId(record.domain), to_text(element))

    async def _set_link(self, record: Record, interface: Interface) -> None:
        element = await self._live_device(record, "interface", interface.name)
        if element is None:
            return
        link = element.find("link")
        link = SubElement(element, "link") if link is None else link
        link.set("state", "down" if interface.state == "down" else "up")
        await self._hypervisor.update(DomainId(record.domain), to_text(element))

    # CPUs and memory

    async def _cpus(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        cpu = vmi.spec.domain.cpu
        if cpu is None or live.topology is None:
            return
        wanted = (cpu.sockets or 1) * (cpu.cores or 1) * (cpu.threads or 1)
        sockets, cores, threads = live.topology
        if live.vcpus < wanted <= sockets * cores * threads:
            await self._hypervisor.set_vcpus(DomainId(record.domain), wanted)
            log.info("vCPUs plugged", vmi=str(vmi.key), count=wanted)

    async def _memory(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        wanted = memory_change(vmi)
        if wanted is None:
            return
        size, requested = wanted
        domain = parse(await self._hypervisor.xml(DomainId(record.domain)))
        device = next((m for m in domain.findall("devices/memory") if alias(m) == MEMORY_ALIAS), None)
        if device is None:
            if requested == 0:
                return
            xml = memory_device_xml(size=size, requested=requested, block=MEMORY_BLOCK)
            await self._hypervisor.attach(DomainId(record.domain), to_text(xml))
        elif _bytes(device.find("target/requested")) != requested:
            await self._hypervisor.update(
                DomainId(record.domain), to_text(resized_memory(copy.deepcopy(device), requested)), Affect.LIVE
            )
        else:
            return
        log.info("memory plugged", vmi=str(vmi.key), bytes=requested)


def to_plug(vmi: VirtualMachineInstance, present: Iterable[str]) -> list[str]:
    """Hot-pluggable volumes that are reachable and not in the domain."""
    known = set(present)
    phases = {v.name: v.phase for v in vmi.status.volume_status} if vmi.status else {}
    drives = {d.name for d in vmi.spec.domain.devices.disks if d.cdrom is not None}
    disks = {d.name for d in vmi.spec.domain.devices.disks} - drives
    return [
        v.name
        for v in vmi.spec.volumes
        if _hotpluggable(v) and v.name in disks and v.name not in known and phases.get(v.name) in PLUGGABLE
    ]


def to_unplug(vmi: VirtualMachineInstance, plugged: Iterable[str]) -> list[str]:
    """Volumes that were plugged and are no longer in the spec."""
    wanted = {v.name for v in vmi.spec.volumes}
    return [name for name in plugged if name not in wanted]


def memory_change(vmi: VirtualMachineInstance) -> tuple[int, int] | None:
    """Largest and wanted size in bytes of the pluggable memory; None where memory cannot grow."""
    memory = vmi.spec.domain.memory
    at_boot = vmi.status.memory.guest_at_boot if vmi.status and vmi.status.memory else None
    if memory is None or memory.max_guest is None or memory.guest is None or at_boot is None:
        return None
    boot, guest, most = (quantity.value(q) for q in (at_boot, memory.guest, memory.max_guest))
    if not boot <= guest <= most or most == boot:
        return None
    return most - boot, guest - boot


def _hotpluggable(volume: Volume) -> bool:
    source = volume.persistent_volume_claim or volume.data_volume
    return bool(source is not None and source.hotpluggable)


def _by_tap(interface: Interface) -> bool:
    return interface.bridge is not None or interface.masquerade is not None


def _facts(disk: Element) -> DiskFacts | None:
    root = Element("domain")
    SubElement(root, "devices").append(copy.deepcopy(disk))
    return next(iter(build.disk_facts(root).values()), None)


def _bytes(found: Element | None) -> int:
    if found is None or not found.text:
        return 0
    scale = {"b": 1, "bytes": 1, "KiB": 1024, "MiB": 2**20, "GiB": 2**30}
    return int(found.text) * scale.get(found.get("unit", "KiB"), 1024)
