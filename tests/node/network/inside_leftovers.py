"""Run by test_sandbox.py in namespaces of its own: what a stopped agent left is taken away when its guests are gone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from kvtui.node.layout import layout_of
from kvtui.node.network import policies, services
from kvtui.node.network.rules import Rules
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.settings import NetworkSettings
from kvtui.node.state import Record, Records, Stage
from kvtui.node.vacate import sweep
from tests.node.network.endpoints import links, request, sh

SETTINGS = NetworkSettings(bridge="kvt6", subnets=("10.244.6.0/24",))
UUIDS = ("5f0a1d2e-0000-4000-8000-00000000000a", "5f0a1d2e-0000-4000-8000-00000000000b")


async def test_nothing_is_left_once_the_last_guest_is_gone(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, "here", privileged=True)
    layout.vms.mkdir(parents=True)
    before = links()
    records = Records(layout)
    async with Networks(layout.node / "net", SETTINGS) as networks:
        for name, uuid in zip("ab", UUIDS, strict=True):
            made = request(name)
            await networks.attach(made)
            record = Record(
                uid=f"vmi-{name}", namespace="default", name=name, pod=f"p-{name}", pod_uid=made.uid, domain=uuid
            )
            (layout.vms / record.uid).mkdir()
            await records.save(record)
            await records.change(record, stage=Stage.STARTED)
        await Rules(SETTINGS).write(services.rules([]), policies.PolicyRules())
    # A process with the domain's UUID among its arguments, as QEMU has it.
    with subprocess.Popen(
        ["tail", "-f", "--", "/dev/null", f"{tmp_path}/x", UUIDS[1]], stderr=subprocess.DEVNULL
    ) as qemu:
        assert not await sweep(tmp_path, "here", SETTINGS)
        async with Networks(layout.node / "net", SETTINGS) as networks:
            assert await networks.known() == ["pod-b"]
        assert "table inet kvt6" in sh("nft", "list", "tables")
        qemu.kill()
    assert await sweep(tmp_path, "here", SETTINGS)
    assert links() == before
    assert "kvt6" not in sh("nft", "list", "tables")
    assert os.listdir("/run/netns") == []
    assert not layout.run.exists()
