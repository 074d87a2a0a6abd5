"""What guest agents tell: polled per guest while the agent is connected, at intervals that grow to a steady pace.

An agent that does not answer is only pinged, ever more rarely, until it answers: a guest can make us wait, but not
often, and what it says is bounded (see `guestanswers`).

Source: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from kvtui.errors import KvtuiError, Unreachable
from kvtui.node import guestanswers
from kvtui.node.guestanswers import Exit, GuestFilesystem, GuestLoad, GuestUser
from kvtui.node.hypervisor import AgentUnavailable, DomainGone, DomainId, Hypervisor
from kvtui.node.status import GuestNic

log = structlog.get_logger()
FIRST = 10.0
"""Seconds before the second look; doubles up to the steady interval."""
INFO, VERSION, FILESYSTEMS, FREEZE, USERS, LOAD = 120.0, 300.0, 300.0, 5.0, 10.0, 120.0
GET_LOAD = "guest-get-load"
"""Of agents from version 10 on."""
SILENT_FIRST, SILENT_MOST = 2.0, 120.0
"""Seconds between pings of an agent that does not answer; doubles."""
REQUIRED = frozenset(
    {
        "guest-ping",
        "guest-get-time",
        "guest-info",
        "guest-shutdown",
        "guest-network-get-interfaces",
        "guest-get-fsinfo",
        "guest-get-host-name",
        "guest-get-users",
        "guest-get-timezone",
        "guest-get-osinfo",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """The latest answers."""

    nics: tuple[GuestNic, ...] = ()
    os: tuple[tuple[str, str], ...] = ()
    hostname: str = ""
    timezone: str = ""
    users: tuple[GuestUser, ...] = ()
    filesystems: tuple[GuestFilesystem, ...] = ()
    version: str = ""
    commands: frozenset[str] = frozenset()
    frozen: bool | None = None
    """Unknown until it was asked: another agent of ours may have frozen it."""
    load: GuestLoad | None = None

    def supports(self, *more: str) -> bool:
        """Whether the agent has what every guest needs and `more`; unknown counts as yes."""
        return not self.commands or self.commands >= REQUIRED | frozenset(more)


NOTHING = GuestFacts()
Look = Callable[[DomainId, GuestFacts], Awaitable[GuestFacts]]


class GuestAgents:
    """Pollers of all guests; `run` owns their tasks."""

    def __init__(self, hypervisor: Hypervisor, changed: Callable[[str], None]) -> None:
        """`changed` is told the UID of a guest whose reported facts are new."""
        self._hypervisor = hypervisor
        self._changed = changed
        self._facts: dict[str, GuestFacts] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._silent: set[str] = set()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    def get(self, uid: str) -> GuestFacts:
        return self._facts.get(uid, NOTHING)

    def connected(self, uid: str) -> bool:
        """Whether somebody holds the other end of the channel."""
        return uid in self._tasks

    def answers(self, uid: str) -> bool:
        """Whether an agent is connected that has not fallen silent."""
        return uid in self._tasks and uid not in self._silent

    def watch(self, uid: str, domain: DomainId, *, connected: bool) -> None:
        """Starts or stops the poller as the agent comes and goes."""
        task = self._tasks.get(uid)
        if not connected:
            if task is not None:
                self.forget(uid)
            return
        if (task is None or task.done()) and self._group is not None:
            self._tasks[uid] = self._group.create_task(self._poll(uid, domain), name=f"guest agent {uid}")

    def forget(self, uid: str) -> None:
        task = self._tasks.pop(uid, None)
        if task is not None:
            task.cancel()
        self._facts.pop(uid, None)
        self._silent.discard(uid)

    def froze(self, uid: str, *, frozen: bool) -> None:
        """What the next look would find."""
        if self.connected(uid):
            self.put(uid, replace(self.get(uid), frozen=frozen))

    def put(self, uid: str, facts: GuestFacts) -> None:
        """Keeps what was learned, and tells where it shows."""
        before = self.get(uid)
        self._facts[uid] = facts
        shown = (facts.nics, facts.os, facts.frozen, facts.commands)
        if shown != (before.nics, before.os, before.frozen, before.commands):
            self._changed(uid)

    async def _poll(self, uid: str, domain: DomainId) -> None:
        loop = asyncio.get_running_loop()
        looks: dict[Look, float] = {
            # What it can do comes first: the rest is judged by that.
            self._version: VERSION,
            self._system: INFO,
            self._filesystems: FILESYSTEMS,
            self._users: USERS,
            self._freeze: FREEZE,
            self._load: LOAD,
        }
        due = dict.fromkeys(looks, loop.time())
        pauses = dict.fromkeys(looks, FIRST)
        silence = SILENT_FIRST
        while True:
            if uid in self._silent:
                await asyncio.sleep(silence)
                silence = min(silence * 2, SILENT_MOST)
                if not await self._answers_now(domain):
                    continue
                self._silent.discard(uid)
            look = min(due, key=due.__getitem__)
            await asyncio.sleep(max(0.0, due[look] - loop.time()))
            try:
                facts = await look(domain, self.get(uid))
            except DomainGone:
                return
            except (AgentUnavailable, Unreachable) as error:
                log.info("a guest agent does not answer", uid=uid, error=str(error))
                self._silent.add(uid)
                continue
            except KvtuiError as error:
                log.debug("guest agent call failed", uid=uid, error=str(error))
                facts = self.get(uid)
            silence = SILENT_FIRST
            due[look] = loop.time() + min(pauses[look], looks[look])
            pauses[look] = min(pauses[look] * 2, looks[look])
            if self._tasks.get(uid) is not asyncio.current_task():
                return
            self.put(uid, facts)

    async def _answers_now(self, domain: DomainId) -> bool:
        try:
            await self.ping(domain)
        except KvtuiError:
            return False
        return True

    async def _system(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        found = guestanswers.system(await self._hypervisor.guest_info(domain))
        return replace(facts, nics=found.nics, os=found.os, hostname=found.hostname, timezone=found.timezone)

    async def _version(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        found = guestanswers.version(await self.command(domain, "guest-info"))
        return replace(facts, version=found.version, commands=found.commands)

    async def _filesystems(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        return replace(facts, filesystems=guestanswers.filesystems(await self.command(domain, "guest-get-fsinfo")))

    async def _users(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        return replace(facts, users=guestanswers.users(await self.command(domain, "guest-get-users")))

    async def _load(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        if GET_LOAD not in facts.commands:
            return facts
        return replace(facts, load=guestanswers.load(await self.command(domain, GET_LOAD)))

    async def _freeze(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        return replace(facts, frozen=guestanswers.frozen(await self.command(domain, "guest-fsfreeze-status")))

    # Commands

    async def command(
        self, domain: DomainId, name: str, arguments: Mapping[str, Any] | None = None, timeout: float = 5.0
    ) -> str:
        """The answer as it came. Raises AgentUnavailable, HypervisorRefused with the agent's own words."""
        request: dict[str, Any] = {"execute": name}
        if arguments:
            request["arguments"] = dict(arguments)
        return await self._hypervisor.agent_command(domain, json.dumps(request), timeout)

    async def ping(self, domain: DomainId, timeout: float = 5.0) -> None:
        await self.command(domain, "guest-ping", timeout=timeout)

    async def execute(self, domain: DomainId, command: list[str], timeout: float = 5.0) -> Exit:
        """Runs a program in the guest and waits for its end. Raises TimeoutError; then it may run on."""
        async with asyncio.timeout(timeout):
            arguments = {"path": command[0], "arg": command[1:]}
            pid = guestanswers.started(await self.command(domain, "guest-exec", arguments, timeout))
            pause = 0.05
            while True:
                answer = await self.command(domain, "guest-exec-status", {"pid": pid}, timeout)
                if (end := guestanswers.ended(answer)) is not None:
                    return end
                await asyncio.sleep(pause)  # the guest agent tells an end only when it is asked
                pause = min(pause * 2, 1.0)
