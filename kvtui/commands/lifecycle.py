"""Starting, stopping and describing an engine of this machine; what `kvtui local` and `kvtui lab` have in common."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from kvtui.commands.engine import (
    OWN_ENTRIES,
    EngineDirectory,
    EngineKind,
    EngineRecord,
    free_port,
    port_is_free,
)
from kvtui.commands.processes import daemonize, end, read_lines
from kvtui.errors import Unreachable, Unsupported, Usage
from kvtui.settings import DISK_RESERVE

_START_TIMEOUT = 240.0
_STOP_GRACE = 60.0
_WITH_VMS_GRACE = 600.0


def say(line: str) -> None:
    """Progress, for people."""
    click.echo(line, err=True)


@contextlib.contextmanager
def locked(engine: EngineDirectory) -> Iterator[None]:
    """One start or stop of an engine at a time; a second one waits and then finds everything done."""
    engine.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with engine.lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def running_as(engine: EngineDirectory, kind: EngineKind) -> EngineRecord | None:
    """The record of a running, ready engine. Raises Usage when the directory belongs to the other kind."""
    record = engine.read()
    if record is not None and record.kind is not kind:
        raise Usage(f"{engine.data} holds a {record.kind} engine", hint=f"use `kvtui {record.kind}`, or another --data")
    return record if record is not None and record.running and record.ready else None


def check_room(engine: EngineDirectory) -> None:
    """Raises Unsupported when the disk is too full for a new engine; tells when it is for one that exists.

    Below the reserve the API server refuses new objects, a Node among them.
    """
    free = shutil.disk_usage(engine.data).free
    if free >= DISK_RESERVE:
        return
    few = f"{engine.data} has {free // 2**20} MiB of room, and an engine keeps {DISK_RESERVE // 2**20} MiB free"
    if not engine.apiserver.exists():
        raise Unsupported(few, hint="make room there, or choose another place with --data")
    say(f"{few}: nothing new is taken until there is room")


def choose_port(engine: EngineDirectory, wanted: int | None, addresses: tuple[str, ...]) -> int:
    """The port asked for, else the one of before, else a free one. Raises Unsupported when it is taken."""
    record = engine.read()
    port = wanted or (record.port if record is not None else 0)
    if not port:
        return free_port()
    for address in addresses:
        if not port_is_free(address, port):
            raise Unsupported(
                f"port {port} of {address} is in use by another program",
                hint="stop that, or choose another with --port",
            )
    return port


def prepare(engine: EngineDirectory, record: EngineRecord) -> None:
    """Everything that the supervisor and its children find in the directory."""
    from kvtui.commands.credentials import write_credentials

    _end_leftovers(engine)
    for place in (engine.data, engine.data / "logs", engine.shared):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine.write(record)
    write_credentials(engine, record)


def run_in_foreground(engine: EngineDirectory, record: EngineRecord) -> int:
    """The supervisor in this process, until SIGTERM. Returns its exit status."""
    from kvtui.commands.run import configure_logs
    from kvtui.commands.supervise import run_supervisor

    prepare(engine, record)
    configure_logs()
    return run_supervisor(engine, report=say)


def launch(engine: EngineDirectory, record: EngineRecord) -> None:
    """Starts the supervisor as a daemon and returns when the engine is ready. Raises Unsupported with the reason."""
    prepare(engine, record)
    reading = daemonize(lambda report: _supervise(engine, report), engine.log("supervisor"))
    last = ""

    def progress(line: str) -> bool:
        nonlocal last
        last = line
        if line != "ready" and not line.startswith("failed: "):
            say(line)
            return False
        return True

    try:
        finished = read_lines(reading, timeout=_START_TIMEOUT, line=progress)
    except TimeoutError as error:
        raise Unsupported("the engine does not get ready", hint=f"look into {engine.data / 'logs'}") from error
    finally:
        os.close(reading)
    if last.startswith("failed: "):
        # The supervisor says so before it has ended its children.
        stop_supervisor(engine)
        raise Unsupported(last.removeprefix("failed: "))
    if not finished:
        raise Unsupported("the supervisor ended", hint=f"its log is {engine.log('supervisor')}")


def _supervise(engine: EngineDirectory, report: int) -> int:
    from kvtui.commands.run import configure_logs
    from kvtui.commands.supervise import run_supervisor

    configure_logs()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return run_supervisor(engine, report=_writer(report))


def _writer(descriptor: int) -> Callable[[str], None]:
    def write(line: str) -> None:
        # Whoever started the engine may be gone.
        with contextlib.suppress(OSError):
            os.write(descriptor, line.replace("\n", " ").encode() + b"\n")

    return write


def _end_leftovers(engine: EngineDirectory) -> None:
    """Ends what a supervisor that was killed may have left."""
    record = engine.read()
    if record is None:
        return
    known = [record.supervisor, *record.processes.values()]
    for process in known:
        if process is not None:
            end(process.identity, grace=10.0)


def stop_supervisor(engine: EngineDirectory, *, with_vms: bool = False) -> bool:
    """Ends the engine's processes in order. False when none ran."""
    record = engine.read()
    if record is None:
        return False
    ran = record.running
    if record.supervisor is not None:
        number, grace = (signal.SIGUSR1, _WITH_VMS_GRACE) if with_vms else (signal.SIGTERM, _STOP_GRACE)
        end(record.supervisor.identity, number=number, grace=grace)
    _end_leftovers(engine)
    return ran


