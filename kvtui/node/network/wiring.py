"""How a pod NIC is bound to a guest interface, as commands: pure, so that every rule is a row in a table.

Masquerade keeps the pod's address in the pod and translates; bridge hands the pod's address and MAC to the guest.

Source: kubevirt pkg/network/setup/netpod.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace

from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vmi import Network
from kvtui.node.network import names
from kvtui.node.network.dhcp import Lease
from kvtui.node.network.nftables import Family, masquerade
from kvtui.node.network.resolver import Resolver
from kvtui.node.network.types import Binding, InvalidNetwork, Nic, PodNic, Route

GATEWAY_MAC = "02:00:00:00:00:00"
DEFAULT_CIDR = "10.0.2.0/24"
DEFAULT_CIDR6 = "fd10:0:2::/120"


@dataclass(frozen=True, slots=True)
class Wiring:
    """Everything to do for one interface."""

    nic: Nic
    node_links: tuple[str, ...]
    """`ip` lines in the node's namespace."""
    pod_links: tuple[str, ...]
    """`ip` lines in the pod's namespace."""
    placeholder: tuple[str, ...] = ()
    """`ip` lines that give the pod a device in place of the renamed NIC; `{kind}` is `type dummy` or a tap."""
    sysctls: dict[str, str] = field(default_factory=dict)
    nft: str = ""
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Guest:
    """What identifies the guest for stable addresses."""

    uid: str
    namespace: str
    name: str
    hostname: str


def binding_of(interface: Interface) -> Binding:
    """Raises InvalidNetwork for bindings that a node without passt or SR-IOV cannot make."""
    if interface.masquerade is not None:
        return Binding.MASQUERADE
    if interface.bridge is not None:
        return Binding.BRIDGE
    for name, value in (
        ("sriov", interface.sriov),
        ("passtBinding", interface.passt_binding),
        ("binding plugin", interface.binding),
    ):
        if value is not None:
            raise InvalidNetwork(
                f"interface {interface.name!r}: this node cannot make {name} interfaces",
                hint="use masquerade or bridge",
            )
    return Binding.BRIDGE


def wire(
    uid: str,
    index: int,
    interface: Interface,
    network: Network,
    pod: PodNic,
    guest: Guest,
    resolver: Resolver,
    known_mac: str = "",
) -> Wiring:
    """The commands for one interface. `known_mac` is what the guest already has (after a migration)."""
    binding = binding_of(interface)
    nic = Nic(
        name=interface.name,
        bridge=names.node_bridge(uid, network.name),
        tap=names.tap(uid, network.name),
        mac=_mac(interface, binding, pod, guest, known_mac),
        mtu=pod.mtu,
        pod_interface=pod.name,
        ips=tuple(str(ipaddress.ip_interface(a).ip) for a in pod.addresses),
        guest_ips=(),
        binding=binding.value,
    )
    veth, tap = names.node_veth(uid, network.name), names.pod_tap(pod.name)
    node_links = (
        f"link add name {nic.bridge} mtu {pod.mtu} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"link set dev {nic.bridge} addrgenmode none",
        f"link set dev {nic.bridge} up",
        f"link add name {veth} mtu {pod.mtu} type veth peer name {tap} mtu {pod.mtu} netns {names.netns(uid)}",
        f"link set dev {veth} addrgenmode none",
        f"link set dev {veth} master {nic.bridge} up",
    )
    if binding is Binding.MASQUERADE:
        return _masquerade(nic, node_links, interface, network, pod, guest, resolver)
    return _bridge(nic, node_links, index, interface, pod, guest, resolver)


def _masquerade(
    nic: Nic,
    node_links: tuple[str, ...],
    interface: Interface,
    network: Network,
    pod: PodNic,
    guest: Guest,
    resolver: Resolver,
) -> Wiring:
    if network.pod is None:
        raise InvalidNetwork(f"interface {interface.name!r}: masquerade needs the pod network")
    bridge, tap = names.pod_bridge(pod.name), names.pod_tap(pod.name)
    versions = {ipaddress.ip_interface(a).version for a in pod.addresses}
    sysctls: dict[str, str] = {}
    families: list[Family] = []
    addresses: list[ipaddress.IPv4Interface | ipaddress.IPv6Interface] = []
    lease4: ipaddress.IPv4Interface | None = None
    lease6: ipaddress.IPv6Interface | None = None
    router = ""
    if 4 in versions:
        gateway, client = _hosts(network.pod.vm_network_cidr or DEFAULT_CIDR, 4)
        lease4 = ipaddress.IPv4Interface(str(client))
        router = str(gateway.ip)
        families.append(Family("ip", router, str(client.ip), "127.0.0.1"))
        addresses.append(gateway)
        sysctls |= {"net.ipv4.ip_forward": "1", f"net.ipv4.conf.{bridge}.route_localnet": "1"}
    if 6 in versions:
        gateway, client = _hosts(network.pod.vm_ipv6_network_cidr or DEFAULT_CIDR6, 6)
        lease6 = ipaddress.IPv6Interface(str(client))
        families.append(Family("ip6", str(gateway.ip), str(client.ip), "::1"))
        addresses.append(gateway)
        sysctls["net.ipv6.conf.all.forwarding"] = "1"
    pod_links = (
        "link set dev lo up",
        f"link add name {bridge} address {GATEWAY_MAC} mtu {pod.mtu} type bridge stp_state 0 forward_delay 0",
        f"link set dev {bridge} up",
        *(f"addr add {a} dev {bridge}" + (" nodad" if a.version == 6 else "") for a in addresses),
        f"link set dev {tap} master {bridge} up",
    )
    lease = lease4 and Lease(
        interface=bridge,
        mac=nic.mac,
        address=lease4,
        router=router,
        address6=lease6,
        any_client=True,
        dns=(*(f.gateway for f in families), *resolver.own) if resolver.served else resolver.servers,
        names=resolver.served,
        searches=resolver.searches,
        mtu=pod.mtu,
        hostname=guest.hostname,
    )
    guest_ips = tuple(f.guest for f in families)
    nft = masquerade(pod.name, bridge, tuple(families), interface.ports)
    return Wiring(
        nic=replace(nic, guest_ips=guest_ips),
        node_links=node_links,
        pod_links=pod_links,
        sysctls=sysctls,
        nft=nft,
        lease=lease or None,
    )


