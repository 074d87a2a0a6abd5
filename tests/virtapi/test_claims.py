"""Claims that leave modes and sizes to their class's StorageProfile."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.virtapi.readers import RawReader
from kvtui.virtapi.review import VirtAdmission
from tests.virtapi.cases import CHANCE, Cluster
from tests.virtapi.test_rules import Object, request

APPLY = {"cdi.kubevirt.io/applyStorageProfile": "true"}
RWX, RWO = {"accessModes": ["ReadWriteMany"], "volumeMode": "Filesystem"}, {"accessModes": ["ReadWriteOnce"]}
CDI = "cdi.kubevirt.io/v1beta1"


def storage_class(name: str, **annotations: str) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": "p",
    }


def profile(name: str, *sets: Object) -> Object:
    status = {"claimPropertySets": list(sets)}
    return {"apiVersion": CDI, "kind": "StorageProfile", "metadata": {"name": name}, "status": status}


def config(**spec: Any) -> Object:
    return {"apiVersion": CDI, "kind": "CDIConfig", "metadata": {"name": "config"}, "spec": spec}


BLOCK = {"accessModes": ["ReadWriteOnce"], "volumeMode": "Block"}
CLUSTER = (
    storage_class("shared"),
    storage_class("virt", **{"storageclass.kubevirt.io/is-default-virt-class": "true"}),
    storage_class("usual", **{"storageclass.kubernetes.io/is-default-class": "true"}),
    profile("shared", RWX, BLOCK),
    profile("virt", {**RWO, "volumeMode": "Block"}),
    profile("usual", {**RWO, "volumeMode": "Filesystem"}),
)


async def rendered(spec: Object, *cluster: Object, archive: bool = False, **labels: str) -> Object:
    annotations = {"cdi.kubevirt.io/storage.contentType": "archive"} if archive else {}
    sized = {"resources": {"requests": {"storage": "1Gi"}}, **spec}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "x", "namespace": "demo", "labels": labels or APPLY, "annotations": annotations},
        "spec": sized,
    }
    admission = VirtAdmission(RawReader(Cluster(cluster or CLUSTER, set())), chance=lambda: CHANCE)
    changed, _ = await admission.mutate(request(claim))
    found: Object = changed["spec"]
    return found


def sized(text: str) -> Object:
    return {"requests": {"storage": text}}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"storageClassName": "shared"}, {**RWX, "resources": sized("1138166334")}),
        ({"storageClassName": "shared", "volumeMode": "Block"}, {**BLOCK, "resources": sized("1Gi")}),
        ({"storageClassName": "shared", "accessModes": ["ReadWriteOnce"]}, {**BLOCK, "resources": sized("1Gi")}),
        ({"storageClassName": "shared", "volumeMode": "FromStorageProfile"}, {**RWX, "resources": sized("1138166334")}),
        ({}, {"storageClassName": "virt", **BLOCK, "resources": sized("1Gi")}),
        ({"storageClassName": "unknown"}, {"storageClassName": "unknown", "resources": sized("1Gi")}),
    ],
)
async def test_a_claim_gets_what_it_leaves_open(spec: Object, wanted: Object) -> None:
    assert await rendered(spec) == {"storageClassName": "shared", **wanted}


async def test_an_archive_has_files_and_no_disk() -> None:
    wanted = {"storageClassName": "usual", **RWO, "volumeMode": "Filesystem", "resources": sized("1Gi")}
    assert await rendered({}, archive=True) == wanted


async def test_who_does_not_ask_gets_nothing() -> None:
    spec = {"storageClassName": "shared", "resources": sized("1Gi")}
    assert await rendered(spec, other="true") == spec
    assert await rendered(spec, *CLUSTER, config(webhookPvcRendering="Disabled")) == spec


async def test_overhead_is_what_the_configuration_says() -> None:
    told = config(filesystemOverhead={"global": "0.1", "storageClass": {"shared": "0"}})
    assert (await rendered({"storageClassName": "shared"}, *CLUSTER, told))["resources"] == sized("1Gi")
    assert (await rendered({"storageClassName": "usual"}, *CLUSTER, told))["resources"] == sized("1181116007")
