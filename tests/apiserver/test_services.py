"""Services get an address that is theirs alone and does not change."""

from __future__ import annotations

import ipaddress
from typing import Any

from tests.apiserver.api import Api

SERVICES = "/api/v1/namespaces/default/services"
RANGE = ipaddress.IPv4Network("10.96.0.0/16")


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def test_each_service_has_an_address_of_its_own(api: Api) -> None:
    made = [await api.post(SERVICES, service(f"s{n}")) for n in range(8)]
    addresses = {answer.body["spec"]["clusterIP"] for answer in made}
    assert len(addresses) == 8
    assert all(ipaddress.IPv4Address(address) in RANGE for address in addresses)
    assert made[0].body["spec"]["clusterIPs"] == [made[0].body["spec"]["clusterIP"]]
    assert (await api.get(f"{SERVICES}/kubernetes")).body["spec"]["clusterIP"] == "10.96.0.1"


async def test_headless_and_external_services_have_none(api: Api) -> None:
    headless = await api.post(SERVICES, service("headless", clusterIP="None"))
    assert headless.body["spec"]["clusterIPs"] == ["None"]
    external = await api.post(SERVICES, service("external", type="ExternalName", externalName="example.com"))
    assert "clusterIP" not in external.body["spec"]


async def test_an_address_asked_for_must_be_free_and_in_range(api: Api) -> None:
    assert (await api.post(SERVICES, service("a", clusterIP="10.96.3.4"))).body["spec"]["clusterIP"] == "10.96.3.4"
    taken = await api.post(SERVICES, service("b", clusterIP="10.96.3.4"))
    assert (taken.code, taken.reason) == (422, "Invalid")
    assert "provided IP is already allocated" in taken.message
    outside = await api.post(SERVICES, service("b", clusterIP="192.0.2.1"))
    assert "not in the valid range" in outside.message


async def test_the_address_stays(api: Api) -> None:
    made = await api.post(SERVICES, service("a"))
    address = made.body["spec"]["clusterIP"]
    replaced = await api.put(f"{SERVICES}/a", service("a", selector={"x": "y"}))
    assert replaced.body["spec"]["clusterIP"] == address
    moved = await api.merge(f"{SERVICES}/a", {"spec": {"clusterIP": "10.96.9.9"}})
    assert (moved.code, moved.reason) == (422, "Invalid")


TWO_PORTS = [{"name": "web", "port": 80}, {"name": "dns", "port": 53}]


async def test_a_node_port_is_given_once_and_kept(api: Api) -> None:
    first = await api.post(SERVICES, service("a", type="NodePort", ports=TWO_PORTS))
    ports = [port["nodePort"] for port in first.body["spec"]["ports"]]
    assert len(set(ports)) == 2
    assert all(30000 <= port <= 32767 for port in ports)
    assert first.body["spec"]["externalTrafficPolicy"] == "Cluster"
    replaced = await api.put(f"{SERVICES}/a", service("a", type="NodePort", selector={"x": "y"}))
    assert [port["nodePort"] for port in replaced.body["spec"]["ports"]] == ports[:1]
    inner = await api.merge(f"{SERVICES}/a", {"spec": {"type": "ClusterIP"}})
    assert "nodePort" not in inner.body["spec"]["ports"][0]


async def test_a_node_port_asked_for_must_be_free_and_in_range(api: Api) -> None:
    def wants(name: str, port: int, protocol: str = "TCP") -> dict[str, Any]:
        return service(name, type="NodePort", ports=[{"port": 80, "nodePort": port, "protocol": protocol}])

    assert (await api.post(SERVICES, wants("a", 30080))).code == 201
    assert "provided port is already allocated" in (await api.post(SERVICES, wants("b", 30080))).message
    assert (await api.post(SERVICES, wants("c", 30080, "UDP"))).code == 201
    assert "not in the valid range" in (await api.post(SERVICES, wants("d", 80))).message