def remove_files(engine: EngineDirectory) -> None:
    """Removes what an engine keeps in its directory, and the directory when nothing else is in it."""
    for name in OWN_ENTRIES:
        path = engine.data / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        engine.data.rmdir()


def local_pod_network(engine: EngineDirectory) -> tuple[str, str]:
    """Network and bridge of the pods: those of before, else the first /24 of 10.244.0.0/16 that is free here."""
    record = engine.read()
    if record is not None and record.nodes:
        return record.nodes[0].pods, record.nodes[0].bridge
    taken = _routes()
    for number, network in enumerate(ipaddress.IPv4Network("10.244.0.0/16").subnets(new_prefix=24)):
        bridge = f"kvtui{number}"
        if not Path("/sys/class/net", bridge).exists() and not any(network.overlaps(other) for other in taken):
            return str(network), bridge
    raise Unsupported("no network in 10.244.0.0/16 is free for VMs")


def _routes() -> list[ipaddress.IPv4Network]:
    if shutil.which("ip") is None:
        return []
    answer = subprocess.run(
        ["ip", "-json", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=False
    )
    destinations = [r.get("dst", "") for r in json.loads(answer.stdout or "[]")]
    return [ipaddress.IPv4Network(d) for d in destinations if d[:1].isdigit()]


def local_node() -> str:
    """The name of this machine as a Node."""
    name = os.uname().nodename.split(".")[0].lower()
    return name if name.replace("-", "").isalnum() else "localhost"


def describe(engine: EngineDirectory) -> dict[str, object]:
    """What `status` shows. Nodes are asked for at the API; a silent API gives none."""
    record = engine.read()
    if record is None:
        return {"data": str(engine.data), "state": "Stopped", "kind": None}
    nodes = asyncio.run(_nodes(engine)) if record.running else None
    state = "Stopped" if not record.running else "Running" if record.ready and nodes is not None else "Starting"
    shown = []
    for node in record.nodes:
        ready, accelerator = (nodes or {}).get(node.name, (False, None))
        shown.append({"name": node.name, "address": node.address, "ready": ready, "accelerator": accelerator})
    if state == "Running" and not all(n["ready"] for n in shown):
        state = "Degraded"
    return {
        "kind": str(record.kind),
        "data": str(engine.data),
        "state": state,
        "server": f"https://127.0.0.1:{record.port}",
        "kubeconfig": str(engine.kubeconfig),
        "hostAddress": record.host_address,
        "supervisor": record.supervisor.pid if record.supervisor is not None and record.running else None,
        "nodes": shown,
        "processes": [
            {"name": name, "pid": p.pid, "running": p.identity.is_alive()}
            for name, p in sorted(record.processes.items())
        ],
    }


async def _nodes(engine: EngineDirectory) -> dict[str, tuple[bool, str | None]] | None:
    from kvtui.api.core.node import Node
    from kvtui.client import kubeconfig
    from kvtui.client.rest import Client
    from kvtui.settings import ClientSettings

    try:
        endpoint = await kubeconfig.load(engine.kubeconfig)
        async with Client(endpoint, ClientSettings(connect_timeout=2.0, request_timeout=5.0)) as client:
            found = await client.list(Node)
    except (Unreachable, Usage, TimeoutError):
        return None
    return {
        n.metadata.name: (
            any(c.type == "Ready" and c.status == "True" for c in n.status.conditions),
            n.metadata.labels.get("kvtui.io/accelerator"),
        )
        for n in found.items
    }
