"""All rules of a node's pod network as two nftables tables of our own, each replaced as a whole. Pure.

`inet`: translation of Services, filtering by policies, and the way out under the node's address. `bridge`: frames
between Pods of this node go up to where they can be translated and filtered, instead of straight across the bridge.

Source: nft(8); https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from kvtui.node.network.policies import PolicyRules
from kvtui.node.network.services import ServiceRules, collection

_INNER = 'iifname "kb*"'
"""With br_netfilter, frames on their way between a guest and its Pod come by here too, and all guests look alike."""


@dataclass(frozen=True, slots=True)
class PodBridge:
    """The bridge of the pod network as it is on this node."""

    name: str
    mac: str
    subnets: tuple[str, ...]
    """Of this node's Pods."""
    routed: tuple[str, ...]
    """Networks, of other nodes' Pods, to which Pods keep their own address."""


def inet_table(bridge: PodBridge, services: ServiceRules, policies: PolicyRules, *, across: bool) -> str:
    """The script for `nft -f -`. `across`: the bridge table is there, so that all answers come back this way."""
    pods = _networks(bridge.subnets, 4)
    pods6 = _networks(bridge.subnets, 6)
    near = _networks((*bridge.subnets, *bridge.routed), 4)
    near6 = _networks((*bridge.subnets, *bridge.routed), 6)
    link = f'"{bridge.name}"'
    postrouting = [
        "type nat hook postrouting priority srcnat - 5; policy accept;",
        "ct status dnat ip saddr . ip daddr @endpoints_to_themselves masquerade",
        "ct status dnat ip daddr @endpoints ip saddr 127.0.0.0/8 masquerade",
        # From outside to another node's Pod: it would answer by itself.
        f"ct status dnat ip daddr @endpoints ip saddr != @near oifname != {link} masquerade",
    ]
    if not across:
        postrouting.append("ct status dnat ip daddr @endpoints ip saddr @pods masquerade")
    if pods:
        postrouting.append("ip saddr @pods ip daddr != @near ip daddr != 224.0.0.0/4 masquerade")
    if pods6:
        postrouting.append("ip6 saddr @pods6 ip6 daddr != @near6 ip6 daddr != ff00::/8 masquerade")
    # Before the way is chosen: a router that sends a packet back where it came from says something else first.
    refused = ("ip daddr @service_ips meta l4proto tcp reject with tcp reset", "ip daddr @service_ips reject")
    parts = [
        collection("set pods", "ipv4_addr", pods, "interval"),
        collection("set near", "ipv4_addr", near, "interval"),
        *(
            (
                collection("set pods6", "ipv6_addr", pods6, "interval"),
                collection("set near6", "ipv6_addr", near6, "interval"),
            )
            if pods6
            else ()
        ),
        *services.definitions,
        *policies.definitions,
        # What listens on the node's loopback is not for guests, although the bridge lets loopback addresses through.
        _chain(
            "early",
            "type filter hook prerouting priority raw; policy accept;",
            f"iifname {link} ip daddr 127.0.0.0/8 drop",
            f"{_INNER} notrack",
        ),
        _chain("prerouting", "type nat hook prerouting priority dstnat - 5; policy accept;", "jump services"),
        _chain("output", "type nat hook output priority -105; policy accept;", "jump services"),
        _chain("postrouting", *postrouting),
        _chain(
            "forwarded",
            "type filter hook forward priority filter - 5; policy accept;",
            f"{_INNER} accept",
            "ct state established,related accept",
            *policies.filters,
        ),
        _chain(
            "arrived",
            "type filter hook prerouting priority filter - 5; policy accept;",
            f"{_INNER} accept",
            *refused,
        ),
        _chain(
            "sent",
            "type filter hook output priority filter - 5; policy accept;",
            # Pods of one node shall not go past its rules.
            f"oifname {link} icmp type redirect drop",
            *refused,
        ),
        _chain(
            "received",
            "type filter hook input priority filter - 5; policy accept;",
            "fib daddr type local meta l4proto . th dport @closed_node_ports ct state new reject",
        ),
    ]
    return _replace("inet", bridge.name, parts)


def bridge_table(bridge: PodBridge) -> str:
    """The script for `nft -f -`. CNI's bridge plugin calls the node's ends of Pods' links `veth` and a number."""
    rules = []
    turn = f"ether daddr set {bridge.mac} meta pkttype set host"
    if pods := _networks(bridge.subnets, 4):
        listed = ", ".join(pods)
        rules.append(f'iifname "veth*" ip saddr {{ {listed} }} ip daddr {{ {listed} }} {turn}')
    if pods6 := _networks(bridge.subnets, 6):
        listed = ", ".join(pods6)
        found = f"ip6 saddr {{ {listed} }} ip6 daddr {{ {listed} }}"
        rules += [
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
            f'iifname "veth*" {found} {turn}',
        ]
    head = "type filter hook prerouting priority dstnat; policy accept;"
    return _replace("bridge", bridge.name, [_chain("prerouting", head, *rules)])


def removal(name: str, family: str) -> str:
    """The script that takes a table away, there or not."""
    return f"table {family} {name}\ndelete table {family} {name}\n"


def _replace(family: str, name: str, parts: Sequence[str]) -> str:
    """In one transaction: no packet ever meets half of it."""
    body = "\n".join(parts)
    return f"table {family} {name}\ndelete table {family} {name}\ntable {family} {name} {{\n{body}\n}}\n"


def _chain(name: str, *lines: str) -> str:
    return "\n".join([f"chain {name} {{", *(f"  {line}" for line in lines), "}"])


def _networks(texts: Sequence[str], version: int) -> list[str]:
    known = [ipaddress.ip_network(t) for t in texts]
    if version == 4:
        return [str(n) for n in ipaddress.collapse_addresses(n for n in known if isinstance(n, ipaddress.IPv4Network))]
    return [str(n) for n in ipaddress.collapse_addresses(n for n in known if isinstance(n, ipaddress.IPv6Network))]
