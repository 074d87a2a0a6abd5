"""NetworkPolicies as nftables rules for the Pods of one node. Pure.

A Pod that a policy selects lets in, or out, what one of its policies allows; all others stay open. Answers always pass.

Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from kvtui.api import selectors
from kvtui.api.core.config import Namespace
from kvtui.api.core.network import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort
from kvtui.api.core.pod import Pod
from kvtui.errors import InvalidSelector
from kvtui.node.network.services import PROTOCOLS

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Direction(Enum):
    """As in policyTypes."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """The parts of a table that policies need."""

    definitions: tuple[str, ...] = ()
    """Chains, and the maps that lead to them."""
    filters: tuple[str, ...] = ()
    """Rules of the filtering chain."""


def rules(
    policies: Iterable[NetworkPolicy], pods: Iterable[Pod], namespaces: Iterable[Namespace], node: str
) -> PolicyRules:
    """What this node enforces, in a stable order."""
    known = [p for p in pods if p.status.phase not in ("Succeeded", "Failed") and addresses(p)]
    labels = {n.metadata.name: n.metadata.labels for n in namespaces}
    ordered = sorted(policies, key=lambda p: p.key)
    here = sorted((p for p in known if p.spec.node_name == node), key=lambda p: p.key)
    chains: dict[str, str] = {}
    definitions, filters = [], []
    clauses = {d: [(p, _clauses(p, d, known, labels)) for p in ordered] for d in Direction}
    for direction, side in ((Direction.EGRESS, "saddr"), (Direction.INGRESS, "daddr")):
        for family, version in (("ip", 4), ("ip6", 6)):
            leads = []
            for pod in here:
                mine = [found for policy, found in clauses[direction] if _selects(policy, pod, direction)]
                if not mine:
                    continue
                for address in addresses(pod):
                    if address.version == version:
                        allowed = _allowed(mine, pod, direction, version)
                        leads.append(f"{address} : jump {_chain(chains, direction, allowed)}")
            if leads:
                name = f"{direction.value.lower()}_{family}"
                definitions.append(
                    f"map {name} {{\n  type {'ipv4' if version == 4 else 'ipv6'}_addr : verdict\n"
                    f"  elements = {{ {', '.join(leads)} }}\n}}"
                )
                filters.append(f"{family} {side} vmap @{name}")
    return PolicyRules((*chains.values(), *definitions), tuple(filters))


def addresses(pod: Pod) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Of the Pod, as numbers: what is no address never reaches nft."""
    found = []
    for text in dict.fromkeys([i.ip for i in pod.status.pod_ips] or [pod.status.pod_ip]):
        try:
            found.append(ipaddress.ip_address(text))
        except ValueError:
            continue
    return found


def _selects(policy: NetworkPolicy, pod: Pod, direction: Direction) -> bool:
    if policy.metadata.namespace != pod.metadata.namespace:
        return False
    types = policy.spec.policy_types or ["Ingress", *(["Egress"] if policy.spec.egress else [])]
    return direction.value in types and _matches(policy.spec.pod_selector, pod.metadata.labels)


def _matches(selector: object, labels: Mapping[str, str]) -> bool:
    try:
        return selectors.from_object(selector).matches(labels)  # type: ignore[arg-type]
    except InvalidSelector:
        return False


def _chain(chains: dict[str, str], direction: Direction, allowed: Sequence[str]) -> str:
    """Pods that are open for the same share a chain."""
    mark = hashlib.sha256(repr((direction, allowed)).encode()).hexdigest()[:12]
    name = f"{direction.value.lower()}_{mark}"
    lines = "".join(f"  {rule} return\n" if rule else "  return\n" for rule in allowed)
    chains[name] = f"chain {name} {{\n{lines}  counter drop\n}}"
    return name


@dataclass(frozen=True, slots=True)
class _Clause:
    """One rule of a policy: who, and at which ports."""

    others: Sequence[Pod]
    sources: Mapping[int, Sequence[tuple[str, ...]]]
    """By IP version: matches on addresses, each a tuple of sets that must all hold."""
    ports: Sequence[NetworkPolicyPort]


