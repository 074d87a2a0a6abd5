"""Run by test_sandbox.py inside a network and mount namespace of its own: Services and policies by real nftables."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvtui.api.core.config import Namespace
from kvtui.api.core.network import EndpointSlice, NetworkPolicy, Service
from kvtui.api.core.pod import Pod
from kvtui.api.wire import from_wire
from kvtui.node.network import policies, services
from kvtui.node.network.rules import Rules
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.settings import NetworkSettings
from tests.node.network.endpoints import Endpoint, guest, outside, request, sh

SETTINGS = NetworkSettings(bridge="kvt7", subnets=("10.244.7.0/24",))
NODE = "here"
ADDRESS = "10.96.7.7"
HOST = Endpoint()


def service(**spec: Any) -> Service:
    base = {
        "clusterIP": ADDRESS,
        "type": "NodePort",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}],
    }
    return from_wire({"metadata": {"name": "web", "namespace": "default"}, "spec": {**base, **spec}}, Service)


def endpoints(*ips: str) -> EndpointSlice:
    return from_wire(
        {
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [ip], "conditions": {"ready": True}, "nodeName": NODE} for ip in ips],
        },
        EndpointSlice,
    )


def policy(spec: dict[str, Any]) -> NetworkPolicy:
    return from_wire({"metadata": {"name": "p", "namespace": "default"}, "spec": spec}, NetworkPolicy)


@dataclass(frozen=True)
class Members:
    """Three guests with their Pods' addresses, and the rules around them."""

    networks: Networks
    rules: Rules
    guests: dict[str, Endpoint]
    pods: dict[str, str]

    async def publish(self, found: Service, *names: str) -> None:
        entries = services.entries([found], [endpoints(*(self.pods[n] for n in names))], NODE)
        await self.rules.write(services.rules(entries), policies.PolicyRules())

    async def protect(self, *found: NetworkPolicy) -> None:
        pods = [
            from_wire(
                {
                    "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
                    "spec": {
                        "nodeName": NODE,
                        "containers": [{"name": "compute", "ports": [{"name": "http", "containerPort": 8080}]}],
                    },
                    "status": {"phase": "Running", "podIP": ip},
                },
                Pod,
            )
            for name, ip in self.pods.items()
        ]
        spaces = [from_wire({"metadata": {"name": "default", "labels": {"team": "ours"}}}, Namespace)]
        await self.rules.write(services.rules([]), policies.rules(found, pods, spaces, NODE))


@contextlib.asynccontextmanager
async def three(directory: Path) -> AsyncIterator[Members]:
    async with Networks(directory, SETTINGS) as networks, contextlib.AsyncExitStack() as stack:
        rules = Rules(SETTINGS)
        guests, pods = {}, {}
        try:
            for name in ("a", "b", "c"):
                made = await networks.attach(request(name))
                pods[name] = made.ips[0]
                guests[name] = stack.enter_context(guest(name, made.nics[0]))
                stack.enter_context(guests[name].serving("10.0.2.2", 8080, name))
            yield Members(networks, rules, guests, pods)
        finally:
            await stack.aclose()
            for uid in await networks.known():
                await networks.detach(uid)
            await rules.remove()
            await networks.vacate()
    assert "kvt7" not in sh("nft", "list", "tables") + sh("ip", "-o", "link") + sh("iptables", "-S")


async def test_a_service_leads_to_its_endpoints_from_everywhere(tmp_path: Path) -> None:
    async with three(tmp_path) as members:
        await members.publish(service(), "a", "b")
        seen = {members.guests["c"].ask(ADDRESS, 80) for _ in range(16)}
        # The guests of both endpoints see the address of the client's Pod.
        assert seen == {f"a {members.pods['c']}", f"b {members.pods['c']}"}
        for where in ((ADDRESS, 80), ("127.0.0.1", 30080), ("10.244.7.1", 30080)):
            assert HOST.ask(*where).split()[0] in ("a", "b")
        with outside() as neighbour:
            assert neighbour.ask("192.0.2.1", 30080).split()[1] == "192.0.2.2"
            assert neighbour.ask("192.0.2.1", 80) == "refused"


async def test_an_endpoint_reaches_itself_and_a_client_stays_where_it_was(tmp_path: Path) -> None:
    async with three(tmp_path) as members:
        await members.publish(service(), "a")
        assert members.guests["a"].ask(ADDRESS, 80).split()[0] == "a"
        await members.publish(service(sessionAffinity="ClientIP"), "a", "b")
        assert len({members.guests["c"].ask(ADDRESS, 80) for _ in range(8)}) == 1


