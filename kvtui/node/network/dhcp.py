"""The DHCP server of one guest interface, and its name server, as arguments of dnsmasq.

One fixed client per server: with masquerade whoever asks gets the guest's address, with bridge only the known MAC.

Source: kubevirt pkg/network/dhcp; dnsmasq(8).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from kvtui.api.kubevirt.domain import DHCPOptions
from kvtui.node.network.dnsnames import DOMAIN
from kvtui.node.network.resolver import NameServer
from kvtui.node.network.types import InvalidNetwork, Route

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_DOMAIN = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?$")


@dataclass(frozen=True, slots=True)
class Lease:
    """What one guest interface is told."""

    interface: str
    """The bridge on which the server listens."""
    mac: str
    address: ipaddress.IPv4Interface
    router: str = ""
    address6: ipaddress.IPv6Interface | None = None
    any_client: bool = False
    dns: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    names: NameServer | None = None
    """The name server that the same process is; without, it is none."""
    routes: tuple[Route, ...] = ()
    """Static routes; where there are any, the default is among them."""
    mtu: int = 1500
    hostname: str = ""


def arguments(lease: Lease, options: DHCPOptions | None = None) -> list[str]:
    """The command line. Raises InvalidNetwork for options that cannot be expressed."""
    ip, mask = str(lease.address.ip), str(lease.address.netmask)
    host = f"{'*:*:*:*:*:*' if lease.any_client else lease.mac},id:*,{ip}"
    if _NAME.match(lease.hostname):
        host += f",{lease.hostname}"
    args = [
        "dnsmasq",
        "--conf-file=/dev/null",
        "--keep-in-foreground",
        *_name_server(lease.names),
        f"--interface={lease.interface}",
        "--bind-interfaces",
        "--except-interface=lo",
        f"--dhcp-range={ip},{ip if lease.any_client else 'static'},{mask},infinite",
        f"--dhcp-host={host},infinite",
        f"--dhcp-option=option:router{',' + lease.router if lease.router else ''}",
        f"--dhcp-option=26,{lease.mtu}",
        "--dhcp-authoritative",
        "--leasefile-ro",
        "--no-ping",
        "--quiet-dhcp",
        "--quiet-dhcp6",
        "--log-facility=/dev/null",
        "--pid-file=",
        "--user=root",
    ]
    if not lease.any_client:
        # The server's own address is not on the guest's network.
        args += ["--dhcp-ignore=tag:!known", f"--shared-network={lease.interface},{ip}"]
    v4 = [server for server in lease.dns if ":" not in server]
    args.append(f"--dhcp-option=option:dns-server{''.join(',' + server for server in v4)}")
    searches = [s for s in lease.searches if _DOMAIN.match(s)]
    if searches:
        args.append("--dhcp-option=option:domain-search," + ",".join(searches))
        args.append(f"--dhcp-option=option:domain-name,{max(searches, key=len)}")
    if lease.routes:
        hops = [part for route in lease.routes for part in (route.destination, route.gateway or "0.0.0.0")]  # noqa: S104
        args.append("--dhcp-option=option:classless-static-route," + ",".join(hops))
    if lease.address6 is not None:
        six = str(lease.address6.ip)
        args.append(f"--dhcp-range={six},{six},{lease.address6.network.prefixlen},infinite")
        v6 = [f"[{server}]" for server in lease.dns if ":" in server]
        if v6:
            args.append("--dhcp-option=option6:dns-server," + ",".join(v6))
    return args + _user_options(options)


def _name_server(names: NameServer | None) -> list[str]:
    if names is None:
        return ["--port=0"]
    above = [f"--resolv-file={names.resolv_conf}"] if names.resolv_conf else ["--no-resolv"]
    return [
        "--port=53",
        "--no-hosts",
        f"--hostsdir={names.hosts}",
        f"--local=/{DOMAIN}/",
        *above,
        *(f"--server={server}" for server in names.servers),
    ]


def _user_options(options: DHCPOptions | None) -> list[str]:
    if options is None:
        return []
    args = []
    if options.tftp_server_name:
        args.append(f"--dhcp-option=66,{_text(options.tftp_server_name)}")
    if options.boot_file_name:
        args.append(f"--dhcp-option=67,{_text(options.boot_file_name)}")
    if options.ntp_servers:
        try:
            servers = [str(ipaddress.IPv4Address(s)) for s in options.ntp_servers]
        except ValueError as error:
            raise InvalidNetwork(f"NTP servers must be IPv4 addresses: {error}") from error
        args.append("--dhcp-option=42," + ",".join(servers))
    for private in options.private_options:
        if not 224 <= private.option <= 254:
            raise InvalidNetwork(f"private DHCP option {private.option} is not between 224 and 254")
        args.append(f"--dhcp-option={private.option},{_value(private.value)}")
    return args


def _text(text: str) -> str:
    """A value of an option that dnsmasq knows to be text."""
    if not 0 < len(text.encode()) <= 255 or not text.isprintable():
        raise InvalidNetwork(f"DHCP option value {text!r} must be 1 to 255 printable characters")
    return text


def _value(text: str) -> str:
    """A value of any other option, as bytes: as itself it could be taken for an address, a number or a list."""
    data = _text(text).encode()
    return data.hex(":") if len(data) > 1 else str(data[0])
