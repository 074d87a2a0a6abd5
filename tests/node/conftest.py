"""An agent on a real API server, with a hypervisor and networks in memory."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.api.wire import ObjectKey
from kvtui.apiserver.pki import issue_serving
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.console.inotify import Watcher
from kvtui.node import access
from kvtui.node.agent import Agent
from kvtui.node.layout import Layout
from kvtui.node.volumes.images import NoPuller
from kvtui.settings import NodeSettings
from tests.fakes.cluster import RunningServer, running_server
from tests.fakes.hypervisor import FakeHypervisor
from tests.fakes.networks import FakeNetworks
from tests.node.builders import NODE, launcher

R = TypeVar("R", bound=Resource)
TIMEOUT = 20.0


@dataclass
class Bench:
    """What a test of the agent holds on to."""

    client: Client
    server: RunningServer
    hypervisor: FakeHypervisor
    networks: FakeNetworks
    layout: Layout
    settings: NodeSettings
    agent: Agent = field(init=False)
    _task: asyncio.Task[None] | None = None
    _agent_client: Client | None = None
    _watcher: Watcher | None = None

    async def configure(self, **settings: float) -> None:
        """An agent with other settings in place of the present one."""
        await self.stop_agent()
        self.settings = replace(self.settings, **settings)  # type: ignore[arg-type]
        await self.start_agent()

    async def start_agent(self) -> None:
        """A new agent on what the last one left."""
        endpoint = await load(self.server.kubeconfig_for(f"system:node:{NODE}", ["system:nodes"]))
        self._agent_client = Client(endpoint)
        self._watcher = Watcher()
        self._watcher.__enter__()
        server_tls, client_tls = access.contexts(self.settings.certificate, self.settings.key, self.settings.authority)
        self.agent = Agent(
            settings=self.settings,
            layout=self.layout,
            client=self._agent_client,
            hypervisor=self.hypervisor,
            networks=self.networks,
            puller=NoPuller(),
            watcher=self._watcher,
            engine=self.hypervisor.engine,
            server_tls=server_tls,
            client_tls=client_tls,
        )
        self._task = asyncio.create_task(self.agent.run(), name="agent")

    async def stop_agent(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._agent_client is not None:
            await self._agent_client.close()
        if self._watcher is not None:
            self._watcher.__exit__(None, None, None)
            self._watcher = None

    async def until(self, type_: type[R], key: tuple[str, str], holds: Callable[[R | None], object]) -> R | None:
        """Follows an object until something holds of it."""
        async with asyncio.timeout(TIMEOUT):
            found = await self.client.find(type_, key)
            if holds(found):
                return found
            revision = None if found is None else found.metadata.resource_version
            field_selector = f"metadata.name={key[1]}"
            while True:
                events = self.client.watch(
                    type_, key[0], resource_version=revision, field_selector=field_selector, timeout=TIMEOUT
                )
                async with contextlib.aclosing(events) as stream:
                    async for event in stream:
                        if event.type == "BOOKMARK":
                            continue
                        found = None if event.type == "DELETED" else event.object
                        if holds(found):
                            return found
                revision = None

    async def eventually(self, holds: Callable[[], object] | Callable[[], Awaitable[object]]) -> None:
        """For things that have no watch: looks again whenever the hypervisor or the loop has moved."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                answer = holds()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return
                await asyncio.sleep(0.02)

    async def create(self, instance: VirtualMachineInstance) -> tuple[VirtualMachineInstance, Pod]:
        """The instance with its launcher bound to this node, as controllers and scheduler make them."""
        created = await self.client.create(instance)
        pod = await self.client.create(launcher(created, f"virt-launcher-{created.metadata.name}"))
        return created, pod

    async def hand_over(self, instance: VirtualMachineInstance) -> None:
        """Scheduled on this node, once the launcher is ready."""
        key = (instance.metadata.namespace, f"virt-launcher-{instance.metadata.name}")
        await self.until(Pod, key, is_ready)
        body: dict[str, Any] = {
            "metadata": {"labels": {"kubevirt.io/nodeName": NODE}},
            "status": {"phase": "Scheduled", "nodeName": NODE},
        }
        await self.client.patch(VirtualMachineInstance, instance.key, body)

    async def run(self, instance: VirtualMachineInstance) -> tuple[VirtualMachineInstance, Pod]:
        created, pod = await self.create(instance)
        await self.hand_over(created)
        found = await self.until(VirtualMachineInstance, created.key, lambda v: phase(v) == "Running")
        assert found is not None
        return found, pod


def is_ready(pod: Pod | None) -> bool:
    return pod is not None and any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def phase(instance: VirtualMachineInstance | None) -> str:
    return (instance.status.phase or "") if instance is not None and instance.status is not None else ""


def condition(instance: VirtualMachineInstance | None, name: str) -> str:
    if instance is None or instance.status is None:
        return ""
    return next((c.status for c in instance.status.conditions if c.type == name), "")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_server(tmp_path) as server:
        pair = server.pki.pair("node")
        issue_serving(server.pki, f"system:node:{NODE}", [NODE, "127.0.0.1"], pair, ["system:nodes"])
        # Sockets live below, and the kernel allows them 107 bytes.
        directory = Path(tempfile.mkdtemp(prefix="kv", dir="/tmp"))
        settings = NodeSettings(
            data=str(tmp_path),
            node=NODE,
            certificate=str(pair.cert),
            key=str(pair.key),
            authority=str(server.ca),
            signal_every=0.2,
            pull_backoff=0.1,
        )
        async with Client(await load(server.kubeconfig)) as client, FakeNetworks(tmp_path / "net") as networks:
            made = Bench(
                client=client,
                server=server,
                hypervisor=FakeHypervisor(),
                networks=networks,
                layout=Layout(directory, tmp_path / "shared", directory),
                settings=settings,
            )
            await made.start_agent()
            try:
                yield made
            finally:
                await made.stop_agent()
                shutil.rmtree(directory, ignore_errors=True)


def key(name: str = "vm1") -> ObjectKey:
    return ObjectKey("default", name)
