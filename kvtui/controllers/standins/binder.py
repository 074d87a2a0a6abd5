"""Binds claims and volumes to each other.

Stands in for kube-controller-manager's persistent volume controller.

Source: k8s.io/kubernetes/pkg/controller/volume/persistentvolume; https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kvtui.api import quantity, selectors
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from kvtui.api.registry import object_reference
from kvtui.api.wire import ObjectKey, to_wire
from kvtui.controllers import indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import NotFound

COMPONENT = "persistentvolume-controller"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class PatchClaim:
    """Changes of metadata and spec."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PatchClaimStatus:
    """Changes of the status."""

    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClaimVolume:
    """The volume is given to the claim."""

    volume: PersistentVolume
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SetVolumePhase:
    """Available, Bound or Released."""

    volume: PersistentVolume
    phase: str


Step = PatchClaim | PatchClaimStatus | ClaimVolume | SetVolumePhase


@dataclass(frozen=True, slots=True)
class Situation:
    """A claim and everything that may be bound to it."""

    claim: PersistentVolumeClaim
    volumes: tuple[PersistentVolume, ...]
    """Its own volume if it names one, else the candidates of its class."""
    storage_class: StorageClass | None
    default_class: str


def plan(at: Situation) -> list[Step]:
    """What to do next for a claim; one stage at a time, each looked at anew."""
    claim = at.claim
    if claim.metadata.deletion_timestamp:
        return []
    if claim.spec.storage_class_name is None and not claim.spec.volume_name and at.default_class:
        return [PatchClaim({"spec": {"storageClassName": at.default_class}})]
    volume = _own_volume(at)
    if volume is not None:
        return _bind(claim, volume)
    if claim.spec.volume_name:
        lost = claim.status.phase == "Bound"
        return [PatchClaimStatus({"phase": "Lost"})] if lost else _pending(claim)
    return _pending(claim) + _ask_provisioner(at)


def _own_volume(at: Situation) -> PersistentVolume | None:
    claim = at.claim
    for volume in at.volumes:
        reference = volume.spec.claim_ref
        if reference is None or reference.uid not in ("", claim.metadata.uid):
            continue
        if (reference.namespace, reference.name) == (claim.metadata.namespace, claim.metadata.name):
            return volume
    if claim.spec.volume_name:
        return next(
            (v for v in at.volumes if v.metadata.name == claim.spec.volume_name and v.spec.claim_ref is None), None
        )
    waits = at.storage_class is not None and at.storage_class.volume_binding_mode == "WaitForFirstConsumer"
    if waits and names.SELECTED_NODE not in claim.metadata.annotations:
        return None
    fitting = [v for v in at.volumes if fits(claim, v)]
    return min(fitting, key=lambda v: (_capacity(v), v.metadata.name), default=None)


def fits(claim: PersistentVolumeClaim, volume: PersistentVolume) -> bool:
    """Whether a free volume satisfies a claim."""
    if volume.spec.claim_ref is not None or volume.status.phase not in ("", "Available"):
        return False
    wanted = claim.spec.resources.requests.get("storage", "0") if claim.spec.resources is not None else "0"
    return (
        volume.spec.storage_class_name == (claim.spec.storage_class_name or "")
        and (volume.spec.volume_mode or "Filesystem") == (claim.spec.volume_mode or "Filesystem")
        and set(claim.spec.access_modes) <= set(volume.spec.access_modes)
        and _capacity(volume) >= quantity.value(wanted)
        and (claim.spec.selector is None or selectors.from_object(claim.spec.selector).matches(volume.metadata.labels))
    )


def _capacity(volume: PersistentVolume) -> int:
    return quantity.value(volume.spec.capacity.get("storage", "0"))