def _clauses(
    policy: NetworkPolicy, direction: Direction, pods: Sequence[Pod], namespaces: Mapping[str, Mapping[str, str]]
) -> list[_Clause]:
    rules = (
        [(r.from_, r.ports) for r in policy.spec.ingress]
        if direction is Direction.INGRESS
        else [(r.to, r.ports) for r in policy.spec.egress]
    )
    found = []
    for peers, ports in rules:
        others = _pods(peers, policy.metadata.namespace, pods, namespaces) if peers else pods
        sources = {version: _sources(peers, others, version) if peers else [()] for version in (4, 6)}
        found.append(_Clause(others, sources, ports))
    return found


def _allowed(policies: Sequence[Sequence[_Clause]], pod: Pod, direction: Direction, version: int) -> list[str]:
    """Matches, any of which lets a packet through."""
    family, side = "ip" if version == 4 else "ip6", "saddr" if direction is Direction.INGRESS else "daddr"
    found: list[str] = []
    for clauses in policies:
        for clause in clauses:
            # Named ports are those of the Pod that is reached.
            reached = [pod] if direction is Direction.INGRESS else clause.others
            ports = _ports(clause.ports, reached)
            for source in clause.sources[version]:
                words = " ".join(f"{family} {side} {part}" for part in source)
                found.extend(f"{words} {port}".strip() for port in ports)
    return list(dict.fromkeys(found))


def _pods(
    peers: Sequence[NetworkPolicyPeer],
    own: str,
    pods: Sequence[Pod],
    namespaces: Mapping[str, Mapping[str, str]],
) -> list[Pod]:
    found: dict[tuple[str, str], Pod] = {}
    for peer in peers:
        if peer.ip_block is not None or (peer.pod_selector is None and peer.namespace_selector is None):
            continue
        for pod in pods:
            space = pod.metadata.namespace
            if peer.namespace_selector is None:
                inside = space == own
            else:
                inside = _matches(peer.namespace_selector, namespaces.get(space, {}))
            if inside and (peer.pod_selector is None or _matches(peer.pod_selector, pod.metadata.labels)):
                found[pod.key] = pod
    return list(found.values())


def _sources(peers: Sequence[NetworkPolicyPeer], pods: Sequence[Pod], version: int) -> list[tuple[str, ...]]:
    """Address matches; each is a tuple of sets that must all hold."""
    found: list[tuple[str, ...]] = []
    members = [ipaddress.ip_network(a) for p in pods for a in addresses(p) if a.version == version]
    if members:
        found.append((_set(members),))
    for peer in peers:
        if peer.ip_block is None:
            continue
        inside = _networks([peer.ip_block.cidr], version)
        if inside:
            outside = _networks(peer.ip_block.except_, version)
            found.append((_set(inside), *((f"!= {_set(outside)}",) if outside else ())))
    return found


def _networks(texts: Iterable[str], version: int) -> list[IPNetwork]:
    found = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        if network.version == version:
            found.append(network)
    return found


def _set(networks: Sequence[IPNetwork]) -> str:
    """nft takes no overlapping intervals."""
    four = ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv6Network))
    return f"{{ {', '.join(str(n) for n in (*four, *six))} }}"


def _ports(ports: Sequence[NetworkPolicyPort], reached: Sequence[Pod]) -> list[str]:
    """Matches on ports, any of which may hold; one empty match for all ports."""
    if not ports:
        return [""]
    found: dict[str, list[tuple[int, int]] | None] = {}
    for port in ports:
        protocol = PROTOCOLS.get(port.protocol or "TCP")
        if protocol is None:
            continue
        if port.port is None:
            found[protocol] = None
            continue
        ranges = [(first, port.end_port or first) for first in _numbers(port, reached)]
        listed = found.setdefault(protocol, [])
        if listed is not None:
            listed.extend(r for r in ranges if 0 < r[0] <= r[1] < 65536)
    result = []
    for protocol, listed in found.items():
        if listed is None:
            result.append(f"meta l4proto {protocol}")
        elif listed:
            result.append(f"{protocol} dport {{ {', '.join(_merged(listed))} }}")
    return result


def _numbers(port: NetworkPolicyPort, reached: Sequence[Pod]) -> list[int]:
    if isinstance(port.port, int):
        return [port.port]
    wanted = (port.port, port.protocol or "TCP")
    return sorted(
        {
            offered.container_port
            for pod in reached
            for container in pod.spec.containers
            for offered in container.ports
            if (offered.name, offered.protocol or "TCP") == wanted
        }
    )


def _merged(ranges: Iterable[tuple[int, int]]) -> list[str]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return [str(first) if first == last else f"{first}-{last}" for first, last in merged]
