"""The scheduler's loop: one Pod at a time, so that every decision sees the one before it.

Source: k8s.io/kubernetes/pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

from kvtui.api.core.config import Namespace, PriorityClass
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod, PodCondition
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from kvtui.api.meta import Resource
from kvtui.api.registry import kind_of
from kvtui.api.times import to_time
from kvtui.api.wire import ObjectKey, to_json, to_wire
from kvtui.controllers import indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.standins.scheduler.decision import Cluster, Decision, Victims, decide
from kvtui.controllers.standins.scheduler.neighbours import Neighbours, Placed, required
from kvtui.controllers.standins.scheduler.requests import Usage
from kvtui.controllers.standins.scheduler.volumes import PodVolumes, Storage
from kvtui.controllers.virtualmachineinstance.pods import is_final
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import ApiError, Conflict, NotFound, Permanent

NAME = "default-scheduler"
RETRY_UNSCHEDULABLE = 60.0
"""Seconds after which an unschedulable Pod is looked at again without any change."""
CLASS = "class"


class SchedulerController:
    """Binds Pods that name this scheduler, or none."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.pods = indices.pods(informers)
        self.nodes = informers.of(Node)
        self.namespaces = informers.of(Namespace)
        self.claims = informers.of(PersistentVolumeClaim)
        self.volumes = informers.index(PersistentVolume, CLASS, lambda pv: [pv.spec.storage_class_name])
        self.classes = informers.of(StorageClass)
        self.priorities = informers.of(PriorityClass)
        self.usage = Usage()
        self._waiting: set[ObjectKey] = set()
        """Pods that no node would take."""
        self._assumed: dict[str, str] = {}
        """Pod uid -> node: bound, or waiting there for volumes, and not yet seen so."""
        self._affine: dict[str, Pod] = {}
        """Placed Pods whose required anti-affinity keeps others away."""
        self.recorder = context.recorders.of(NAME)
        self.storage = Storage(
            claim=lambda namespace, name: self.claims.get((namespace, name)),
            volume=lambda name: self.volumes.get(("", name)),
            volumes_of_class=lambda name: self.volumes.store.by_index(CLASS, name),
            storage_class=lambda name: self.classes.get(("", name)),
        )
        self.controller: Controller[ObjectKey] = Controller(
            "scheduler",
            self.reconcile,
            informers=[
                self.pods,
                self.nodes,
                self.namespaces,
                self.claims,
                self.volumes,
                self.classes,
                self.priorities,
            ],
            settings=context.settings.loop,
            workers=1,
        )
        self.pods.subscribe(self._pod_changed)
        self.nodes.subscribe(self._node_changed)
        for informer in (self.claims, self.volumes, self.classes):
            informer.subscribe(self._storage_changed)

    async def run(self) -> None:
        await self.controller.run()

    # What wakes a Pod

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        uid = pod.metadata.uid
        placed = new is not None and bool(new.spec.node_name) and not is_final(new)
        if placed and new is not None:
            self._assumed.pop(uid, None)
            self.usage.place(new, new.spec.node_name)
            if required(new.spec.affinity, anti=True):
                self._affine[uid] = new
        elif new is None or is_final(new) or new.metadata.deletion_timestamp:
            freed = self.usage.node_of(uid) is not None
            self.usage.remove(uid)
            self._assumed.pop(uid, None)
            self._affine.pop(uid, None)
            self._waiting.discard(pod.key)
            if freed:
                self._wake()
        if new is not None and self._is_ours(new):
            before = old is not None and self._is_ours(old) and old.spec == new.spec
            if not before or new.key not in self._waiting:
                self.controller.queue.add(new.key)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or old is None or _relevant(old) != _relevant(new):
            self._wake()

    def _storage_changed(self, old: Resource | None, new: Resource | None) -> None:
        self._wake()

    def _wake(self) -> None:
        for key in self._waiting:
            self.controller.queue.add(key)

    @staticmethod
    def _is_ours(pod: Pod) -> bool:
        return (
            not pod.spec.node_name
            and not pod.metadata.deletion_timestamp
            and not is_final(pod)
            and pod.spec.scheduler_name in ("", NAME)
        )

    # One Pod

    async def reconcile(self, key: ObjectKey) -> Result:
        pod = self.pods.get(key)
        if pod is None or not self._is_ours(pod):
            self._waiting.discard(key)
            return DONE
        assumed = self._assumed.get(pod.metadata.uid)
        volumes = PodVolumes(pod, self.storage)
        if assumed is not None and not volumes.waiting and volumes.problem is None:
            node = self.nodes.get(("", assumed))
            if node is not None and volumes.check(node) is None:
                await self._bind(pod, assumed)
                return DONE
        if assumed is not None:
            self.usage.remove(pod.metadata.uid)
            del self._assumed[pod.metadata.uid]
        decision = decide(pod, self._cluster(pod, volumes))
        if not decision.node:
            return await self._refuse(pod, decision)
        self._assumed[pod.metadata.uid] = decision.node
        self.usage.place(pod, decision.node)
        if volumes.waiting:
            await self._place_claims(volumes, decision.node)
            self._waiting.add(key)
            return Result(requeue_after=RETRY_UNSCHEDULABLE)
        await self._bind(pod, decision.node)
        return DONE

    def _cluster(self, pod: Pod, volumes: PodVolumes) -> Cluster:
        nodes = sorted(self.nodes.all(), key=lambda n: n.metadata.name)
        placed = self._placed(pod)
        return Cluster(
            nodes=nodes,
            used=self.usage.on,
            placed=placed,
            on_node=lambda name: self.pods.store.by_index(indices.NODE, name),
            neighbours=Neighbours(pod, placed, nodes, lambda name: self.namespaces.get(("", name))),
            volumes=volumes,
            priority=self._priority,
        )

    def _placed(self, pod: Pod) -> list[Placed]:
        """All placed Pods when the Pod's own rules need them; otherwise only those that keep others away."""
        affinity = pod.spec.affinity
        about_pods = affinity is not None and (affinity.pod_affinity or affinity.pod_anti_affinity)
        pods = self.pods.all() if about_pods or pod.spec.topology_spread_constraints else iter(self._affine.values())
        found = []
        for other in pods:
            name = other.spec.node_name or self._assumed.get(other.metadata.uid, "")
            node = self.nodes.get(("", name)) if name else None
            if node is not None and not is_final(other) and other.metadata.uid != pod.metadata.uid:
                found.append(Placed(other, node))
        return found

    def _priority(self, pod: Pod) -> int:
        if pod.spec.priority is not None:
            return pod.spec.priority
        chosen = self.priorities.get(("", pod.spec.priority_class_name)) if pod.spec.priority_class_name else None
        return chosen.value if chosen is not None else 0

    async def _place_claims(self, volumes: PodVolumes, node: str) -> None:
        for claim, _ in volumes.waiting:
            if claim.metadata.annotations.get(names.SELECTED_NODE) != node:
                body = {"metadata": {"annotations": {names.SELECTED_NODE: node}}}
                await self.context.client.patch(PersistentVolumeClaim, claim.key, body)

    async def _bind(self, pod: Pod, node: str) -> None:
        namespace, name = pod.key
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self.context.client.raw("POST", kind_of(Pod).path(namespace, name, "binding"), body=to_json(binding))
        except ApiError as error:
            self._assumed.pop(pod.metadata.uid, None)
            self.usage.remove(pod.metadata.uid)
            if isinstance(error, NotFound | Conflict):
                return
            raise
        self._waiting.discard(pod.key)
        self.recorder.normal(pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    async def _refuse(self, pod: Pod, decision: Decision) -> Result:
        self._waiting.add(pod.key)
        present = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
        now = to_time(self.context.clock())
        unchanged = present is not None and present.status == "False" and present.message == decision.message
        if not unchanged:
            condition = PodCondition(
                type="PodScheduled",
                status="False",
                reason="Unschedulable",
                message=decision.message,
                last_transition_time=present.last_transition_time if present and present.status == "False" else now,
            )
            others = [c for c in pod.status.conditions if c.type != "PodScheduled"]
            status: dict[str, object] = {"conditions": [to_wire(c) for c in (*others, condition)]}
            if decision.victims is not None:
                status["nominatedNodeName"] = decision.victims.node
            try:
                await self.context.client.patch_status(Pod, pod.key, status)
            except NotFound:
                return DONE
            self.recorder.warning(pod, "FailedScheduling", decision.message)
        if decision.victims is not None:
            await self._evict(pod, decision.victims)
        return Result(requeue_after=RETRY_UNSCHEDULABLE)

    async def _evict(self, pod: Pod, victims: Victims) -> None:
        for victim in victims.pods:
            if victim.metadata.deletion_timestamp:
                continue
            try:
                await self.context.client.delete(Pod, victim.key, uid=victim.metadata.uid)
            except (NotFound, Conflict, Permanent):
                continue
            message = f"Preempted by pod {pod.metadata.uid} on node {victims.node}"
            self.recorder.normal(victim, "Preempted", message)


def _relevant(node: Node) -> tuple[object, ...]:
    """What a decision can depend on; heartbeats are not part of it."""
    return (
        node.spec,
        node.metadata.labels,
        node.metadata.annotations.get("kvtui.io/local-storage"),
        node.status.allocatable,
    )
