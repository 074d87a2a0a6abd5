"""VM nodes that have fallen silent: no new VMs there, and VMs whose launcher is gone are given up.

Source: kubevirt pkg/virt-controller/watch/node; control plane facts 11.
"""

from __future__ import annotations

from datetime import datetime

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.times import from_time
from kvtui.api.wire import evolve
from kvtui.controllers import indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.patches import write_changes
from kvtui.controllers.virtualmachineinstance import pods
from kvtui.controllers.virtualmachineinstance.status import with_phase
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import NotFound

COMPONENT = "node-controller"
REASON = "NodeUnresponsive"


def is_unresponsive(node: Node | None, now: datetime, timeout: float) -> bool:
    """`timeout` in seconds. A node without a heartbeat annotation is not a VM node, or has just joined."""
    if node is None:
        return True
    text = node.metadata.annotations.get(names.HEARTBEAT)
    if text is None:
        return False
    try:
        return (now - from_time(text)).total_seconds() > timeout
    except ValueError:
        return True


def is_orphaned(vmi: VirtualMachineInstance, node: str, launchers: list[Pod]) -> bool:
    """Whether a VMI that should run on the node has no Pod there that may still be alive."""
    if (vmi.status.phase or "") not in ("Running", "Scheduled") or vmi.status.node_name != node:
        return False
    return not any(pods.is_alive(p) and p.spec.node_name == node for p in launchers)


class NodeController:
    """One pass looks at one node and its VMIs."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.nodes = context.informers.of(Node)
        self.vmis = indices.vmis(context.informers)
        self.pods = indices.pods(context.informers)
        self.recorder = context.recorders.of(COMPONENT)
        self.controller: Controller[str] = Controller(
            "node",
            self.reconcile,
            informers=[self.nodes, self.vmis, self.pods],
            settings=context.settings.loop,
            workers=2,
        )
        self.nodes.subscribe(self._node_changed)
        self.vmis.subscribe(self._vmi_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        assert node is not None
        self.controller.queue.add(node.metadata.name)

    def _vmi_changed(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        if new is not None and new.status.node_name and (old is None or old.status.node_name != new.status.node_name):
            self.controller.queue.add(new.status.node_name)

    async def reconcile(self, name: str) -> Result:
        node = self.nodes.get(("", name))
        settings = self.context.settings
        again = Result(requeue_after=settings.node_recheck) if node is not None else DONE
        if not is_unresponsive(node, self.context.clock(), settings.heartbeat_timeout):
            return again
        if node is not None and node.metadata.labels.get(names.SCHEDULABLE) == "true":
            await self.context.client.patch(Node, node.key, {"metadata": {"labels": {names.SCHEDULABLE: "false"}}})
            self.recorder.normal(node, REASON, "virt-handler is not responsive, marking node as unresponsive")
        for vmi in self.vmis.store.by_index(indices.NODE, name):
            launchers = self.pods.store.by_index(indices.CONTROLLER, vmi.metadata.uid)
            if is_orphaned(vmi, name, launchers):
                await self._give_up(vmi, name)
        return again

    async def _give_up(self, vmi: VirtualMachineInstance, node: str) -> None:
        status = evolve(with_phase(vmi.status, "Failed", self.context.clock()), reason=REASON)
        try:
            await write_changes(self.context.client, vmi, evolve(vmi, status=status))
        except NotFound:
            return
        message = f"virt-handler on node {node} is not responsive, marking VMI as failed"
        self.recorder.normal(vmi, REASON, message)
