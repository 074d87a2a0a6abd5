"""The agent's HTTPS endpoint: what a kubelet serves, and what KubeVirt's handler serves for one VMI.

Source: https://kubernetes.io/docs/concepts/cluster-administration/system-logs/ for containerLogs; KubeVirt's handler
REST for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable
from typing import Any

import structlog
from aiohttp import web

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.subresources import (
    GuestAgentCommandInfo,
    VirtualMachineInstanceFileSystem,
    VirtualMachineInstanceFileSystemDisk,
    VirtualMachineInstanceFileSystemInfo,
    VirtualMachineInstanceGuestAgentInfo,
    VirtualMachineInstanceGuestOSUser,
)
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceGuestOSInfo
from kvtui.api.wire import ObjectKey, to_json
from kvtui.console.inotify import Watcher
from kvtui.controlloop.exposition import CONTENT_TYPE
from kvtui.controlloop.informer import Informer
from kvtui.errors import Conflict, Invalid, NotFound, Unreachable
from kvtui.node import guestanswers, logs, metrics, podstatus
from kvtui.node.access import guard
from kvtui.node.console import Consoles
from kvtui.node.domains import Domains
from kvtui.node.freezing import Freezer, seconds
from kvtui.node.guestagent import GuestAgents, GuestFacts
from kvtui.node.hypervisor import (
    AgentUnavailable,
    CallTimeout,
    DomainId,
    Hypervisor,
    HypervisorRefused,
    ShutdownMode,
)
from kvtui.node.incidents import Level, Note
from kvtui.node.measuring import Measurements
from kvtui.node.migration.target import Target
from kvtui.node.network.sandbox import Networks
from kvtui.node.state import Record, Records, Stage
from kvtui.node.streams import OFFSET_HEADER, Streams
from kvtui.node.uploads import Door, forward
from kvtui.node.workers import Workers

log = structlog.get_logger()
PREFIX = "/v1/namespaces/{namespace}/virtualmachineinstances/{name}"
SHOWN = 10
HISTORY_WAIT = 5.0
"""Seconds that a request for a console's history is held until the guest has left; callers wait longer than that."""
"""Users and file systems that guestosinfo tells."""


