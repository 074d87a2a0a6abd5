"""A node that dies: its VM waits until somebody vouches that the machine is off, then it starts elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.times import to_time
from kvtui.controllers import names
from tests.controllers.engine import player
from tests.controllers.engine.test_machines import WEB, is_, manifest
from tests.controllers.plane import QUICK, Plane, control_plane, now

HASTY = replace(QUICK, node_grace=4.0, heartbeat_timeout=4.0, node_recheck=0.5)
OUT_OF_SERVICE = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}


@contextlib.asynccontextmanager
async def beating(plane: Plane, name: str) -> AsyncIterator[None]:
    """A node whose agent lives."""

    async def beats() -> None:
        while True:
            marks = {"annotations": {names.HEARTBEAT: to_time(now())}, "labels": {names.SCHEDULABLE: "true"}}
            await plane.client.patch(Node, ("", name), {"metadata": marks})
            await player.beat(plane, name)
            await asyncio.sleep(0.5)

    task = asyncio.create_task(beats())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def is_silent(node: Node | None) -> bool:
    return node is not None and any(c.type == "Ready" and c.status == "Unknown" for c in node.status.conditions)


async def test_a_vm_leaves_a_node_that_is_out_of_service(tmp_path: Path) -> None:
    async with control_plane(tmp_path, settings=HASTY) as plane:
        await player.join(plane, "node-1")
        async with beating(plane, "node-1"):
            await plane.client.create(manifest())
            first = await player.boot(plane, "web")
            await plane.until(VirtualMachine, WEB, is_("Running"))
        await player.join(plane, "node-2")
        async with beating(plane, "node-2"):
            await plane.until(Node, ("", "node-1"), is_silent)
            await plane.until(
                Node, ("", "node-1"), lambda n: n is not None and n.metadata.labels[names.SCHEDULABLE] == "false"
            )
            lost = await plane.client.get(VirtualMachineInstance, WEB)
            assert lost.status.phase == "Running", "a silent node may still run its guests"
            node = await plane.client.get(Node, ("", "node-1"))
            taints = [{"key": t.key, "value": t.value, "effect": t.effect} for t in node.spec.taints]
            await plane.client.patch(Node, ("", "node-1"), {"spec": {"taints": [*taints, OUT_OF_SERVICE]}})
            second = await plane.until(
                VirtualMachineInstance, WEB, lambda v: v is not None and v.metadata.uid != first.metadata.uid
            )
            assert second is not None
            moved = await player.launcher_of(plane, second)
            assert moved.spec.node_name == "node-2"
