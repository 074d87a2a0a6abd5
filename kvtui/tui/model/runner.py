"""Carrying out confirmed actions: held for a moment when hard to undo, several at a time, each with its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from kvtui.client.rest import Client
from kvtui.errors import Conflict, Forbidden, KvtuiError, Unreachable
from kvtui.tui.model.actions import Action, Choice, Level
from kvtui.tui.model.journal import Job, Journal, Outcome, Severity, Step
from kvtui.tui.model.rights import Rights
from kvtui.tui.model.rows import AnyRow

_AT_ONCE = 5


@dataclass(slots=True)
class Held:
    """A confirmed action that waits."""

    action: Action
    names: str
    cancelled: asyncio.Event


class Runner:
    """One per session."""

    def __init__(
        self,
        client: Client,
        journal: Journal,
        rights: Rights,
        *,
        hold: float = 3.0,
        lookup: Callable[[Action, AnyRow], AnyRow | None] = lambda action, row: row,
    ) -> None:
        """`hold` in seconds; `lookup` gives the present row for one that was confirmed a moment ago."""
        self._client = client
        self._journal = journal
        self._rights = rights
        self._hold = hold
        self._lookup = lookup
        self.held: Held | None = None

    async def run(self, action: Action, rows: list[AnyRow], level: Level, choice: Choice) -> None:
        """Returns when everything is sent; results are in the journal."""
        names = _names(rows)
        if level >= Level.DIALOG and self._hold > 0 and not await self._wait_held(action, names):
            self._journal.say(f"{action.undone}: {names}.")
            return
        if len(rows) == 1:
            await self._single(action, rows[0], choice)
        else:
            await self._several(action, rows, choice)

    def undo(self) -> bool:
        """Cancels what is held. False when nothing is."""
        if self.held is None:
            return False
        self.held.cancelled.set()
        return True

    async def _wait_held(self, action: Action, names: str) -> bool:
        held = self.held = Held(action, names, asyncio.Event())
        try:
            for left in range(int(self._hold), 0, -1):
                self._journal.say(f"{action.doing or action.label} {names} in {left} s. u undoes")
                try:
                    async with asyncio.timeout(1.0):
                        await held.cancelled.wait()
                except TimeoutError:
                    continue
                return False
        finally:
            self.held = None
        return True

    async def _single(self, action: Action, row: AnyRow, choice: Choice) -> None:
        step = Step(str(row.key))
        self._journal.say(f"{action.doing or action.label} {row.key.name}...", about=str(row.key))
        await self._send(action, row, choice, step)
        if step.outcome is Outcome.DONE:
            self._journal.say(f"{action.label} {row.key.name}: sent", about=str(row.key))
        else:
            self._journal.say(step.reason, Severity.ERROR, about=str(row.key))

    async def _several(self, action: Action, rows: list[AnyRow], choice: Choice) -> None:
        job = self._journal.begin(f"{action.label} {len(rows)} objects", [str(row.key) for row in rows])
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(row: AnyRow, step: Step) -> None:
            async with slots:
                if job.cancelled:
                    step.outcome = Outcome.SKIPPED
                else:
                    step.outcome = Outcome.RUNNING
                    self._journal.changed(job)
                    await self._send(action, row, choice, step)
                self._journal.changed(job)

        async with asyncio.TaskGroup() as tasks:
            for row, step in zip(rows, job.steps, strict=True):
                tasks.create_task(one(row, step), name=f"{action.id} {row.key}")
        self._finish(job)

    def _finish(self, job: Job) -> None:
        failed = job.count(Outcome.FAILED)
        text = f"{job.title}: {job.summary()}" + ("   ! shows them" if failed else "")
        self._journal.say(text, Severity.ERROR if failed else Severity.INFO)

    async def _send(self, action: Action, row: AnyRow, choice: Choice, step: Step) -> None:
        assert action.run is not None
        current = self._lookup(action, row)
        if current is None:
            step.outcome, step.reason = Outcome.FAILED, f"{row.key.name} is gone"
            return
        try:
            await action.run(self._client, current, choice)
        except KvtuiError as error:
            step.outcome, step.reason = Outcome.FAILED, explain(action.label, row.key.name, error)
            if isinstance(error, Forbidden):
                self._rights.forget(row.key.namespace)
        else:
            step.outcome = Outcome.DONE


def explain(label: str, name: str, error: KvtuiError) -> str:
    """One line for the status bar."""
    if isinstance(error, Conflict):
        return f"{name} changed meanwhile. Reloaded; press the key again."
    if isinstance(error, Unreachable):
        return f"No answer to: {label} {name}. It may or may not have been received. ctrl+r checks"
    return f"{label} {name}: {error}"


def _names(rows: list[AnyRow]) -> str:
    return rows[0].key.name if len(rows) == 1 else f"{len(rows)} objects"
