"""DNS for guests: what they are told, and where the name server beside a masqueraded guest gets its answers.

That name server knows Services, and follows the node's resolv.conf when a machine moves from network to network.

Source: https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/; kubevirt pkg/network/dns.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from pathlib import Path

from kvtui.api.core.parts import PodDNSConfig
from kvtui.node.network.dnsnames import DOMAIN


@dataclass(frozen=True, slots=True)
class NameServer:
    """A name server for one guest."""

    hosts: str
    """Directory with names of Services."""
    resolv_conf: str = ""
    """File with servers for all other names, which may change; or"""
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolver:
    """DNS as the guest is told."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    """Servers of the VMI's dnsConfig alone."""
    served: NameServer | None = None
    """What answers at the guest's gateway, where it is masqueraded."""


def resolver(text: str, dns_policy: str | None, dns_config: PodDNSConfig | None, fallback: str = "8.8.8.8") -> Resolver:
    """DNS for a guest from the node's resolv.conf and the VMI's dnsConfig; loopback servers do not reach a guest."""
    servers: list[str] = []
    searches: list[str] = []
    if dns_policy != "None":
        for line in text.splitlines():
            word, _, rest = line.strip().partition(" ")
            if word == "nameserver":
                servers.append(rest.strip().split("%")[0])
            elif word == "search":
                searches = rest.split()
    if dns_config is not None:
        servers = [*dns_config.nameservers, *servers]
        searches = [*dns_config.searches, *searches]
    usable = []
    for server in dict.fromkeys(servers):
        try:
            address = ipaddress.ip_address(server)
        except ValueError:
            continue
        if not address.is_loopback and not address.is_unspecified:
            usable.append(str(address))
    return Resolver(tuple(usable[:3]) or (fallback,), tuple(dict.fromkeys(searches)))


def with_services(
    found: Resolver,
    dns_config: PodDNSConfig | None,
    namespace: str,
    subdomain: str,
    hosts: Path,
    text: str,
    path: Path | None,
) -> Resolver:
    """The same for a guest that is to find Services by name; `text` is what the resolv.conf at `path` says."""
    own = tuple(dns_config.nameservers) if dns_config is not None else ()
    spaces = [f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN]
    if subdomain:
        spaces.insert(0, f"{subdomain}.{namespace}.svc.{DOMAIN}")
    beyond = tuple(s for s in found.servers if s not in own) or found.servers
    # A loopback address in the file means nothing in the namespace where the name server runs.
    follow = path is not None and "nameserver" in text and not any(_is_loopback(line) for line in text.splitlines())
    served = NameServer(str(hosts), str(path)) if follow else NameServer(str(hosts), servers=beyond)
    return replace(found, own=own, served=served, searches=tuple(dict.fromkeys((*spaces, *found.searches))))


def _is_loopback(line: str) -> bool:
    word, _, rest = line.strip().partition(" ")
    if word != "nameserver":
        return False
    try:
        return ipaddress.ip_address(rest.strip().split("%")[0]).is_loopback
    except ValueError:
        return False