def _bind(claim: PersistentVolumeClaim, volume: PersistentVolume) -> list[Step]:
    steps: list[Step] = []
    reference = volume.spec.claim_ref
    if reference is None or reference.uid != claim.metadata.uid:
        full = to_wire(object_reference(claim))
        annotations = {BOUND_BY_CONTROLLER: "yes"} if reference is None else {}
        steps.append(ClaimVolume(volume, {"spec": {"claimRef": full}, "metadata": {"annotations": annotations}}))
    if volume.status.phase != "Bound":
        steps.append(SetVolumePhase(volume, "Bound"))
    if claim.spec.volume_name != volume.metadata.name or BIND_COMPLETED not in claim.metadata.annotations:
        annotations = {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
        steps.append(
            PatchClaim({"spec": {"volumeName": volume.metadata.name}, "metadata": {"annotations": annotations}})
        )
    if claim.status.phase != "Bound":
        steps.append(
            PatchClaimStatus(
                {
                    "phase": "Bound",
                    "accessModes": volume.spec.access_modes,
                    "capacity": {"storage": volume.spec.capacity.get("storage", "0")},
                }
            )
        )
    return steps


def _pending(claim: PersistentVolumeClaim) -> list[Step]:
    return [] if claim.status.phase == "Pending" else [PatchClaimStatus({"phase": "Pending"})]


def _ask_provisioner(at: Situation) -> list[Step]:
    storage_class = at.storage_class
    if storage_class is None or storage_class.provisioner == "kubernetes.io/no-provisioner":
        return []
    annotations = at.claim.metadata.annotations
    waits = storage_class.volume_binding_mode == "WaitForFirstConsumer" and names.SELECTED_NODE not in annotations
    if waits or annotations.get(STORAGE_PROVISIONER) == storage_class.provisioner:
        return []
    return [PatchClaim({"metadata": {"annotations": {STORAGE_PROVISIONER: storage_class.provisioner}}})]


def volume_phase(volume: PersistentVolume, claim: PersistentVolumeClaim | None) -> str | None:
    """The phase a volume should have, or None to leave it."""
    reference = volume.spec.claim_ref
    if reference is None:
        return "Available" if volume.status.phase in ("", "Pending") else None
    if claim is None or (reference.uid and claim.metadata.uid != reference.uid):
        # A volume that names its claim beforehand waits for it; one that was bound has been let go.
        released = bool(reference.uid) and volume.status.phase != "Released"
        return "Released" if released else ("Available" if volume.status.phase == "" and not reference.uid else None)
    return None


def _claim_of(volume: PersistentVolume) -> list[str]:
    reference = volume.spec.claim_ref
    return [f"{reference.namespace}/{reference.name}"] if reference is not None else []


def _free_class(volume: PersistentVolume) -> list[str]:
    return [volume.spec.storage_class_name] if volume.spec.claim_ref is None else []


def _class_of(claim: PersistentVolumeClaim) -> list[str]:
    return [claim.spec.storage_class_name or ""] if not claim.spec.volume_name else []


class BinderController:
    """One key is one claim (namespace/name) or one volume (/name)."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        indices.claims(informers)
        self.claims = informers.index(PersistentVolumeClaim, "pending class", _class_of)
        informers.index(PersistentVolume, "claim", _claim_of)
        self.volumes = informers.index(PersistentVolume, "free class", _free_class)
        self.classes = informers.of(StorageClass)
        self.recorder = context.recorders.of(COMPONENT)
        self.controller: Controller[ObjectKey] = Controller(
            "binder",
            self.reconcile,
            informers=[self.claims, self.volumes, self.classes],
            settings=context.settings.loop,
        )
        self.claims.subscribe(lambda old, new: self._claim_changed(old, new))
        self.volumes.subscribe(lambda old, new: self._volume_changed(new or old))
        self.classes.subscribe(lambda old, new: self._pending())

    async def run(self) -> None:
        await self.controller.run()

    def _claim_changed(self, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None) -> None:
        claim = new or old
        if claim is None:
            return
        self.controller.queue.add(claim.key)
        if new is None:
            for volume in self.volumes.store.by_index("claim", str(claim.key)):
                self.controller.queue.add(volume.key)

    def _volume_changed(self, volume: PersistentVolume | None) -> None:
        if volume is None:
            return
        self.controller.queue.add(volume.key)
        for name in _claim_of(volume):
            self.controller.queue.add(ObjectKey.parse(name))
        for name in _free_class(volume):
            for claim in self.claims.store.by_index("pending class", name):
                self.controller.queue.add(claim.key)

    def _pending(self) -> None:
        for claim in self.claims.all():
            if not claim.spec.volume_name:
                self.controller.queue.add(claim.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        if not key.namespace:
            await self._volume(self.volumes.get(key))
            return DONE
        claim = self.claims.get(key)
        if claim is None:
            return DONE
        for step in plan(self._situation(claim)):
            await self._apply(claim, step)
        return DONE

    async def _volume(self, volume: PersistentVolume | None) -> None:
        if volume is None:
            return
        claim = next((self.claims.get(ObjectKey.parse(name)) for name in _claim_of(volume)), None)
        phase = volume_phase(volume, claim)
        if phase == "Released" and claim is None:
            # The cache may lag behind a claim that has just come back; the server knows.
            name = ObjectKey.parse(_claim_of(volume)[0])
            found = await self.context.client.find(PersistentVolumeClaim, name)
            reference = volume.spec.claim_ref
            if found is not None and reference is not None and found.metadata.uid == reference.uid:
                return
        if phase is not None:
            await self.context.client.patch_status(PersistentVolume, volume.key, {"phase": phase})

    def _situation(self, claim: PersistentVolumeClaim) -> Situation:
        found = self.volumes.store.by_index("claim", str(claim.key))
        if claim.spec.volume_name and (named := self.volumes.get(("", claim.spec.volume_name))) is not None:
            found = [*found, named]
        elif not claim.spec.volume_name:
            found = [*found, *self.volumes.store.by_index("free class", claim.spec.storage_class_name or "")]
        return Situation(
            claim=claim,
            volumes=tuple(found),
            storage_class=self.classes.get(("", claim.spec.storage_class_name or "")),
            default_class=default_class(self.classes.all()),
        )

    async def _apply(self, claim: PersistentVolumeClaim, step: Step) -> None:
        client = self.context.client
        try:
            match step:
                case PatchClaim(body):
                    await client.patch(PersistentVolumeClaim, claim.key, body)
                case PatchClaimStatus(status):
                    await client.patch_status(PersistentVolumeClaim, claim.key, status)
                case ClaimVolume(volume, body):
                    guarded = {
                        **body,
                        "metadata": {**body["metadata"], "resourceVersion": volume.metadata.resource_version},
                    }
                    await client.patch(PersistentVolume, volume.key, guarded)
                case SetVolumePhase(volume, phase):
                    await client.patch_status(PersistentVolume, volume.key, {"phase": phase})
        except NotFound:
            return


def default_class(classes: Iterable[StorageClass]) -> str:
    """Name of the newest default class, or ""."""
    found = [c for c in classes if c.metadata.annotations.get(DEFAULT_CLASS) == "true"]
    by_name = sorted(found, key=lambda c: c.metadata.name)
    return max(by_name, key=lambda c: c.metadata.creation_timestamp or "").metadata.name if by_name else ""
