"""What a server shows of itself stays true across restarts on other addresses, and is not made twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kvtui.apiserver.presence import advertised
from tests.fakes.cluster import RunningServer, running_server

ENDPOINTS = "/api/v1/namespaces/default/endpoints/kubernetes"
SERVICE = "/api/v1/namespaces/default/services/kubernetes"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


async def shown(server: RunningServer, path: str) -> Any:
    async with server.session() as session, session.get(path) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_endpoints_follow_the_port_and_nothing_else_is_written_anew(tmp_path: Path) -> None:
    ports, versions = [], []
    for _ in range(2):
        async with running_server(tmp_path) as server:
            found = await shown(server, ENDPOINTS)
            ports.append(found["subsets"][0]["ports"][0]["port"])
            assert server.url.endswith(f":{ports[-1]}")
            assert (await shown(server, SERVICE))["spec"]["ports"][0]["targetPort"] == ports[-1]
            items = (await shown(server, API_SERVICES))["items"]
            versions.append({i["metadata"]["name"]: i["metadata"]["resourceVersion"] for i in items})
    assert versions[0] == versions[1]
    assert "v1.apps" in versions[0]


async def test_a_local_version_that_somebody_deletes_is_there_again(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, server.session() as session:
        async with session.get(API_SERVICES) as answer:
            revision = (await answer.json())["metadata"]["resourceVersion"]
        watch = {"watch": "1", "resourceVersion": revision, "fieldSelector": "metadata.name=v1.apps"}
        async with session.delete(f"{API_SERVICES}/v1.apps") as answer:
            assert answer.status == 200
        async with session.get(API_SERVICES, params={**watch, "timeoutSeconds": "20"}) as answer:
            kinds = [(await answer.content.readline())[:20] for _ in range(2)]
    assert kinds == [b'{"type":"DELETED","o', b'{"type":"ADDED","obj']


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        (("127.0.0.1",), "127.0.0.1"),
        (("127.0.0.1", "10.255.0.1"), "10.255.0.1"),
        (("::1", "fd00::1"), "fd00::1"),
        (("localhost",), "localhost"),
    ],
)
def test_the_address_for_others_is_not_this_machines_own(hosts: tuple[str, ...], address: str) -> None:
    assert advertised(hosts) == address
