"""Makes volumes for claims of kvtui's two storage classes, and lets go of them.

A volume is a directory: on one node (kvtui.io/local) or where all nodes see it (kvtui.io/shared). The agent makes the
directory when it first uses it, and removes it when the volume is deleted; this controller only writes objects.

Source: https://github.com/kubernetes-sigs/sig-storage-lib-external-provisioner (protocol of claims and volumes).
"""

from __future__ import annotations

import contextlib
import posixpath

from kvtui.api import quantity
from kvtui.api.core.node import Node
from kvtui.api.core.parts import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kvtui.api.core.storage import (
    HostPathVolumeSource,
    LocalVolumeSource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeSpec,
    StorageClass,
    VolumeNodeAffinity,
)
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import object_reference
from kvtui.api.wire import ObjectKey, evolve
from kvtui.controllers import indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import AlreadyExists, NotFound, Permanent

COMPONENT = "kvtui-provisioner"
LOCAL, SHARED = "kvtui.io/local", "kvtui.io/shared"
PROVISIONERS = (LOCAL, SHARED)
FINALIZER = "kvtui.io/volume"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
CLEANUP_NODE = "kvtui.io/node"
LOCAL_STORAGE = "kvtui.io/local-storage"
"""Annotation of a Node: the directory of its local volumes."""
PATH = "path"
"""Parameter of a shared class: the directory that all nodes see."""
_MODES = {LOCAL: {"ReadWriteOnce", "ReadWriteOncePod"}, SHARED: {"ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"}}


class CannotProvision(Permanent):
    """The claim asks for what the class does not have."""


def volume_name(claim: PersistentVolumeClaim) -> str:
    return f"pvc-{claim.metadata.uid}"


def render(claim: PersistentVolumeClaim, storage_class: StorageClass, node: Node) -> PersistentVolume:
    """The volume of a claim; `node` holds it (local) or cleans it up (shared). Raises CannotProvision."""
    modes, provisioner = claim.spec.access_modes, storage_class.provisioner
    if wrong := sorted(set(modes) - _MODES[provisioner]):
        raise CannotProvision(f"{storage_class.metadata.name} has no access mode {', '.join(wrong)}")
    if claim.spec.volume_mode == "Block":
        raise CannotProvision(f"{storage_class.metadata.name} has no volumeMode Block")
    size = claim.spec.resources.requests.get("storage", "0") if claim.spec.resources is not None else "0"
    common = PersistentVolumeSpec(
        capacity={"storage": quantity.binary(quantity.value(size))},
        access_modes=modes,
        claim_ref=evolve(object_reference(claim), resource_version=""),
        persistent_volume_reclaim_policy=storage_class.reclaim_policy or "Delete",
        storage_class_name=storage_class.metadata.name,
        volume_mode="Filesystem",
        mount_options=storage_class.mount_options,
    )
    hostname = node.metadata.labels.get(names.HOSTNAME, node.metadata.name)
    if provisioner == LOCAL:
        directory = node.metadata.annotations.get(LOCAL_STORAGE)
        if not directory:
            raise CannotProvision(f"node {node.metadata.name} offers no local storage")
        spec = evolve(
            common,
            local=LocalVolumeSource(path=posixpath.join(directory, claim.metadata.uid)),
            node_affinity=VolumeNodeAffinity(
                required=NodeSelector(
                    node_selector_terms=[
                        NodeSelectorTerm(
                            match_expressions=[
                                NodeSelectorRequirement(key=names.HOSTNAME, operator="In", values=[hostname])
                            ]
                        )
                    ]
                )
            ),
        )
    else:
        directory = storage_class.parameters.get(PATH, "")
        if not directory.startswith("/"):
            raise CannotProvision(f"StorageClass {storage_class.metadata.name} has no parameter path")
        path = posixpath.join(directory, claim.metadata.uid)
        spec = evolve(common, host_path=HostPathVolumeSource(path=path, type="DirectoryOrCreate"))
    return PersistentVolume(
        metadata=ObjectMeta(
            name=volume_name(claim),
            labels={CLEANUP_NODE: node.metadata.name},  # by which the node's agent finds it
            annotations={PROVISIONED_BY: provisioner, CLEANUP_NODE: node.metadata.name},
            finalizers=[FINALIZER],
        ),
        spec=spec,
    )


def is_ready(node: Node) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


