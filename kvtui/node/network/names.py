"""Names of links and namespaces: at most 15 bytes, the same for the same Pod, readable in `ip link`.

Inside the pod the names are upstream's; on the node every name starts with `k` and a hash of the Pod's uid, so that
sandboxes of several engines never meet.

Source: kubevirt pkg/network/namescheme.
"""

from __future__ import annotations

import hashlib

PRIMARY = "eth0"


def digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def netns(uid: str) -> str:
    return f"kvtui-{digest(uid, 12)}"


def pod_interface(network: str, *, primary: bool) -> str:
    """eth0 for the primary network, else `pod` and 11 hex digits."""
    return PRIMARY if primary else f"pod{digest(network, 11)}"


def pod_bridge(interface: str) -> str:
    return f"k6t-{interface.removeprefix('pod')}"


def pod_tap(interface: str) -> str:
    """The pod's end of the veth stands where upstream has the tap."""
    return "tap0" if interface == PRIMARY else f"tap{interface.removeprefix('pod')}"


def renamed(interface: str) -> str:
    return f"{interface.removeprefix('pod')}-nic"


def node_bridge(uid: str, network: str) -> str:
    return f"kb{digest(f'{uid}/{network}', 12)}"


def node_veth(uid: str, network: str) -> str:
    return f"kv{digest(f'{uid}/{network}', 12)}"


def tap(uid: str, network: str) -> str:
    """libvirt replaces names that begin with `vnet`, so this one does not."""
    return f"kt{digest(f'{uid}/{network}', 12)}"


def guest_mac(*identity: str) -> str:
    """A locally administered unicast address that stays the same for the same VM and interface."""
    octets = hashlib.sha256("/".join(identity).encode()).digest()[:5]
    return "02:" + ":".join(f"{o:02x}" for o in octets)
