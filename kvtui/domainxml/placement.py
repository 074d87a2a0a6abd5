"""What the node decides about a domain: identity, attachments, facts about its disks, confinement.

Gathered by the agent, applied by `finish`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvtui.domainxml.metadata import Ownership
from kvtui.domainxml.vintage import NEWEST, Version


@dataclass(frozen=True, slots=True)
class Bridged:
    """libvirt makes a tap device and plugs it into a bridge of the node."""

    bridge: str
    device: str
    """Name of the tap, at most 15 characters; libvirt replaces names that begin with vnet."""
    mac: str = ""
    mtu: int = 0
    """Bytes; 0 leaves the bridge's."""


@dataclass(frozen=True, slots=True)
class Tapped:
    """A tap device that exists already."""

    device: str
    mac: str = ""
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class UserMode:
    """QEMU itself does the networking, for nodes without privileges."""

    mac: str = ""


@dataclass(frozen=True, slots=True)
class Passt:
    """libvirt runs passt, as the converted interface says; needs a libvirt that knows it."""

    mac: str = ""


Attachment = Bridged | Tapped | UserMode | Passt


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What was seen of the file or device behind a disk."""

    direct_io: bool
    """Source and backing file can be opened with O_DIRECT."""
    allocated: bool = False
    """A block device, or a file without holes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The node's part of a domain."""

    ownership: Ownership
    interfaces: Mapping[str, Attachment] = field(default_factory=dict)
    """How each interface reaches its network, by name."""
    disks: Mapping[str, DiskFacts] = field(default_factory=dict)
    """By disk name; a disk that is not listed keeps QEMU's defaults."""
    serial_log: str = ""
    """Where QEMU appends what the serial console prints; empty leaves the converted choice."""
    agent_socket: str = ""
    """Socket of the guest agent's channel; empty lets libvirt choose."""
    placeholders: int = 0
    """NICs that hold PCIe ports for later ones while libvirt gives out addresses; see `ports`."""
    host_model: bool = True
    """libvirt can make an emulated CPU of the host's model."""
    vhost_net: bool = True
    """The kernel serves virtio NICs (/dev/vhost-net)."""
    libvirt: Version = NEWEST
    """Version of the node's libvirt, which is spared what it does not know."""
    emulator: str = ""
    """QEMU binary; empty lets libvirt choose."""
    cpus: str = ""
    """List of the CPUs for all that is not pinned; empty is anywhere."""
    partition: str = ""
    """cgroup partition such as /machine/kvtui; empty leaves libvirt's."""
    user: str = ""
    """User and group of this domain's QEMU as libvirt's DAC model writes them; empty leaves the daemon's."""
    unconfined: bool = False
    """No security label: the node's libvirt runs without a security driver."""
