"""A whole virt-api in the real embedded server: admission and subresources, and fake agents."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp

from kvtui.api.core.node import DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeStatus
from kvtui.api.kubevirt.config import DeveloperConfiguration, KubeVirt, KubeVirtConfiguration, KubeVirtSpec
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import from_wire
from kvtui.apiserver.extension import Extension
from kvtui.apiserver.pki import ensure_pki
from kvtui.client.kubeconfig import Endpoint, load
from kvtui.client.rest import Client, Patch
from kvtui.virtapi import wiring
from tests.fakes.agent import FakeAgent
from tests.fakes.cluster import RunningServer, running_server

ROOT = "/apis/subresources.kubevirt.io/v1"


@dataclass
class VirtApi:
    """A server, a client with a component's name, and a session with an administrator's."""

    server: RunningServer
    client: Client
    http: aiohttp.ClientSession

    def path(self, resource: str, name: str, verb: str, namespace: str = "default") -> str:
        return f"{ROOT}/namespaces/{namespace}/{resource}/{name}/{verb}"

    async def put(self, resource: str, name: str, verb: str, body: Any = None) -> tuple[int, Any]:
        """Code and body: JSON where it is some, else text."""
        async with self.http.put(self.path(resource, name, verb), json=body) as answer:
            return answer.status, await _content(answer)

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(path) as answer:
            return answer.status, await _content(answer)

    async def node(self, agent: FakeAgent, name: str = "node01") -> None:
        created = await self.client.create(Node(metadata=ObjectMeta(name=name)))
        status = NodeStatus(
            addresses=[NodeAddress(type="InternalIP", address="127.0.0.1")],
            daemon_endpoints=NodeDaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=agent.port)),
        )
        await self.client.patch_status(Node, created.key, status)

    async def gates(self, *names: str) -> None:
        developer = DeveloperConfiguration(feature_gates=list(names))
        spec = KubeVirtSpec(configuration=KubeVirtConfiguration(developer_configuration=developer))
        await self.client.create(KubeVirt(metadata=ObjectMeta(name="kubevirt", namespace="default"), spec=spec))

    async def vm(self, name: str = "web", **spec: Any) -> VirtualMachine:
        data = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"runStrategy": "Halted", **spec, "template": {"spec": guest()}},
        }
        return await self.client.create(from_wire(data, VirtualMachine))

    async def vmi(self, name: str = "web", node: str = "node01", **status: Any) -> VirtualMachineInstance:
        data = {"metadata": {"name": name, "namespace": "default"}, "spec": guest()}
        created = await self.client.create(from_wire(data, VirtualMachineInstance))
        wanted = {
            "phase": "Running",
            "nodeName": node,
            "interfaces": [{"name": "default", "ipAddress": "10.0.0.2"}],
            **status,
        }
        return await self.client.patch(VirtualMachineInstance, created.key, {"status": wanted}, how=Patch.MERGE)


def guest() -> dict[str, Any]:
    return {
        "domain": {
            "memory": {"guest": "1Gi"},
            "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
        },
        "volumes": [{"name": "root", "containerDisk": {"image": "registry.example/alpine:3"}}],
    }


async def _content(answer: aiohttp.ClientResponse) -> Any:
    if answer.content_type == "application/json":
        return await answer.json()
    return await answer.text()


@contextlib.asynccontextmanager
async def running_virtapi(
    directory: Path, *, around: Callable[[Extension], Extension] = lambda extension: extension
) -> AsyncIterator[VirtApi]:
    """The client learns where the server is once that listens. `around` may put something in front of the API."""
    pki = ensure_pki(directory / "pki", ("127.0.0.1", "localhost"))
    tls = wiring.agent_tls(pki.ca.cert, pki.agents.cert, pki.agents.key)
    client = Client(Endpoint(""))
    subresources = wiring.subresources(client, tls, wiring.load_upload_key(directory / "upload.pem"))
    admission = wiring.admission(client)

    async def metrics() -> str:
        return wiring.metrics(admission, subresources)

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        server = await stack.enter_async_context(
            running_server(
                directory,
                admission=(admission,),
                extensions=(around(cast("Extension", subresources)),),
                scraped={"": metrics},
            )
        )
        stack.push_async_callback(subresources.close)
        client.endpoint = wiring.as_component(await load(server.kubeconfig))
        http = await stack.enter_async_context(server.session())
        yield VirtApi(server, client, http)
