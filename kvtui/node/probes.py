"""Liveness and readiness probes of guests, by HTTP, TCP, a command or the guest agent's ping.

A guest is probed at the addresses under which its Pod is reached, as a kubelet would. Counting is pure; the loop only
asks and tells.

Source: https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import aiohttp
import structlog

from kvtui.api.kubevirt.vmi import Probe
from kvtui.errors import KvtuiError
from kvtui.node.hypervisor import DomainId, Hypervisor
from kvtui.node.network.sandbox import Networks

log = structlog.get_logger()


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


class Prober:
    """Asks one guest one question."""

    def __init__(self, hypervisor: Hypervisor, networks: Networks) -> None:
        self._hypervisor = hypervisor
        self._networks = networks

    async def ask(self, probe: Probe, domain: DomainId, pod_uid: str) -> bool:
        """Whether the guest answered as it should, within the probe's timeout."""
        timeout = float(probe.timeout_seconds or 1)
        try:
            async with asyncio.timeout(timeout + 1):
                if probe.guest_agent_ping is not None:
                    await self._hypervisor.agent_command(domain, '{"execute":"guest-ping"}', timeout)
                    return True
                if probe.exec is not None:
                    return await self._exec(domain, list(probe.exec.command), timeout)
                if probe.tcp_socket is not None:
                    made = await self._networks.open_connection(pod_uid, int(str(probe.tcp_socket.port)))
                    made.close()
                    return True
                if probe.http_get is not None:
                    return await self._http(probe, pod_uid, timeout)
        except (KvtuiError, TimeoutError, OSError, ValueError, aiohttp.ClientError) as error:
            log.debug("probe failed", pod_uid=pod_uid, error=str(error))
            return False
        return True

    async def _http(self, probe: Probe, pod_uid: str, timeout: float) -> bool:
        get = probe.http_get
        assert get is not None
        network = self._networks.get(pod_uid)
        host = get.host or (network.ips[0] if network is not None and network.ips else "")
        if not host:
            return False
        scheme, path = (get.scheme or "HTTP").lower(), get.path or "/"
        host = f"[{host}]" if ":" in host else host
        headers = {h.name: h.value for h in get.http_headers}
        limit = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=limit) as session:
            # As a kubelet: the guest's certificate is its own business.
            url = f"{scheme}://{host}:{get.port}{path if path.startswith('/') else '/' + path}"
            async with session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer:
                return 200 <= answer.status < 400

    async def _exec(self, domain: DomainId, command: list[str], timeout: float) -> bool:
        if not command:
            return False
        arguments = {"path": command[0], "arg": command[1:], "capture-output": True}
        request = json.dumps({"execute": "guest-exec", "arguments": arguments})
        answer = json.loads(await self._hypervisor.agent_command(domain, request, timeout))
        pid = answer["return"]["pid"]
        status = json.dumps({"execute": "guest-exec-status", "arguments": {"pid": pid}})
        pause = 0.05
        while True:
            found = json.loads(await self._hypervisor.agent_command(domain, status, timeout))["return"]
            if found.get("exited"):
                with contextlib.suppress(ValueError):
                    log.debug("probe command", out=base64.b64decode(found.get("out-data", ""))[:200])
                return bool(found.get("exitcode") == 0)
            await asyncio.sleep(pause)  # the guest agent tells an end only when it is asked
            pause = min(pause * 2, 1.0)


Report = Callable[[str], Awaitable[None]]


class Probes:
    """The probe loops of a node; `run` owns their tasks. A loop exists while its guest runs."""

    def __init__(self, prober: Prober, *, ready: Callable[[str], None], dead: Report) -> None:
        """`ready` is told the UID whose readiness changed, `dead` that a guest failed its liveness probe."""
        self._prober = prober
        self._ready = ready
        self._dead = dead
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
            before, count = count, counted(count, result, probe)
            if count.healthy is not before.healthy:
                if kind == "readiness":
                    self._readiness[uid] = count.healthy
                    self._ready(uid)
                elif not count.healthy:
                    await self._dead(uid)
            await asyncio.sleep(float(probe.period_seconds or 10))
