"""What the network room is asked for and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.errors import Permanent, Transient


class InvalidNetwork(Permanent):
    """The VMI or the NetworkAttachmentDefinition asks for something that cannot be."""


class NetworkFailed(Transient):
    """A plugin or a tool failed; its own words are in the message."""


class Binding(StrEnum):
    """How a pod NIC reaches the guest."""

    MASQUERADE = "masquerade"
    BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """A launcher that needs its networks."""

    uid: str
    """Of the Pod: the sandbox's identity."""
    namespace: str
    pod_name: str
    vmi: VirtualMachineInstance
    attachments: Mapping[str, str] = field(default_factory=dict)
    """Network name -> CNI configuration (JSON) of its NetworkAttachmentDefinition."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One interface of the guest, ready to be plugged into a domain."""

    name: str
    """Of the interface in the VMI spec."""
    bridge: str
    """Bridge on the node into which libvirt plugs the tap."""
    tap: str
    """Name for the tap that libvirt makes."""
    mac: str
    mtu: int
    pod_interface: str
    """Name of the CNI NIC in the pod: eth0, or pod<hash>."""
    ips: tuple[str, ...]
    """Addresses under which the guest is reached: the pod NIC's."""
    guest_ips: tuple[str, ...]
    """Addresses that the guest is given by DHCP."""
    binding: str


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """All networks of one launcher."""

    uid: str
    netns: str
    ips: tuple[str, ...]
    """Pod IPs: those of the primary NIC."""
    nics: tuple[Nic, ...]

    def nic(self, name: str) -> Nic | None:
        return next((n for n in self.nics if n.name == name), None)


@dataclass(frozen=True, slots=True)
class Route:
    """A route that CNI gave the pod NIC."""

    destination: str
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class PodNic:
    """A NIC in the pod as CNI made it."""

    name: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    """With prefix length: 10.244.0.5/24."""
    routes: tuple[Route, ...] = ()
    gateway: str = ""
