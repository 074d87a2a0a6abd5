"""Frozen file systems of guests, and the hand that thaws them in time: a guest that is frozen for ever is lost.

When a guest has to be thawed is written down before it is frozen, so an agent that was killed meanwhile keeps the
promise when it is back.

Source: https://kubevirt.io/user-guide/storage/snapshot_restore_api/ (unfreezeTimeout)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from kvtui.api.times import from_time, seconds_of, to_time
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import Invalid, KvtuiError
from kvtui.node.guestagent import GuestAgents
from kvtui.node.hypervisor import AgentUnavailable, DomainGone, DomainId, Hypervisor, NotRunning
from kvtui.node.state import Record, Records, Stage

log = structlog.get_logger()
DEFAULT = 300.0
"""Seconds after which a frozen guest is thawed when nobody says otherwise."""
PATIENCE = 600.0
"""Seconds for which a thaw is tried: a guest whose agent is gone that long has been started anew, or is lost."""


class Freezer:
    """Freezes and thaws; `run` owns what is to happen later."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        records: Records,
        agents: GuestAgents,
        lock: Callable[[str], asyncio.Lock],
        clock: Callable[[], datetime],
    ) -> None:
        self._hypervisor = hypervisor
        self._records = records
        self._agents = agents
        self._lock = lock
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Takes up the promises of an earlier agent, too."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for record in self._records:
                if record.thaw is not None and record.stage is Stage.STARTED:
                    self._arm(record)
            await asyncio.get_running_loop().create_future()

    async def freeze(self, record: Record, timeout: float) -> None:
        """Freezes all file systems and thaws them after `timeout` seconds, unless that is 0; a frozen guest stays."""
        if self._agents.get(record.uid).frozen:
            return
        thaw = to_time(self._clock() + timedelta(seconds=timeout)) if timeout > 0 else None
        record = await self._note(record, thaw)
        if thaw is not None:
            self._arm(record)
        try:
            await self._hypervisor.freeze(DomainId(record.domain))
        except AgentUnavailable:
            if not self._agents.connected(record.uid):  # nobody was there to freeze anything
                self.forget(record.uid)
                await self._note(record, None)
            raise
        self._agents.froze(record.uid, frozen=True)

    async def thaw(self, record: Record) -> None:
        self.forget(record.uid)
        await self._hypervisor.thaw(DomainId(record.domain))
        await self._note(record, None)
        self._agents.froze(record.uid, frozen=False)

    def forget(self, uid: str) -> None:
        task = self._tasks.pop(uid, None)
        if task is not None:
            task.cancel()

    async def _note(self, record: Record, thaw: str | None) -> Record:
        async with self._lock(record.uid):
            current = self._records.get(record.uid)
            return record if current is None else await self._records.change(current, thaw=thaw)

    def _arm(self, record: Record) -> None:
        self.forget(record.uid)
        if self._group is not None:
            self._tasks[record.uid] = self._group.create_task(self._thaw_later(record), name=f"thaw {record.uid}")

    async def _thaw_later(self, record: Record) -> None:
        assert record.thaw is not None
        await asyncio.sleep(max(0.0, (from_time(record.thaw) - self._clock()).total_seconds()))
        backoff, loop = Backoff(1.0, 30.0), asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while True:
            try:
                await self._hypervisor.thaw(DomainId(record.domain))
                break
            except (DomainGone, NotRunning):
                return
            except KvtuiError as error:
                log.warning("a guest cannot be thawed", uid=record.uid, error=str(error))
                if loop.time() > until:
                    return
                await asyncio.sleep(backoff.next())
        log.info("a guest was thawed because nobody else did", uid=record.uid)
        await self._note(record, None)
        self._agents.froze(record.uid, frozen=False)


def seconds(text: str) -> float:
    """The default for nothing. Raises Invalid."""
    try:
        wanted = seconds_of(text) if text else DEFAULT
    except ValueError as error:
        raise Invalid(str(error)) from error
    if wanted < 0:
        raise Invalid(f"{text!r} lies in the past")
    return wanted
