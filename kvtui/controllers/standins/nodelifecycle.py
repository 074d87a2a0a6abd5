"""Nodes that stop renewing their lease: not ready, tainted, and in the end without Pods.

Source: k8s.io/kubernetes/pkg/controller/{nodelifecycle,tainteviction,podgc}; control plane facts 11.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kvtui.api.core.node import Lease, Node, NodeCondition, Taint
from kvtui.api.core.pod import Pod, PodCondition
from kvtui.api.meta import Resource
from kvtui.api.times import from_time, to_time
from kvtui.api.wire import ObjectKey, evolve, to_wire
from kvtui.controllers import indices
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.patches import write_changes
from kvtui.controllers.standins.scheduler.filters import tolerates
from kvtui.controllers.virtualmachineinstance.pods import is_final
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import Conflict, NotFound

LEASES = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
OURS = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)
WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
STOPPED = "Kubelet stopped posting node status."


@dataclass(frozen=True, slots=True)
class NodePlan:
    """The node as it should be, and when to look again."""

    node: Node
    silent: bool
    wake: float | None


def heard(node: Node, lease: Lease | None, first_seen: datetime) -> datetime:
    """When the node was last heard of."""
    times = [first_seen]
    if lease is not None and lease.spec.renew_time:
        times.append(from_time(lease.spec.renew_time))
    times += [from_time(c.last_heartbeat_time) for c in node.status.conditions if c.last_heartbeat_time]
    return max(times)


def plan_node(node: Node, lease: Lease | None, first_seen: datetime, now: datetime, grace: float) -> NodePlan:
    """Conditions become Unknown after `grace` seconds of silence; taints follow conditions and spec."""
    left = (heard(node, lease, first_seen) + timedelta(seconds=grace) - now).total_seconds()
    silent = left <= 0
    planned = node
    if silent:
        status = evolve(node.status, conditions=_unknown(node.status.conditions, now))
        planned = evolve(node, status=status)
    planned = evolve(planned, spec=evolve(planned.spec, taints=taints_of(planned, now)))
    return NodePlan(planned, silent, None if silent else left + 0.1)


def _unknown(conditions: Sequence[NodeCondition], now: datetime) -> list[NodeCondition]:
    present = {c.type: c for c in conditions}
    result = [c for c in conditions if c.type not in WATCHED]
    for type_ in WATCHED:
        old = present.get(type_)
        if old is not None and old.status == "Unknown":
            result.append(old)
            continue
        result.append(
            NodeCondition(
                type=type_,
                status="Unknown",
                reason="NodeStatusUnknown" if old is not None else "NodeStatusNeverUpdated",
                message=STOPPED if old is not None else "Kubelet never posted node status.",
                last_heartbeat_time=old.last_heartbeat_time if old is not None else None,
                last_transition_time=to_time(now),
            )
        )
    return result


def taints_of(node: Node, now: datetime) -> list[Taint]:
    """Foreign taints as they are, and ours as conditions and spec demand."""
    ready = next((c.status for c in node.status.conditions if c.type == "Ready"), "Unknown")
    wanted: list[tuple[str, str]] = []
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    present = {(t.key, t.effect): t for t in node.spec.taints}
    kept = [t for t in node.spec.taints if t.key not in OURS or (t.key, t.effect) in wanted]
    return kept + [
        Taint(key=key, effect=effect, time_added=to_time(now)) for key, effect in wanted if (key, effect) not in present
    ]


def eviction_in(pod: Pod, taints: Sequence[Taint], now: datetime) -> float | None:
    """Seconds until the NoExecute taints drive the Pod away (0: now); None while it may stay."""
    soonest: float | None = None
    for taint in taints:
        if taint.effect != "NoExecute":
            continue
        fitting = [t for t in pod.spec.tolerations if tolerates([t], taint)]
        if not fitting:
            return 0.0
        limits = [t.toleration_seconds for t in fitting if t.toleration_seconds is not None]
        if len(limits) < len(fitting):
            continue
        since = from_time(taint.time_added) if taint.time_added else now
        left = max(0.0, (since + timedelta(seconds=min(limits)) - now).total_seconds())
        soonest = left if soonest is None else min(soonest, left)
    return soonest


class NodeLifecycleController:
    """Watches leases, taints silent nodes, evicts from tainted ones, frees those that are out of service."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.nodes = informers.of(Node)
        self.leases = informers.of(Lease)
        self.pods = indices.pods(informers)
        self._first_seen: dict[str, datetime] = {}
        self.recorder = context.recorders.of("node-controller")
        self.controller: Controller[str] = Controller(
            "nodelifecycle",
            self.reconcile,
            informers=[self.nodes, self.leases, self.pods],
            settings=context.settings.loop,
            workers=2,
        )
        self.nodes.subscribe(self._node_changed)
        self.leases.subscribe(self._lease_changed)
        self.pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        assert node is not None
        if new is None:
            self._first_seen.pop(node.metadata.name, None)
        else:
            self._first_seen.setdefault(node.metadata.name, self.context.clock())
        self.controller.queue.add(node.metadata.name)

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        lease = new or old
        # A renewal only matters to a node that counts as silent; others have their timer.
        if lease is None or lease.metadata.namespace != LEASES:
            return
        node = self.nodes.get(("", lease.metadata.name))
        if node is not None and _ready(node) != "True":
            self.controller.queue.add(lease.metadata.name)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or not new.spec.node_name:
            return
        node = self.nodes.get(("", new.spec.node_name))
        # On a node without such taints nothing happens to its Pods.
        if node is not None and _drives_away(node):
            self.controller.queue.add(new.spec.node_name)

    async def reconcile(self, name: str) -> Result:
        node = self.nodes.get(("", name))
        if node is None:
            return DONE
        now = self.context.clock()
        first = self._first_seen.setdefault(name, now)
        lease = self.leases.get((LEASES, name))
        planned = plan_node(node, lease, first, now, self.context.settings.node_grace)
        if planned.node != node:
            try:
                await write_changes(self.context.client, node, planned.node)
            except NotFound:
                return DONE
            if _ready(node) == "True" and _ready(planned.node) != "True":
                self.recorder.normal(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        wakes = [planned.wake] if planned.wake is not None else []
        affected = planned.silent or _drives_away(planned.node)
        for pod in self.pods.store.by_index(indices.NODE, name) if affected else ():
            if planned.silent:
                await self._mark_not_ready(pod, now)
            left = await self._evict(pod, planned.node, now)
            if left is not None:
                wakes.append(left)
        return Result(requeue_after=min(wakes)) if wakes else DONE

    async def _mark_not_ready(self, pod: Pod, now: datetime) -> None:
        ready = next((c for c in pod.status.conditions if c.type == "Ready"), None)
        if ready is None or ready.status != "True":
            return
        changed = PodCondition(
            type="Ready",
            status="False",
            reason="NodeNotReady",
            message="Node is not ready",
            last_transition_time=to_time(now),
        )
        conditions = [changed if c.type == "Ready" else c for c in pod.status.conditions]
        await _ignore_gone(
            self.context.client.patch_status(Pod, pod.key, {"conditions": [to_wire(c) for c in conditions]})
        )

    async def _evict(self, pod: Pod, node: Node, now: datetime) -> float | None:
        gone = any(t.key == OUT_OF_SERVICE for t in node.spec.taints) and _ready(node) != "True"
        if gone and pod.metadata.deletion_timestamp:
            # Somebody vouches that the machine is off, so nothing of the Pod can still run.
            await _ignore_gone(self.context.client.delete(Pod, pod.key, grace=0, uid=pod.metadata.uid))
            return None
        if pod.metadata.deletion_timestamp:
            return None
        left = eviction_in(pod, node.spec.taints, now)
        if left is None or left > 0:
            return left
        self.recorder.normal(pod, "TaintManagerEviction", f"Marking for deletion Pod {pod.key}")
        await _ignore_gone(self.context.client.delete(Pod, pod.key, uid=pod.metadata.uid))
        return 0.5 if gone else None


def _drives_away(node: Node) -> bool:
    return any(t.effect == "NoExecute" for t in node.spec.taints)


def _ready(node: Node) -> str:
    return next((c.status for c in node.status.conditions if c.type == "Ready"), "Unknown")


async def _ignore_gone(call: Awaitable[object]) -> None:
    try:
        await call
    except (NotFound, Conflict):
        return


class PodGarbageCollector:
    """Removes Pods whose node is gone, Pods that were deleted before they had a node, and the oldest finished ones."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.pods = indices.pods(context.informers)
        self.nodes = context.informers.of(Node)
        self._finished: dict[ObjectKey, str] = {}
        """Finished Pods without a controller, by creation time."""
        self.controller: Controller[ObjectKey] = Controller(
            "podgc",
            self.reconcile,
            informers=[self.pods, self.nodes],
            settings=context.settings.loop,
            workers=1,
        )
        self.pods.subscribe(self._pod_changed)
        self.nodes.subscribe(self._node_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            if old is not None:
                self._finished.pop(old.key, None)
            return
        if is_final(new) and new.metadata.controller is None:
            self._finished[new.key] = new.metadata.creation_timestamp or ""
        self.controller.queue.add(new.key)

    def _node_changed(self, old: Node | None, new: Resource | None) -> None:
        if new is None and old is not None:
            for pod in self.pods.store.by_index(indices.NODE, old.metadata.name):
                self.controller.queue.add(pod.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        pod = self.pods.get(key)
        if pod is None:
            return DONE
        node = pod.spec.node_name
        orphaned = bool(node) and self.nodes.get(("", node)) is None
        unplaced = not node and bool(pod.metadata.deletion_timestamp)
        excess = len(self._finished) - self.context.settings.terminated_pods
        superfluous = excess > 0 and key in sorted(self._finished, key=lambda k: (self._finished[k], k))[:excess]
        if orphaned and await self._node_exists(node):
            return DONE
        if orphaned or unplaced or superfluous:
            await _ignore_gone(self.context.client.delete(Pod, key, grace=0, uid=pod.metadata.uid))
        return DONE

    async def _node_exists(self, name: str) -> bool:
        """Asks the server, since the cache may be behind a node that has just joined."""
        return await self.context.client.find(Node, ("", name)) is not None
