"""Masquerade as nftables rules inside the pod's namespace.

Source: kubevirt pkg/network/setup/netpod/masquerade; table and chains in specification order.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.api.kubevirt.domain import Port
from kvtui.node.network.types import InvalidNetwork


@dataclass(frozen=True, slots=True)
class Family:
    """Addresses of one IP family."""

    name: str
    """ip or ip6."""
    gateway: str
    guest: str
    loopback: str


def masquerade(pod_nic: str, bridge: str, families: tuple[Family, ...], ports: list[Port]) -> str:
    """The script for `nft -f -`. Without ports everything is forwarded to the guest, else only those ports."""
    return "".join(_table(pod_nic, bridge, family, ports) for family in families)


def _table(pod_nic: str, bridge: str, family: Family, ports: list[Port]) -> str:
    f, lo = family.name, family.loopback
    rules = [
        f"add table {f} nat",
        f"flush table {f} nat",
        *(
            f"add chain {f} nat {hook} {{ type nat hook {hook} priority {priority}; }}"
            for hook, priority in (("prerouting", -100), ("input", 100), ("output", -100), ("postrouting", 100))
        ),
        f"add chain {f} nat KUBEVIRT_PREINBOUND",
        f"add chain {f} nat KUBEVIRT_POSTINBOUND",
        f"add rule {f} nat postrouting {f} saddr {family.guest} counter masquerade",
        f'add rule {f} nat prerouting iifname "{pod_nic}" counter jump KUBEVIRT_PREINBOUND',
        f'add rule {f} nat postrouting oifname "{bridge}" counter jump KUBEVIRT_POSTINBOUND',
    ]
    for match in [_match(port) for port in ports] or [""]:
        rules += [
            f"add rule {f} nat KUBEVIRT_PREINBOUND {match}counter dnat to {family.guest}",
            f"add rule {f} nat KUBEVIRT_POSTINBOUND {match}{f} saddr {lo} counter snat to {family.gateway}",
            f"add rule {f} nat output {match}{f} daddr {lo} counter dnat to {family.guest}",
        ]
    return "\n".join(rules) + "\n"


def _match(port: Port) -> str:
    protocol = (port.protocol or "TCP").lower()
    if protocol not in ("tcp", "udp"):
        raise InvalidNetwork(f"unknown protocol {port.protocol!r} of port {port.port}")
    if not 0 < port.port < 65536:
        raise InvalidNetwork(f"port {port.port} is not between 1 and 65535")
    return f"{protocol} dport {port.port} "