class AgentServer:
    """Serves until cancelled; `port` is known once `started` is set."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        records: Records,
        domains: Domains,
        consoles: Consoles,
        networks: Networks,
        agents: GuestAgents,
        freezer: Freezer,
        note: Note,
        workers: Workers,
        pods: Informer[Pod],
        watcher: Watcher,
        target: Target,
        measurements: Measurements,
        replay: int,
    ) -> None:
        self._hypervisor = hypervisor
        self._records = records
        self._domains = domains
        self._consoles = consoles
        self._agents = agents
        self._freezer = freezer
        self._note = note
        self._workers = workers
        self._pods = pods
        self._watcher = watcher
        self._target = target
        self._measurements = measurements
        self._streams = Streams(records=records, consoles=consoles, networks=networks, find=self._record, replay=replay)
        self.started = asyncio.Event()
        self.port = 0

    def application(self) -> web.Application:
        app = web.Application(middlewares=[guard], client_max_size=2**20)
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._container_logs),
                web.get("/metrics", self._metrics),
                web.get("/metrics/resource", self._resource_metrics),
                web.get("/stats/summary", self._summary),
                web.get("/v1/namespaces/{namespace}/uploads/{pod}", self._takes_upload),
                web.post("/v1/namespaces/{namespace}/uploads/{pod}/{verb}", self._upload),
                *self._streams.routes(PREFIX),
                web.get(f"{PREFIX}/console/history", self._history),
                web.get(f"{PREFIX}/migration/target", self._migration_target),
                web.get(f"{PREFIX}/vnc/screenshot", self._screenshot),
                web.put(f"{PREFIX}/pause", self._pause),
                web.put(f"{PREFIX}/unpause", self._unpause),
                web.put(f"{PREFIX}/softreboot", self._softreboot),
                web.put(f"{PREFIX}/reset", self._reset),
                web.put(f"{PREFIX}/freeze", self._freeze),
                web.put(f"{PREFIX}/unfreeze", self._unfreeze),
                web.get(f"{PREFIX}/guestosinfo", self._guest_os),
                web.get(f"{PREFIX}/userlist", self._users),
                web.get(f"{PREFIX}/filesystemlist", self._filesystems),
            ]
        )
        return app

    async def run(self, address: str, port: int, context: ssl.SSLContext | None) -> None:
        runner = web.AppRunner(self.application(), handle_signals=False, access_log=None, shutdown_timeout=2)
        await runner.setup()
        try:
            site = web.TCPSite(runner, address, port, ssl_context=context, backlog=256)
            await site.start()
            self.port = int(runner.addresses[0][1])
            log.info("agent serves", address=address, port=self.port)
            self.started.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await self._consoles.close_all()
            await runner.cleanup()

    def _record(self, request: web.Request) -> Record:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        record = self._records.of_key(namespace, name)
        if record is None or record.stage is Stage.ENDED:
            raise NotFound(f"virtualmachineinstances.kubevirt.io {name!r} is not on this node")
        return record

    def _running(self, request: web.Request) -> tuple[Record, DomainId]:
        record = self._record(request)
        if record.stage is not Stage.STARTED:
            raise Conflict("VMI is not running")
        return record, DomainId(record.domain)

    # A kubelet's part

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    async def _container_logs(self, request: web.Request) -> web.StreamResponse:
        info = request.match_info
        pod = self._pods.get(ObjectKey(info["namespace"], info["pod"]))
        if pod is None:
            raise NotFound(f"pod {info['pod']!r} is not on this node")
        wanted = logs.Wanted.of(request)
        if podstatus.is_worker(pod):
            source = logs.file_bytes(self._workers.log_path(pod.metadata.uid), wanted, self._watcher)
            return await logs.send(request, source, wanted)
        record = self._records.of_pod(pod.metadata.uid)
        if record is None or record.stage in (Stage.PREPARING, Stage.READY):
            raise Invalid(f"container {info['container']!r} in pod {info['pod']!r} is waiting to start")
        console = self._consoles.get(record.uid)
        if console is None:
            console = self._consoles.open(record.uid, self._records.directory(record.uid))
        return await logs.send(request, logs.console_bytes(console, wanted), wanted)

    def _door(self, request: web.Request) -> Door:
        info = request.match_info
        pod = self._pods.get(ObjectKey(info["namespace"], info["pod"]))
        door = self._workers.door(pod) if pod is not None else None
        if door is None:
            raise Unreachable(f"no upload is waited for by pod {info['pod']}")
        return door

    async def _takes_upload(self, request: web.Request) -> web.StreamResponse:
        self._door(request)
        return web.Response()

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        return await forward(request, self._door(request), request.match_info["verb"])

    async def _uses(self) -> list[metrics.Use]:
        stats = await self._measurements.statistics.get()
        uses = []
        for record in self._records:
            values = stats.get(DomainId(record.domain))
            if values is not None:
                cpu, memory = metrics.of_domain(values)
                uses.append(metrics.Use(record.namespace, record.pod, "compute", cpu, memory))
        return uses

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        body = (await self._measurements.text()).encode()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _resource_metrics(self, request: web.Request) -> web.StreamResponse:
        node = await asyncio.to_thread(metrics.read_node)
        return web.Response(text=metrics.render(node, await self._uses()), headers={"Content-Type": CONTENT_TYPE})

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        cpu, memory = await asyncio.to_thread(metrics.read_node)
        pods = [
            {
                "podRef": {"name": use.pod, "namespace": use.namespace},
                "cpu": {"usageCoreNanoSeconds": int(use.cpu * 1e9)},
                "memory": {"workingSetBytes": use.memory},
            }
            for use in await self._uses()
        ]
        node = {"cpu": {"usageCoreNanoSeconds": int(cpu * 1e9)}, "memory": {"workingSetBytes": memory}}
        return web.json_response({"node": node, "pods": pods})

    # Life of one guest

    async def _pause(self, request: web.Request) -> web.StreamResponse:
        record, _ = self._running(request)
        await self._domains.pause(record)
        return web.Response(status=202)

    async def _unpause(self, request: web.Request) -> web.StreamResponse:
        record, _ = self._running(request)
        await self._domains.unpause(record)
        return web.Response(status=202)

    async def _softreboot(self, request: web.Request) -> web.StreamResponse:
        record, domain = self._running(request)
        by_agent = self._agents.connected(record.uid)
        if not by_agent and not record.acpi:
            raise Invalid("VMI neither have the agent connected nor the ACPI feature enabled")
        if by_agent and not self._agents.answers(record.uid) and record.acpi:
            by_agent = False  # nobody would hear it
        try:
            await self._hypervisor.reboot(domain, ShutdownMode.AGENT if by_agent else ShutdownMode.ACPI)
        except (AgentUnavailable, CallTimeout) as error:
            log.info("the guest agent did not confirm the reboot", uid=record.uid, error=str(error))
        self._note(record, Level.NORMAL, "SoftRebooted", "VirtualMachineInstance soft rebooted")
        return web.Response(status=202)

    async def _reset(self, request: web.Request) -> web.StreamResponse:
        record, domain = self._running(request)
        await self._hypervisor.reset(domain)
        self._note(record, Level.NORMAL, "Reset", "VirtualMachineInstance reset")
        return web.Response(status=202)

    async def _freeze(self, request: web.Request) -> web.StreamResponse:
        record, _ = self._running(request)
        if record.outgoing is not None and record.outgoing.ended is None:
            raise Conflict("the guest is being migrated")
        body = await _body(request) if request.can_read_body else {}
        timeout = seconds(str(body.get("unfreezeTimeout", "")))
        return await self._frozen(record, self._freezer.freeze(record, timeout))

    async def _unfreeze(self, request: web.Request) -> web.StreamResponse:
        record, _ = self._running(request)
        return await self._frozen(record, self._freezer.thaw(record))

    async def _frozen(self, record: Record, work: Awaitable[None]) -> web.StreamResponse:
        try:
            await work
        except HypervisorRefused as error:
            words = guestanswers.clean(str(error))
            self._note(record, Level.WARNING, "FreezeError", words)
            raise Invalid(words) from error
        return web.Response(status=202)

    async def _screenshot(self, request: web.Request) -> web.StreamResponse:
        _, domain = self._running(request)
        picture = await self._hypervisor.screenshot(domain)
        return web.Response(body=picture.data, content_type=picture.mime)

    # Guest agent

    def _facts(self, request: web.Request) -> GuestFacts:
        record, _ = self._running(request)
        facts = self._agents.get(record.uid)
        if not facts.version and not facts.hostname:
            raise Conflict("VMI does not have guest agent connected")
        return facts

    async def _guest_os(self, request: web.Request) -> web.StreamResponse:
        facts = self._facts(request)
        info = VirtualMachineInstanceGuestAgentInfo(
            guest_agent_version=facts.version,
            hostname=facts.hostname,
            timezone=facts.timezone,
            os=VirtualMachineInstanceGuestOSInfo(**dict(facts.os)),
            supported_commands=[GuestAgentCommandInfo(name=c, enabled=True) for c in sorted(facts.commands)],
            user_list=_user_list(facts)[:SHOWN],
            fs_info=VirtualMachineInstanceFileSystemInfo(disks=_disk_list(facts)[:SHOWN]),
            fs_freeze_status="frozen" if facts.frozen else None,
        )
        return _json(info)

    async def _users(self, request: web.Request) -> web.StreamResponse:
        return _json({"items": _user_list(self._facts(request)), "metadata": {}})

    async def _filesystems(self, request: web.Request) -> web.StreamResponse:
        return _json({"items": _disk_list(self._facts(request)), "metadata": {}})

    # Other agents

    async def _migration_target(self, request: web.Request) -> web.StreamResponse:
        return _json(self._target.facts(self._record(request)))

    async def _history(self, request: web.Request) -> web.StreamResponse:
        """All that is kept of a console, once the guest prints no more here; its offset is in a header.

        Waits a while for the guest's end: who asks has nothing else to do.
        """
        record = self._record(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HISTORY_WAIT):
                await self._records.until(record.uid, lambda r: r.outgoing is None or r.outgoing.ended is not None)
        if not self._record(request).moved:
            raise Conflict("the guest may still print here")
        console = self._consoles.open(record.uid, self._records.directory(record.uid))
        console.log.refresh()
        start, pieces, offset = console.log.start, [], console.log.start
        while True:
            _, data = await asyncio.to_thread(console.log.read, offset, 2**20)
            if not data:
                break
            pieces.append(data)
            offset += len(data)
        return web.Response(body=b"".join(pieces), headers={OFFSET_HEADER: str(start)})


def _user_list(facts: GuestFacts) -> list[VirtualMachineInstanceGuestOSUser]:
    return [
        VirtualMachineInstanceGuestOSUser(user_name=u.name, domain=u.domain or None, login_time=u.login)
        for u in facts.users
    ]


def _disk_list(facts: GuestFacts) -> list[VirtualMachineInstanceFileSystem]:
    return [
        VirtualMachineInstanceFileSystem(
            disk_name=f.name,
            mount_point=f.mount,
            file_system_type=f.type,
            used_bytes=f.used,
            total_bytes=f.total,
            disk=[VirtualMachineInstanceFileSystemDisk(serial=serial or None, bus_type=bus) for serial, bus in f.disks],
        )
        for f in facts.filesystems
    ]


def _json(value: Any) -> web.Response:
    return web.Response(body=to_json(value), content_type="application/json")


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.text() or "{}")
    except ValueError as error:
        raise Invalid("the body is not JSON") from error
    if not isinstance(found, dict):
        raise Invalid("the body is not an object")
    return found
