"""The sending side: drives libvirt, watches the job, publishes its progress, and says how it ended.

The migration call blocks for as long as it lasts, so it has a thread of its own; samples and the abort have others.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from kvtui.api import quantity
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceMigrationState
from kvtui.api.times import to_time
from kvtui.api.wire import ObjectKey, evolve, to_json
from kvtui.client.rest import Client
from kvtui.controlloop.backoff import Backoff
from kvtui.controlloop.recorder import EventRecorder
from kvtui.domainxml import to_text
from kvtui.errors import Conflict, KvtuiError, NotFound, Transient, Unreachable
from kvtui.node import migratable, observe
from kvtui.node.console import Closed, Consoles
from kvtui.node.guestmetrics import Moving
from kvtui.node.hypervisor import (
    Aborted,
    DomainId,
    DomainState,
    DomainStatus,
    Hypervisor,
    HypervisorRefused,
    JobStats,
    MigrateFlags,
    MigrateRequest,
    Reason,
    XmlKind,
)
from kvtui.node.layout import Layout
from kvtui.node.migration import monitor
from kvtui.node.migration.monitor import Verdict, Watch
from kvtui.node.migration.peers import Peers
from kvtui.node.migration.proxies import CONTROL, DISKS, STREAM, Proxies
from kvtui.node.migration.xml import disks_to_copy, for_target, has_shared_writable
from kvtui.node.state import OutgoingMigration, Record, Records

log = structlog.get_logger()
PROGRESS_ANNOTATION = "kvtui.io/migration-progress"
ABORTED = "Live migration has been aborted"


@dataclass(slots=True)
class _Run:
    task: asyncio.Task[None]
    abort: asyncio.Event


class Source:
    """Outgoing migrations of a node; `run` owns their tasks."""

    def __init__(
        self,
        *,
        node: str,
        client: Client,
        hypervisor: Hypervisor,
        layout: Layout,
        records: Records,
        consoles: Consoles,
        peers: Peers,
        recorder: EventRecorder,
        clock: Callable[[], datetime],
        client_tls: ssl.SSLContext,
        qemu_uid: Callable[[str], int],
        look: Callable[[str], None],
    ) -> None:
        self._node = node
        self._client = client
        self.hypervisor = hypervisor
        self._layout = layout
        self._records = records
        self._consoles = consoles
        self._peers = peers
        self._recorder = recorder
        self._clock = clock
        self._tls = client_tls
        self._qemu_uid = qemu_uid
        self._look = look
        self._group: asyncio.TaskGroup | None = None
        self._runs: dict[str, _Run] = {}
        self._samples: dict[str, Moving] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    async def look(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus | None) -> None:
        """Starts what is ready to start, aborts what is to be aborted, ends what an earlier agent left."""
        state = vmi.status.migration_state if vmi.status else None
        running = self._runs.get(record.uid)
        if running is not None:
            if state is not None and state.abort_requested:
                running.abort.set()
            return
        if record.outgoing is not None and record.outgoing.ended is None:
            await self._recover(vmi, record, domain)
            return
        if state is None or state.completed or state.failed or state.source_node != self._node:
            return
        if not state.migration_uid or (record.outgoing is not None and record.outgoing.uid == state.migration_uid):
            return
        ready = state.target_node_address and state.target_direct_migration_node_ports
        if not ready or domain is None or not domain.state.active or self._group is None:
            return
        outgoing = OutgoingMigration(uid=state.migration_uid, started=self._now())
        record = await self._records.change(record, outgoing=outgoing)
        abort = asyncio.Event()
        if state.abort_requested:
            abort.set()
        task = self._group.create_task(self._guarded(vmi, record, state, domain, abort), name=f"migrate {vmi.key}")
        self._runs[record.uid] = _Run(task, abort)

    def sampled(self, vmi: VirtualMachineInstance, job: JobStats) -> None:
        self._samples[vmi.metadata.uid] = Moving(vmi.metadata.namespace, vmi.metadata.name, job)

    def samples(self) -> list[Moving]:
        """Of all migrations that run, and once more of those that have ended since it was last asked."""
        found = list(self._samples.values())
        for uid in [uid for uid in self._samples if uid not in self._runs]:
            del self._samples[uid]
        return found

    async def abort(self, uid: str) -> None:
        run = self._runs.get(uid)
        if run is not None:
            run.abort.set()

    async def _recover(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus | None) -> None:
        """An earlier agent drove this migration; its pipes died with it."""
        if domain is not None and domain.state.active and domain.reason is not Reason.POSTCOPY:
            job = await self.hypervisor.job(DomainId(record.domain))
            if job.active:
                with contextlib.suppress(HypervisorRefused):
                    await self.hypervisor.abort_job(DomainId(record.domain))
                raise Transient("an abandoned migration is being ended")
            await self._failed(vmi, record, "the agent of the source node was restarted", "")
        elif domain is not None and domain.reason is Reason.MIGRATED:
            await self._succeeded(record)

    async def _guarded(
        self,
        vmi: VirtualMachineInstance,
        record: Record,
        state: VirtualMachineInstanceMigrationState,
        domain: DomainStatus,
        abort: asyncio.Event,
    ) -> None:
        proxies = Proxies()
        drive = _Drive(self, vmi, record, state, abort)
        try:
            began = asyncio.create_task(self._report_start(vmi), name=f"begin to migrate {vmi.key}")
            try:
                request = await self._request(vmi, record, state, domain, proxies, drive)
            finally:
                await began
            await drive.run(request)
            await self._succeeded(record)
            await drive.publish_end()
        except KvtuiError as error:
            await self._failed(vmi, record, drive.reason or str(error), drive.abort_status, drive.watch_mode)
        except Exception as error:
            log.exception("a migration broke", vmi=str(vmi.key))
            await self._failed(vmi, record, str(error), drive.abort_status)
        finally:
            await proxies.close()
            self._runs.pop(record.uid, None)
            self._look(record.uid)

    async def _report_start(self, vmi: VirtualMachineInstance) -> None:
        await self.report(vmi.key, {"startTimestamp": self._now(), "mode": "PreCopy"})
        self._recorder.normal(vmi, "Migrating", "VirtualMachineInstance is migrating.")

    async def _request(
        self,
        vmi: VirtualMachineInstance,
        record: Record,
        state: VirtualMachineInstanceMigrationState,
        domain: DomainStatus,
        proxies: Proxies,
        drive: _Drive,
    ) -> MigrateRequest:
        facts = await self._peers.target_facts(state.target_node or "", record)
        xml = observe.parse(await self.hypervisor.xml(DomainId(record.domain), XmlKind.MIGRATABLE))
        disks = disks_to_copy(vmi, xml)
        copied = migratable.method(vmi) == migratable.BLOCK and bool(disks)
        shared = has_shared_writable(vmi, xml)
        for_target(xml, facts, str(self._layout.run))
        directory = self._records.directory(record.uid).qemu / "s"
        sockets = {CONTROL: directory / "virt", STREAM: directory / "mig"}
        if copied:
            sockets[DISKS] = directory / "nbd"
        await proxies.listen_unix(
            sockets,
            state.target_node_address or "",
            state.target_direct_migration_node_ports,
            self._tls,
            self._qemu_uid(record.uid),
        )
        options = state.migration_configuration
        limit = quantity.value(options.bandwidth_per_migration or 0) if options else 0
        rules = monitor.rules(options, _size(vmi), limit)
        drive.watch = Watch.start(rules)
        return MigrateRequest(
            destination=f"qemu+unix:///system?socket={sockets[CONTROL]}",
            uri=f"unix://{sockets[STREAM]}",
            disks_uri=f"unix://{sockets[DISKS]}" if copied else "",
            disks=tuple(disks) if copied else (),
            bandwidth=max(1, round(limit / 2**20)) if limit else 0,
            destination_xml=to_text(xml),
            persistent_xml=to_text(xml),
            flags=MigrateFlags(
                copy_disks=copied,
                unsafe=rules.unsafe or shared,
                auto_converge=rules.auto_converge,
                post_copy=rules.post_copy,
                paused=domain.state is DomainState.PAUSED and domain.reason is Reason.USER,
            ),
        )

    async def _succeeded(self, record: Record) -> None:
        current = self._records.get(record.uid) or record
        assert current.outgoing is not None
        # From here on the log is final and the target may fetch it.
        await self._consoles.close(record.uid, Closed.MOVED)
        await self._records.change(current, outgoing=evolve(current.outgoing, ended=self._now()))
        log.info("migration done", vmi=f"{record.namespace}/{record.name}", migration=current.outgoing.uid)

    async def _failed(
        self, vmi: VirtualMachineInstance, record: Record, reason: str, abort: str, mode: str = "PreCopy"
    ) -> None:
        current = self._records.get(record.uid) or record
        assert current.outgoing is not None
        uid, now = current.outgoing.uid, self._now()
        log.info("migration failed", vmi=str(vmi.key), migration=uid, reason=reason)
        await self.report(
            vmi.key,
            {
                "failed": True,
                "completed": True,
                "endTimestamp": now,
                "failureReason": reason,
                "mode": mode,
                **({"abortStatus": abort} if abort else {}),
            },
        )
        ended = evolve(current.outgoing, ended=now, failed=True, reason=reason, abort=abort)
        await self._records.change(current, outgoing=ended)
        self._recorder.warning(vmi, "Migrated", f"VirtualMachineInstance migration uid {uid} failed. reason:{reason}")

    async def report(self, key: ObjectKey, state: dict[str, Any]) -> None:
        """Writes fields of the migration state until they are written: nobody else knows them."""
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                await self._client.patch(VirtualMachineInstance, key, {"status": {"migrationState": state}})
                return
            except NotFound:
                return
            except (Unreachable, Conflict, Transient):
                await backoff.pause()

    async def publish(self, name: ObjectKey | None, sample: JobStats, mode: str) -> None:
        if name is None:
            return
        text = to_json(monitor.progress(sample, mode, self._now())).decode()
        with contextlib.suppress(KvtuiError):
            await self._client.patch(
                VirtualMachineInstanceMigration, name, {"metadata": {"annotations": {PROGRESS_ANNOTATION: text}}}
            )

    async def name_of(self, namespace: str, uid: str) -> ObjectKey | None:
        """The migration object with this UID."""
        try:
            listed = await self._client.list(VirtualMachineInstanceMigration, namespace)
        except KvtuiError as error:
            log.warning("the migration object cannot be found", error=str(error))
            return None
        return next((m.key for m in listed.items if m.metadata.uid == uid), None)

    def _now(self) -> str:
        return to_time(self._clock())


class _Drive:
    """One run: the call, its monitor and its abort."""

    def __init__(
        self,
        source: Source,
        vmi: VirtualMachineInstance,
        record: Record,
        state: VirtualMachineInstanceMigrationState,
        abort: asyncio.Event,
    ) -> None:
        self._source = source
        self._vmi = vmi
        self._domain = DomainId(record.domain)
        self._uid = state.migration_uid or ""
        self._abort = abort
        self.watch: Watch | None = None
        self.reason = ""
        self.abort_status = ""
        self._name: ObjectKey | None = None
        self._end: JobStats | None = None

    @property
    def watch_mode(self) -> str:
        return self.watch.mode if self.watch is not None else "PreCopy"

    async def run(self, request: MigrateRequest) -> None:
        """Raises what the migration failed with."""
        if self._abort.is_set():
            self.abort_status, self.reason = "Succeeded", ABORTED
            raise Aborted(ABORTED)
        monitoring = asyncio.create_task(self._monitor(), name=f"monitor {self._uid}")
        aborting = asyncio.create_task(self._wait_abort(), name=f"abort {self._uid}")
        try:
            await self._source.hypervisor.migrate(self._domain, request)
            with contextlib.suppress(KvtuiError):
                self._end = await self._source.hypervisor.completed_job(self._domain)
                self._source.sampled(self._vmi, self._end)
        finally:
            for task in (monitoring, aborting):
                task.cancel()
            for task in (monitoring, aborting):
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def publish_end(self) -> None:
        """The last sample. Nobody waits for it, so it comes after what the target needs to go on."""
        if self._end is not None:
            await self._source.publish(self._name, self._end, self.watch_mode)

    async def _wait_abort(self) -> None:
        await self._abort.wait()
        if self.watch_mode == "PostCopy":
            return
        await self._source.report(self._vmi.key, {"abortStatus": "Aborting"})
        await self._abort_job(ABORTED)

    async def _abort_job(self, reason: str) -> None:
        try:
            await self._source.hypervisor.abort_job(self._domain)
            self.reason, self.abort_status = reason, "Succeeded"
        except KvtuiError as error:
            log.warning("the migration could not be aborted", vmi=str(self._vmi.key), error=str(error))
            await self._source.report(self._vmi.key, {"abortStatus": "Failed"})

    async def _monitor(self) -> None:
        loop = asyncio.get_running_loop()
        began, published = loop.time(), float("-inf")
        self._name = await self._source.name_of(self._vmi.metadata.namespace, self._uid)
        while True:
            await asyncio.sleep(monitor.POLL)
            try:
                sample = await self._source.hypervisor.job(self._domain)
            except KvtuiError:
                continue  # between the switch-over and the end there is no job to ask about
            if not sample.active or self.watch is None:
                continue
            self._source.sampled(self._vmi, sample)
            self.watch, verdict, words = monitor.judge(self.watch, sample, loop.time() - began)
            if loop.time() - published >= monitor.PUBLISH:
                published = loop.time()
                await self._source.publish(self._name, sample, self.watch.mode)
            await self._act(verdict, words)

    async def _act(self, verdict: Verdict, words: str) -> None:
        hypervisor = self._source.hypervisor
        try:
            match verdict:
                case Verdict.POST_COPY:
                    await hypervisor.start_postcopy(self._domain)
                    await self._source.report(self._vmi.key, {"mode": "PostCopy"})
                case Verdict.PAUSE:
                    await hypervisor.suspend(self._domain)
                    await self._source.report(self._vmi.key, {"mode": "Paused"})
                case Verdict.ABORT:
                    await self._abort_job(words)
                case _:
                    pass
        except KvtuiError as error:
            log.warning("a step of a migration failed", verdict=verdict.value, error=str(error))


def _size(vmi: VirtualMachineInstance) -> int:
    """Bytes of memory to move."""
    memory, resources = vmi.spec.domain.memory, vmi.spec.domain.resources
    asked = (memory.guest if memory else None) or (resources.requests.get("memory") if resources else None) or 0
    return quantity.value(asked)
