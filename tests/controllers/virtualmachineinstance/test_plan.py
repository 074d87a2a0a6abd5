"""When a launcher is made and removed, and what a VMI says while it waits."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.wire import from_wire
from kvtui.controllers.virtualmachineinstance.plan import (
    CreateClaim,
    CreatePod,
    DeletePod,
    Plan,
    Situation,
    SyncError,
    plan,
)
from kvtui.controllers.virtualmachineinstance.status import next_version
from kvtui.controllers.virtualmachineinstance.volumes import volume_statuses
from tests.controllers.builders import NOW, launcher, vmi

CLAIM_VOLUME = {"spec": {"volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "disk"}}]}}
DV_VOLUME = {"spec": {"volumes": [{"name": "root", "dataVolume": {"name": "disk"}}]}}
PERSISTENT_TPM = {"spec": {"domain": {"devices": {"tpm": {"persistent": True}}}}}


def situation(phase: str = "Pending", *pods: Pod, over: dict[str, Any] | None = None, **more: Any) -> Situation:
    return Situation(vmi=vmi(phase=phase, **(over or {})), now=NOW, pods=pods, **more)


def claim(phase: str = "Bound", **over: Any) -> PersistentVolumeClaim:
    base = {"metadata": {"name": "disk", "namespace": "default"}, "status": {"phase": phase}, **over}
    return from_wire(base, PersistentVolumeClaim)


def dv(phase: str) -> DataVolume:
    return from_wire({"metadata": {"name": "disk"}, "status": {"phase": phase}}, DataVolume)


def created(planned: Plan) -> list[Pod]:
    return [s.pod for s in planned.steps if isinstance(s, CreatePod)]


def test_a_new_vmi_gets_a_launcher() -> None:
    planned = plan(situation())
    assert [p.metadata.generate_name for p in created(planned)] == ["virt-launcher-web-"]
    assert planned.error is None


@pytest.mark.parametrize("phase", ["Scheduling", "Scheduled", "Running", "Failed"])
def test_a_vmi_that_has_had_its_launcher_gets_no_second_one(phase: str) -> None:
    assert created(plan(situation(phase))) == []


def test_nothing_is_made_while_it_migrates() -> None:
    assert plan(situation(migrating=True)).error == SyncError("FailedCreate", "active migration exists")


def test_a_missing_claim_is_named() -> None:
    planned = plan(situation(over=CLAIM_VOLUME, claims={"disk": None}))
    message = "PVC default/disk does not exist, waiting for it to appear"
    assert planned == Plan(error=SyncError("FailedPvcNotFound", message))
    after = next_version(situation(over=CLAIM_VOLUME, claims={"disk": None}), planned.error)
    found = {c.type: (c.status, c.reason, c.message) for c in after.status.conditions}
    assert found["Synchronized"] == ("False", "FailedPvcNotFound", message)
    assert found["PodScheduled"] == ("False", "Unschedulable", message)
    assert found["Ready"] == ("False", "PodNotExists", "virt-launcher pod has not yet been scheduled")


def test_a_hotpluggable_claim_need_not_exist() -> None:
    volume = {"name": "root", "persistentVolumeClaim": {"claimName": "disk", "hotpluggable": True}}
    assert len(created(plan(situation(over={"spec": {"volumes": [volume]}}, claims={"disk": None})))) == 1


@pytest.mark.parametrize(("phase", "after"), [("Ready", ["Detaching"]), ("Detaching", ["Detaching"]), ("Pending", [])])
def test_a_plugged_volume_that_the_spec_has_lost_is_shown_until_the_guest_has_let_it_go(
    phase: str, after: list[str]
) -> None:
    entry = {"name": "data", "phase": phase, "target": "sda", "hotplugVolume": {"attachPodName": "p"}}
    leaving = vmi(phase="Running", status={"volumeStatus": [entry]})
    assert [s.phase for s in volume_statuses(leaving, None, {}) if s.name == "data"] == after
    gone = vmi(phase="Running", status={"volumeStatus": [entry | {"phase": "UnMountedFromPod"}]})
    assert [s for s in volume_statuses(gone, None, {}) if s.name == "data"] == []


@pytest.mark.parametrize(
    ("phase", "made", "temporary"),
    [("Succeeded", 1, False), ("WaitForFirstConsumer", 1, True), ("ImportInProgress", 0, False), ("Failed", 0, False)],
)
def test_data_volumes_hold_up_the_launcher(phase: str, made: int, *, temporary: bool) -> None:
    at = situation(over=DV_VOLUME, claims={"disk": claim()}, data_volumes={"disk": dv(phase)})
    pods = created(plan(at))
    assert len(pods) == made
    assert all(("kubevirt.io/ephemeral-provisioning" in p.metadata.annotations) is temporary for p in pods)


def test_a_temporary_pod_goes_when_the_data_is_there() -> None:
    temporary = launcher("temporary", metadata={"annotations": {"kubevirt.io/ephemeral-provisioning": "true"}})
    at = situation(
        "Pending", temporary, over=DV_VOLUME, claims={"disk": claim()}, data_volumes={"disk": dv("Succeeded")}
    )
    planned = plan(at)
    assert [(s.pod.metadata.name, s.grace) for s in planned.steps if isinstance(s, DeletePod)] == [("temporary", 0)]
    assert len(created(planned)) == 1
    assert next_version(at, None).status.phase == "Pending", "a temporary Pod is no launcher"


def test_persistent_state_gets_a_claim_first() -> None:
    planned = plan(situation(over=PERSISTENT_TPM))
    assert planned.error == SyncError("FailedBackendStorageCreate", "no default storage class found")
    classes = [
        from_wire(
            {
                "metadata": {
                    "name": "local",
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "volumeBindingMode": "WaitForFirstConsumer",
            },
            StorageClass,
        )
    ]
    first = plan(situation(over=PERSISTENT_TPM, storage_classes=classes))
    assert [s.claim.spec.storage_class_name for s in first.steps if isinstance(s, CreateClaim)] == ["local"]
    waiting = claim("Pending", spec={"storageClassName": "local"})
    second = plan(situation(over=PERSISTENT_TPM, storage_classes=classes, state_claims=[waiting]))
    assert [v.name for v in created(second)[0].spec.volumes if v.persistent_volume_claim] == ["vm-state"]


def test_a_deleted_vmi_loses_its_pods() -> None:
    gone = {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}
    planned = plan(situation("Running", launcher(), over=gone))
    assert planned.steps == (DeletePod(launcher()),)
    deleting = launcher(metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"})
    assert plan(situation("Running", deleting, over=gone)).steps == ()
    ended = launcher(phase="Failed", metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"})
    assert plan(situation("Running", ended, over=gone)).steps == (DeletePod(ended),), "nobody waits for it any more"


def test_a_receiver_waits_for_its_source() -> None:
    receiver = {"metadata": {"annotations": {"kubevirt.io/create-migration-target": "true"}}}
    at = situation(over=receiver)
    assert plan(at).steps == ()
    assert next_version(at, None).status.phase == "WaitingForSync"
