"""Writes a node's rules and what belongs to them: kernel parameters, a route, the way through FORWARD; and undoes all.

Source: nft(8), ip-route(8).
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import structlog

from kvtui.node.network import forwarding, ruleset
from kvtui.node.network.policies import PolicyRules
from kvtui.node.network.ruleset import PodBridge
from kvtui.node.network.services import ServiceRules
from kvtui.node.network.settings import NetworkSettings
from kvtui.node.network.shell import run
from kvtui.node.network.types import NetworkFailed

log = structlog.get_logger()
_SIOCGIFHWADDR = 0x8927


class Rules:
    """The rules of one pod bridge, as they were last written."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._inet = ""
        self._bridge = ""
        self._no_bridge_family = False

    @property
    def written(self) -> bool:
        return bool(self._inet)

    async def write(
        self, services: ServiceRules, policies: PolicyRules, bridges: Sequence[str] = (), *, verify: bool = True
    ) -> bool:
        """Makes the kernel's rules these. Whether anything had to be written. Raises NetworkFailed.

        `bridges` are those of other networks of guests. With `verify=False` what was written before is believed to be
        there, which costs no process.
        """
        settings = self._settings
        bridge = PodBridge(settings.bridge, _mac(settings.bridge), settings.subnets, settings.routed)
        frames = ruleset.bridge_table(bridge) if bridge.mac and not self._no_bridge_family else ""
        script = ruleset.inet_table(bridge, services, policies, across=bool(frames))
        if not verify and (script, frames) == (self._inet, self._bridge):
            return False
        present = await _tables() if self.written else set()
        changed = False
        if frames and (frames != self._bridge or ("bridge", bridge.name) not in present):
            changed = await self._write_bridge(frames)
            if self._no_bridge_family:
                script = ruleset.inet_table(bridge, services, policies, across=False)
        if script != self._inet or ("inet", bridge.name) not in present:
            await run("nft", "-f", "-", stdin=script)
            self._inet = script
            changed = True
        if bridge.mac:
            await asyncio.to_thread(_set_parameters, settings.bridge)
            await _make_reachable(settings)
            others = [b for b in bridges if b != settings.bridge]
            await forwarding.allow(settings.bridge, others, six=any(":" in s for s in settings.subnets))
        return changed

    async def remove(self) -> None:
        """Takes everything away, also what an earlier process wrote."""
        self._inet = self._bridge = ""
        await run("nft", "-f", "-", stdin=ruleset.removal(self._settings.bridge, "inet"), check=False)
        await run("nft", "-f", "-", stdin=ruleset.removal(self._settings.bridge, "bridge"), check=False)
        await forwarding.forget(self._settings.bridge)

    async def _write_bridge(self, script: str) -> bool:
        try:
            await run("nft", "-f", "-", stdin=script)
        except NetworkFailed as error:
            # Policies then only hold for what comes from elsewhere.
            log.warning(
                "this kernel filters no frames; Pods of a node reach each other past policies", error=str(error)
            )
            self._no_bridge_family = True
            self._bridge = ""
            return False
        self._bridge = script
        return True


async def _tables() -> set[tuple[str, str]]:
    """Family and name of all tables there are."""
    _, out, _ = await run("nft", "list", "tables")
    words = [line.split() for line in out.splitlines()]
    return {(w[1], w[2]) for w in words if len(w) == 3 and w[0] == "table"}


def _mac(link: str) -> str:
    """Empty when there is no such link. Asked of a socket: a sysfs shows the links of where it was mounted."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked, _SIOCGIFHWADDR, struct.pack("16s16x", link.encode()))
        except OSError:
            return ""
    return answer[18:24].hex(":")


def _set_parameters(bridge: str) -> None:
    """Node ports answer on the node's loopback, and nobody is told to go straight where rules would be passed by."""
    for name, value in (("route_localnet", "1"), ("send_redirects", "0")):
        file = Path("/proc/sys/net/ipv4/conf", bridge, name)
        if file.exists() and file.read_text(encoding="ascii").strip() != value:
            file.write_text(value, encoding="ascii")


async def _make_reachable(settings: NetworkSettings) -> None:
    """Addresses of Services are translated on their way out, so a machine without any way out needs one."""
    network = settings.services
    if network and not await asyncio.to_thread(_has_route, network.partition("/")[0]):
        await run("ip", "route", "replace", network, "dev", settings.bridge)


def _has_route(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((address, 9))
        except OSError:
            return False
    return True
