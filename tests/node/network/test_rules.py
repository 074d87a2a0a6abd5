"""Rules of Services and policies as tables; what the kernel makes of them is seen in inside_rules.py."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.core.config import Namespace
from kvtui.api.core.network import EndpointSlice, NetworkPolicy, Service
from kvtui.api.core.pod import Pod
from kvtui.api.wire import from_wire
from kvtui.node.network import cni, dnsnames, policies, services
from kvtui.node.network.services import Backend


def service(name: str = "web", **spec: Any) -> Service:
    base: dict[str, Any] = {"clusterIP": "10.96.0.9", "ports": [{"port": 80, "protocol": "TCP"}]}
    return from_wire({"metadata": {"name": name, "namespace": "default"}, "spec": {**base, **spec}}, Service)


def slice_of(*endpoints: dict[str, Any], name: str = "web", port: int = 8080) -> EndpointSlice:
    return from_wire(
        {
            "metadata": {"name": f"{name}-1", "namespace": "default", "labels": {services.SERVICE_NAME: name}},
            "addressType": "IPv4",
            "ports": [{"port": port, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        },
        EndpointSlice,
    )


def at(ip: str, node: str = "here", **more: Any) -> dict[str, Any]:
    return {"addresses": [ip], "nodeName": node, "conditions": {"ready": True}, **more}


def test_only_ready_endpoints_get_traffic() -> None:
    behind = slice_of(at("10.0.0.2"), at("10.0.0.3", conditions={"ready": False}), at("10.0.0.4", conditions={}))
    (entry,) = services.entries([service()], [behind], "here")
    assert entry.inner == (Backend("10.0.0.2", 8080), Backend("10.0.0.4", 8080))


def test_local_traffic_stays_on_its_node() -> None:
    behind = slice_of(at("10.0.0.2"), at("10.0.0.3", "there"))
    near = service(type="NodePort", externalTrafficPolicy="Local", ports=[{"port": 80, "nodePort": 30080}])
    (entry,) = services.entries([near], [behind], "here")
    assert [len(entry.inner), entry.outer] == [2, (Backend("10.0.0.2", 8080),)]
    (entry,) = services.entries([service(internalTrafficPolicy="Local")], [behind], "there")
    assert entry.inner == (Backend("10.0.0.3", 8080),)


def test_headless_services_and_what_is_no_address_make_no_rules() -> None:
    odd = service(clusterIP="10.96.0.9; flush ruleset")
    assert services.entries([service(clusterIP="None"), odd], [slice_of(at("10.0.0.2"))], "here") == []
    (entry,) = services.entries([service()], [slice_of(at("10.0.0.2 drop"))], "here")
    assert entry.inner == ()


def test_a_port_without_endpoints_is_refused_on_every_address() -> None:
    found = services.entries([service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])], [], "here")
    text = "\n".join(services.rules(found).definitions)
    assert "elements = { tcp . 30080 }" in text
    assert "elements = { 10.96.0.9 }" in text
    assert "dnat" not in text


def test_names_are_those_of_services_and_of_endpoints_of_headless_ones() -> None:
    headless = service("db", clusterIP="None")
    named = slice_of(at("10.0.0.2", hostname="one"), at("10.0.0.3", hostname="x evil"), name="db")
    assert dnsnames.hosts_text([service(), headless, service("Bad Name")], [named, slice_of(at("10.0.0.9"))]) == (
        "10.0.0.2 db.default.svc.cluster.local one.db.default.svc.cluster.local\n"
        "10.0.0.3 db.default.svc.cluster.local\n"
        "10.96.0.9 web.default.svc.cluster.local\n"
    )


def pod(name: str, ip: str, namespace: str = "default", node: str = "here") -> Pod:
    return from_wire(
        {
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "nodeName": node,
                "containers": [{"name": "compute", "ports": [{"name": "http", "containerPort": len(name)}]}],
            },
            "status": {"phase": "Running", "podIPs": [{"ip": part} for part in ip.split(",")]},
        },
        Pod,
    )


def policy(**spec: Any) -> NetworkPolicy:
    return from_wire(
        {"metadata": {"name": "p", "namespace": "default"}, "spec": {"podSelector": {}, **spec}}, NetworkPolicy
    )


def filtered(found: NetworkPolicy, *pods: Pod) -> str:
    spaces = [from_wire({"metadata": {"name": "far", "labels": {"who": "them"}}}, Namespace)]
    made = policies.rules([found], pods, spaces, "here")
    return "\n".join((*made.definitions, *made.filters))


def test_a_policy_closes_the_pods_of_its_namespace_on_this_node_only() -> None:
    text = filtered(policy(), pod("a", "10.0.0.2,fd00::2"), pod("b", "10.0.0.3", "far"), pod("c", "10.0.0.4", node="x"))
    assert "10.0.0.2 : jump" in text
    assert "fd00::2 : jump" in text
    assert "10.0.0.3" not in text
    assert "10.0.0.4" not in text
    assert "return" not in text


def test_pods_of_another_namespace_are_let_in_by_both_selectors() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"who": "them"}}, "podSelector": {"matchLabels": {"app": "b"}}}
    found = policy(ingress=[{"from": [peer], "ports": [{"port": "http"}]}])
    text = filtered(found, pod("aaaa", "10.0.0.2"), pod("b", "10.0.0.3", "far"), pod("b", "10.0.0.5"))
    # The named port is that of the Pod that is reached.
    assert "ip saddr { 10.0.0.3/32 } tcp dport { 4 } return" in text
    assert "10.0.0.5/32" not in text


def test_ranges_that_meet_are_one_and_what_is_no_network_is_nothing() -> None:
    block = {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24", "10.1.2.0/25", "nonsense"]}}
    ports = [{"port": 80, "endPort": 90}, {"port": 91}, {"protocol": "UDP"}, {"port": 70000}]
    text = filtered(policy(ingress=[{"from": [block], "ports": ports}]), pod("a", "10.0.0.2"))
    assert "ip saddr { 10.1.0.0/16 } ip saddr != { 10.1.2.0/24 } tcp dport { 80-91 } return" in text
    assert "meta l4proto udp return" in text
    assert "70000" not in text


@pytest.mark.parametrize(
    ("config", "port"),
    [
        ({"type": "bridge", "bridge": "br0", "vlan": 100}, "veth1"),
        ({"type": "bridge", "bridge": "br0", "vlan": 100, "preserveDefaultVlan": True}, ""),
        ({"type": "bridge", "bridge": "br0"}, ""),
        ({"type": "macvlan", "vlan": 100}, ""),
    ],
)
def test_a_nic_in_a_vlan_is_taken_out_of_the_default_one(config: dict[str, Any], port: str) -> None:
    import json

    result = {"interfaces": [{"name": "br0"}, {"name": "veth1"}, {"name": "pod1", "sandbox": "/run/netns/x"}]}
    assert cni.default_vlan_port(cni.parse(json.dumps(config), "n"), result) == port
