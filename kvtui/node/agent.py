"""The agent of one node: its rooms, joined, and the order in which they start and stop.

Records are read and libvirt is asked before anything is decided; what nobody claims is only swept when the caches
have been filled, so a slow API server never costs a guest its life.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.config import KubeVirt, KubeVirtConfiguration
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.console.inotify import Watcher
from kvtui.controlloop.controller import Controller, Result
from kvtui.controlloop.informer import Informer
from kvtui.controlloop.recorder import EventRecorder
from kvtui.node import mounts, podstatus, rootless
from kvtui.node.build import Builder
from kvtui.node.console import Consoles
from kvtui.node.cpus import Cpus
from kvtui.node.credentials import Credentials
from kvtui.node.domains import Domains
from kvtui.node.downwardserver import DownwardMetrics
from kvtui.node.freezing import Freezer
from kvtui.node.guestagent import GuestAgents
from kvtui.node.guestclock import GuestClocks
from kvtui.node.hypervisor import (
    ConnectionChanged,
    DomainId,
    Event,
    Hypervisor,
    LifecycleChanged,
    LifecycleKind,
)
from kvtui.node.identity import QemuUser
from kvtui.node.incidents import Incidents, Level
from kvtui.node.instances import NodeCaches
from kvtui.node.knowledge import Knowledge
from kvtui.node.layout import Layout
from kvtui.node.leftovers import Leftovers
from kvtui.node.limits import Limits
from kvtui.node.measuring import Measurements
from kvtui.node.memorydump import MemoryDumps
from kvtui.node.migration.peers import Peers
from kvtui.node.migration.room import MigrationRoom
from kvtui.node.migration.source import Source
from kvtui.node.migration.target import Target
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.usermode import UserNetworks
from kvtui.node.plugging import Devices
from kvtui.node.pods import Pods
from kvtui.node.probes import Prober, Probes
from kvtui.node.registration import Health, Registration
from kvtui.node.report import Reporter
from kvtui.node.rootless import PortForwards
from kvtui.node.server import AgentServer
from kvtui.node.start import Starter
from kvtui.node.state import Record, Records, Stage
from kvtui.node.virtiofs import FileSystems
from kvtui.node.volumes.images import ImageCache, ImagePuller
from kvtui.node.volumes.released import ReleasedVolumes
from kvtui.node.volumes.room import Volumes
from kvtui.node.workers import Workers
from kvtui.settings import NodeSettings

log = structlog.get_logger()


class Agent:
    """Everything that runs on a node. `run` until cancelled; guests stay."""

    def __init__(
        self,
        *,
        settings: NodeSettings,
        layout: Layout,
        client: Client,
        hypervisor: Hypervisor,
        networks: Networks,
        puller: ImagePuller,
        watcher: Watcher,
        engine: str,
        server_tls: ssl.SSLContext,
        client_tls: ssl.SSLContext,
        registries_conf: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._layout = layout
        self._hypervisor = hypervisor
        self._networks = networks
        self._engine = engine
        self._knowledge = Knowledge(hypervisor, settings, engine, layout.vms, changed=lambda: self.registration.poke())
        self.began = False
        """What an earlier agent left is known."""
        self.records = Records(layout)
        self.recorder = EventRecorder(client, "virt-handler", clock, host=settings.node)
        self._labeller = EventRecorder(client, "node-labeller", clock, host=settings.node)
        self.caches = NodeCaches(client, settings.node)
        self._cluster = Informer(client, KubeVirt, optional=True)
        self.consoles = Consoles(watcher, limit=settings.console_log)
        self._guest_agents = GuestAgents(hypervisor, self.look)
        self._credentials = Credentials(client, self._guest_agents, self.recorder, self.look)
        self._clocks = GuestClocks(hypervisor, clock)
        self._incidents = Incidents(self.recorder, self.caches.cached)
        cache = ImageCache(layout.images, puller, limit=settings.image_cache)
        volumes = Volumes(client, layout, cache, self._qemu_user)
        builder = Builder(
            self._knowledge.traits,
            self._configuration,
            allow_emulation=settings.allow_emulation,
            cpus=lambda uid: self._cpus.of(uid),
            allowed=lambda uid: self._cpus.allowed(uid),
        )
        self._cpus = Cpus(
            hypervisor=hypervisor,
            records=self.records,
            cells=self._knowledge.cells,
            pins=builder.tuning,
            reserved=settings.reserved_cpus,
            exclusive=not isinstance(networks, UserNetworks),
        )
        self.records.cpus_changed = self._look_at_all
        file_systems = FileSystems(client)
        self._downward_metrics = DownwardMetrics(hypervisor)
        self._starter = Starter(
            hypervisor=hypervisor,
            records=self.records,
            volumes=volumes,
            networks=networks,
            builder=builder,
            recorder=self.recorder,
            file_systems=file_systems,
            parallel=settings.parallel_starts or os.cpu_count() or 1,
            clock=clock,
        )
        self._workers = Workers(
            client=client,
            layout=layout,
            recorder=self.recorder,
            clock=clock,
            address=settings.address,
            registries_conf=registries_conf,
        )
        self._released = ReleasedVolumes(client, layout, settings.node, self.recorder)
        peers = Peers(client, client_tls)
        self._server_tls = server_tls
        source = Source(
            node=settings.node,
            client=client,
            hypervisor=hypervisor,
            layout=layout,
            records=self.records,
            consoles=self.consoles,
            peers=peers,
            recorder=self.recorder,
            clock=clock,
            client_tls=client_tls,
            qemu_uid=lambda uid: self._qemu_user(uid).uid,
            look=self.look,
        )
        target = Target(
            node=settings.node,
            address=settings.address,
            client=client,
            hypervisor=hypervisor,
            layout=layout,
            records=self.records,
            networks=networks,
            starter=self._starter,
            volumes=volumes,
            builder=builder,
            consoles=self.consoles,
            peers=peers,
            recorder=self.recorder,
            clock=clock,
            server_tls=server_tls,
            cells=self._knowledge.cells,
        )
        self._migrations = MigrationRoom(source, target)
        self._probes = Probes(
            Prober(hypervisor, networks, self._guest_agents, self._migrating),
            ready=self._readiness_changed,
            dead=self._not_alive,
            failed=self._probe_failed,
        )
        forwards = None
        if isinstance(networks, UserNetworks):
            forwards = PortForwards(client, networks, self.caches.pod, self.recorder)
        self._dumps = MemoryDumps(hypervisor, client, layout, clock, self.look)
        devices = Devices(
            hypervisor=hypervisor,
            records=self.records,
            networks=networks,
            starter=self._starter,
            builder=builder,
            recorder=self.recorder,
            attachment=lambda namespace, name: self._pods.attachment(namespace, name),
            file_systems=file_systems,
            metrics=self._downward_metrics,
            fits=self._cpus.fits,
        )
        reporter = Reporter(
            node=settings.node,
            hypervisor=hypervisor,
            records=self.records,
            networks=networks,
            consoles=self.consoles,
            agents=self._guest_agents,
            keys=self._credentials,
            traits=self._knowledge.traits,
            plugging=devices,
            probes=self._probes,
            dumps=self._dumps,
            limits=Limits(hypervisor, self.caches.pod, lambda: self._knowledge.traits().kvm),
            cpus=self._cpus,
            forwards=forwards,
            migrations=self._migrations,
            forget=self._forget,
        )
        self.domains = Domains(
            node=settings.node,
            client=client,
            hypervisor=hypervisor,
            records=self.records,
            networks=networks,
            starter=self._starter,
            instances=self.caches,
            companions=reporter,
            recorder=self.recorder,
            clock=clock,
            pod_ended=self._pod_ended,
            signal_every=settings.signal_every,
            resync=settings.resync,
            start_retry=settings.start_retry,
            start_patience=settings.start_patience,
        )
        self._pods = Pods(
            client=client,
            informer=self.caches.pods,
            records=self.records,
            networks=networks,
            volumes=volumes,
            workers=self._workers,
            recorder=self.recorder,
            clock=clock,
            address=settings.address,
            lock=self.domains.lock,
            look=self.look,
            ready=self._probes.is_ready,
            admit=self._cpus.admit,
            refusal=rootless.refusal if forwards is not None else lambda _: "",
            pull_backoff=settings.pull_backoff,
        )
        self._leftovers = Leftovers(
            node=settings.node,
            hypervisor=hypervisor,
            records=self.records,
            networks=networks,
            caches=self.caches,
        )
        self._domain_loop: Controller[str] = Controller(
            "domains", self._reconcile, informers=self.caches.all, workers=8
        )
        self._pod_loop: Controller[ObjectKey] = Controller(
            "pods", self._pods.reconcile, informers=(self.caches.pods,), workers=4
        )
        self._measurements = Measurements(
            node=settings.node,
            hypervisor=hypervisor,
            records=self.records,
            vmi=self.caches.cached,
            live=reporter.live,
            agents=self._guest_agents,
            moving=source.samples,
            knowledge=self._knowledge,
            client=client,
            loops=(self._domain_loop, self._pod_loop),
        )
        self._freezer = Freezer(
            hypervisor=hypervisor,
            records=self.records,
            agents=self._guest_agents,
            lock=self.domains.lock,
            clock=clock,
        )
        self.server = AgentServer(
            hypervisor=hypervisor,
            records=self.records,
            domains=self.domains,
            consoles=self.consoles,
            networks=networks,
            agents=self._guest_agents,
            freezer=self._freezer,
            note=self._incidents,
            workers=self._workers,
            pods=self.caches.pods,
            watcher=watcher,
            target=target,
            measurements=self._measurements,
            replay=settings.console_replay,
        )
        self.registration = Registration(
            client=client,
            settings=settings,
            storage=layout.storage,
            clock=clock,
            facts=lambda: self._knowledge.facts,
            traits=lambda: self._knowledge.found,
            health=self._health,
            foreign_memory=lambda: self._knowledge.foreign,
            exclusive_cpus=lambda: len(self._cpus.exclusive),
            port=lambda: self.server.port,
            obsolete=self._obsolete,
            labeller=self._labeller,
        )

    # What rooms ask of each other

    def _qemu_user(self, uid: str) -> QemuUser:
        record = self.records.get(uid)
        return self._knowledge.qemu_user(uid, own=record is not None and record.own_user)

    def _configuration(self) -> KubeVirtConfiguration | None:
        found = next(iter(self._cluster.all()), None)
        return found.spec.configuration if found is not None else None

    def _obsolete(self) -> Mapping[str, bool]:
        found = self._configuration()
        return found.obsolete_cpu_models if found is not None else {}

    def _configured(self) -> None:
        """The cluster's configuration is another one."""
        self.registration.poke()
        self._look_at_all()

    def _health(self) -> Health:
        return Health(self._hypervisor.connected and self._knowledge.found is not None)

    def look(self, uid: str) -> None:
        """Has the domain room look at a VMI."""
        if uid:
            self._domain_loop.queue.add(uid)

    async def _pod_ended(self, record: Record) -> None:
        await self._pods.ended(record)

    def _readiness_changed(self, uid: str) -> None:
        record = self.records.get(uid)
        if record is not None:
            self._pod_loop.queue.add(ObjectKey(record.namespace, record.pod))

    async def _not_alive(self, uid: str) -> None:
        """A guest that fails its liveness probe is asked to end, as by a kubelet that ends its container."""
        async with self.domains.lock(uid):
            record = self.records.get(uid)
            if record is None or record.stage is not Stage.STARTED:
                return
            await self.records.change(record, condemned=True)
        self._incidents(record, Level.WARNING, "Unhealthy", "the liveness probe failed; the guest is shut down")
        self.look(uid)

    def _probe_failed(self, uid: str, kind: str, why: str) -> None:
        record = self.records.get(uid)
        pod = self.caches.pod(record) if record is not None else None
        if pod is not None:
            self.recorder.warning(pod, "Unhealthy", f"{kind.capitalize()} probe failed: {why}")

    def _migrating(self, domain: DomainId) -> bool:
        record = self.records.of_domain(domain)
        return record is not None and record.outgoing is not None and record.outgoing.ended is None

    async def _reconcile(self, uid: str) -> Result | None:
        record = self.records.get(uid)
        if record is not None:
            self._measurements.synced(record)
        return await self.domains.reconcile(uid)

    async def _forget(self, record: Record) -> None:
        self._measurements.forget(record)
        self._freezer.forget(record.uid)
        self._pod_loop.queue.add(ObjectKey(record.namespace, record.pod))

    # Life

    async def run(self) -> None:
        await mounts.ensure(self._layout)
        await asyncio.to_thread(self.records.load)
        self.began = True
        unsubscribe = self._hypervisor.subscribe(self._on_event)
        self.caches.on_vmi(self.look)
        self.caches.pods.subscribe(self._on_pod)
        self._cluster.subscribe(lambda _old, _new: self._configured())
        settings = self._settings
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hypervisor.run(), name="libvirt connection")
                tasks.create_task(
                    self.server.run(settings.address, settings.port, self._server_tls), name="agent server"
                )
                tasks.create_task(self.recorder.run(), name="events")
                tasks.create_task(self._labeller.run(), name="events about labels")
                for informer in (*self.caches.all, self._cluster):
                    tasks.create_task(informer.run(), name=f"informer {informer.type.__name__}")
                tasks.create_task(self._knowledge.run(), name="node facts")
                await self.server.started.wait()
                tasks.create_task(self.registration.run(), name="registration")
                tasks.create_task(self._workers.run(), name="workers")
                tasks.create_task(self._dumps.run(), name="memory dumps")
                tasks.create_task(self._released.run(), name="released volumes")
                tasks.create_task(self._pods.run(), name="launcher set-up")
                tasks.create_task(self._guest_agents.run(), name="guest agents")
                tasks.create_task(self._downward_metrics.run(), name="downward metrics")
                tasks.create_task(self._credentials.run(), name="access credentials")
                tasks.create_task(self._freezer.run(), name="thaws")
                tasks.create_task(self._clocks.run(), name="clocks")
                tasks.create_task(self._migrations.run(), name="migrations")
                tasks.create_task(self._probes.run(), name="probes")
                tasks.create_task(self._measurements.run(), name="dirty rates")
                await self._knowledge.known.wait()
                await self._leftovers.domains()
                tasks.create_task(self._domain_loop.run(), name="domains")
                tasks.create_task(self._pod_loop.run(), name="pods")
                await self._leftovers.networks()
                self._look_at_all()
        finally:
            unsubscribe()

    def _look_at_all(self) -> None:
        for record in self.records:
            self.look(record.uid)

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        self._pod_loop.queue.add(pod.key)
        self.look(pod.metadata.labels.get(podstatus.CREATED_BY, ""))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ConnectionChanged):
            self.registration.poke()
            self._knowledge.outdated()
            self._look_at_all()
            return
        record = self.records.of_domain(event.domain)
        if record is not None:
            self._incidents.heard(record, event)
            if isinstance(event, LifecycleChanged) and event.kind is LifecycleKind.RESUMED:
                self._clocks.set(event.domain)
            if isinstance(event, LifecycleChanged) and event.kind is LifecycleKind.CRASHED:
                self._measurements.panicked(record)
            self.look(record.uid)
        elif isinstance(event, LifecycleChanged) and event.kind in (LifecycleKind.STARTED, LifecycleKind.STOPPED):
            self._knowledge.outdated()


def engine_id(data: Path) -> str:
    """What tells this engine's domains from those of others on the same libvirt."""
    from kvtui.node.layout import run_directory

    return run_directory(data).name
