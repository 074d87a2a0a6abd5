"""Bridges that CNI plugins make for networks and never take away: which ones were made for this node's sandboxes.

Source: https://www.cni.dev/plugins/current/main/bridge/.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from kvtui.node.network.cni import NetworkConfig
from kvtui.node.network.shell import ip_batch, run


class Bridges:
    """One empty file per bridge that was not there before."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def expect(self, config: NetworkConfig) -> None:
        """To be called before plugins make bridges."""
        for plugin in config.plugins:
            name = plugin.get("bridge") or "cni0"
            if plugin["type"] != "bridge" or not _is_name(name) or _exists(name):
                continue
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._directory / name).touch()

    def names(self) -> list[str]:
        return sorted(os.listdir(self._directory)) if self._directory.is_dir() else []

    async def remove_unused(self) -> None:
        """Removes those of them that have no port left."""
        for name in self.names():
            if _exists(name):
                _, ports, _ = await run("ip", "-json", "link", "show", "master", name)
                if any(json.loads(ports or "[]")):
                    continue
                await ip_batch([f"link delete {name} type bridge"], force=True)
            (self._directory / name).unlink(missing_ok=True)


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _is_name(name: object) -> bool:
    """As the kernel wants it; anything else the plugin refuses."""
    return isinstance(name, str) and 0 < len(name) < 16 and name not in (".", "..") and not set(name) & set("/: \t\n")
