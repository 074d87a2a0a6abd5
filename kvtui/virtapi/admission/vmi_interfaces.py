"""Fields of a VMI's network interfaces: name, model, addresses, ports, DHCP options.

Source: control plane facts 5.3 (networking).
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, duplicate, invalid, not_supported, required
from kvtui.virtapi.admission.text import is_ipv4, is_pci_address, is_port_name, mac_octets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kvtui.api.kubevirt.domain import DHCPOptions, Interface, Port, PortRange
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

MODELS = ("e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio")
PROTOCOLS = ("TCP", "UDP")
MOST_RANGES = 10
PRIVATE_OPTIONS = range(224, 255)
_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def validate_interfaces(spec: VirtualMachineInstanceSpec, field: Path, config: ClusterConfig) -> list[Cause]:
    found: list[Cause] = []
    pods = {network.name for network in spec.networks if network.pod is not None}
    for position, interface in enumerate(spec.domain.devices.interfaces):
        at = field.child("domain", "devices", "interfaces").item(position)
        found += _identity(interface, at)
        if interface.name in pods:
            found += _ports(interface.ports, at.child("ports"))
        found += _port_ranges(interface, at, config)
        if interface.dhcp_options is not None:
            found += _dhcp(interface.dhcp_options, field, at.child("dhcpOptions"))
    return found


def _identity(interface: Interface, at: Path) -> Iterator[Cause]:
    name = at.child("name")
    if not _NAME.fullmatch(interface.name):
        yield invalid(
            "Network interface name can only contain alphabetical characters, numbers, dashes (-) or underscores (_)",
            name,
        )
    if interface.model and interface.model not in MODELS:
        yield not_supported(f"interface {name} uses model {interface.model} that is not supported.", at.child("model"))
    mac = interface.mac_address
    if mac:
        octets = mac_octets(mac)
        if not octets:
            yield invalid(f"interface {name} has malformed MAC address ({mac}).", at.child("macAddress"))
        elif octets > 6:
            yield invalid(f"interface {name} has too long MAC address ({mac}).", at.child("macAddress"))
    if interface.pci_address and not is_pci_address(interface.pci_address):
        yield invalid(f"interface {name} has malformed PCI address ({interface.pci_address}).", at.child("pciAddress"))


def _ports(ports: Sequence[Port], field: Path) -> Iterator[Cause]:
    seen: set[str] = set()
    for position, port in enumerate(ports):
        if not port.name:
            continue
        own = field.item(position).child("name")
        if port.name in seen:
            yield duplicate(f"Duplicate name of the port: {port.name}", own)
        if not is_port_name(port.name):
            yield invalid(f"Invalid name of the port: {port.name}", own)
        seen.add(port.name)
    for position, port in enumerate(ports):
        at = field.item(position)
        if port.port == 0:
            yield required("Port field is mandatory.", at.child("port"))
        elif not 0 < port.port < 65536:
            yield invalid("Port field must be in range 0 < x < 65536.", at.child("port"))
        if port.protocol and port.protocol not in PROTOCOLS:
            yield invalid("Unknown protocol, only TCP or UDP allowed", at.child("protocol"))


def _port_ranges(interface: Interface, at: Path, config: ClusterConfig) -> list[Cause]:
    if not interface.port_ranges:
        return []
    name, own = at.child("name"), at.child("portRanges")
    if not config.gate("PortRangesSpec"):
        return [
            invalid("portRanges is specified on interface but the PortRangesSpec feature gate is not enabled", name)
        ]
    found = []
    if interface.masquerade is None:
        found.append(invalid("portRanges are only supported on masquerade interfaces", name))
    if interface.ports:
        found.append(invalid("Cannot define both ports and portRanges on interface", name))
    if len(interface.port_ranges) > MOST_RANGES:
        found.append(invalid(f"No more than {MOST_RANGES} portRanges are allowed", own))
    for position, ports in enumerate(interface.port_ranges):
        found += _port_range(ports, own.item(position))
    return found + list(_overlaps(interface.port_ranges, own))


def _port_range(ports: PortRange, at: Path) -> Iterator[Cause]:
    if ports.protocol not in PROTOCOLS:
        yield invalid("Unknown protocol, only TCP or UDP allowed", at.child("protocol"))
    sound = True
    for word, number in (("Start", ports.start), ("End", ports.end)):
        if not 0 < number < 65536:
            sound = False
            yield invalid(f"{word} must be a valid port number, 0 < x < 65536", at.child(word.lower()))
    if sound and ports.start > ports.end:
        yield invalid("Start must be less than or equal to end", at.child("start"))


def _overlaps(ranges: Sequence[PortRange], own: Path) -> Iterator[Cause]:
    for protocol in PROTOCOLS:
        sound = [r for r in ranges if r.protocol == protocol and 0 < r.start <= r.end < 65536]
        ordered = sorted(sound, key=lambda r: (r.start, r.end))
        for left, right in itertools.pairwise(ordered):
            if right.start <= left.end:
                yield invalid(
                    f"{protocol} portRanges [{left.start}-{left.end}] and [{right.start}-{right.end}] overlap", own
                )


def _dhcp(options: DHCPOptions, root: Path, own: Path) -> Iterator[Cause]:
    """Private options are complained about at the root of the spec."""
    numbers = [option.option for option in options.private_options]
    if len(set(numbers)) < len(numbers):
        yield invalid("Found Duplicates: you have provided duplicate DHCPPrivateOptions", root)
    for number in numbers:
        if number not in PRIVATE_OPTIONS:
            yield invalid("provided DHCPPrivateOptions are out of range, must be in range 224 to 254", root)
    for position, server in enumerate(options.ntp_servers):
        if not is_ipv4(server):
            yield invalid("NTP servers must be a list of valid IPv4 addresses.", own.child("ntpServers").item(position))
