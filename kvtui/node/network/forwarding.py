"""Gets Pods through a FORWARD chain that drops what nobody has allowed, as Docker and some firewalls set it up.

A verdict in a table of our own cannot save a packet that another table drops, so rules go into that chain: one for
each direction of the pod bridge, and one for each bridge whose frames the kernel shows to the chain as well. They are
only put there while the chain drops, and taken away with the pod bridge.

Source: iptables(8); https://docs.docker.com/engine/network/packet-filtering-firewalls/.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import structlog

from kvtui.node.network.shell import run

log = structlog.get_logger()
_LEGACY = {"iptables": Path("/proc/net/ip_tables_names"), "ip6tables": Path("/proc/net/ip6_tables_names")}
_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
NODE_BRIDGES = "kb+"
"""The bridges between guests and their Pods."""
_DROPS = re.compile(r"^(-P FORWARD DROP|-A FORWARD -j (DROP|REJECT)\b.*)$", re.MULTILINE)


async def allow(bridge: str, others: Sequence[str] = (), *, six: bool) -> None:
    """Makes sure that packets from and to the bridge pass, and frames inside of the others. Raises NetworkFailed."""
    for tool in _tools(six=six):
        status, chain, _ = await run(tool, "-w", "5", "-S", "FORWARD", check=False)
        if status or not _DROPS.search(chain):
            continue
        present = set(_ours(bridge, chain))
        for rule in _wanted(bridge, others):
            if rule not in present:
                log.info("the FORWARD chain drops packets; guests are let through", tool=tool, rule=" ".join(rule))
                await run(tool, "-w", "5", "-I", "FORWARD", "1", *_spelled(bridge, rule))


async def forget(bridge: str) -> None:
    """Takes the rules away, there or not."""
    for tool in _tools(six=True):
        _, chain, _ = await run(tool, "-w", "5", "-S", "FORWARD", check=False)
        for rule in _ours(bridge, chain):
            await run(tool, "-w", "5", "-D", "FORWARD", *_spelled(bridge, rule), check=False)


def _wanted(bridge: str, others: Sequence[str]) -> list[tuple[str, ...]]:
    """Where packets come from and go to."""
    found: list[tuple[str, ...]] = [("-i", bridge), ("-o", bridge)]
    if _filters_frames():
        found += [("-i", name, "-o", name) for name in (NODE_BRIDGES, *others)]
    return found


def _filters_frames() -> bool:
    """Whether frames that never leave a bridge meet the chain too."""
    try:
        return _BRIDGED.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def _spelled(bridge: str, rule: tuple[str, ...]) -> tuple[str, ...]:
    return (*rule, "-m", "comment", "--comment", _comment(bridge), "-j", "ACCEPT")


def _ours(bridge: str, chain: str) -> list[tuple[str, ...]]:
    """Our rules in the words of `iptables -S`."""
    end = f' -m comment --comment "{_comment(bridge)}" -j ACCEPT'
    lines = (line.removeprefix("-A FORWARD ") for line in chain.splitlines() if line.endswith(end))
    return [tuple(line.removesuffix(end).split()) for line in lines]


def _comment(bridge: str) -> str:
    return f"kvtui pod network {bridge}"


def _tools(*, six: bool) -> list[str]:
    """The programs whose chains are in use here."""
    found = []
    for name in ("iptables", *(("ip6tables",) if six else ())):
        if shutil.which(name) is not None:
            found.append(name)
        legacy = f"{name}-legacy"
        try:
            # Asking the old tool would load its modules where nobody uses them.
            used = "filter" in _LEGACY[name].read_text(encoding="ascii").split()
        except OSError:
            used = False
        if used and shutil.which(legacy) is not None:
            found.append(legacy)
    return found
