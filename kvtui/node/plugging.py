"""Devices of a running domain brought into step with the spec: NICs, CPUs and memory here, disks in `diskplugging`.

Every look compares names of the spec with aliases of the live domain, so a change that was cut short is simply seen
again. vCPUs are only ever added: taking one from a running QEMU kills it.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainAttachDeviceFlags
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from xml.etree.ElementTree import Element, SubElement

import structlog

from kvtui.api import quantity
from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controlloop.recorder import EventRecorder
from kvtui.domainxml import to_text
from kvtui.domainxml.hotplug import MEMORY_ALIAS, interface_xml, memory_device_xml, resized_memory
from kvtui.errors import KvtuiError
from kvtui.node import build
from kvtui.node.build import Builder
from kvtui.node.diskplugging import Disks, live_device, take_out
from kvtui.node.downwardserver import DownwardMetrics
from kvtui.node.hypervisor import Affect, DomainId, Hypervisor, HypervisorRefused
from kvtui.node.network.sandbox import Networks
from kvtui.node.observe import LiveDomain, alias, parse
from kvtui.node.start import Starter
from kvtui.node.state import Record, Records
from kvtui.node.virtiofs import FileSystems
from kvtui.node.volumes.claims import ClaimPending

log = structlog.get_logger()
MEMORY_BLOCK, HUGE_MEMORY_BLOCK = 2 * 2**20, 2**30
"""Bytes by which memory grows: what the guest can put on line, and no part of a huge page."""


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
        file_systems: FileSystems,
        metrics: DownwardMetrics,
        fits: Callable[[VirtualMachineInstance], bool],
    ) -> None:
        """`attachment` gives the CNI configuration of a network by namespace and name, `fits` says whether a guest with
        CPUs of its own has enough of them for its spec."""
        self._hypervisor = hypervisor
        self._records = records
        self._networks = networks
        self._starter = starter
        self._builder = builder
        self._attachment = attachment
        self._file_systems = file_systems
        self._metrics = metrics
        self._fits = fits
        self._recorder = recorder
        self._memory_failures: dict[str, str] = {}
        self._disks = Disks(hypervisor=hypervisor, starter=starter, builder=builder, recorder=recorder)

    async def sync(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        """Applies what differs. One device that cannot be changed does not keep the others from it."""
        failure: KvtuiError | None = None
        directory = self._records.directory(record.uid)
        self._metrics.watch(vmi, DomainId(record.domain), directory.own, directory.qemu / "s")
        await self._file_systems.refresh(vmi, directory)
        for change in (*self._disks.changes, self._nics, self._cpus, self._memory):
            try:
                await change(vmi, self._records.get(record.uid) or record, live)
            except ClaimPending as error:
                log.debug("a volume to plug is not there yet", vmi=str(vmi.key), error=str(error))
            except KvtuiError as error:
                failure = failure or error
        if failure is not None:
            raise failure

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
                try:
                    await self._plug_nic(vmi, record, interface.name, network.multus.network_name)
                except KvtuiError as error:
                    self._recorder.warning(vmi, "NicHotplug", f"failed to plug in {interface.name}: {error}")
                    raise
            elif nic is not None and (interface.state == "down") == nic.link_up:
                await self._set_link(record, interface)

    async def _plug_nic(self, vmi: VirtualMachineInstance, record: Record, name: str, network: str) -> None:
        config = await self._attachment(vmi.metadata.namespace, network)
        made = await self._networks.plug(record.pod_uid, vmi, name, config)
        attachment = build.attachment(made)
        prepared = await self._starter.prepare(vmi, record)
        context = await asyncio.to_thread(self._builder.context, vmi, prepared)
        xml = interface_xml(vmi, context, name, attachment, vhost_net=self._builder.vhost_net)
        await self._hypervisor.attach(DomainId(record.domain), to_text(xml))
        log.info("NIC plugged", vmi=str(vmi.key), interface=name)

    async def _unplug_nic(self, record: Record, name: str) -> None:
        element = await live_device(self._hypervisor, record, "interface", name)
        if element is not None:
            # The stored definition may have the NIC at another address.
            for address in element.findall("address"):
                element.remove(address)
            await take_out(self._hypervisor, record, element)

    async def _set_link(self, record: Record, interface: Interface) -> None:
        element = await live_device(self._hypervisor, record, "interface", interface.name)
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
        # A guest with CPUs of its own moves to a launcher that has more of them first.
        if live.vcpus < wanted <= sockets * cores * threads and self._fits(vmi):
            await self._hypervisor.set_vcpus(DomainId(record.domain), wanted)
            log.info("vCPUs plugged", vmi=str(vmi.key), count=wanted)

    async def _memory(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        wanted = memory_change(vmi)
        if wanted is None:
            return
        size, requested = wanted
        domain = parse(await self._hypervisor.xml(DomainId(record.domain)))
        device = next((m for m in domain.findall("devices/memory") if alias(m) == MEMORY_ALIAS), None)
        present = _bytes(device.find("target/requested")) if device is not None else 0
        if present == requested:
            self._memory_failures.pop(record.uid, None)
            return
        uuid = DomainId(record.domain)
        try:
            if device is None:
                xml = memory_device_xml(size=size, requested=requested, block=memory_block(vmi))
                await self._hypervisor.attach(uuid, to_text(xml))
            else:
                # Only the running guest: the next start begins with all of its memory.
                xml = resized_memory(copy.deepcopy(device), requested)
                await self._hypervisor.update(uuid, to_text(xml), Affect.LIVE)
        except HypervisorRefused as error:
            self._memory_failures[record.uid] = str(error)
            log.warning("memory cannot be plugged", vmi=str(vmi.key), bytes=requested, error=str(error))
            return
        self._memory_failures.pop(record.uid, None)
        log.info("memory plugged", vmi=str(vmi.key), bytes=requested)

    def memory_failure(self, uid: str) -> str:
        """Why the guest could not be given the memory of its spec; empty if it could."""
        return self._memory_failures.get(uid, "")

    async def gone(self, uid: str) -> None:
        """The domain of this VMI is down for good."""
        self._memory_failures.pop(uid, None)
        self._disks.forget(uid)
        self._metrics.forget(uid)
        await self._file_systems.gone(self._records.directory(uid))


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


def memory_block(vmi: VirtualMachineInstance) -> int:
    """Bytes of the smallest piece of pluggable memory."""
    memory = vmi.spec.domain.memory
    huge = memory.hugepages.page_size if memory and memory.hugepages else None
    return HUGE_MEMORY_BLOCK if huge == "1Gi" else MEMORY_BLOCK


def _by_tap(interface: Interface) -> bool:
    return interface.bridge is not None or interface.masquerade is not None


def _bytes(found: Element | None) -> int:
    if found is None or not found.text:
        return 0
    scale = {"b": 1, "bytes": 1, "KiB": 1024, "MiB": 2**20, "GiB": 2**30}
    return int(found.text) * scale.get(found.get("unit", "KiB"), 1024)
