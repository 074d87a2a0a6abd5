"""A node that dies: its VM waits until somebody vouches that the machine is off, then it starts elsewhere."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controllers import names
from tests.controllers.engine import player
from tests.controllers.engine.test_machines import WEB, is_, manifest
from tests.controllers.plane import Plane, control_plane, now

OUT_OF_SERVICE = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}


class Clock:
    """The time of day, which a test may turn forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead


def is_silent(node: Node | None) -> bool:
    return node is not None and any(c.type == "Ready" and c.status == "Unknown" for c in node.status.conditions)


async def look_at(plane: Plane, name: str) -> None:
    """Controllers look at a node again only after a while; a change makes them do so at once."""
    await plane.client.patch(Node, ("", name), {"metadata": {"labels": {"looked-at": "again"}}})


async def test_a_vm_leaves_a_node_that_is_out_of_service(tmp_path: Path) -> None:
    clock = Clock()
    async with control_plane(tmp_path, clock=clock) as plane:
        await player.join(plane, "node-1")
        await plane.client.create(manifest())
        first = await player.boot(plane, "web")
        await plane.until(VirtualMachine, WEB, is_("Running"))
        clock.ahead = timedelta(hours=1)
        await player.join(plane, "node-2")
        await look_at(plane, "node-1")
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
