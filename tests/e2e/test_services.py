"""A VM behind a Service, found from guests, from nodes and from the machine; and a policy that decides who may."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kvtui.api.core.network import NetworkPolicy, Service
from kvtui.api.wire import from_wire
from kvtui.client.rest import Client
from tests.e2e.conftest import Lab, kvtui
from tests.e2e.guests import Console, a_guest, fetch, in_node, kubectl, machine, shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]
DENY: dict[str, Any] = {
    "metadata": {"name": "closed", "namespace": "default"},
    "spec": {"podSelector": {"matchLabels": {"vm.kubevirt.io/name": "behind"}}, "policyTypes": ["Ingress"]},
}


async def answers(client: Console, url: str, *, wanted: bool) -> str:
    """Asks from inside a guest until the rules are as wanted; nobody announces that they are written."""
    said = ""
    try:
        async with asyncio.timeout(30):
            while True:
                said = await client.do(f"timeout 3 wget -q -O - {url} 2>&1")
                if ("This is a kvtui guest" in said) == wanted:
                    return said
    except TimeoutError:
        raise AssertionError(f"{url} says {said!r}") from None


async def test_a_vm_is_found_behind_its_service(lab: Lab, client: Client) -> None:
    server, visitor = machine("behind", image=lab.image), machine("visitor", image=lab.image)
    async with a_guest(client, server) as behind, a_guest(client, visitor):
        own = behind.status.interfaces[0].ip_address or ""
        kvtui(
            lab,
            "expose",
            "vm",
            "behind",
            "--name",
            "front",
            "--port",
            "8000",
            "--target-port",
            "80",
            "--type",
            "NodePort",
        )
        try:
            service = await client.get(Service, ("default", "front"))
            port = service.spec.ports[0].node_port
            page = await fetch(f"http://{own}/")
            nodes = {
                n["metadata"]["name"]: n["status"]["addresses"]
                for n in json.loads(kvtui(lab, "get", "nodes", "-o", "json"))["items"]
            }
            for addresses in nodes.values():
                address = next(a["address"] for a in addresses if a["type"] == "InternalIP")
                assert await fetch(f"http://{address}:{port}/") == page
            assert in_node(lab, "node-1", "curl", "-s", f"http://{service.spec.cluster_ip}:8000/") == page
            slices = json.loads(kubectl(lab, "get", "endpointslices", "-o", "json"))["items"]
            assert any(s["metadata"]["labels"].get("kubernetes.io/service-name") == "front" for s in slices)
            assert own in kubectl(lab, "get", "endpoints", "front")
            async with shell(client, "visitor") as inside:
                by_address = f"http://{service.spec.cluster_ip}:8000/"
                await answers(inside, by_address, wanted=True)
                await client.create(from_wire(DENY, NetworkPolicy))
                try:
                    await answers(inside, by_address, wanted=False)
                    opened = {
                        "spec": {
                            "ingress": [
                                {"from": [{"podSelector": {"matchLabels": {"vm.kubevirt.io/name": "visitor"}}}]}
                            ]
                        }
                    }
                    await client.patch(NetworkPolicy, ("default", "closed"), opened)
                    await answers(inside, by_address, wanted=True)
                finally:
                    await client.delete(NetworkPolicy, ("default", "closed"))
        finally:
            await client.delete(Service, ("default", "front"))