def _bridge(
    nic: Nic,
    node_links: tuple[str, ...],
    index: int,
    interface: Interface,
    pod: PodNic,
    guest: Guest,
    resolver: Resolver,
) -> Wiring:
    bridge, tap, port = names.pod_bridge(pod.name), names.pod_tap(pod.name), names.renamed(pod.name)
    own_mac = names.guest_mac(guest.uid, interface.name, "bridge")
    v4 = [ipaddress.IPv4Interface(a) for a in pod.addresses if ":" not in a]
    server = f"169.254.75.1{index}" if v4 else ""
    pod_links = (
        "link set dev lo up",
        f"link set dev {pod.name} down",
        f"addr flush dev {pod.name}",
        f"link set dev {pod.name} name {port}",
        f"link set dev {port} address {own_mac}",
        f"link add name {bridge} address {own_mac} mtu {pod.mtu} type bridge stp_state 0 forward_delay 0",
        f"link set dev {port} master {bridge}",
        f"link set dev {port} type bridge_slave learning off",
        f"link set dev {port} up",
        f"link set dev {bridge} up",
        *((f"addr add {server}/32 dev {bridge}",) if server else ()),
        f"link set dev {tap} master {bridge} up",
    )
    placeholder = (
        f"{{add}} {pod.name} {{kind}}",
        f"link set dev {pod.name} address {pod.mac} mtu {pod.mtu}",
        *(f"addr add {a} dev {pod.name}" for a in pod.addresses),
    )
    lease = None
    if v4:
        lease = Lease(
            interface=bridge,
            mac=nic.mac,
            address=v4[0],
            router=_router(pod),
            dns=resolver.servers,
            searches=resolver.searches,
            routes=_static_routes(pod),
            mtu=pod.mtu,
            hostname=guest.hostname,
        )
    return Wiring(
        nic=replace(nic, guest_ips=tuple(str(a.ip) for a in v4)),
        node_links=node_links,
        pod_links=pod_links,
        placeholder=placeholder,
        sysctls={"net.ipv4.conf.all.arp_ignore": "1", f"net.ipv4.conf.{bridge}.arp_ignore": "1"},
        lease=lease,
    )


def _router(pod: PodNic) -> str:
    default = next((r for r in pod.routes if r.destination == "0.0.0.0/0"), None)
    if default is None:
        return ""
    return default.gateway or pod.gateway


def _static_routes(pod: PodNic) -> tuple[Route, ...]:
    """What the guest is told beside its router; a client that is told routes takes no other default (RFC 3442)."""
    four = [r for r in pod.routes if ":" not in r.destination]
    routes = [Route(r.destination, r.gateway or pod.gateway) for r in four if r.destination != "0.0.0.0/0"]
    router = _router(pod)
    return (*routes, Route("0.0.0.0/0", router)) if routes and router else tuple(routes)


def _mac(interface: Interface, binding: Binding, pod: PodNic, guest: Guest, known: str) -> str:
    if interface.mac_address:
        return interface.mac_address.lower().replace("-", ":")
    if known:
        return known.lower()
    if binding is Binding.BRIDGE:
        return pod.mac
    return names.guest_mac(guest.namespace, guest.name, interface.name)


def _hosts(
    cidr: str, version: int
) -> tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """Gateway (first host) and guest (second host) of a network."""
    try:
        network = ipaddress.ip_network(cidr, strict=False)
    except ValueError as error:
        raise InvalidNetwork(f"{cidr!r} is not a network") from error
    if network.version != version or network.num_addresses < 4:
        raise InvalidNetwork(f"{cidr!r} leaves no two IPv{version} hosts")
    first = network.network_address
    return (
        ipaddress.ip_interface(f"{first + 1}/{network.prefixlen}"),
        ipaddress.ip_interface(f"{first + 2}/{network.prefixlen}"),
    )
