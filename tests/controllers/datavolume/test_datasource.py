"""DataSources: what they stand for, and why they do not."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.sources import DataSource
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.wire import ObjectKey, from_wire
from kvtui.controllers.datavolume.datasource import next_status, of_kubevirt, verdict
from tests.controllers.builders import NAMESPACE, NOW

IMAGE = {"pvc": {"name": "image", "namespace": NAMESPACE}}


def named(name: str, source: dict[str, Any]) -> DataSource:
    return from_wire({"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"source": source}}, DataSource)


def to(name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    return {"dataSource": {"name": name, "namespace": namespace}}


KNOWN = {s.metadata.name: s for s in (named("golden", IMAGE), named("hop", to("golden")))}
READY = ("True", "Ready", "DataSource is ready to be consumed")
NONE = ("False", "NoSource", "No source PVC set")


@pytest.mark.parametrize(
    ("source", "phase", "claim", "told"),
    [
        (IMAGE, None, True, READY),
        (IMAGE, "Succeeded", True, READY),
        (IMAGE, "Succeeded", False, READY),
        (IMAGE, "ImportInProgress", True, ("False", "ImportInProgress", "Import DataVolume phase ImportInProgress")),
        (IMAGE, None, False, ("False", "NotFound", "PVC not found")),
        ({"snapshot": {"name": "s", "namespace": NAMESPACE}}, None, True, ("False", "NotFound", "Snapshot not found")),
        ({}, None, True, NONE),
        ({**IMAGE, **to("golden")}, None, True, NONE),
        (to("golden"), None, True, READY),
        (to("hop"), None, True, ("False", "MaxReferenceDepthReached", None)),
        (to("me"), None, True, ("False", "SelfReference", None)),
        (to("golden", "else"), None, True, ("False", "CrossNamespaceReference", None)),
        (to("nobody"), None, True, ("False", "NotFound", None)),
    ],
)
def test_readiness(
    source: dict[str, Any], phase: str | None, *, claim: bool, told: tuple[str, str, str | None]
) -> None:
    volume = from_wire({"status": {"phase": phase}}, DataVolume) if phase is not None else None
    present = PersistentVolumeClaim() if claim else None

    def find(key: ObjectKey) -> DataSource | None:
        return KNOWN.get(key.name)

    found = verdict(named("me", source), find, lambda key: volume, lambda key: present)
    assert (found.status, found.reason) == told[:2]
    assert told[2] in (None, found.message)
    status = next_status(named("me", source), found, NOW)
    assert (status.source is not None) is (found.status == "True")
    assert [c.status for c in status.conditions] == [found.status]


def test_labels_that_say_how_to_use_a_disk() -> None:
    labels = {"kubevirt.io/a": "1", "instancetype.kubevirt.io/b": "2", "app": "3", "notkubevirt.io/c": "4"}
    assert of_kubevirt(labels) == {"kubevirt.io/a": "1", "instancetype.kubevirt.io/b": "2"}
