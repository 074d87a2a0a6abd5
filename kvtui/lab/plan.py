"""What a lab consists of: names, addresses, directories and commands, all derived from the data directory.

Everything that exists outside the data directory carries the lab's tag in its name, so that labs live side by side
and `stop` finds what is its own even when nobody remembers. Interface names have at most 15 characters.
"""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/kvtui-lab")
"""Where the namespaces of all labs are held; each lab has a mount of its own below."""

MAX_NODES = 200

_FIRST_NETWORK = 128
_NETWORKS = 127
_FIRST_ADDRESS = 10


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node of a lab."""

    name: str
    number: int
    """From 1."""
    directory: Path
    """Of the node's private parts of the file system."""
    run: Path
    """Of the namespace files."""
    link: str
    """The host's end of the node's link; the node's end is eth0."""
    address: ipaddress.IPv4Address
    pods: ipaddress.IPv4Network
    """Addresses of the pods on this node."""
    host_uuid: uuid.UUID
    """libvirt refuses a migration between two daemons with the same one."""

    def namespace(self, kind: str) -> Path:
        """File that keeps the namespace alive; `kind` as in /proc/PID/ns."""
        return self.run / kind

    def enter(self, *command: str | Path) -> list[str]:
        """The command line that runs `command` in the node. Paths must be absolute: the directory is not kept."""
        files = [f"--{option}={self.namespace(kind)}" for option, kind in _OPTIONS]
        return ["nsenter", *files, "--", *map(str, command)]


_OPTIONS = (("net", "net"), ("uts", "uts"), ("mount", "mnt"))


@dataclass(frozen=True, slots=True)
class LabPlan:
    """A whole lab."""

    tag: str
    data: Path
    network: ipaddress.IPv4Network
    nodes: tuple[NodePlan, ...]

    @property
    def run(self) -> Path:
        return RUN / self.tag

    @property
    def bridge(self) -> str:
        return f"kvl-{self.tag}"

    @property
    def table(self) -> str:
        """The nftables table on the host."""
        return f"kvtui_lab_{self.tag}"

    @property
    def link_network(self) -> ipaddress.IPv4Network:
        """The network between the host and the nodes."""
        return next(self.network.subnets(new_prefix=24))

    @property
    def host_address(self) -> ipaddress.IPv4Address:
        """Under which nodes and guests reach this machine."""
        return self.link_network[1]


def lab_tag(data: Path) -> str:
    """Six hexadecimal digits that stand for the data directory."""
    return hashlib.sha256(str(data.absolute()).encode()).hexdigest()[:6]


def plan_lab(data: Path, count: int, network: ipaddress.IPv4Network) -> LabPlan:
    """The lab with `count` nodes in `data`. Raises ValueError for a count out of range."""
    if not 0 <= count <= MAX_NODES:
        raise ValueError(f"a lab has 0 to {MAX_NODES} nodes, not {count}")
    data = data.absolute()
    tag = lab_tag(data)
    subnets = list(network.subnets(new_prefix=24))
    nodes = tuple(
        NodePlan(
            name=f"node-{number}",
            number=number,
            directory=data / "nodes" / f"node-{number}" / "system",
            run=RUN / tag / f"node-{number}",
            link=f"kvn-{tag}-{number}",
            address=subnets[0][_FIRST_ADDRESS + number],
            pods=subnets[number],
            host_uuid=uuid.uuid5(uuid.NAMESPACE_URL, f"kvtui-lab:{data}/node-{number}"),
        )
        for number in range(1, count + 1)
    )
    return LabPlan(tag, data, network, nodes)


