"""What guest agents tell: polled per guest while the agent is connected, at intervals that grow to a steady pace.

Source: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from kvtui.errors import KvtuiError, Unreachable
from kvtui.node.hypervisor import DomainGone, DomainId, Hypervisor
from kvtui.node.status import GuestNic

log = structlog.get_logger()
FIRST = 10.0
"""Seconds before the second look; doubles up to the steady interval."""
INFO, VERSION, FILESYSTEMS, FREEZE, USERS = 120.0, 300.0, 300.0, 5.0, 10.0
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


@dataclass(frozen=True, slots=True)
class GuestUser:
    """A logged-in user; login time in seconds since the epoch."""

    name: str
    domain: str
    login: float


@dataclass(frozen=True, slots=True)
class GuestFilesystem:
    """A mounted file system; bytes."""

    name: str
    mount: str
    type: str
    used: int
    total: int
    disks: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """The latest answers."""

    nics: tuple[GuestNic, ...] = ()
    os: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    timezone: str = ""
    users: tuple[GuestUser, ...] = ()
    filesystems: tuple[GuestFilesystem, ...] = ()
    version: str = ""
    commands: frozenset[str] = frozenset()
    frozen: bool = False
    load: tuple[float, float, float] | None = None

    @property
    def supported(self) -> bool:
        return not self.commands or self.commands >= REQUIRED


NOTHING = GuestFacts()


class GuestAgents:
    """Pollers of all guests; `run` owns their tasks."""

    def __init__(self, hypervisor: Hypervisor, changed: Callable[[str], None]) -> None:
        """`changed` is told the UID of a guest whose reported facts are new."""
        self._hypervisor = hypervisor
        self._changed = changed
        self._facts: dict[str, GuestFacts] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    def get(self, uid: str) -> GuestFacts:
        return self._facts.get(uid, NOTHING)

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

    async def _poll(self, uid: str, domain: DomainId) -> None:
        loop = asyncio.get_running_loop()
        polls: dict[Callable[[DomainId, GuestFacts], Any], float] = {
            self._info: INFO,
            self._version: VERSION,
            self._filesystems: FILESYSTEMS,
            self._users: USERS,
            self._freeze: FREEZE,
        }
        due = dict.fromkeys(polls, loop.time())
        pauses = dict.fromkeys(polls, FIRST)
        while True:
            poll = min(due, key=due.__getitem__)
            await asyncio.sleep(max(0.0, due[poll] - loop.time()))
            before = self.get(uid)
            try:
                facts = await poll(domain, before)
            except DomainGone:
                return
            except Unreachable:
                facts = before
            except (KvtuiError, ValueError, KeyError, TypeError) as error:
                log.debug("guest agent call failed", uid=uid, error=str(error))
                facts = before
            due[poll] = loop.time() + min(pauses[poll], polls[poll])
            pauses[poll] = min(pauses[poll] * 2, polls[poll])
            if uid not in self._tasks:
                return
            self._facts[uid] = facts
            if (facts.nics, facts.os, facts.frozen, facts.supported) != (
                before.nics,
                before.os,
                before.frozen,
                before.supported,
            ):
                self._changed(uid)

    async def _info(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        return parse_info(await self._hypervisor.guest_info(domain), facts)

    async def _version(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        answer = await self.command(domain, "guest-info")
        names = frozenset(c["name"] for c in answer.get("supported_commands", []) if c.get("enabled", True))
        return replace(facts, version=str(answer.get("version", "")), commands=names)

    async def _filesystems(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        return replace(facts, filesystems=tuple(_filesystem(f) for f in await self.command(domain, "guest-get-fsinfo")))

    async def _users(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        found = await self.command(domain, "guest-get-users")
        users = (GuestUser(u["user"], u.get("domain", ""), float(u.get("login-time", 0))) for u in found)
        return replace(facts, users=tuple(users))

    async def _freeze(self, domain: DomainId, facts: GuestFacts) -> GuestFacts:
        return replace(facts, frozen=await self.command(domain, "guest-fsfreeze-status") == "frozen")

    async def command(
        self, domain: DomainId, name: str, arguments: Mapping[str, Any] | None = None, timeout: float = 5.0
    ) -> Any:
        """The `return` of one command."""
        request: dict[str, Any] = {"execute": name}
        if arguments:
            request["arguments"] = dict(arguments)
        answer = await self._hypervisor.agent_command(domain, json.dumps(request), timeout)
        return json.loads(answer).get("return")


def _filesystem(raw: Mapping[str, Any]) -> GuestFilesystem:
    disks = tuple(
        {"serial": str(d.get("serial", "")), "bus-type": str(d.get("bus-type", ""))} for d in raw.get("disk", [])
    )
    return GuestFilesystem(
        name=str(raw.get("name", "")),
        mount=str(raw.get("mountpoint", "")),
        type=str(raw.get("type", "")),
        used=int(raw.get("used-bytes", 0)),
        total=int(raw.get("total-bytes", 0)),
        disks=disks,
    )


_OS = {
    "os.id": "id",
    "os.name": "name",
    "os.pretty-name": "pretty_name",
    "os.version": "version",
    "os.version-id": "version_id",
    "os.kernel-release": "kernel_release",
    "os.kernel-version": "kernel_version",
    "os.machine": "machine",
}


def parse_info(raw: Mapping[str, object], facts: GuestFacts) -> GuestFacts:
    """libvirt's flat dictionary of virDomainGetGuestInfo."""
    nics = []
    with contextlib.suppress(ValueError, TypeError):
        for n in range(int(str(raw.get("if.count", 0)))):
            addresses = tuple(
                str(raw.get(f"if.{n}.addr.{a}.addr", "")) for a in range(int(str(raw.get(f"if.{n}.addr.count", 0))))
            )
            mac, name = str(raw.get(f"if.{n}.hwaddr", "")), str(raw.get(f"if.{n}.name", ""))
            nics.append(GuestNic(name, mac, tuple(a for a in addresses if a and not a.lower().startswith("fe80"))))
    return replace(
        facts,
        nics=tuple(nics),
        os={ours: str(raw[theirs]) for theirs, ours in _OS.items() if theirs in raw},
        hostname=str(raw.get("hostname", "")),
        timezone=str(raw.get("timezone.name", "")),
    )
