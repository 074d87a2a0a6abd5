"""`kvtui run apiserver|controllers|agent|supervisor`: one process of an engine. Hidden: the supervisor calls it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import structlog

from kvtui.commands.engine import EngineDirectory, EngineRecord, NodeRecord
from kvtui.commands.supervisor import tell_ready
from kvtui.errors import Usage

if TYPE_CHECKING:
    from kvtui.apiserver.extension import Extension

log = structlog.get_logger()
MAX_UPLOADERS = 64
"""Connections to the upload proxy at once."""
LAB_IMAGE = "kvtui.io/lab-image"
"""Annotation of a Node: where it serves the guest image."""


@click.group("run", hidden=True)
def group() -> None:
    """One process of an engine."""


def _data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--data", required=True, type=click.Path(file_okay=False, path_type=Path))(function)


@group.command("apiserver")
@_data_option
def apiserver(data: Path) -> None:
    """The API server."""
    from kvtui.apiserver.blocks import new_event_loop

    engine, record = _load(data)
    _main("apiserver", _apiserver(engine, record), new_event_loop)


@group.command("controllers")
@_data_option
def controllers(data: Path) -> None:
    """All controllers."""
    engine, _ = _load(data)
    _main("controllers", _controllers(engine))


@group.command("agent")
@_data_option
@click.option("--node", required=True)
def agent(data: Path, node: str) -> None:
    """The agent of a node; in a lab, inside of that node."""
    engine, record = _load(data)
    found = next((n for n in record.nodes if n.name == node), None)
    if found is None:
        raise Usage(f"the engine in {data} has no node {node}")
    _main(f"agent {node}", _agent(engine, record, found))


@group.command("supervisor")
@_data_option
def supervisor(data: Path) -> None:
    """The supervisor of an engine that has been prepared, in the foreground."""
    from kvtui.commands.supervise import run_supervisor

    configure_logs()
    raise SystemExit(run_supervisor(EngineDirectory(data.absolute()), report=lambda line: None))


def _load(data: Path) -> tuple[EngineDirectory, EngineRecord]:
    engine = EngineDirectory(data.absolute())
    record = engine.read()
    if record is None:
        raise Usage(f"there is no engine in {data}")
    return engine, record


async def _apiserver(engine: EngineDirectory, record: EngineRecord) -> None:
    from kvtui.apiserver.certificates import ServingCertificate
    from kvtui.apiserver.connections import Connections
    from kvtui.apiserver.lookups import Lookups
    from kvtui.apiserver.pki import Pki, names_of
    from kvtui.apiserver.server import ApiServer
    from kvtui.client import kubeconfig
    from kvtui.client.rest import Client
    from kvtui.commands.wiring import apiserver_settings
    from kvtui.controlloop import localsocket
    from kvtui.virtapi import wiring as virtapi
    from kvtui.virtapi.readers import RawReader

    pki = Pki(engine.pki)
    endpoint = virtapi.as_component(await kubeconfig.load(engine.kubeconfig))
    async with Client(endpoint) as client:
        tls = virtapi.agent_tls(pki.ca.cert, pki.agents.cert, pki.agents.key)
        upload_key = virtapi.load_upload_key(engine.pki / "upload.key")
        subresources = virtapi.subresources(client, tls, upload_key)
        uploaders = Connections(MAX_UPLOADERS)
        uploads = virtapi.upload_proxy(client, tls, upload_key, uploaders)
        lookups = Lookups()
        settings = apiserver_settings(engine, record)
        admission = virtapi.admission(client, RawReader(lookups))

        async def own_metrics() -> str:
            return virtapi.metrics(admission, subresources)

        async def controllers_metrics() -> str:
            return await localsocket.get(engine.controllers_socket, "/metrics")

        server = ApiServer(
            settings,
            admission=(admission,),
            extensions=(cast("Extension", subresources),),
            lookups=lookups,
            scraped={"": own_metrics, "controllers": controllers_metrics},
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.run(), name="API server")
                await server.ready.wait()
                tell_ready()
                hosts = (settings.host, *settings.more_hosts)
                # Its names are those that the server has written into it: the same certificate serves both.
                certificate = ServingCertificate(pki, names_of(pki.server.cert))
                tasks.create_task(certificate.run(), name="upload proxy's certificate")
                tasks.create_task(uploaders.run(), name="upload proxy's connections")
                port = RememberedPort(engine.apiserver / "upload-port")
                authority = await asyncio.to_thread(pki.ca.cert.read_text)
                tasks.create_task(
                    uploads.run(hosts, port.choices, certificate.context, authority, port.remember),
                    name="upload proxy",
                )
        finally:
            await subresources.close()


async def _controllers(engine: EngineDirectory) -> None:
    from kvtui.client import kubeconfig
    from kvtui.client.rest import Client
    from kvtui.commands.wiring import controller_settings, further_controllers
    from kvtui.controllers.runner import run_controllers

    async with Client(await kubeconfig.load(engine.controllers_kubeconfig)) as client:
        further = further_controllers()
        tell_ready()
        await run_controllers(client, controller_settings(engine), standins=True, clock=_now, further=further)


async def _agent(engine: EngineDirectory, record: EngineRecord, node: NodeRecord) -> None:
    from kvtui.client import kubeconfig
    from kvtui.commands.wiring import node_settings, registries_conf
    from kvtui.node.probe import probe_kvm
    from kvtui.node.runner import pod_network, run_agent

    found = await probe_kvm()
    log.info("accelerator", accelerator=str(found.accelerator), reason=found.reason)
    uri = "qemu:///system" if os.geteuid() == 0 else "qemu:///session"
    settings = replace(node_settings(engine, record, node, uri=uri), kvm=found.kvm, kvm_reason=found.reason)
    endpoint = await kubeconfig.load(engine.node(node.name) / "kubeconfig")
    async with _guest_image(engine, node) as url:
        annotations = ((LAB_IMAGE, url),) if url else ()
        tell_ready()
        await run_agent(
            replace(settings, annotations=annotations),
            endpoint,
            network=pod_network(
                tuple(node.pods.split(",")), node.bridge, (p for n in record.nodes for p in n.pods.split(","))
            ),
            registries_conf=registries_conf(engine),
        )


@contextlib.asynccontextmanager
async def _guest_image(engine: EngineDirectory, node: NodeRecord) -> AsyncIterator[str]:
    """The URL of the guest image on this node, on the same port as before if it is free; empty when there is none."""
    from kvtui.commands.engine import cache_directory
    from kvtui.lab.image.build import build_image
    from kvtui.lab.image.server import guest_image_server

    def build() -> Path:
        return build_image(cache_directory(), say=lambda line: log.info("guest image", doing=line))

    port = RememberedPort(engine.node(node.name) / "image-port")
    async with contextlib.AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(guest_image_server(node.address, port.choices, build))
        except OSError as error:
            log.warning("guest image is not served", error=str(error))
            url = ""
        else:
            port.remember(int(url.rpartition(":")[2].partition("/")[0]))
        yield url


class RememberedPort:
    """The port that a server had last time, so that addresses outlive a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def choices(self) -> tuple[int, ...]:
        """In order; 0 is any that is free."""
        text = self._path.read_text(encoding="ascii") if self._path.exists() else ""
        return (int(text), 0) if text.isdigit() else (0,)

    def remember(self, port: int) -> None:
        self._path.write_text(str(port), encoding="ascii")


def _now() -> datetime:
    return datetime.now(UTC)


def _main(
    name: str, work: Coroutine[Any, Any, None], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> None:
    """Runs until SIGTERM or SIGINT, which end it cleanly with status 0."""
    configure_logs()
    log.info("process begins", process=name, pid=os.getpid())
    if sys.version_info < (3, 12):
        # The watcher of later versions; the older one keeps a thread for each DHCP server.
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_until_signal(work))
    except BaseExceptionGroup as group:
        for error in _leaves(group):
            log.error("process failed", process=name, error=str(error) or repr(error), exc_info=error)
        sys.exit(1)
    except OSError as error:
        log.error("process failed", process=name, error=str(error), exc_info=error)
        sys.exit(1)


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work, name="main")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def configure_logs() -> None:
    """One JSON object a line on stderr, which the supervisor sends to a file."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