def choose_network(tag: str, taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """A free /16 of 10.128.0.0/9, the same for the same tag where possible. Raises ValueError when none is left."""
    busy = list(taken)
    first = int(tag, 16) % _NETWORKS
    for step in range(_NETWORKS):
        candidate = ipaddress.IPv4Network(f"10.{_FIRST_NETWORK + (first + step) % _NETWORKS}.0.0/16")
        if not any(candidate.overlaps(network) for network in busy):
            return candidate
    raise ValueError("no free network in 10.128.0.0/9 is left for a lab")


def host_commands(lab: LabPlan, *, mtu: int) -> list[list[str]]:
    """What makes the bridge and the way out, on the host."""
    prefix, net = lab.link_network.prefixlen, lab.network
    return [
        ["ip", "link", "add", lab.bridge, "mtu", str(mtu), "type", "bridge"],
        ["ip", "address", "add", f"{lab.host_address}/{prefix}", "dev", lab.bridge],
        ["ip", "link", "set", lab.bridge, "up"],
        ["nft", "add", "table", "ip", lab.table],
        ["nft", "add", "chain", "ip", lab.table, "out", "{ type nat hook postrouting priority srcnat ; }"],
        ["nft", "add", "rule", "ip", lab.table, "out", *f"ip saddr {net} ip daddr != {net} masquerade".split()],
    ]


def link_commands(lab: LabPlan, node: NodePlan, *, mtu: int) -> list[list[str]]:
    """What joins a node to the bridge, on the host; the namespace exists."""
    net = str(node.namespace("net"))
    return [
        [*f"ip link add {node.link} mtu {mtu} type veth peer name eth0 mtu {mtu} netns".split(), net],
        ["ip", "link", "set", node.link, "master", lab.bridge, "up"],
        ["ip", "route", "add", str(node.pods), "via", str(node.address), "dev", lab.bridge],
    ]


def hosts_text(lab: LabPlan) -> str:
    """The /etc/hosts of every node: libvirt asks for the node's own name."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    return "\n".join([*lines, *(f"{node.address} {node.name}" for node in lab.nodes)]) + "\n"


def node_commands(
    lab: LabPlan,
    node: NodePlan,
    *,
    resolver: Path | None,
    groups: Iterable[tuple[Path, Path]] = (),
    pages: Iterable[int] = (),
) -> list[list[str]]:
    """What makes a node of the namespaces, in them, as long as they are new and have no link yet.

    `resolver` replaces /etc/resolv.conf, `groups` are the node's control groups with where it sees them, `pages`
    the sizes of huge pages in KiB. Source of the recipe: libvirt's own paths; its default pid files lie outside of
    /run/libvirt, so the daemon is given another one.
    """
    aside = "/run/kvtui/cgroup"
    commands = [
        ["hostname", node.name],
        ["mount", "--make-rprivate", "/"],
        *(["mount", "--bind", str(node.directory / name), point] for name, point in PRIVATE.items()),
        *(["mount", "-t", "tmpfs", "-o", "mode=755", "kvtui-lab", point] for point in EMPTY),
        # A sysfs shows the links of the namespace it was mounted in, and has no control groups below it.
        ["mkdir", aside],
        ["mount", "--rbind", "/sys/fs/cgroup", aside],
        ["mount", "-t", "sysfs", "sysfs", "/sys"],
        ["mount", "--rbind", aside, "/sys/fs/cgroup"],
        ["umount", "--recursive", "--lazy", aside],
        ["rmdir", aside],
        *(command for group, point in groups for command in _group_commands(group, point)),
        ["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"],
        ["ip", "link", "set", "lo", "up"],
        ["mount", "--bind", str(node.directory / "hosts"), "/etc/hosts"],
    ]
    for size in pages:
        point = f"/var/lib/libvirt/hugepages-{size}"
        commands += [
            ["mkdir", "-p", point],
            ["mount", "-t", "hugetlbfs", "-o", f"pagesize={size}K", "kvtui-lab", point],
        ]
    if resolver is not None:
        commands.append(["mount", "--bind", str(resolver), "/etc/resolv.conf"])
    return commands


def _group_commands(group: Path, point: Path) -> list[list[str]]:
    """A node's part of a hierarchy in place of the whole, and at its place in the whole too.

    /proc tells where in the whole a process is. A libvirtd that starts again looks for its guests there, and kills
    those whose groups it does not find. It looks below the youngest mount, which has to be the node's part.
    """
    aside, whole = "/run/kvtui/group", str(point / group.relative_to(point))
    return [
        ["mkdir", "-p", aside],
        ["mount", "--bind", str(group), aside],
        ["mount", "--bind", str(group), str(point)],
        ["mount", "--move", aside, whole],
        ["rmdir", aside],
    ]


def address_commands(lab: LabPlan, node: NodePlan) -> list[list[str]]:
    """What gives a node its address and its routes, in its namespaces."""
    return [
        ["ip", "address", "add", f"{node.address}/{lab.link_network.prefixlen}", "dev", "eth0"],
        ["ip", "link", "set", "eth0", "up"],
        ["ip", "route", "add", "default", "via", str(lab.host_address)],
        *(
            ["ip", "route", "add", str(other.pods), "via", str(other.address)]
            for other in lab.nodes
            if other.number != node.number
        ),
    ]


PRIVATE = {
    "etc-libvirt": "/etc/libvirt",
    "lib-libvirt": "/var/lib/libvirt",
    "cache-libvirt": "/var/cache/libvirt",
    "log-libvirt": "/var/log/libvirt",
    "swtpm-localca": "/var/lib/swtpm-localca",
    "log-swtpm": "/var/log/swtpm",
    "cni": "/var/lib/cni",
}
"""Directory of the node -> where its processes see it."""

EMPTY = ("/run/libvirt", "/run/netns", "/run/kvtui", "/run/dbus", str(RUN))
"""Directories that are empty in a new node: sockets, names of network namespaces, what is bind-mounted for QEMU.

Over the host's bus a libvirtd would have the host's systemd make control groups outside of the node.
"""
