"""Services as nftables rules: from objects to addresses, from addresses to chains. Pure.

A connection to a Service is translated once, where it enters the node, to one of its ready endpoints; the client's
address stays, so that policies see it. Only what could not find its way back is given the node's own address.

Source: k8s.io/kubernetes/pkg/proxy/nftables; nft(8).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kvtui.api.core.network import EndpointSlice, Service

SERVICE_NAME = "kubernetes.io/service-name"
PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


_ENTRANCE = """chain services {
  ip daddr . meta l4proto . th dport vmap @services
  fib daddr type local meta l4proto . th dport vmap @node_ports
}"""


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    """One endpoint of a port."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One port of one Service on one node."""

    addresses: tuple[str, ...]
    """IPv4 addresses under which the port is reached from everywhere."""
    protocol: str
    """As nft spells it."""
    port: int
    node_port: int
    """On the node's own addresses; 0 for none."""
    inner: tuple[Backend, ...]
    """For clients of the addresses."""
    outer: tuple[Backend, ...]
    """For clients of the node port."""
    sticky: bool = False
    """The same client always gets the same endpoint."""


def entries(services: Iterable[Service], slices: Iterable[EndpointSlice], node: str) -> list[Entry]:
    """What this node translates, in a stable order."""
    by_service: dict[tuple[str, str], list[EndpointSlice]] = {}
    for each in slices:
        name = each.metadata.labels.get(SERVICE_NAME, "")
        if each.address_type == "IPv4":
            by_service.setdefault((each.metadata.namespace, name), []).append(each)
    found = []
    for service in sorted(services, key=lambda s: s.key):
        spec = service.spec
        candidates = (spec.cluster_ip, *spec.external_ips)
        addresses = tuple(a for a in dict.fromkeys(candidates) if is_ipv4(a))
        behind = by_service.get((service.metadata.namespace, service.metadata.name), [])
        for port in spec.ports:
            protocol = PROTOCOLS.get(port.protocol or "TCP")
            if protocol is None or not 0 < port.port < 65536 or not (addresses or port.node_port):
                continue
            every = _backends(behind, port.name, port.protocol or "TCP")
            near = _backends(behind, port.name, port.protocol or "TCP", node)
            found.append(
                Entry(
                    addresses=addresses,
                    protocol=protocol,
                    port=port.port,
                    node_port=port.node_port,
                    inner=near if spec.internal_traffic_policy == "Local" else every,
                    outer=near if spec.external_traffic_policy == "Local" else every,
                    sticky=spec.session_affinity == "ClientIP",
                )
            )
    return found


def is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _backends(slices: Sequence[EndpointSlice], name: str, protocol: str, node: str = "") -> tuple[Backend, ...]:
    found = set()
    for each in slices:
        numbers = [p.port for p in each.ports if p.name == name and (p.protocol or "TCP") == protocol and p.port]
        for endpoint in each.endpoints:
            # Unset means ready.
            if endpoint.conditions.ready is False or (node and endpoint.node_name != node):
                continue
            # What listens on a loopback address is for programs of its own machine.
            addresses = [a for a in endpoint.addresses if is_ipv4(a) and not ipaddress.IPv4Address(a).is_loopback]
            found |= {Backend(ip, n) for ip in addresses for n in numbers}
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """The parts of a table that Services need."""

    definitions: tuple[str, ...]
    """Maps, sets and chains."""
    endpoints: tuple[str, ...]
    """Addresses of all endpoints."""


def rules(found: Sequence[Entry]) -> ServiceRules:
    """Chain `services` translates; sets `service_ips` and `closed_node_ports` say what is to be refused."""
    chains: dict[str, str] = {}
    cluster: list[str] = []
    node_ports: list[str] = []
    closed: list[str] = []
    for entry in found:
        if entry.inner:
            name = _chain(chains, entry, entry.inner)
            cluster += [f"{a} . {entry.protocol} . {entry.port} : goto {name}" for a in entry.addresses]
        if entry.node_port and entry.outer:
            name = _chain(chains, entry, entry.outer)
            node_ports.append(f"{entry.protocol} . {entry.node_port} : goto {name}")
        elif entry.node_port:
            closed.append(f"{entry.protocol} . {entry.node_port}")
    addresses = sorted({a for entry in found for a in entry.addresses}, key=ipaddress.IPv4Address)
    endpoints = sorted({b.ip for e in found for b in (*e.inner, *e.outer)}, key=ipaddress.IPv4Address)
    return ServiceRules(
        definitions=(
            collection("map services", "ipv4_addr . inet_proto . inet_service : verdict", cluster),
            collection("map node_ports", "inet_proto . inet_service : verdict", node_ports),
            collection("set service_ips", "ipv4_addr", addresses),
            collection("set closed_node_ports", "inet_proto . inet_service", closed),
            collection("set endpoints", "ipv4_addr", endpoints),
            collection("set endpoints_to_themselves", "ipv4_addr . ipv4_addr", [f"{ip} . {ip}" for ip in endpoints]),
            *chains.values(),
            _ENTRANCE,
        ),
        endpoints=tuple(endpoints),
    )


def _chain(chains: dict[str, str], entry: Entry, backends: tuple[Backend, ...]) -> str:
    """The chain that leads to these endpoints; those with the same endpoints share one."""
    mark = hashlib.sha256(repr((entry.protocol, entry.sticky, backends)).encode()).hexdigest()[:12]
    name = f"to_{mark}"
    if len(backends) == 1:
        where = f"{backends[0].ip}:{backends[0].port}"
    else:
        # The seed is given, so that a client keeps its endpoint when the rules are written anew.
        choice = "jhash ip saddr mod {} seed 0x6b76" if entry.sticky else "numgen random mod {}"
        listed = ", ".join(f"{n} : {b.ip} . {b.port}" for n, b in enumerate(backends))
        where = f"{choice.format(len(backends))} map {{ {listed} }}"
    chains[name] = f"chain {name} {{\n  meta l4proto {entry.protocol} dnat ip to {where}\n}}"
    return name


def collection(head: str, kind: str, elements: Sequence[str], flags: str = "") -> str:
    """A named set or map; nft knows no empty list of elements."""
    lines = [f"{head} {{", f"  type {kind}"]
    if flags:
        lines.append(f"  flags {flags}")
    if elements:
        lines.append(f"  elements = {{ {', '.join(elements)} }}")
    return "\n".join([*lines, "}"])
