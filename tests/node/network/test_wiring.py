"""Rules of the bindings as tables: names, addresses, NAT, DHCP."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest

from kvtui.api.core.parts import PodDNSConfig
from kvtui.api.kubevirt.domain import (
    DHCPOptions,
    DHCPPrivateOptions,
    Interface,
    InterfaceBridge,
    InterfaceMasquerade,
    InterfaceSRIOV,
    Port,
)
from kvtui.api.kubevirt.vmi import MultusNetwork, Network, PodNetwork
from kvtui.node.network import cni, dhcp, names
from kvtui.node.network.nftables import Family, masquerade
from kvtui.node.network.resolver import Resolver, resolver
from kvtui.node.network.types import InvalidNetwork, PodNic, Route
from kvtui.node.network.wiring import Guest, Wiring, wire

GUEST = Guest("vmi-uid", "default", "web", "web")
POD = PodNic("eth0", "0a:58:0a:f4:00:05", 1450, ("10.244.0.5/24",), (Route("0.0.0.0/0", "10.244.0.1"),), "10.244.0.1")
DNS = Resolver(("10.96.0.10",), ("default.svc.cluster.local",))


def masqueraded(ports: list[Port] | None = None, **pod_network: str) -> Wiring:
    interface = Interface(name="default", masquerade=InterfaceMasquerade(), ports=ports or [])
    return wire("pod", 0, interface, Network(name="default", pod=PodNetwork(**pod_network)), POD, GUEST, DNS)


def bridged(pod: PodNic = POD, mac: str | None = None, known: str = "") -> Wiring:
    interface = Interface(name="lan", bridge=InterfaceBridge(), mac_address=mac)
    network = Network(name="lan", multus=MultusNetwork(network_name="lan"))
    return wire("pod", 1, interface, network, pod, GUEST, DNS, known)


def test_names_fit_a_link_and_are_upstreams_inside_the_pod() -> None:
    secondary = names.pod_interface("a-very-long-network-name", primary=False)
    for name in (
        secondary,
        names.pod_bridge(secondary),
        names.pod_tap(secondary),
        names.renamed(secondary),
        names.node_bridge("uid", "net"),
        names.node_veth("uid", "net"),
        names.tap("uid", "net"),
    ):
        assert len(name) <= 15
    assert (names.pod_bridge("eth0"), names.pod_tap("eth0"), names.renamed("eth0")) == ("k6t-eth0", "tap0", "eth0-nic")
    assert not names.tap("uid", "net").startswith("vnet")


def test_masquerade_gives_every_guest_the_same_address_and_keeps_the_pods_outside() -> None:
    wiring = masqueraded()
    assert wiring.nic.ips == ("10.244.0.5",)
    assert wiring.nic.guest_ips == ("10.0.2.2",)
    assert wiring.nic.mtu == 1450
    assert "addr add 10.0.2.1/24 dev k6t-eth0" in wiring.pod_links
    assert wiring.lease is not None
    assert wiring.lease.any_client
    assert wiring.lease.router == "10.0.2.1"


def test_another_vm_network_moves_gateway_and_guest() -> None:
    wiring = masqueraded(vm_network_cidr="192.168.7.0/28")
    assert wiring.nic.guest_ips == ("192.168.7.2",)
    assert "addr add 192.168.7.1/28 dev k6t-eth0" in wiring.pod_links


@pytest.mark.parametrize("cidr", ["10.0.2.0/31", "10.0.2.0/32", "fd00::/64", "nonsense", "10.0.2.0/24; rm"])
def test_a_network_without_two_hosts_is_refused(cidr: str) -> None:
    with pytest.raises(InvalidNetwork):
        masqueraded(vm_network_cidr=cidr)


def test_ipv6_is_added_where_the_pod_has_it() -> None:
    pod = PodNic("eth0", POD.mac, 1500, (*POD.addresses, "fd00:1::5/64"))
    interface = Interface(name="default", masquerade=InterfaceMasquerade())
    wiring = wire("pod", 0, interface, Network(name="default", pod=PodNetwork()), pod, GUEST, DNS)
    assert wiring.nic.guest_ips == ("10.0.2.2", "fd10:0:2::2")
    assert "table ip6 nat" in wiring.nft
    assert wiring.lease is not None
    assert str(wiring.lease.address6) == "fd10:0:2::2/120"


def test_without_ports_everything_reaches_the_guest_and_with_ports_only_they_do() -> None:
    family = (Family("ip", "10.0.2.1", "10.0.2.2", "127.0.0.1"),)
    everything = masquerade("eth0", "k6t-eth0", family, [])
    assert "KUBEVIRT_PREINBOUND counter dnat to 10.0.2.2" in everything
    chosen = masquerade("eth0", "k6t-eth0", family, [Port(port=80), Port(port=53, protocol="UDP")])
    assert "KUBEVIRT_PREINBOUND tcp dport 80 counter dnat to 10.0.2.2" in chosen
    assert "KUBEVIRT_PREINBOUND udp dport 53 counter dnat to 10.0.2.2" in chosen
    assert "KUBEVIRT_PREINBOUND counter dnat" not in chosen


@pytest.mark.parametrize("port", [Port(port=0), Port(port=70000), Port(port=80, protocol='TCP"; flush')])
def test_a_bad_port_never_reaches_nft(port: Port) -> None:
    with pytest.raises(InvalidNetwork):
        masqueraded([port])


def test_bridge_hands_address_and_mac_of_the_pod_to_the_guest() -> None:
    wiring = bridged()
    assert wiring.nic.mac == POD.mac
    assert wiring.nic.guest_ips == ("10.244.0.5",)
    assert "link set dev eth0 name eth0-nic" in wiring.pod_links
    assert wiring.lease is not None
    assert not wiring.lease.any_client
    assert wiring.lease.router == "10.244.0.1"
    assert any(line.startswith("addr add 10.244.0.5/24 dev eth0") for line in wiring.placeholder)


def test_bridge_without_addresses_is_plain_ethernet() -> None:
    wiring = bridged(PodNic("pod1", POD.mac, 1500, ()))
    assert wiring.lease is None
    assert not any("169.254" in line for line in wiring.pod_links)


def test_the_guest_keeps_its_mac_through_a_migration() -> None:
    assert bridged(known="02:00:00:00:00:09").nic.mac == "02:00:00:00:00:09"
    assert bridged(mac="DE-AD-00-00-BE-AF", known="02:00:00:00:00:09").nic.mac == "de:ad:00:00:be:af"


def test_what_this_node_cannot_bind_is_refused_with_a_reason() -> None:
    interface = Interface(name="fast", sriov=InterfaceSRIOV())
    with pytest.raises(InvalidNetwork, match="sriov"):
        wire("pod", 0, interface, Network(name="fast"), POD, GUEST, DNS)


def lease(**changes: object) -> dhcp.Lease:
    values: dict[str, object] = {
        "interface": "k6t-eth0",
        "mac": "02:00:00:00:00:01",
        "address": IPv4Interface("10.0.2.2/24"),
    }
    return dhcp.Lease(**(values | changes))  # type: ignore[arg-type]


def test_dhcp_answers_one_client_with_one_address() -> None:
    args = dhcp.arguments(lease(any_client=True, router="10.0.2.1", dns=("1.1.1.1",), hostname="web", mtu=1450))
    assert "--dhcp-range=10.0.2.2,10.0.2.2,255.255.255.0,infinite" in args
    assert "--dhcp-host=*:*:*:*:*:*,id:*,10.0.2.2,web,infinite" in args
    assert "--dhcp-option=26,1450" in args
    assert "--dhcp-option=option:dns-server,1.1.1.1" in args


def test_user_options_are_checked_before_they_become_arguments() -> None:
    options = DHCPOptions(
        boot_file_name="pxe.0",
        tftp_server_name="10.0.0.1",
        ntp_servers=["10.0.0.2"],
        private_options=[DHCPPrivateOptions(option=240, value="x y")],
    )
    args = dhcp.arguments(lease(), options)
    assert args[-4:] == [
        "--dhcp-option=66,10.0.0.1",
        "--dhcp-option=67,pxe.0",
        "--dhcp-option=42,10.0.0.2",
        "--dhcp-option=240,78:20:79",
    ]


@pytest.mark.parametrize(
    "options",
    [
        DHCPOptions(ntp_servers=["time.example"]),
        DHCPOptions(private_options=[DHCPPrivateOptions(option=3, value="x")]),
        DHCPOptions(boot_file_name="a" * 256),
        DHCPOptions(boot_file_name="a\nb"),
    ],
)
def test_bad_user_options_are_refused(options: DHCPOptions) -> None:
    with pytest.raises(InvalidNetwork):
        dhcp.arguments(lease(), options)


def test_a_hostname_that_is_none_is_left_out() -> None:
    assert "--dhcp-host=02:00:00:00:00:01,id:*,10.0.2.2,infinite" in dhcp.arguments(lease(hostname="-x,evil"))


def test_loopback_resolvers_do_not_reach_a_guest() -> None:
    text = "nameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch example.org\n"
    assert resolver(text, None, None) == Resolver(("10.0.0.1",), ("example.org",))
    assert resolver("nameserver ::1\n", None, None).servers == ("8.8.8.8",)
    only = PodDNSConfig(nameservers=["9.9.9.9"], searches=["a.b"])
    assert resolver(text, "None", only) == Resolver(("9.9.9.9",), ("a.b",))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"type": "../../bin/sh"}', '{"plugins": [{"type": 5}]}', '{"type": "x", "cniVersion": 4}', "[" * 9999],
)
def test_a_configuration_that_does_not_parse_is_refused(text: str) -> None:
    with pytest.raises(InvalidNetwork):
        cni.parse(text, "lan")


def test_a_single_plugin_is_a_list_of_one_with_the_definitions_name() -> None:
    config = cni.parse('{"cniVersion": "0.3.1", "type": "bridge", "vlan": 100}', "br-vlan100")
    assert (config.name, config.version, len(config.plugins)) == ("br-vlan100", "0.3.1", 1)
