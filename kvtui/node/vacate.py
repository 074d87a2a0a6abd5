"""What a stopped agent left for guests that have ended since: networks, rules and mounts, taken away without it.

Records and definitions stay; the next agent reports from them how its guests ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kvtui.node import mounts
from kvtui.node.layout import layout_of
from kvtui.node.network.rules import Rules
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.settings import NetworkSettings
from kvtui.node.state import Records, Stage

BEFORE = (Stage.PREPARING, Stage.READY, Stage.INCOMING, Stage.STARTING)


async def sweep(data: Path, node: str, settings: NetworkSettings) -> bool:
    """Cleans up behind guests whose QEMU is gone; no agent of the node may run. Whether none is left. Needs root."""
    layout = layout_of(data, node, privileged=True)
    if not layout.node.is_dir():
        return True
    records = Records(layout)
    records.load()
    alive = running(r.domain for r in records if r.domain)
    # What has not started yet will go on with what was made for it.
    kept = {r.pod_uid for r in records if r.domain in alive or r.stage in BEFORE}
    async with Networks(layout.node / "net", settings) as networks:
        for uid in await networks.known():
            if uid not in kept:
                await networks.detach(uid)
        if alive or await networks.known():
            return False
        await Rules(settings).remove()
        await networks.vacate()
    await mounts.remove(layout)
    return True


def running(domains: Iterable[str]) -> set[str]:
    """Those of the domains (UUIDs) that have a QEMU process on this machine."""
    wanted = {d.encode(): d for d in domains}
    found = set()
    for entry in Path("/proc").iterdir():
        if not wanted or not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {wanted[w] for w in words if w in wanted}
    return found
