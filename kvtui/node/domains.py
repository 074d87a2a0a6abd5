"""The domains of a node: looks at VMI, record and libvirt, asks `lifecycle.plan` for the next step and takes it.

Keys are UIDs of VMIs. A step changes one thing and the next look decides anew, so a killed agent loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceStatus
from kvtui.api.times import to_micro_time, to_time
from kvtui.client.rest import Client
from kvtui.controlloop.backoff import Backoff
from kvtui.controlloop.controller import Result
from kvtui.controlloop.recorder import EventRecorder
from kvtui.errors import Conflict, KvtuiError, NotFound, Permanent, Transient, Unreachable
from kvtui.node import lifecycle, status
from kvtui.node.hypervisor import (
    AgentUnavailable,
    CallTimeout,
    DomainGone,
    DomainId,
    DomainState,
    DomainStatus,
    Hypervisor,
    NotRunning,
    Reason,
    ShutdownMode,
)
from kvtui.node.lifecycle import Do, Step, View
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.types import NetworkFailed
from kvtui.node.start import PredecessorAlive, Starter
from kvtui.node.state import Record, Records, Stage
from kvtui.node.volumes import persistentstate
from kvtui.node.volumes.claims import ClaimPending

log = structlog.get_logger()

RECOVERY_WINDOW, RECOVERY_FIRST, RECOVERY_MAX = 30.0, 10.0, 180.0
"""Seconds: a guest that stops on an I/O error again within the window waits longer and longer."""


OUTAGE = 5.0
"""Seconds without libvirt before VMIs say so."""
RETRY_MAX = 30.0
"""Seconds between the tries of a start that fails, at most."""


class SyncFailed(Transient):
    """The domain could not be brought into step; the VMI says why."""


class Instances(Protocol):
    """VMIs by UID, from caches that may lag; `find` asks the server where the caches know nothing."""

    async def find(self, record: Record) -> VirtualMachineInstance | None: ...

    def pod(self, record: Record) -> Pod | None: ...


class Companions(Protocol):
    """Other rooms that have to know when a domain comes and goes."""

    async def sync(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus) -> None:
        """The domain runs: keep consoles, guest agent pollers and hot-plug in step."""

    async def observe(
        self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus
    ) -> status.Observation: ...

    async def migrate(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus | None) -> Result | None:
        """The next step of a migration from or to this node; when to look again."""

    async def abort_migration(self, record: Record) -> None: ...

    async def gone(self, record: Record) -> None:
        """The domain is down for good: stop everything that watches it."""


@dataclass(slots=True)
class _Tries:
    """When a start that failed is tried again: telling of the failure changes the VMI, and is no reason to try."""

    backoff: Backoff
    next_at: float = 0.0

    def failed(self) -> None:
        self.next_at = asyncio.get_running_loop().time() + self.backoff.next()

    def rest(self) -> float:
        return self.next_at - asyncio.get_running_loop().time()


@dataclass(slots=True)
class _Recovery:
    last: float
    pause: float


class Domains:
    """Reconciles one UID at a time."""

    def __init__(
        self,
        *,
        node: str,
        client: Client,
        hypervisor: Hypervisor,
        records: Records,
        networks: Networks,
        starter: Starter,
        instances: Instances,
        companions: Companions,
        recorder: EventRecorder,
        clock: Callable[[], datetime],
        pod_ended: Callable[[Record], Awaitable[None]],
        signal_every: float = 5.0,
        resync: float = 60.0,
        start_retry: float = 1.0,
        start_patience: float = 5.0,
    ) -> None:
        """The numbers are seconds; see `NodeSettings`."""
        self._node = node
        self._client = client
        self._hypervisor = hypervisor
        self._records = records
        self._networks = networks
        self._starter = starter
        self._instances = instances
        self._companions = companions
        self._recorder = recorder
        self._clock = clock
        self._pod_ended = pod_ended
        self._signal_every = signal_every
        self._resync = resync
        self._start_retry = start_retry
        self._start_patience = start_patience
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, float] = {}
        """Loop time since which the start of a VMI waits for others."""
        self._tries: dict[str, _Tries] = {}
        self._recoveries: dict[str, _Recovery] = {}
        self._deaf: set[str] = set()
        """Guests whose agents were asked for a shutdown in vain."""
        self._away_since: float | None = None
        """Loop time since which libvirt has not been there."""

    def lock(self, uid: str) -> asyncio.Lock:
        """Held by whoever changes a domain or its record."""
        return self._locks.setdefault(uid, asyncio.Lock())

    async def reconcile(self, uid: str) -> Result | None:
        async with self.lock(uid):
            record = self._records.get(uid)
            if record is None or record.stage is Stage.PREPARING:
                return None
            if not self._hypervisor.connected:
                await self._tell_unreachable(record)
                raise Unreachable("libvirt is not reachable; nothing is known about the domain")
            self._away_since = None
            vmi = await self._instances.find(record)
            domain = await self.domain_status(record)
            moving = None
            if vmi is not None:
                moving = await self._companions.migrate(vmi, record, domain)
                record = self._records.get(uid) or record
            pod = self._instances.pod(record)
            view = View(
                node=self._node,
                vmi=vmi,
                record=record,
                domain=domain,
                pod_terminating=pod is not None and pod.metadata.deletion_timestamp is not None,
                now=self._clock(),
                signal_every=self._signal_every,
            )
            step = lifecycle.plan(view)
            result = await self._take(step, vmi, record, domain)
            if step.do is Do.NOTHING and moving is not None:
                result = moving
        if self._records.get(uid) is None:
            self._locks.pop(uid, None)
            self._waiting.pop(uid, None)
            self._tries.pop(uid, None)
            self._recoveries.pop(uid, None)
            self._deaf.discard(uid)
        return result

    async def _tell_unreachable(self, record: Record) -> None:
        """The VMI says that nothing is known, once a restart of the daemon would be over."""
        now = asyncio.get_running_loop().time()
        self._away_since = now if self._away_since is None else self._away_since
        if now - self._away_since < OUTAGE:
            return
        vmi = await self._instances.find(record)
        if vmi is not None and lifecycle.phase_of(vmi) == lifecycle.RUNNING:
            await self.write(vmi, status.unknown(vmi, self._now()))

    async def domain_status(self, record: Record) -> DomainStatus | None:
        """None after libvirt has said that there is no such domain."""
        if not record.domain:
            return None
        try:
            return await self._hypervisor.status(DomainId(record.domain))
        except DomainGone:
            return None

    async def _take(
        self, step: Step, vmi: VirtualMachineInstance | None, record: Record, domain: DomainStatus | None
    ) -> Result | None:
        again, soon = Result(requeue_after=step.wake_in), Result(requeue_after=0)
        match step.do:
            case Do.START:
                assert vmi is not None
                pause = self._tries[record.uid].rest() if record.uid in self._tries else 0.0
                if pause > 0:
                    return Result(requeue_after=pause)
                return soon if await self._start(vmi, record) else Result(requeue_after=1.0)
            case Do.ADOPT:
                await self._records.change(record, stage=Stage.STARTED)
                return soon
            case Do.RESUME:
                assert domain is not None
                return await self._resume(record, domain)
            case Do.SYNC:
                assert vmi is not None
                assert domain is not None
                await self._sync(vmi, record, domain)
                # Guests that were started together are not looked at together for ever.
                return Result(requeue_after=self._resync * random.uniform(0.7, 1.3))  # noqa: S311
            case Do.SIGNAL:
                await self._signal(vmi, record, domain)
                return again
            case Do.KILL:
                await self._kill(vmi, record)
                return soon
            case Do.ABORT_MIGRATION:
                await self._companions.abort_migration(record)
                return again
            case Do.REPORT_END:
                assert vmi is not None
                await self._report_end(vmi, record, step)
                if domain is not None:
                    self._recorder.normal(vmi, "Deleted", "Signaled Deletion")
                return soon
            case Do.CLEAN_UP:
                await self._clean_up(record, domain)
                return None
            case _:
                return again

    async def _start(self, vmi: VirtualMachineInstance, record: Record) -> bool:
        """False while something that others make is missing."""
        try:
            if status.unmounted(vmi):
                await self._starter.prepare(vmi, record)
                await self._write_volumes(vmi, status.mounted(vmi))
                return False
            await self._starter.start(vmi, record)
        except (ClaimPending, PredecessorAlive) as error:
            log.debug("the start waits", vmi=str(vmi.key), error=str(error))
            await self._tell_wait(vmi, error)
            return False
        except (Unreachable, Conflict):
            raise
        except KvtuiError as error:
            self._tries.setdefault(record.uid, _Tries(self._backoff())).failed()
            await self.report_failure(vmi, error)
            raise SyncFailed(str(error)) from error
        self._tries.pop(record.uid, None)
        self._waiting.pop(vmi.metadata.uid, None)
        self._recorder.normal(vmi, "Started", "VirtualMachineInstance started.")
        return True

    def _backoff(self) -> Backoff:
        return Backoff(self._start_retry, max(self._start_retry, RETRY_MAX))

    async def _tell_wait(self, vmi: VirtualMachineInstance, why: KvtuiError) -> None:
        """What is missing is told once it is missing for long: most things come by themselves in no time."""
        now = asyncio.get_running_loop().time()
        if now - self._waiting.setdefault(vmi.metadata.uid, now) < self._start_patience:
            return
        if all(c.type != status.SYNCHRONIZED for c in vmi.status.conditions):
            await self.report_failure(vmi, why)

    async def report_failure(self, vmi: VirtualMachineInstance, error: KvtuiError) -> None:
        """Synchronized=False and an event, with the error's own words."""
        self._recorder.warning(vmi, "SyncFailed", str(error))
        await self.write(vmi, status.not_synchronized(vmi, str(error), self._now()))

    async def _sync(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus) -> None:
        wanted = vmi.spec.termination_grace_period_seconds if vmi.spec else None
        record = await self._records.change(record, grace=30 if wanted is None else max(0, wanted))
        failure: Permanent | None = None
        try:
            try:
                await self._companions.sync(vmi, record, domain)
            except DomainGone:
                raise
            except Permanent as error:
                # What could be applied was, and is reported.
                failure = error
                self._recorder.warning(vmi, "SyncFailed", str(error))
            seen = await self._companions.observe(vmi, record, domain)
        except DomainGone:
            return
        found = status.running(vmi, seen, self._now(), str(failure) if failure else "")
        await self._write_volumes(vmi, found)
        if words := status.immovable_news(vmi, found):
            self._recorder.warning(vmi, "Migrated", words)
        if failure is not None:
            raise SyncFailed(str(failure)) from failure

    async def _write_volumes(self, vmi: VirtualMachineInstance, wanted: VirtualMachineInstanceStatus) -> None:
        """Writes the status, and an event per volume that came or went."""
        await self.write(vmi, wanted)
        for reason, message in status.volume_news(vmi.status.volume_status, wanted.volume_status):
            self._recorder.normal(vmi, reason, message)

    async def write(self, vmi: VirtualMachineInstance, wanted: Any) -> None:
        """Patches the status where it differs. Raises Conflict when somebody else was faster."""
        body = status.patch(vmi, wanted)
        if body is None:
            return
        with contextlib.suppress(NotFound):
            await self._client.patch(VirtualMachineInstance, vmi.key, body)

    async def _resume(self, record: Record, domain: DomainStatus) -> Result | None:
        now = asyncio.get_running_loop().time()
        if domain.reason is Reason.IOERROR:
            vmi = await self._instances.find(record)
            wait = self._recovery_pause(record.uid, now)
            if vmi is not None:
                await self._sync(vmi, record, domain)
                if wait == 0:
                    await self._tell_disk_errors(vmi, record)
            if wait > 0:
                return Result(requeue_after=wait)
        with contextlib.suppress(NotRunning):
            await self._hypervisor.resume(DomainId(record.domain))
        return Result(requeue_after=0.5 if domain.reason is Reason.IOERROR else 0)

    async def _tell_disk_errors(self, vmi: VirtualMachineInstance, record: Record) -> None:
        names = {v.target: v.name for v in vmi.status.volume_status if v.target} if vmi.status else {}
        for error in await self._hypervisor.disk_errors(DomainId(record.domain)):
            why = "not enough space" if error.no_space else "IO error"
            name = names.get(error.target, error.target)
            self._recorder.warning(vmi, "IOerror", f"VM Paused due to {why} at volume: {name}")

    def _recovery_pause(self, uid: str, now: float) -> float:
        """Seconds until the next try; 0 allows one now and remembers it."""
        known = self._recoveries.get(uid)
        if known is None or now - known.last > max(RECOVERY_WINDOW, known.pause):
            self._recoveries[uid] = _Recovery(now, 0.0)
            return 0.0
        if known.pause and now >= known.last + known.pause:
            self._recoveries[uid] = _Recovery(now, min(known.pause * 2, RECOVERY_MAX))
            return 0.0
        if not known.pause:
            known.pause = RECOVERY_FIRST
        return known.last + known.pause - now

    async def _signal(self, vmi: VirtualMachineInstance | None, record: Record, domain: DomainStatus | None) -> None:
        now = to_micro_time(self._clock())  # a grace is not cut by the second in which it began
        first = record.shutdown_since is None
        grace = lifecycle.grace_of(vmi, record)
        record = await self._records.change(
            record, shutdown_since=record.shutdown_since or now, signalled=now, paused=False, grace=grace
        )
        if first and vmi is not None:
            self._recorder.normal(vmi, "ShuttingDown", "Signaled Graceful Shutdown")
        uuid = DomainId(record.domain)
        with contextlib.suppress(NotRunning, DomainGone):
            if domain is not None and domain.state is DomainState.PAUSED:
                # A stopped guest could not obey.
                await self._hypervisor.resume(uuid)
            await self._ask_to_end(record, uuid)

    async def _ask_to_end(self, record: Record, uuid: DomainId) -> None:
        """By guest agent or power button, as libvirt chooses; by the button alone once an agent kept us waiting."""
        if record.uid not in self._deaf:
            try:
                await self._hypervisor.shutdown(uuid)
            except (AgentUnavailable, CallTimeout) as error:
                log.info("the guest agent did not take the shutdown", uid=record.uid, error=str(error))
                self._deaf.add(record.uid)
            else:
                return
        await self._hypervisor.shutdown(uuid, ShutdownMode.ACPI)

    async def _kill(self, vmi: VirtualMachineInstance | None, record: Record) -> None:
        await self._records.change(record, killed=True)
        if vmi is not None and record.stage is not Stage.ENDED:
            self._recorder.normal(vmi, "Deleted", "VirtualMachineInstance stopping")

        async def cut_off() -> None:
            # What refuses to go is tried again when the launcher is cleared away.
            with contextlib.suppress(NetworkFailed):
                if record.pod_uid:
                    await self._networks.detach(record.pod_uid)

        # A guest that is killed needs no network, and libvirt waits a while for QEMU to end.
        cutting = asyncio.create_task(cut_off(), name="cut off")
        try:
            with contextlib.suppress(NotRunning, DomainGone):
                await self._hypervisor.destroy(DomainId(record.domain))
        finally:
            await cutting

    async def _report_end(self, vmi: VirtualMachineInstance, record: Record, step: Step) -> None:
        await self.write(vmi, status.ended(vmi, step.phase, step.reason, self._now()))
        failed = step.phase == lifecycle.FAILED
        note = self._recorder.warning if failed else self._recorder.normal
        note(vmi, "Stopped", step.message)
        log.info("domain ended", vmi=str(vmi.key), phase=step.phase, why=step.message)
        await self._records.change(record, stage=Stage.ENDED, failed=failed, message=step.message)

    async def _clean_up(self, record: Record, domain: DomainStatus | None) -> None:
        record = await self._records.change(record, stage=Stage.ENDED)
        await self._companions.gone(record)
        try:
            # Definition and network know nothing of each other, and the kernel takes its time over links.
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._undefine(record, domain), name="undefine")
                if record.pod_uid:
                    tasks.create_task(self._networks.detach(record.pod_uid), name="detach")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        await self._pod_ended(record)
        await self._records.drop(record.uid)
        log.info("launcher removed", vmi=f"{record.namespace}/{record.name}", uid=record.uid)

    async def _undefine(self, record: Record, domain: DomainStatus | None) -> None:
        if domain is not None:
            with contextlib.suppress(DomainGone):
                await self._hypervisor.undefine(DomainId(record.domain), keep_state=record.persistent_state)
        if record.persistent_state and record.domain:
            await persistentstate.release(record.domain)

    # Requests of users

    async def pause(self, record: Record) -> None:
        """Pauses a running guest; one that does not run is left alone."""
        async with self.lock(record.uid):
            domain = await self.domain_status(record)
            if domain is None or domain.state is not DomainState.RUNNING:
                return
            record = await self._records.change(self._records.get(record.uid) or record, paused=True)
            await self._hypervisor.suspend(DomainId(record.domain))
            vmi = await self._instances.find(record)
            if vmi is not None:
                self._recorder.normal(vmi, "Paused", "VirtualMachineInstance paused")

    async def unpause(self, record: Record) -> None:
        async with self.lock(record.uid):
            record = await self._records.change(self._records.get(record.uid) or record, paused=False)
            domain = await self.domain_status(record)
            if domain is None or domain.state is not DomainState.PAUSED:
                return
            await self._hypervisor.resume(DomainId(record.domain))
            vmi = await self._instances.find(record)
            if vmi is not None:
                self._recorder.normal(vmi, "Unpaused", "VirtualMachineInstance unpaused")

    def _now(self) -> str:
        return to_time(self._clock())
