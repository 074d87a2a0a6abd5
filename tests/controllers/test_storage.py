"""Volumes for claims, and the binding of the two."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.core.node import Node
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import from_wire
from kvtui.controllers.provisioner import FINALIZER, LOCAL, SHARED, CannotProvision, render
from kvtui.controllers.standins import binder

NODE = Node(
    metadata=ObjectMeta(
        name="n1",
        labels={"kubernetes.io/hostname": "n1"},
        annotations={"kvtui.io/local-storage": "/var/lib/kvtui/nodes/n1/storage"},
    )
)
LOCAL_CLASS = StorageClass(
    metadata=ObjectMeta(name="kvtui-local"), provisioner=LOCAL, volume_binding_mode="WaitForFirstConsumer"
)
SHARED_CLASS = StorageClass(
    metadata=ObjectMeta(name="kvtui-shared"), provisioner=SHARED, parameters={"path": "/srv/shared"}
)


def claim(name: str = "c", modes: list[str] | None = None, **more: Any) -> PersistentVolumeClaim:
    spec = {
        "accessModes": modes or ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "kvtui-local",
        **more.get("spec", {}),
    }
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": "u-1",
        **more.get("metadata", {}),
    }
    return from_wire({"metadata": metadata, "spec": spec, "status": more.get("status", {})}, PersistentVolumeClaim)


def volume(name: str = "v", phase: str = "Available", **spec: Any) -> PersistentVolume:
    body = {
        "capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "kvtui-local",
        **spec,
    }
    return from_wire({"metadata": {"name": name}, "spec": body, "status": {"phase": phase}}, PersistentVolume)


def at(claim_: PersistentVolumeClaim, *volumes: PersistentVolume, **more: Any) -> binder.Situation:
    return binder.Situation(claim_, volumes, more.get("storage_class", LOCAL_CLASS), more.get("default", ""))


def test_a_local_volume_is_a_directory_of_its_node() -> None:
    made = render(claim(), LOCAL_CLASS, NODE)
    assert made.metadata.name == "pvc-u-1"
    assert made.metadata.finalizers == [FINALIZER]
    assert made.spec.local is not None
    assert made.spec.local.path == "/var/lib/kvtui/nodes/n1/storage/u-1"
    assert made.spec.claim_ref is not None
    assert made.spec.claim_ref.uid == "u-1"
    assert made.spec.node_affinity is not None


def test_a_shared_volume_is_seen_by_all() -> None:
    made = render(claim(modes=["ReadWriteMany"]), SHARED_CLASS, NODE)
    assert made.spec.host_path is not None
    assert made.spec.host_path.path == "/srv/shared/u-1"
    assert made.spec.node_affinity is None


@pytest.mark.parametrize(
    ("claim_", "class_"),
    [(claim(modes=["ReadWriteMany"]), LOCAL_CLASS), (claim(spec={"volumeMode": "Block"}), SHARED_CLASS)],
)
def test_what_a_class_does_not_have_is_refused(claim_: PersistentVolumeClaim, class_: StorageClass) -> None:
    with pytest.raises(CannotProvision):
        render(claim_, class_, NODE)


def test_a_claim_waits_for_its_first_consumer() -> None:
    assert binder.plan(at(claim())) == [binder.PatchClaimStatus({"phase": "Pending"})]
    assert binder.plan(at(claim(status={"phase": "Pending"}), volume())) == []


def test_a_placed_claim_asks_the_provisioner_and_may_take_a_free_volume() -> None:
    placed = claim(metadata={"annotations": {"volume.kubernetes.io/selected-node": "n1"}}, status={"phase": "Pending"})
    (asked,) = binder.plan(at(placed))
    assert asked == binder.PatchClaim({"metadata": {"annotations": {binder.STORAGE_PROVISIONER: LOCAL}}})
    steps = binder.plan(at(placed, volume("big", capacity={"storage": "9Gi"}), volume("small")))
    assert isinstance(steps[0], binder.ClaimVolume)
    assert steps[0].volume.metadata.name == "small"
    assert [type(s).__name__ for s in steps] == ["ClaimVolume", "SetVolumePhase", "PatchClaim", "PatchClaimStatus"]


def test_a_volume_made_for_a_claim_is_bound_to_it_and_to_no_successor() -> None:
    reference = {"namespace": "ns", "name": "c", "uid": "u-1"}
    steps = binder.plan(at(claim(), volume(claimRef=reference)))
    assert [type(s).__name__ for s in steps] == ["SetVolumePhase", "PatchClaim", "PatchClaimStatus"]
    other = binder.plan(at(claim(), volume(claimRef={**reference, "uid": "u-0"})))
    assert other == [binder.PatchClaimStatus({"phase": "Pending"})]


def test_a_bound_claim_whose_volume_is_gone_is_lost() -> None:
    bound = claim(spec={"volumeName": "v"}, status={"phase": "Bound"})
    assert binder.plan(at(bound)) == [binder.PatchClaimStatus({"phase": "Lost"})]


def test_a_claim_without_class_gets_the_default() -> None:
    bare = from_wire({"metadata": {"name": "c", "namespace": "ns"}, "spec": {}}, PersistentVolumeClaim)
    assert binder.plan(at(bare, default="kvtui-local")) == [
        binder.PatchClaim({"spec": {"storageClassName": "kvtui-local"}})
    ]


@pytest.mark.parametrize(
    ("volume_", "claim_", "phase"),
    [
        (volume(phase=""), None, "Available"),
        (volume(phase="Available"), None, None),
        (volume(phase="Bound", claimRef={"name": "c", "namespace": "ns", "uid": "u-1"}), None, "Released"),
        (volume(phase="Bound", claimRef={"name": "c", "namespace": "ns", "uid": "u-1"}), claim(), None),
        (volume(phase="Bound", claimRef={"name": "c", "namespace": "ns", "uid": "u-0"}), claim(), "Released"),
        (volume(phase="", claimRef={"name": "c", "namespace": "ns"}), None, "Available"),
    ],
)
def test_volumes_are_released_when_their_claim_is_gone(
    volume_: PersistentVolume, claim_: PersistentVolumeClaim | None, phase: str | None
) -> None:
    assert binder.volume_phase(volume_, claim_) == phase
