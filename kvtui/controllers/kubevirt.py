"""The KubeVirt object: says that everything is deployed, and which of several objects counts.

Source: kubevirt pkg/virt-operator/kubevirt.go (status and conditions); control plane facts 9.
"""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import datetime

from kvtui import __version__
from kvtui.api.kubevirt import UPSTREAM_VERSION
from kvtui.api.kubevirt.config import KubeVirt, KubeVirtCondition, KubeVirtStatus
from kvtui.api.wire import ObjectKey, evolve, to_wire
from kvtui.controllers import conditions
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.patches import write_changes
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import NotFound

FINALIZER = "foregroundDeleteKubeVirt"
REGISTRY = "kvtui.io"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "s390x": "s390x"}

READY = (
    ("Available", "True", "AllComponentsReady", "All components are ready."),
    ("Progressing", "False", "AllComponentsReady", "All components are ready."),
    ("Degraded", "False", "AllComponentsReady", "All components are ready."),
    ("Created", "True", "AllResourcesCreated", "All resources were created."),
)
DELETING = (
    ("Available", "False", "DeletionInProgress", "Deletion was triggered"),
    ("Progressing", "False", "DeletionInProgress", "Deletion was triggered"),
    ("Degraded", "True", "DeletionInProgress", "Deletion was triggered"),
)


def deployment_id(kubevirt: KubeVirt) -> str:
    """Changes when what is deployed changes: version or placement, not configuration."""
    spec = kubevirt.spec
    parts = {"version": UPSTREAM_VERSION, "infra": to_wire(spec.infra), "workloads": to_wire(spec.workloads)}
    return hashlib.sha1(json.dumps(parts, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def next_status(kubevirt: KubeVirt, *, chosen: bool, architecture: str, now: datetime) -> KubeVirtStatus:
    """`chosen`: whether this is the one object that counts."""
    if kubevirt.metadata.deletion_timestamp:
        return evolve(kubevirt.status, phase="Deleting", conditions=_only(kubevirt, DELETING, now))
    if not chosen:
        message = "There is an existing KubeVirt deployment"
        refused = (("Synchronized", "False", "ExistingDeployment", message),)
        return evolve(kubevirt.status, conditions=_only(kubevirt, refused, now))
    identity = deployment_id(kubevirt)
    registry = kubevirt.spec.image_registry or REGISTRY
    return evolve(
        kubevirt.status,
        phase="Deployed",
        conditions=_only(kubevirt, READY, now),
        operator_version=f"{UPSTREAM_VERSION}+kvtui-{__version__}",
        target_kube_virt_registry=registry,
        observed_kube_virt_registry=registry,
        target_kube_virt_version=UPSTREAM_VERSION,
        observed_kube_virt_version=UPSTREAM_VERSION,
        target_deployment_id=identity,
        observed_deployment_id=identity,
        observed_generation=kubevirt.metadata.generation,
        default_architecture=architecture,
    )


def _only(kubevirt: KubeVirt, wanted: tuple[tuple[str, str, str, str], ...], now: datetime) -> list[KubeVirtCondition]:
    types = {w[0] for w in wanted}
    found = [c for c in kubevirt.status.conditions if c.type in types]
    for type_, status, reason, message in wanted:
        found = conditions.put(found, conditions.make(KubeVirtCondition, type_, status, reason, message, now=now))
    return found


class KubeVirtController:
    """Keeps the status of KubeVirt objects."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.kubevirts = context.informers.of(KubeVirt)
        self.controller: Controller[ObjectKey] = Controller(
            "kubevirt", self.reconcile, informers=[self.kubevirts], settings=context.settings.loop, workers=1
        )
        self.kubevirts.subscribe(self._changed)

    async def run(self) -> None:
        await self.controller.run()

    def _changed(self, old: KubeVirt | None, new: KubeVirt | None) -> None:
        obj = new or old
        assert obj is not None
        self.controller.queue.add(obj.key)
        if new is None:
            for other in self.kubevirts.all():
                self.controller.queue.add(other.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        kubevirt = self.kubevirts.get(key)
        if kubevirt is None:
            return DONE
        counted = self.context.config.kubevirt
        architecture = ARCHITECTURES.get(platform.machine(), "amd64")
        status = next_status(
            kubevirt,
            chosen=counted is not None and counted.metadata.uid == kubevirt.metadata.uid,
            architecture=architecture,
            now=self.context.clock(),
        )
        deleting = bool(kubevirt.metadata.deletion_timestamp)
        finalizers = [f for f in kubevirt.metadata.finalizers if f != FINALIZER]
        if not deleting:
            finalizers.append(FINALIZER)
        metadata = kubevirt.metadata
        if set(finalizers) != set(metadata.finalizers):
            metadata = evolve(metadata, finalizers=finalizers)
        try:
            if deleting:
                written = await write_changes(self.context.client, kubevirt, evolve(kubevirt, status=status))
                await write_changes(
                    self.context.client,
                    written,
                    evolve(written, metadata=evolve(written.metadata, finalizers=finalizers)),
                )
            else:
                await write_changes(self.context.client, kubevirt, evolve(kubevirt, metadata=metadata, status=status))
        except NotFound:
            return DONE
        return DONE
