"""What an engine's supervisor does: in which order things start, when the engine is ready, how it all ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import structlog

from kvtui.api.core.node import Lease, Node
from kvtui.api.core.storage import StorageClass
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.api.times import from_time
from kvtui.client import kubeconfig
from kvtui.client.rest import Client
from kvtui.commands.engine import EngineDirectory, EngineKind, EngineRecord, ProcessRecord
from kvtui.commands.processes import identify
from kvtui.commands.supervisor import Child, Supervisor
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import KvtuiError, Transient, Unsupported

log = structlog.get_logger()
R = TypeVar("R", bound=Resource)

STOP_WITH_VMS = signal.SIGUSR1
"""Shuts the VMs down before it stops."""

LEASES = "kube-node-lease"
_READY_TIMEOUT = 180.0
_FINAL = ("Succeeded", "Failed")
_SHUTDOWN_MARGIN = 30.0

Report = Callable[[str], None]
"""Takes progress lines; the last one is "ready" or "failed: REASON"."""


def run_supervisor(engine: EngineDirectory, *, report: Report) -> int:
    """Runs the engine that `engine.json` describes until SIGTERM. Returns an exit status."""
    return asyncio.run(_run(engine, report))


async def _run(engine: EngineDirectory, report: Report) -> int:
    record = engine.read()
    if record is None:
        raise Unsupported(f"there is no engine in {engine.data}")
    me = identify(os.getpid())
    record = msgspec.structs.replace(record, supervisor=ProcessRecord(me.pid, me.started), processes={}, ready=False)
    engine.write(record)
    stopping: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, STOP_WITH_VMS):
        loop.add_signal_handler(number, stopping.put_nowait, number)
    supervisor = Supervisor(engine, record)
    status = 0
    async with supervisor.running():
        try:
            wish = await _either(_bring_up(engine, record, supervisor, report), stopping)
            if wish is STOP_WITH_VMS:
                await _stop_vms(engine, supervisor)
        except KvtuiError as error:
            log.error("engine does not start", error=str(error))
            report(f"failed: {error}" + (f"; {error.hint}" if error.hint else ""))
            status = 1
    if record.kind is EngineKind.LAB:
        await asyncio.to_thread(_end_nodes, engine)
    engine.write(msgspec.structs.replace(supervisor.record, supervisor=None, processes={}, ready=False))
    log.info("engine stopped")
    return status


async def _either(work: Coroutine[Any, Any, None], stopping: asyncio.Queue[signal.Signals]) -> signal.Signals:
    """Does the work, then waits for a signal; a signal ends the work early."""
    waiting = asyncio.create_task(stopping.get(), name="signal")
    working = asyncio.create_task(work, name="bring up")
    try:
        await asyncio.wait((waiting, working), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return await waiting
    finally:
        for task in (waiting, working):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, KvtuiError):
                await task


async def _bring_up(engine: EngineDirectory, record: EngineRecord, supervisor: Supervisor, report: Report) -> None:
    try:
        async with asyncio.timeout(_READY_TIMEOUT), asyncio.TaskGroup() as tasks:
            failing = tasks.create_task(supervisor.fail_with_children(), name="failing children")
            await _start_all(engine, record, supervisor, report)
            failing.cancel()
    except* KvtuiError as group:
        raise _first(group) from group
    except* TimeoutError as group:
        raise Unsupported(
            f"the engine is not ready after {_READY_TIMEOUT:.0f} s", hint=f"look into {engine.data / 'logs'}"
        ) from group
    supervisor.mark_ready()
    report("ready")
    _tell_systemd()
    log.info("engine ready")


async def _start_all(engine: EngineDirectory, record: EngineRecord, supervisor: Supervisor, report: Report) -> None:
    since = datetime.now(UTC)
    supervisor.start(Child("apiserver", _own("apiserver", engine)))
    await supervisor.wait_ready("apiserver")
    report(f"the API server answers at https://127.0.0.1:{record.port}")
    supervisor.start(Child("controllers", _own("controllers", engine)))
    for child in _node_children(engine, record):
        supervisor.start(child)
    async with Client(await kubeconfig.load(engine.kubeconfig)) as client, asyncio.TaskGroup() as tasks:
        names = {n.name for n in record.nodes}
        tasks.create_task(_wait_nodes(client, names, since, report), name="nodes")
        tasks.create_task(_wait_storage_class(client), name="storage class")


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _own(part: str, engine: EngineDirectory, *more: str) -> list[str]:
    return [sys.executable, "-m", "kvtui", "run", part, "--data", str(engine.data), *more]


def _node_children(engine: EngineDirectory, record: EngineRecord) -> list[Child]:
    if record.kind is EngineKind.LOCAL:
        return [Child(f"agent-{n.name}", _own("agent", engine, "--node", n.name)) for n in record.nodes]
    from kvtui.lab.daemons import libvirtd_command
    from kvtui.lab.nodes import read_lab

    lab = read_lab(engine.data)
    children: list[Child] = []
    for node in lab.nodes if lab is not None else ():
        children.append(Child(f"libvirtd-{node.name}", libvirtd_command(node), tells_ready=False))
        agent = node.enter(*_own("agent", engine, "--node", node.name))
        children.append(Child(f"agent-{node.name}", agent))
    return children


async def _wait_nodes(client: Client, names: set[str], since: datetime, report: Report) -> None:
    """Until every one of these nodes has renewed its lease and is Ready, as the API tells it.

    A node of before a restart stays Ready until its lease runs out, so that its word alone proves nothing.
    """
    leased, ready = set(names), set(names)

    def renewed(lease: Lease) -> bool:
        if lease.spec.renew_time and from_time(lease.spec.renew_time) >= since:
            leased.discard(lease.metadata.name)
        return not leased

    def is_ready(node: Node) -> bool:
        name = node.metadata.name
        if name in ready and any(c.type == "Ready" and c.status == "True" for c in node.status.conditions):
            report(f"{name} is ready ({accelerator_of(node)})")
            ready.discard(name)
        return not ready

    if names:
        await watch_until(client, Lease, renewed, LEASES)
        await watch_until(client, Node, is_ready)


async def _wait_storage_class(client: Client) -> None:
    """Until the objects that every engine starts with are there; the default class is the last of them to matter."""
    await watch_until(client, StorageClass, lambda found: found.metadata.name == "kvtui-local")


async def watch_until(client: Client, type_: type[R], done: Callable[[R], bool], namespace: str = "") -> None:
    """Shows `done` each object as it is and as it becomes, until it says so. A server that is away is waited for."""
    backoff = Backoff(0.2, 2.0)
    while True:
        with contextlib.suppress(Transient):
            found = await client.list(type_, namespace)
            backoff.reset()
            if any(done(item) for item in found.items):
                return
            watch = client.watch(type_, namespace, resource_version=found.resource_version)
            async with contextlib.aclosing(watch) as events:
                async for event in events:
                    if event.object is not None and event.type != "DELETED" and done(event.object):
                        return
        await backoff.pause()


def accelerator_of(node: Node) -> str:
    """KVM or emulation, in words."""
    return "KVM" if node.metadata.labels.get("kvtui.io/accelerator") == "kvm" else "emulation, without KVM"


async def _stop_vms(engine: EngineDirectory, supervisor: Supervisor) -> None:
    """Shuts every instance down. Machines whose run strategy says so come back at the next start."""
    # Without controllers nobody makes new instances.
    await supervisor.stop("controllers")
    async with Client(await kubeconfig.load(engine.kubeconfig)) as client:
        found = await client.list(VirtualMachineInstance)
        left = {v.key for v in found.items if v.status.phase not in _FINAL and v.status.node_name}
        grace = max((v.spec.termination_grace_period_seconds or 30 for v in found.items), default=0)
        log.info("shutting VMs down", count=len(left), grace=grace)
        for key in sorted(left):
            await client.delete(VirtualMachineInstance, key)
        try:
            async with asyncio.timeout(grace + _SHUTDOWN_MARGIN):
                await _wait_final(client, found.resource_version, left)
        except TimeoutError:
            log.warning("some VMs did not end", left=sorted(map(str, left)))


async def _wait_final(client: Client, revision: str, left: set[Any]) -> None:
    if not left:
        return
    async with contextlib.aclosing(client.watch(VirtualMachineInstance, resource_version=revision)) as events:
        async for event in events:
            if event.object is not None and (event.type == "DELETED" or event.object.status.phase in _FINAL):
                left.discard(event.object.key)
            if not left:
                return


def _end_nodes(engine: EngineDirectory) -> None:
    from kvtui.lab.nodes import read_lab, stop_processes

    lab = read_lab(engine.data)
    if lab is not None:
        stop_processes(lab)


def _tell_systemd() -> None:
    """READY=1 for a service of Type=notify. Source: sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.send(b"READY=1")
