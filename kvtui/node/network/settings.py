"""The pod network of one node, and its CNI configuration.

Source: https://www.cni.dev/plugins/current/main/bridge/.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """The pod network of one node."""

    bridge: str = "kvtui0"
    """Bridge of the pod network and name of its nftables tables; engines on one machine have different ones."""
    subnets: tuple[str, ...] = ("10.244.0.0/24",)
    """Pod addresses of this node, one per IP family."""
    routed: tuple[str, ...] = ()
    """Networks of other nodes' Pods, to which Pods of this node keep their own address."""
    services: str = "10.96.0.0/16"
    """Addresses of Services."""
    mtu: int = 1500
    cni_timeout: float = 30.0
    config: str = ""
    """CNI configuration (JSON) of the pod network instead of the built-in bridge."""
    leases: Path | None = None
    """Where host-local keeps addresses; nodes that share bridges must share it. Default: beside the state."""


def default_config(settings: NetworkSettings, data_dir: Path) -> str:
    """The pod network: a bridge with host-local addresses. The way out is part of the node's rules."""
    if settings.config:
        return settings.config
    defaults = [{"dst": "::/0" if ":" in s else "0.0.0.0/0"} for s in settings.subnets]
    bridge = {
        "type": "bridge",
        "bridge": settings.bridge,
        "isGateway": True,
        "hairpinMode": True,
        "mtu": settings.mtu,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": s}] for s in settings.subnets],
            "routes": defaults,
            "dataDir": str(data_dir),
        },
    }
    return json.dumps({"cniVersion": "0.4.0", "name": "kvtui", "plugins": [bridge]})
