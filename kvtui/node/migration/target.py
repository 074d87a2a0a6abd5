"""The receiving side: prepares a launcher for an incoming guest, and takes the guest over when it has arrived.

Nothing is defined here; the source's libvirt defines the domain when it sends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceMigrationState
from kvtui.api.times import to_time
from kvtui.client.rest import Client
from kvtui.controlloop.controller import Result
from kvtui.controlloop.recorder import EventRecorder
from kvtui.domainxml import HostCell
from kvtui.errors import KvtuiError, NotFound
from kvtui.node import status
from kvtui.node.build import Builder
from kvtui.node.console import Consoles
from kvtui.node.hypervisor import DomainId, DomainState, DomainStatus, Hypervisor, HypervisorRefused, JobKind
from kvtui.node.instances import NODE_LABEL, TARGET_LABEL
from kvtui.node.layout import Layout
from kvtui.node.migration import placement
from kvtui.node.migration.peers import Peers
from kvtui.node.migration.placement import TargetCpus
from kvtui.node.migration.proxies import CONTROL, DISKS, STREAM, Proxies
from kvtui.node.migration.xml import TargetFacts, TargetNic
from kvtui.node.network.sandbox import Networks
from kvtui.node.start import Starter
from kvtui.node.state import Record, Records, Stage
from kvtui.node.volumes import persistentstate
from kvtui.node.volumes.room import Volumes

log = structlog.get_logger()
LIBVIRT_SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
LOOK = 0.2
"""Seconds between looks at a guest that is about to arrive."""
LAST_LOOK = 0.04
"""Seconds between looks once it runs here and only the end of the job, or the source's log, is awaited."""
HISTORY_TIMEOUT = 20.0
"""Seconds that a finished migration waits for the source's console history."""


