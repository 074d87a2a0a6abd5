"""Evictions of launcher Pods."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.virtapi.readers import RawReader
from kvtui.virtapi.review import VirtAdmission
from tests.virtapi.cases import Cluster

Object = dict[str, Any]


def pod(node: str = "node01", phase: str = "Running") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "virt-launcher-web-a", "namespace": "demo", "annotations": {"kubevirt.io/domain": "web"}},
        "spec": {"nodeName": node},
        "status": {"phase": phase},
    }


def vmi(strategy: str, *, migratable: bool = True, evacuates: str = "") -> Object:
    condition = {"type": "LiveMigratable", "status": "True" if migratable else "False"}
    status: Object = {"phase": "Running", "nodeName": "node01", "conditions": [condition]}
    if evacuates:
        status["evacuationNodeName"] = evacuates
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "web", "namespace": "demo"},
        "spec": {"evictionStrategy": strategy, "domain": {"devices": {}}},
        "status": status,
    }


MARKED = 'Eviction triggered evacuation of VMI "demo/web"'


@pytest.mark.parametrize(
    ("instance", "launcher", "message", "marks"),
    [
        (vmi("None"), pod(), "", False),
        (vmi("LiveMigrate"), pod(), MARKED, True),
        (vmi("LiveMigrate"), pod(phase="Succeeded"), "", False),
        (vmi("LiveMigrate"), pod(node="node02"), "Eviction request for target Pod", False),
        (vmi("LiveMigrate", evacuates="node01"), pod(), f"Evacuation in progress: {MARKED}", False),
        (
            vmi("LiveMigrate", migratable=False),
            pod(),
            "VMI web is configured with an eviction strategy but is not live-migratable",
            False,
        ),
        (vmi("LiveMigrateIfPossible", migratable=False), pod(), "", False),
        (vmi("LiveMigrateIfPossible"), pod(), MARKED, True),
        (vmi("External"), pod(), MARKED, True),
    ],
)
async def test_launchers(instance: Object, launcher: Object, message: str, marks: bool) -> None:
    patches: list[tuple[str, str, list[Object], bool]] = []

    async def patch_vmi(namespace: str, name: str, patch: list[Object], dry_run: bool) -> None:
        patches.append((namespace, name, patch, dry_run))

    admission = VirtAdmission(RawReader(Cluster([instance, launcher])), patch_vmi=patch_vmi)
    asked = AdmissionRequest(
        operation="CREATE",
        group="",
        version="v1",
        resource="pods",
        subresource="eviction",
        namespace="demo",
        name="virt-launcher-web-a",
        object={"kind": "Eviction"},
        dry_run=True,
    )
    if message:
        with pytest.raises(Denied) as caught:
            await admission.validate(asked)
        assert (caught.value.code, str(caught.value)) == (429, message)
    else:
        assert await admission.validate(asked) == []
    mark = [{"op": "add", "path": "/status/evacuationNodeName", "value": "node01"}]
    assert patches == ([("demo", "web", mark, True)] if marks else [])
