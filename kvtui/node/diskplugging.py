"""Disks of a running domain brought into step with the spec: plugged in and out, media of CD-ROM drives, sizes.

What is to be unplugged is read off the live domain, so it is found again after an agent's death and a migration.

Source: https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms, virDomainBlockResize
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterable
from xml.etree.ElementTree import Element, SubElement

import structlog

from kvtui.api.kubevirt.vmi import VirtualMachineInstance, Volume
from kvtui.controlloop.recorder import EventRecorder
from kvtui.domainxml import to_text
from kvtui.domainxml.hotplug import disk_xml
from kvtui.domainxml.placement import DiskFacts
from kvtui.errors import NotFound
from kvtui.node import build
from kvtui.node.build import Builder
from kvtui.node.hypervisor import Affect, DomainId, Hypervisor, HypervisorRefused, XmlKind
from kvtui.node.observe import LiveDisk, LiveDomain, alias, parse
from kvtui.node.start import Starter
from kvtui.node.state import Record
from kvtui.node.volumes import growth
from kvtui.node.volumes.room import Prepared

log = structlog.get_logger()
PLUGGABLE = ("AttachedToNode", "MountedToPod", "Ready")
UNPLUG_PENDING = "in the process of unplug"
"""QEMU's words for a device that the guest has not let go yet."""

Change = Callable[[VirtualMachineInstance, Record, LiveDomain], Awaitable[None]]


