"""What claim a DataVolume gets: sizes to the byte, modes by class, refusals word by word."""

from __future__ import annotations

import pytest

from kvtui.api import quantity
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.storage import StorageClass
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import from_wire
from kvtui.controllers.datavolume import names
from kvtui.controllers.datavolume.claim import ClaimNotValid, Classes, inflated, render, requested

GIB = 2**30


def storage_class(
    name: str, provisioner: str = "kvtui.io/local", created: str = "", **annotations: str
) -> StorageClass:
    keys = {"default": names.DEFAULT_CLASS, "virt": names.DEFAULT_VIRT_CLASS}
    marks = {keys[k]: v for k, v in annotations.items()}
    metadata = ObjectMeta(name=name, annotations=marks, creation_timestamp=created or None)
    return StorageClass(metadata=metadata, provisioner=provisioner)


CLASSES = Classes(
    (
        storage_class("local", default="true"),
        storage_class("shared", "kvtui.io/shared"),
        storage_class("odd", "example.com/odd"),
    )
)


def dv(**spec: object) -> DataVolume:
    body = {"metadata": {"name": "d", "namespace": "ns", "uid": "u"}, "spec": {"source": {"blank": {}}, **spec}}
    return from_wire(body, DataVolume)


def storage(size: str | None = "1Gi", **more: object) -> dict[str, object]:
    resources = {"resources": {"requests": {"storage": size}}} if size else {}
    return {**resources, **more}


def test_a_storage_stanza_is_inflated_so_that_the_disk_gets_its_size() -> None:
    assert inflated(GIB, 0.06) == 1138166334
    claim = render(dv(storage=storage()), CLASSES)
    assert requested(claim) == 1138166334
    assert claim.spec.access_modes == ["ReadWriteOnce"]
    assert claim.spec.volume_mode == "Filesystem"
    assert claim.spec.storage_class_name == "local"


def test_a_pvc_stanza_is_taken_as_it_is() -> None:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = render(dv(pvc=spec), CLASSES)
    assert requested(claim) == GIB
    assert claim.spec.storage_class_name is None
    assert claim.spec.volume_mode is None


def test_a_block_claim_has_no_overhead() -> None:
    claim = render(dv(storage=storage(volumeMode="Block", accessModes=["ReadWriteOnce"])), CLASSES)
    assert requested(claim) == GIB


def test_the_shared_class_is_for_all_nodes() -> None:
    assert render(dv(storage=storage(storageClassName="shared")), CLASSES).spec.access_modes == ["ReadWriteMany"]


def test_the_virt_default_wins_over_the_clusters_but_not_for_archives() -> None:
    classes = Classes((storage_class("a", default="true"), storage_class("b", virt="true")))
    assert render(dv(storage=storage()), classes).spec.storage_class_name == "b"
    assert render(dv(storage=storage(), contentType="archive"), classes).spec.storage_class_name == "a"


def test_of_several_defaults_the_newest_counts() -> None:
    classes = Classes(
        (
            storage_class("a", created="2026-01-01T00:00:00Z", default="true"),
            storage_class("b", created="2026-02-01T00:00:00Z", default="true"),
        )
    )
    assert render(dv(storage=storage()), classes).spec.storage_class_name == "b"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (storage(storageClassName="none"), "StorageClass none does not exist"),
        (
            storage(storageClassName="odd"),
            "Spec is missing accessMode and volumeMode, cannot get access mode from StorageProfile odd",
        ),
        (
            storage(storageClassName="local", volumeMode="Block"),
            "Spec is missing accessMode and cannot get access mode from StorageProfile local",
        ),
        (storage(None), "Storage size is missing"),
    ],
)
def test_what_cannot_be_rendered_says_why(spec: dict[str, object], words: str) -> None:
    with pytest.raises(ClaimNotValid, match=words):
        render(dv(storage=spec), CLASSES)


def test_without_any_class_the_modes_are_missing() -> None:
    with pytest.raises(ClaimNotValid, match="PVC spec is missing accessMode and no storageClass to choose profile"):
        render(dv(storage=storage()), Classes(()))


def test_a_clone_without_size_takes_the_sources() -> None:
    claim = render(dv(storage=storage(None)), CLASSES, source_size=2 * GIB)
    assert requested(claim) == inflated(2 * GIB, 0.06)


def test_labels_and_annotations_travel_to_the_claim() -> None:
    body = dv(storage=storage())
    made = render(body, CLASSES)
    assert made.metadata.controller is not None
    assert made.metadata.controller.kind == "DataVolume"
    assert made.metadata.annotations[names.CONTENT_TYPE] == "kubevirt"
    assert made.metadata.annotations[names.POD_RESTARTS] == "0"
    assert made.metadata.labels["app"] == "containerized-data-importer"
    assert quantity.value("1138166334") == requested(made)
