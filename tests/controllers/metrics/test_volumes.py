"""What the metrics say about the filling of volumes."""

from __future__ import annotations

from typing import Any

from kvtui.api.cdi.config import CDI
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.profile import StorageProfile
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import StorageClass
from kvtui.api.wire import from_wire
from kvtui.controllers.metrics.volumes import DEFAULT_CLASS, volume_families
from tests.fakes.scraper import scrape


def volume(uid: str, phase: str, progress: str = "", **spec: Any) -> DataVolume:
    about = {"name": uid, "namespace": "default", "uid": uid}
    return from_wire({"metadata": about, "spec": spec, "status": {"phase": phase, "progress": progress}}, DataVolume)


def storage_class(name: str, default: str = "") -> StorageClass:
    annotations = {DEFAULT_CLASS: default} if default else {}
    about = {"name": name, "annotations": annotations}
    return from_wire({"metadata": about, "provisioner": "x"}, StorageClass)


def worker(kind: str, restarts: int) -> Pod:
    status = {"containerStatuses": [{"name": "importer", "restartCount": restarts}]}
    return from_wire({"metadata": {"name": kind, "labels": {"kvtui.io/worker": kind}}, "status": status}, Pod)


def test_what_is_being_filled_and_what_waits() -> None:
    volumes = [
        volume("a", "ImportInProgress", "42.5%"),
        volume("b", "CloneInProgress", "N/A"),
        volume("c", "Succeeded", "100.0%"),
        volume("d", "Pending", storage={}),
        volume("e", "Pending", storage={"storageClassName": "fast"}),
    ]
    found = scrape(volume_families(volumes, [storage_class("fast")], [], [worker("import", 4), worker("clone", 3)], []))
    assert found["kubevirt_cdi_import_progress_total"] == [({"ownerUID": "a"}, 42.5)]
    assert found["kubevirt_cdi_clone_progress_total"] == [({"ownerUID": "b"}, 0)]
    assert found.one("kubevirt_cdi_datavolume_pending") == 1
    assert found.one("kubevirt_cdi_cr_ready") == 0
    assert found.one("cluster:kubevirt_cdi_import_pods_high_restart:count") == 1
    assert found.one("kubevirt_cdi_clone_pods_high_restart") == 0


def test_classes_and_the_importer_itself() -> None:
    sets = [{"accessModes": ["ReadWriteMany"], "volumeMode": "Filesystem"}]
    status = {"provisioner": "kvtui.io/shared", "cloneStrategy": "copy", "claimPropertySets": sets}
    profile = from_wire({"metadata": {"name": "shared"}, "status": status}, StorageProfile)
    cdi = from_wire({"metadata": {"name": "cdi"}, "status": {"phase": "Deployed"}}, CDI)
    waiting = volume("d", "Pending", storage={})
    found = scrape(volume_families([waiting], [storage_class("shared", "true")], [profile], [], [cdi]))
    assert found.one("kubevirt_cdi_cr_ready") == 1
    assert found.one("kubevirt_cdi_datavolume_pending") == 0
    ((labels, _),) = found["kubevirt_cdi_storageprofile_info"]
    assert labels == {
        "storageclass": "shared",
        "provisioner": "kvtui.io/shared",
        "complete": "true",
        "default": "true",
        "virtdefault": "false",
        "rwx": "true",
        "smartclone": "false",
        "degraded": "true",
    }
