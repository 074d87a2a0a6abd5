"""Claims of a Pod: from which nodes their volumes can be reached, and which ones wait for the Pod to be placed.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kvtui.api import quantity
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from kvtui.controllers import names
from kvtui.controllers.nodematch import selector_holds
from kvtui.controllers.standins.scheduler.filters import Refusal

NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NOTHING_TO_BIND = "node(s) didn't find available persistent volumes to bind"
UNBOUND_IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
LOCAL_PROVISIONER = "kvtui.io/local"
LOCAL_STORAGE = "kvtui.io/local-storage"
"""Annotation of nodes that have a directory for local volumes."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the objects are found."""

    claim: Callable[[str, str], PersistentVolumeClaim | None]
    volume: Callable[[str], PersistentVolume | None]
    volumes_of_class: Callable[[str], Sequence[PersistentVolume]]
    storage_class: Callable[[str], StorageClass | None]


def claim_names(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield str(volume.persistent_volume_claim.get("claimName") or "")


class PodVolumes:
    """The claims of one Pod, looked up once."""

    def __init__(self, pod: Pod, storage: Storage) -> None:
        self._storage = storage
        self.problem: str | None = None
        """Why no node at all will do."""
        self._bound: list[PersistentVolume] = []
        self.waiting: list[tuple[PersistentVolumeClaim, StorageClass]] = []
        """Claims that are provisioned for the node that is chosen."""
        for name in claim_names(pod):
            self._add(pod.metadata.namespace, name)

    def _add(self, namespace: str, name: str) -> None:
        claim = self._storage.claim(namespace, name)
        if claim is None:
            self.problem = self.problem or f'persistentvolumeclaim "{name}" not found'
            return
        if claim.metadata.deletion_timestamp:
            self.problem = self.problem or f'persistentvolumeclaim "{name}" is being deleted'
            return
        if claim.spec.volume_name and claim.status.phase == "Bound":
            volume = self._storage.volume(claim.spec.volume_name)
            if volume is not None:
                self._bound.append(volume)
            return
        chosen = self._storage.storage_class(claim.spec.storage_class_name or "")
        if chosen is None or chosen.volume_binding_mode != "WaitForFirstConsumer":
            self.problem = self.problem or UNBOUND_IMMEDIATE
            return
        self.waiting.append((claim, chosen))

    def check(self, node: Node) -> Refusal | None:
        for volume in self._bound:
            needed = volume.spec.node_affinity.required if volume.spec.node_affinity else None
            if needed is not None and not selector_holds(needed, node):
                return Refusal((NODE_CONFLICT,))
        if any(not self._can_provision(claim, chosen, node) for claim, chosen in self.waiting):
            return Refusal((NOTHING_TO_BIND,))
        return None

    def _can_provision(self, claim: PersistentVolumeClaim, chosen: StorageClass, node: Node) -> bool:
        selected = claim.metadata.annotations.get(names.SELECTED_NODE)
        if selected and selected != node.metadata.name:
            return False
        if chosen.provisioner == NO_PROVISIONER:
            return any(_fits(volume, claim, node) for volume in self._storage.volumes_of_class(chosen.metadata.name))
        return chosen.provisioner != LOCAL_PROVISIONER or LOCAL_STORAGE in node.metadata.annotations


def _fits(volume: PersistentVolume, claim: PersistentVolumeClaim, node: Node) -> bool:
    if volume.status.phase != "Available" or not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return False
    needed = volume.spec.node_affinity.required if volume.spec.node_affinity else None
    if needed is not None and not selector_holds(needed, node):
        return False
    wanted = claim.spec.resources.requests.get("storage") if claim.spec.resources else None
    return wanted is None or quantity.value(volume.spec.capacity.get("storage", 0)) >= quantity.value(wanted)
