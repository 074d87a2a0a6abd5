"""Starting a domain: volumes, description, define, start; at most as many at a time as the node has cores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import datetime

import structlog

from kvtui.api.kubevirt.vmi import VirtualMachineInstance, Volume
from kvtui.controlloop.recorder import EventRecorder
from kvtui.domainxml import to_text
from kvtui.domainxml.ports import has_ports, settle
from kvtui.errors import Transient, Unsupported
from kvtui.node import identity, observe
from kvtui.node.build import Builder
from kvtui.node.hypervisor import DomainGone, DomainId, Hypervisor, HypervisorRefused, XmlKind
from kvtui.node.network.sandbox import Networks
from kvtui.node.state import Record, Records, Stage
from kvtui.node.virtiofs import FileSystems
from kvtui.node.volumes import cloudinit, persistentstate
from kvtui.node.volumes.room import Prepared, Volumes

log = structlog.get_logger()


class PredecessorAlive(Transient):
    """A domain with the same UUID is still there, that of the previous instance."""


class Starter:
    """Starts domains on one node."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        records: Records,
        volumes: Volumes,
        networks: Networks,
        builder: Builder,
        recorder: EventRecorder,
        file_systems: FileSystems,
        parallel: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._hypervisor = hypervisor
        self._records = records
        self._volumes = volumes
        self._networks = networks
        self._builder = builder
        self._recorder = recorder
        self._file_systems = file_systems
        self._slots = asyncio.Semaphore(parallel)
        self._clock = clock

    async def prepare(self, vmi: VirtualMachineInstance, record: Record, state_claim: str = "") -> Prepared:
        """The volumes, with tolerated flaws told as events. `state_claim` is as for Volumes."""
        return await self._volumes.prepare(
            vmi, record.images, lambda reason, message: self._recorder.normal(vmi, reason, message), state_claim
        )

    async def identify(self, vmi: VirtualMachineInstance, record: Record) -> Record:
        """Settles whom the domain runs as, before any of its files are made."""
        return await self._records.change(record, own_user=self._builder.own_users and not identity.shares(vmi))

    async def image_of(self, vmi: VirtualMachineInstance, volume: Volume) -> str:
        """Image or device of a claim's volume, as QEMU sees it."""
        return await self._volumes.image_of(vmi, volume)

    async def start(self, vmi: VirtualMachineInstance, record: Record) -> Record:
        """Defines and starts the domain of a VMI. Any error leaves a record from which the next try goes on."""
        began = asyncio.get_running_loop().time()
        record = await self.identify(vmi, record)
        prepared = await self.prepare(vmi, record)
        _usable(prepared)
        await self._volumes.grow(vmi, prepared)
        domain = await self._builder.domain(vmi, prepared, self._networks.get(record.pod_uid))
        uuid = DomainId(domain.findtext("uuid", ""))
        await self._free_uuid(uuid, record)
        await self._volumes.build_isos(vmi, prepared, uuid)
        paused = vmi.spec.start_strategy == "Paused"
        grace = vmi.spec.termination_grace_period_seconds
        features = vmi.spec.domain.features
        record = await self._records.change(
            record,
            domain=uuid,
            stage=Stage.STARTING,
            paused=paused,
            grace=30 if grace is None else max(0, grace),
            acpi=features is None or features.acpi is None or features.acpi.enabled is not False,
            persistent_state=persistentstate.is_wanted(vmi),
        )
        await self._file_systems.start(vmi, prepared, self._volumes.user(record.uid))
        if prepared.kept_state is not None:
            await persistentstate.attach(prepared.kept_state, uuid)
        async with self._slots:
            await self.define(vmi, to_text(domain))
            if cloudinit.wants_devices(vmi):
                defined = observe.parse(await self._hypervisor.xml(uuid, XmlKind.INACTIVE))
                await self._volumes.build_cloud_init(vmi, prepared, uuid, cloudinit.devices(vmi, defined))
            await self._hypervisor.start(uuid, paused=paused)
        record = await self._records.change(record, stage=Stage.STARTED)
        self._recorder.normal(vmi, "Created", "VirtualMachineInstance defined.")
        log.info(
            "domain started", vmi=str(vmi.key), domain=uuid, seconds=round(asyncio.get_running_loop().time() - began, 2)
        )
        return record

    async def define(self, vmi: VirtualMachineInstance, xml: str) -> DomainId:
        """Defines, and where ports are to stay free for later devices, defines again with what libvirt chose."""
        try:
            uuid = await self._hypervisor.define(xml)
        except HypervisorRefused as error:
            # Names are global to a daemon; another engine's VM of this name must not keep ours from running.
            if "already exists with uuid" not in str(error):
                raise
            domain = observe.parse(xml)
            name = domain.find("name")
            assert name is not None
            name.text = f"{name.text}_{vmi.metadata.uid[:8]}"
            uuid = await self._hypervisor.define(to_text(domain))
        if has_ports(vmi):
            defined = observe.parse(await self._hypervisor.xml(uuid, XmlKind.INACTIVE))
            await self._hypervisor.define(to_text(settle(defined)))
        return uuid

    async def _free_uuid(self, uuid: DomainId, record: Record) -> None:
        """Sees to it that the UUID is ours to define. Raises PredecessorAlive, HypervisorRefused."""
        other = next((r for r in self._records if r.domain == uuid and r.uid != record.uid), None)
        if other is not None:
            theirs = f"{other.namespace}/{other.name}"
            if other.key != record.key:
                raise HypervisorRefused(f"the UUID {uuid} is that of {theirs}, and every guest of a node needs its own")
            raise PredecessorAlive(f"domain {uuid} of {theirs} is still being removed")
        try:
            await self._hypervisor.status(uuid)
        except DomainGone:
            return
        if record.domain == uuid:
            return
        owned = next((d for d in await self._hypervisor.domains() if d.id == uuid), None)
        if owned is None or owned.owner.uid != record.uid:
            raise HypervisorRefused(f"the UUID {uuid} belongs to another domain of this node's libvirt")


def _usable(prepared: Prepared) -> None:
    """Raises Unsupported for devices that this user's QEMU could not open."""
    for name in sorted(prepared.block_volumes) if os.geteuid() != 0 else ():
        path = prepared.paths.volumes.get(name, "")
        if not os.access(path, os.R_OK | os.W_OK):
            raise Unsupported(f"volume {name} is a block device, which needs root")