class Target:
    """Incoming migrations of a node."""

    def __init__(
        self,
        *,
        node: str,
        address: str,
        client: Client,
        hypervisor: Hypervisor,
        layout: Layout,
        records: Records,
        networks: Networks,
        starter: Starter,
        volumes: Volumes,
        builder: Builder,
        consoles: Consoles,
        peers: Peers,
        recorder: EventRecorder,
        clock: Callable[[], datetime],
        server_tls: ssl.SSLContext,
        cells: Callable[[], tuple[HostCell, ...]],
    ) -> None:
        self._node = node
        self._address = address
        self._client = client
        self._hypervisor = hypervisor
        self._layout = layout
        self._records = records
        self._networks = networks
        self._starter = starter
        self._volumes = volumes
        self._builder = builder
        self._consoles = consoles
        self._peers = peers
        self._recorder = recorder
        self._clock = clock
        self._tls = server_tls
        self._cells = cells
        self._cpus: dict[str, TargetCpus] = {}
        self._variables: dict[str, str] = {}
        self._proxies: dict[str, Proxies] = {}
        self._arrived: dict[str, float] = {}

    async def look(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus | None) -> Result | None:
        """The next step of an incoming migration. None when there is nothing to do."""
        state = vmi.status.migration_state if vmi.status else None
        if state is None or state.migration_uid != record.incoming or state.target_node != self._node:
            return None
        if state.completed or state.failed:
            return None
        if domain is not None and domain.state.active:
            return await self._arrive(vmi, record, domain, state)
        if record.uid not in self._proxies and state.target_pod == record.pod and not state.start_timestamp:
            await self._prepare(vmi, record, state.target_persistent_state_pvc_name or "")
        return Result(requeue_after=LOOK) if state.start_timestamp else None

    async def _prepare(self, vmi: VirtualMachineInstance, record: Record, state_claim: str) -> None:
        record = await self._starter.identify(vmi, record)
        prepared = await self._starter.prepare(vmi, record, state_claim)
        domain = await self._builder.domain(vmi, prepared, self._networks.get(record.pod_uid))
        uuid = DomainId(domain.findtext("uuid", ""))
        await self._volumes.build_isos(vmi, prepared, uuid)
        sizes = {v.name: v.size for v in vmi.status.volume_status if v.size} if vmi.status else {}
        for disk in domain.findall("devices/disk"):
            alias, source = disk.find("alias"), disk.find("source")
            size = sizes.get(alias.get("name", "").removeprefix("ua-")) if alias is not None else None
            path = source.get("file", "") if source is not None else ""
            if size and path.endswith(".iso") and path.startswith(str(prepared.paths.directory.qemu)):
                # A copied disk must be as large as the source's.
                await asyncio.to_thread(_resize, prepared.paths.directory.own_of(path), size)
        paused = any(c.type == status.PAUSED and c.reason == "PausedByUser" for c in vmi.status.conditions)
        record = await self._records.change(
            record,
            domain=uuid,
            stage=Stage.INCOMING,
            paused=paused,
            persistent_state=persistentstate.is_wanted(vmi),
            grace=30 if (g := vmi.spec.termination_grace_period_seconds) is None else max(0, g),
        )
        if prepared.kept_state is not None:
            await persistentstate.attach(prepared.kept_state, uuid)
        self._variables[record.uid] = prepared.paths.kept_variables
        self._consoles.open(record.uid, self._records.directory(record.uid), incoming=True)
        proxies = Proxies()
        directory = self._records.directory(record.uid).qemu / "s"
        libvirt = next((p for p in LIBVIRT_SOCKETS if p.exists()), LIBVIRT_SOCKETS[0])
        ports = await proxies.listen_tls(
            self._address,
            self._tls,
            {CONTROL: libvirt, STREAM: directory / "mig", DISKS: directory / "nbd"},
        )
        self._cpus[record.uid] = placement.of_domain(domain)
        self._proxies[record.uid] = proxies
        state: dict[str, Any] = {"targetNodeAddress": self._address, "targetDirectMigrationNodePorts": ports}
        if record.cpus:
            state["targetCPUSet"] = list(record.cpus)
            state["targetNodeTopology"] = placement.topology_text(self._cells())
        await self._patch(vmi, state)
        self._recorder.normal(vmi, "PreparingTarget", "VirtualMachineInstance Migration Target Prepared.")
        self._recorder.normal(
            vmi, "PreparingTarget", f"Migration Target is listening at {self._address}, on ports: {','.join(ports)}"
        )

    def facts(self, record: Record) -> TargetFacts:
        """What the source has to know. Raises NotFound before the preparation is done."""
        network = self._networks.get(record.pod_uid)
        if record.uid not in self._proxies or network is None:
            raise NotFound("no migration is prepared")
        nics = [TargetNic(name=n.name, bridge=n.bridge, tap=n.tap, mtu=n.mtu) for n in network.nics]
        user = self._volumes.user(record.uid)
        label = user.label if user.own else ""
        cpus = self._cpus.get(record.uid, TargetCpus())
        return TargetFacts(
            run=str(self._layout.run),
            nics=nics,
            libvirt="qemu:///system",
            cpus=cpus,
            variables=self._variables.get(record.uid, ""),
            user=label,
        )

    async def _arrive(
        self,
        vmi: VirtualMachineInstance,
        record: Record,
        domain: DomainStatus,
        state: VirtualMachineInstanceMigrationState,
    ) -> Result | None:
        if not state.target_node_domain_detected:
            await self._patch(vmi, {"targetNodeDomainDetected": True})
            return Result(requeue_after=LOOK)
        try:
            incoming = (await self._hypervisor.job(DomainId(record.domain))).kind is JobKind.MIGRATION_IN
        except HypervisorRefused:
            incoming = True  # while the guest arrives libvirt has no statistics on this side
        runs = domain.state is DomainState.RUNNING or (domain.state is DomainState.PAUSED and record.paused)
        if incoming or not runs:
            return Result(requeue_after=LAST_LOOK if runs else LOOK)
        if not state.target_node_domain_ready_timestamp:
            await self._patch(vmi, {"targetNodeDomainReadyTimestamp": to_time(self._clock())})
            return Result(requeue_after=LAST_LOOK)
        if not await self._join_console(record, state.source_node or ""):
            return Result(requeue_after=LAST_LOOK)
        await self._records.change(record, stage=Stage.STARTED, outgoing=None)
        now = to_time(self._clock())
        body: dict[str, Any] = {
            "metadata": {
                "resourceVersion": vmi.metadata.resource_version,
                "labels": {NODE_LABEL: self._node, TARGET_LABEL: None, "kubevirt.io/outdatedLauncherImage": None},
            },
            "status": {
                "nodeName": self._node,
                "evacuationNodeName": None,
                "launcherContainerImageVersion": None,
                "migrationTransport": "Unix",
                "migrationState": {
                    "targetNodeDomainDetected": True,
                    "endTimestamp": now,
                    "completed": True,
                    **({} if state.start_timestamp else {"startTimestamp": now}),
                },
            },
        }
        try:
            await self._client.patch(VirtualMachineInstance, vmi.key, body)
        except KvtuiError:
            await self._records.change(record, stage=Stage.INCOMING)
            raise
        self._recorder.normal(vmi, "Migrated", f"The VirtualMachineInstance migrated to node {self._node}.")
        await self.close(record.uid)
        return Result(requeue_after=0)

    async def _join_console(self, record: Record, source: str) -> bool:
        """Puts the source's history in front of ours; True when that is done or there is none to be had."""
        console = self._consoles.open(record.uid, self._records.directory(record.uid), incoming=True)
        if console.log.joined:
            return True
        began = self._arrived.setdefault(record.uid, asyncio.get_running_loop().time())
        try:
            start, data = await self._peers.history(source, record)
        except KvtuiError as error:
            if asyncio.get_running_loop().time() - began < HISTORY_TIMEOUT:
                return False
            log.warning("the console history stays behind", uid=record.uid, error=str(error))
            start, data = 0, b""
        console.join(start, data)
        return True

    async def _patch(self, vmi: VirtualMachineInstance, state: dict[str, Any]) -> None:
        body = {
            "metadata": {"resourceVersion": vmi.metadata.resource_version},
            "status": {"migrationState": state},
        }
        with contextlib.suppress(NotFound):
            await self._client.patch(VirtualMachineInstance, vmi.key, body)

    async def close(self, uid: str) -> None:
        self._arrived.pop(uid, None)
        self._cpus.pop(uid, None)
        self._variables.pop(uid, None)
        proxies = self._proxies.pop(uid, None)
        if proxies is not None:
            await proxies.close()


def _resize(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
