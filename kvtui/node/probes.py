"""Liveness and readiness probes of guests, by HTTP, TCP, a command or the guest agent's ping.

A guest is probed at the addresses under which its Pod is reached, as a kubelet would. Counting is pure; the loop only
asks and tells.

Source: https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import aiohttp

from kvtui.api.core.parts import HTTPGetAction
from kvtui.api.kubevirt.vmi import Probe
from kvtui.errors import KvtuiError
from kvtui.node.guestagent import GuestAgents
from kvtui.node.guestanswers import clean
from kvtui.node.hypervisor import DomainId, DomainState, Hypervisor, Reason
from kvtui.node.network.sandbox import Networks

_HEALTHY_PAUSES = frozenset(
    {
        Reason.USER,
        Reason.MIGRATION,
        Reason.SAVE,
        Reason.DUMP,
        Reason.SNAPSHOT,
        Reason.STARTING_UP,
        Reason.POSTCOPY,
        Reason.SHUTTING_DOWN,
    }
)


@dataclass(frozen=True, slots=True)
class Count:
    """Results in a row."""

    healthy: bool
    """What is reported."""
    row: int = 0
    """Results in a row that say otherwise."""


def counted(count: Count, result: bool, probe: Probe) -> Count:
    """The count after one more result."""
    if result is count.healthy:
        return replace(count, row=0)
    needed = (probe.success_threshold or 1) if result else (probe.failure_threshold or 3)
    if count.row + 1 >= needed:
        return Count(result)
    return replace(count, row=count.row + 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One result, with the reason of a failure."""

    healthy: bool
    why: str = ""


class Prober:
    """Asks one guest one question."""

    def __init__(
        self, hypervisor: Hypervisor, networks: Networks, agents: GuestAgents, migrating: Callable[[DomainId], bool]
    ) -> None:
        """`migrating`: the guest is on its way to another node."""
        self._hypervisor = hypervisor
        self._networks = networks
        self._agents = agents
        self._migrating = migrating

    async def ask(self, probe: Probe, domain: DomainId, pod_uid: str) -> Outcome:
        """Whether the guest answered as it should, within the probe's timeout."""
        timeout = float(probe.timeout_seconds or 1)
        try:
            async with asyncio.timeout(timeout):
                return await self._ask(probe, domain, pod_uid, timeout)
        except TimeoutError:
            return Outcome(False, f"no answer within {timeout:g} s")
        except (KvtuiError, OSError, ValueError, aiohttp.ClientError) as error:
            return Outcome(False, clean(str(error)))

    async def _ask(self, probe: Probe, domain: DomainId, pod_uid: str, timeout: float) -> Outcome:
        if probe.guest_agent_ping is not None:
            return await self._ping(domain, timeout)
        if probe.exec is not None:
            if not probe.exec.command:
                return Outcome(False, "the probe has no command")
            end = await self._agents.execute(domain, list(probe.exec.command), timeout)
            return Outcome(end.code == 0, f"the command ended with {end.code}")
        if probe.tcp_socket is not None:
            made = await self._networks.open_connection(pod_uid, int(str(probe.tcp_socket.port)))
            made.close()
        elif probe.http_get is not None:
            return await self._http(probe.http_get, pod_uid, timeout)
        return Outcome(True)

    async def _ping(self, domain: DomainId, timeout: float) -> Outcome:
        """A guest that was stopped for a reason of ours cannot answer, and is well."""
        status = await self._hypervisor.status(domain)
        if self._migrating(domain) or (status.state is DomainState.PAUSED and status.reason in _HEALTHY_PAUSES):
            return Outcome(True)
        await self._agents.ping(domain, timeout)
        return Outcome(True)

    async def _http(self, get: HTTPGetAction, pod_uid: str, timeout: float) -> Outcome:
        network = self._networks.get(pod_uid)
        host = get.host or (network.ips[0] if network is not None and network.ips else "")
        if not host:
            return Outcome(False, "the guest has no address")
        scheme, path = (get.scheme or "HTTP").lower(), get.path or "/"
        host = f"[{host}]" if ":" in host else host
        headers = {h.name: h.value for h in get.http_headers}
        limit = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=limit) as session:
            url = f"{scheme}://{host}:{get.port}{path if path.startswith('/') else '/' + path}"
            async with session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer:
                return Outcome(200 <= answer.status < 400, f"HTTP status {answer.status}")


Report = Callable[[str], Awaitable[None]]
Failed = Callable[[str, str, str], None]


class Probes:
    """The probe loops of a node; `run` owns their tasks. A loop exists while its guest runs."""

    def __init__(self, prober: Prober, *, ready: Callable[[str], None], dead: Report, failed: Failed) -> None:
        """`ready` is told the UID whose readiness changed, `dead` that a guest failed its liveness probe, and `failed`
        of each failure: UID, readiness or liveness, and why."""
        self._prober = prober
        self._ready = ready
        self._dead = dead
        self._failed = failed
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._readiness: dict[str, bool] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    def is_ready(self, uid: str) -> bool:
        """True where no readiness probe says otherwise."""
        return self._readiness.get(uid, True)

    def watch(self, uid: str, domain: DomainId, pod_uid: str, readiness: Probe | None, liveness: Probe | None) -> None:
        """Starts the loops of a guest that has probes."""
        for kind, probe in (("readiness", readiness), ("liveness", liveness)):
            key = (uid, kind)
            if probe is None or key in self._tasks or self._group is None:
                continue
            if kind == "readiness":
                self._readiness[uid] = False
                self._ready(uid)
            self._tasks[key] = self._group.create_task(
                self._loop(key, probe, domain, pod_uid), name=f"{kind} probe {uid}"
            )

    def forget(self, uid: str) -> None:
        for key in [k for k in self._tasks if k[0] == uid]:
            self._tasks.pop(key).cancel()
        self._readiness.pop(uid, None)

    async def _loop(self, key: tuple[str, str], probe: Probe, domain: DomainId, pod_uid: str) -> None:
        uid, kind = key
        count = Count(healthy=kind == "liveness")
        await asyncio.sleep(float(probe.initial_delay_seconds or 0))
        while True:
            result = await self._prober.ask(probe, domain, pod_uid)
            if not result.healthy:
                self._failed(uid, kind, result.why)
            before, count = count, counted(count, result.healthy, probe)
            if count.healthy is not before.healthy:
                if kind == "readiness":
                    self._readiness[uid] = count.healthy
                    self._ready(uid)
                elif not count.healthy:
                    await self._dead(uid)
            await asyncio.sleep(float(probe.period_seconds or 10))