class ProvisionerController:
    """One key is one claim (namespace/name) or one volume (/name)."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.claims = indices.claims(informers)
        self.volumes = informers.of(PersistentVolume)
        self.classes = informers.of(StorageClass)
        self.nodes = informers.of(Node)
        self.recorder = context.recorders.of(COMPONENT)
        self.controller: Controller[ObjectKey] = Controller(
            "provisioner",
            self.reconcile,
            informers=[self.claims, self.volumes, self.classes, self.nodes],
            settings=context.settings.loop,
        )
        queue = self.controller.queue
        self.claims.subscribe(lambda old, new: queue.add(new.key) if new is not None else None)
        self.volumes.subscribe(lambda old, new: self._volume_changed(new))
        self.classes.subscribe(lambda old, new: self._pending())
        self.nodes.subscribe(self._node_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _volume_changed(self, volume: PersistentVolume | None) -> None:
        if volume is not None and FINALIZER in volume.metadata.finalizers:
            self.controller.queue.add(volume.key)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        # Heartbeats change nothing here; a node that became ready may serve who was waiting.
        if new is not None and is_ready(new) and (old is None or not is_ready(old)):
            self._pending()

    def _pending(self) -> None:
        for claim in self.claims.all():
            if not claim.spec.volume_name:
                self.controller.queue.add(claim.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        if not key.namespace:
            await self._mark(self.volumes.get(key))
            await self._release(self.volumes.get(key))
            return DONE
        claim = self.claims.get(key)
        if claim is None or claim.metadata.deletion_timestamp:
            return DONE
        storage_class = self.classes.get(("", claim.spec.storage_class_name or ""))
        if storage_class is None or storage_class.provisioner not in PROVISIONERS:
            return DONE
        if claim.spec.volume_name:
            await self._expand(claim, storage_class)
            return DONE
        if self.volumes.get(("", volume_name(claim))) is not None:
            return DONE
        if (node := self._node_for(claim, storage_class)) is None:
            return DONE
        try:
            await self.context.client.create(render(claim, storage_class, node))
        except AlreadyExists:
            return DONE
        except CannotProvision as error:
            self.recorder.warning(claim, "ProvisioningFailed", f"failed to provision volume: {error}")
            raise
        self.recorder.normal(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {volume_name(claim)}")
        return DONE

    def _node_for(self, claim: PersistentVolumeClaim, storage_class: StorageClass) -> Node | None:
        """Where the first consumer was placed, or for immediate binding any ready node that has storage."""
        selected = claim.metadata.annotations.get(names.SELECTED_NODE)
        if selected:
            return self.nodes.get(("", selected))
        if storage_class.volume_binding_mode == "WaitForFirstConsumer":
            return None
        ready = sorted((n for n in self.nodes.all() if is_ready(n)), key=lambda n: n.metadata.name)
        if storage_class.provisioner == SHARED:
            return next(iter(ready), None)
        return next((n for n in ready if n.metadata.annotations.get(LOCAL_STORAGE)), None)

    async def _expand(self, claim: PersistentVolumeClaim, storage_class: StorageClass) -> None:
        """A directory needs nothing to grow, so a bigger request is granted at once."""
        wanted = claim.spec.resources.requests.get("storage") if claim.spec.resources is not None else None
        volume = self.volumes.get(("", claim.spec.volume_name or ""))
        if wanted is None or volume is None or not storage_class.allow_volume_expansion:
            return
        size = quantity.value(wanted)
        if claim.status.phase != "Bound" or size <= quantity.value(claim.status.capacity.get("storage", "0")):
            return
        capacity = {"storage": quantity.binary(size)}
        await self.context.client.patch(PersistentVolume, volume.key, {"spec": {"capacity": capacity}})
        await self.context.client.patch_status(PersistentVolumeClaim, claim.key, {"capacity": capacity})
        self.recorder.normal(claim, "FileSystemResizeSuccessful", f"the claim has {capacity['storage']} now")

    async def _mark(self, volume: PersistentVolume | None) -> None:
        """Volumes without the label, from earlier versions: agents watch by it, and may not read others."""
        node = volume.metadata.annotations.get(CLEANUP_NODE) if volume is not None else None
        if volume is not None and node and CLEANUP_NODE not in volume.metadata.labels:
            with contextlib.suppress(NotFound):
                body = {"metadata": {"labels": {CLEANUP_NODE: node}}}
                await self.context.client.patch(PersistentVolume, volume.key, body)

    async def _release(self, volume: PersistentVolume | None) -> None:
        if volume is None or volume.metadata.deletion_timestamp or volume.status.phase != "Released":
            return
        ours = volume.metadata.annotations.get(PROVISIONED_BY) in PROVISIONERS
        if ours and volume.spec.persistent_volume_reclaim_policy == "Delete":
            try:
                await self.context.client.delete(PersistentVolume, volume.key, uid=volume.metadata.uid)
            except NotFound:
                return