async def test_a_service_without_endpoints_refuses_at_once(tmp_path: Path) -> None:
    async with three(tmp_path) as members:
        await members.publish(service())
        assert members.guests["c"].ask(ADDRESS, 80) == "refused"
        assert HOST.ask(ADDRESS, 80) == "refused"
        assert HOST.ask("127.0.0.1", 30080) == "refused"
        await members.publish(service(), "b")
        assert members.guests["c"].ask(ADDRESS, 80).split()[0] == "b"
        assert members.guests["c"].ask(ADDRESS, 81) == "refused"


async def test_what_listens_on_the_nodes_loopback_is_not_for_guests(tmp_path: Path) -> None:
    async with three(tmp_path) as members:
        await members.publish(service(), "a")
        pod = f"kvtui-{members.networks.netns_path('pod-c').name.removeprefix('kvtui-')}"
        sh("ip", "-n", pod, "route", "add", "127.9.9.9/32", "via", "10.244.7.1")
        with HOST.serving("127.9.9.9", 9000, "secret"):
            assert Endpoint(pod).ask("127.9.9.9", 9000, 1) in ("silence", "refused")


DENY = {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"]}


def allow(*peers: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {**DENY, "ingress": [{"from": list(peers), **({"ports": ports} if ports else {})}]}


POLICIES: list[tuple[dict[str, Any], str]] = [
    (DENY, ""),
    (allow({"podSelector": {"matchLabels": {"app": "b"}}}), "b"),
    (allow({"podSelector": {}}), "bc"),
    (allow({"namespaceSelector": {"matchLabels": {"team": "ours"}}}), "bc"),
    (allow({"namespaceSelector": {"matchLabels": {"team": "theirs"}}}), ""),
    (allow({"podSelector": {}}, ports=[{"port": 8080}]), "bc"),
    (allow({"podSelector": {}}, ports=[{"port": "http"}]), "bc"),
    (allow({"podSelector": {}}, ports=[{"port": 8000, "endPort": 8079}, {"port": 53, "protocol": "UDP"}]), ""),
    (allow({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.244.7.0/24"]}}), ""),
    (allow({"ipBlock": {"cidr": "10.244.7.0/24"}}), "bc"),
    ({**DENY, "ingress": [{}]}, "bc"),
]


async def test_policies_let_in_whom_they_name(tmp_path: Path) -> None:
    async with three(tmp_path) as members:
        for spec, allowed in POLICIES:
            await members.protect(policy(spec))
            for name in "bc":
                answer = members.guests[name].ask(members.pods["a"], 8080, 0.3)
                assert answer == (f"a {members.pods[name]}" if name in allowed else "silence"), (name, spec)
            # Others are open, the node itself always gets in, and a closed guest still gets out.
            assert members.guests["a"].ask(members.pods["b"], 8080).split()[0] == "b", spec
            assert members.guests["c"].ask(members.pods["b"], 8080).split()[0] == "b", spec
            assert HOST.ask(members.pods["a"], 8080).split()[0] == "a", spec


async def test_a_policy_can_keep_a_guest_in(tmp_path: Path) -> None:
    async with three(tmp_path) as members:
        spec = {
            "podSelector": {"matchLabels": {"app": "a"}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "b"}}}]}],
        }
        await members.protect(policy(spec))
        assert members.guests["a"].ask(members.pods["b"], 8080).split()[0] == "b"
        assert members.guests["a"].ask(members.pods["c"], 8080, 0.5) == "silence"
        assert members.guests["c"].ask(members.pods["a"], 8080).split()[0] == "a"


async def test_a_forward_chain_that_drops_lets_guests_through_and_is_left_as_it_was(tmp_path: Path) -> None:
    sh("iptables", "-P", "FORWARD", "DROP")
    try:
        before = sh("iptables", "-S")
        async with three(tmp_path) as members:
            with outside() as neighbour, neighbour.serving("192.0.2.2", 8080, "far"):
                assert members.guests["a"].ask("192.0.2.2", 8080, 0.5) == "silence"
                await members.publish(service(), "b")
                # Out under the node's address, in by the Pod's own and by the Service's.
                assert members.guests["a"].ask("192.0.2.2", 8080) == "far 192.0.2.1"
                assert neighbour.ask(members.pods["a"], 8080) == "a 192.0.2.2"
                assert neighbour.ask("192.0.2.1", 30080) == "b 192.0.2.2"
            assert len(sh("iptables", "-S").splitlines()) in (
                len(before.splitlines()) + 2,
                len(before.splitlines()) + 3,
            )
        assert sh("iptables", "-S") == before
    finally:
        sh("iptables", "-P", "FORWARD", "ACCEPT")


async def test_rules_that_somebody_has_flushed_are_written_again(tmp_path: Path) -> None:
    async with three(tmp_path) as members:
        await members.publish(service(), "a")
        sh("nft", "flush", "ruleset")
        assert HOST.ask(ADDRESS, 80, 0.5) != "a 10.244.7.1"
        await members.publish(service(), "a")
        assert members.guests["c"].ask(ADDRESS, 80).split()[0] == "a"