class Disks:
    """Applies what differs, one device at a time."""

    def __init__(self, *, hypervisor: Hypervisor, starter: Starter, builder: Builder, recorder: EventRecorder) -> None:
        self._hypervisor = hypervisor
        self._starter = starter
        self._builder = builder
        self._recorder = recorder
        self._resized: dict[tuple[str, str], int] = {}
        self.changes: tuple[Change, ...] = (self._plug, self._unplug, self._media, self._grow)

    async def _plug(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        wanted = to_plug(vmi, live)
        if not wanted:
            return
        prepared = await self._prepare(vmi, record, wanted)
        for name in wanted:
            xml = await self._xml(vmi, prepared, name)
            await self._hypervisor.attach(DomainId(record.domain), to_text(xml))
            log.info("disk plugged", vmi=str(vmi.key), volume=name)

    async def _prepare(self, vmi: VirtualMachineInstance, record: Record, names: Iterable[str]) -> Prepared:
        try:
            return await self._starter.prepare(vmi, record)
        except NotFound as error:
            self._recorder.warning(vmi, "HotplugFailed", f"failed to plug in {', '.join(names)}: {error}")
            raise

    async def _unplug(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        for disk in to_unplug(vmi, live):
            element = await live_device(self._hypervisor, record, "disk", disk.name)
            if element is not None:
                await take_out(self._hypervisor, record, element)
                log.info("disk is being unplugged", vmi=str(vmi.key), volume=disk.name)

    async def _xml(self, vmi: VirtualMachineInstance, prepared: Prepared, name: str) -> Element:
        def made() -> Element:
            context = self._builder.context(vmi, prepared)
            return disk_xml(vmi, context, name, _facts(disk_xml(vmi, context, name)))

        return await asyncio.to_thread(made)

    async def _media(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        for drive in drives(vmi, live):
            medium = next((v for v in vmi.spec.volumes if v.name == drive.name), None)
            if medium is None:
                if drive.source:
                    await self._change_medium(vmi, record, drive.name, None)
            elif not drive.source or await self._is_another(vmi, medium, drive):
                prepared = await self._prepare(vmi, record, [drive.name])
                await self._change_medium(vmi, record, drive.name, await self._xml(vmi, prepared, drive.name))

    async def _is_another(self, vmi: VirtualMachineInstance, volume: Volume, drive: LiveDisk) -> bool:
        return is_hotpluggable(volume) and await self._starter.image_of(vmi, volume) != drive.source

    async def _change_medium(
        self, vmi: VirtualMachineInstance, record: Record, name: str, medium: Element | None
    ) -> None:
        """Puts the source of a converted disk into the drive, or nothing."""
        element = await live_device(self._hypervisor, record, "disk", name)
        if element is None:
            return
        for tag in ("source", "backingStore"):
            for old in element.findall(tag):
                element.remove(old)
        source = medium.find("source") if medium is not None else None
        if medium is not None and source is not None:
            element.set("type", medium.get("type", "file"))
            element.append(source)
        await self._hypervisor.update(DomainId(record.domain), to_text(element))
        log.info("medium changed", vmi=str(vmi.key), drive=name, inserted=source is not None)

    async def _grow(self, vmi: VirtualMachineInstance, record: Record, live: LiveDomain) -> None:
        """Tells QEMU of claims that have become larger. A disk that cannot grow is no reason to stop the others."""
        for disk, info in growth.growing(vmi, live.disks):
            size = await asyncio.to_thread(growth.wanted_size, disk.source, info)
            key = (record.uid, disk.target)
            if not size or self._resized.get(key) == size:
                continue
            try:
                await self._hypervisor.resize_block(DomainId(record.domain), disk.target, size)
            except HypervisorRefused as error:
                log.warning("a disk cannot grow", vmi=str(vmi.key), volume=disk.name, bytes=size, error=str(error))
            else:
                log.info("disk grown", vmi=str(vmi.key), volume=disk.name, bytes=size)
            self._resized[key] = size

    def forget(self, uid: str) -> None:
        """The domain of this VMI is gone."""
        for key in [key for key in self._resized if key[0] == uid]:
            del self._resized[key]


async def live_device(hypervisor: Hypervisor, record: Record, tag: str, name: str) -> Element | None:
    """The element of a device in the live description."""
    domain = parse(await hypervisor.xml(DomainId(record.domain)))
    return next((d for d in domain.findall(f"devices/{tag}") if alias(d) == name), None)


async def take_out(hypervisor: Hypervisor, record: Record, device: Element) -> None:
    """Asks the guest to let a device go. It may take its time, and be asked again."""
    uuid = DomainId(record.domain)
    defined = parse(await hypervisor.xml(uuid, XmlKind.INACTIVE))
    known = any(alias(d) == alias(device) for d in defined.findall(f"devices/{device.tag}"))
    try:
        # The first time took it out of the stored definition, whatever the guest has done since.
        await hypervisor.detach(uuid, to_text(device), Affect.BOTH if known else Affect.LIVE)
    except HypervisorRefused as error:
        if UNPLUG_PENDING not in str(error):
            raise


def to_plug(vmi: VirtualMachineInstance, live: LiveDomain) -> list[str]:
    """Hot-pluggable volumes that are reachable and not in the domain."""
    known = {d.name for d in live.disks}
    phases = {v.name: v.phase for v in vmi.status.volume_status}
    disks = {d.name for d in vmi.spec.domain.devices.disks if d.cdrom is None}
    return [
        v.name
        for v in vmi.spec.volumes
        if is_hotpluggable(v) and v.name in disks and v.name not in known and phases.get(v.name) in PLUGGABLE
    ]


def to_unplug(vmi: VirtualMachineInstance, live: LiveDomain) -> list[LiveDisk]:
    """Disks of ours that the spec no longer has; drives stay when their medium goes."""
    wanted = {v.name for v in vmi.spec.volumes}
    return [d for d in live.disks if d.name and d.device != "cdrom" and d.name not in wanted]


def drives(vmi: VirtualMachineInstance, live: LiveDomain) -> list[LiveDisk]:
    """CD-ROM drives whose medium may be looked at: one that is to be plugged in has to be reachable first."""
    waiting = {v.name for v in vmi.spec.volumes if is_hotpluggable(v)}
    waiting -= {s.name for s in vmi.status.volume_status if s.phase in PLUGGABLE}
    wanted = {d.name for d in vmi.spec.domain.devices.disks if d.cdrom is not None} - waiting
    return [d for d in live.disks if d.device == "cdrom" and d.name in wanted]


def is_hotpluggable(volume: Volume) -> bool:
    source = volume.persistent_volume_claim or volume.data_volume
    return bool(source is not None and source.hotpluggable)


def _facts(disk: Element) -> DiskFacts | None:
    root = Element("domain")
    SubElement(root, "devices").append(copy.deepcopy(disk))
    return next(iter(build.disk_facts(root).values()), None)
