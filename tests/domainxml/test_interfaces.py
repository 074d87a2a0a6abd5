"""Interfaces, and how this node attaches them."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.domainxml import Attachment, Bridged, Cluster, Context, ConversionError, Passt, Tapped, UserMode
from kvtui.domainxml.attachments import attach

from .builders import NAT, Element, attributes, domain_of, only


def interface_of(interface: dict[str, Any], context: Context | None = None, **parts: Any) -> Element:
    domain = domain_of(
        context, devices={"interfaces": [{"name": "nic", **interface}], **parts.pop("devices", {})}, **parts
    )
    return only(domain, "devices/interface")


@pytest.mark.parametrize("kind", ["tap", "managedTap"])
def test_a_plugin_with_a_tap_is_an_ordinary_interface(kind: str) -> None:
    context = Context(cluster=Cluster(tap_bindings=frozenset({kind})))
    assert interface_of({"binding": {"name": kind}}, context).get("type") == "ethernet"


def test_a_plugin_without_a_tap_attaches_the_guest_itself() -> None:
    domain = domain_of(devices={"interfaces": [{"name": "nic", "binding": {"name": "other"}}]})
    assert domain.find("devices/interface") is None


@pytest.mark.parametrize("state", ["absent"])
def test_what_is_going_away_is_not_there(state: str) -> None:
    domain = domain_of(devices={"interfaces": [{"name": "nic", "bridge": {}, "state": state}]})
    assert domain.find("devices/interface") is None


@pytest.mark.parametrize(
    ("spec", "interface", "rom"),
    [({}, {}, True), ({}, {"bootOrder": 1}, False), ({"architecture": "s390x"}, {}, False)],
)
def test_only_a_nic_to_boot_from_keeps_its_rom(spec: dict[str, Any], interface: dict[str, Any], rom: bool) -> None:
    found = interface_of({"bridge": {}, **interface}, spec=spec)
    assert (found.find("rom") is not None) is rom


@pytest.mark.parametrize("interface", [{}, {"slirp": {}}, {"macvtap": {}}])
def test_an_interface_without_a_binding_is_refused(interface: dict[str, Any]) -> None:
    with pytest.raises(ConversionError, match="invalid configuration for interface nic"):
        interface_of(interface)


def test_an_interface_needs_its_network() -> None:
    with pytest.raises(ConversionError, match="failed to find network nic") as refusal:
        interface_of({"bridge": {}}, spec={"networks": []})
    assert refusal.value.field == "spec.domain.devices.interfaces[0]"


PORTS = [{"port": 1}, {"port": 2, "protocol": "udp"}, {"port": 3, "protocol": "SCTP"}, {"port": -4}]


def test_passt_forwards_only_ports_it_can() -> None:
    status = {"interfaces": [{"name": "nic", "podInterfaceName": "eth0"}]}
    found = interface_of({"passtBinding": {}, "ports": PORTS}, status=status)
    ranges = [(f.get("proto"), [r.get("start") for r in f]) for f in found.findall("portForward")]
    assert ranges == [("tcp", ["1"]), ("udp", ["2"])]


def attached(attachment: Attachment, *, vhost_net: bool = True, **parts: Any) -> Element:
    devices = {"networkInterfaceMultiqueue": True, **NAT}
    domain = domain_of(domain={"cpu": {"cores": 2}}, devices=devices, **parts)
    interface = only(domain, "devices/interface")
    attach(interface, attachment, vhost_net=vhost_net)
    return interface


def test_libvirt_makes_the_tap_on_a_bridge() -> None:
    found = attached(Bridged("kvb0", "kvt0", "02:00:00:00:00:07", 9000))
    assert found.get("type") == "bridge"
    assert attributes(found, "source") == {"bridge": "kvb0"}
    assert attributes(found, "target") == {"dev": "kvt0"}
    assert attributes(found, "mac") == {"address": "02:00:00:00:00:07"}
    assert attributes(found, "mtu") == {"size": "9000"}
    assert attributes(found, "driver") == {"name": "vhost", "queues": "2"}


def test_a_ready_made_tap_is_left_alone() -> None:
    found = attached(Tapped("tap0"))
    assert found.get("type") == "ethernet"
    assert attributes(found, "target") == {"dev": "tap0", "managed": "no"}
    assert found.find("mtu") is None


def test_user_mode_has_neither_tap_nor_queues() -> None:
    found = attached(UserMode("02:00:00:00:00:08"))
    assert found.get("type") == "user"
    assert {part.tag for part in found} == {"model", "alias", "rom", "mac"}


def test_passt_stays_as_converted() -> None:
    found = attached(Passt("02:00:00:00:00:09"))
    assert attributes(found, "mac") == {"address": "02:00:00:00:00:09"}


def test_queues_stay_where_the_kernel_does_not_serve_them() -> None:
    assert attributes(attached(Bridged("b", "t"), vhost_net=False), "driver") == {"queues": "2"}
