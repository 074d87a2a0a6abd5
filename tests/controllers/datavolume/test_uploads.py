"""Volumes that wait for an upload: their worker, what virtctl reads of them, and their end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.wire import from_json, from_wire
from kvtui.api.worker import JOB_ANNOTATION, WORKER_LABEL, Job
from kvtui.client.rest import Patch
from kvtui.controllers.context import MakeController
from kvtui.controllers.datavolume import names
from kvtui.controllers.datavolume.controller import DataVolumeController
from kvtui.controllers.provisioner import ProvisionerController
from kvtui.controllers.standins.binder import BinderController
from kvtui.controllers.standins.bootstrap import BootstrapController
from tests.controllers.engine import player
from tests.controllers.engine.player import NAMESPACE
from tests.controllers.plane import Plane, control_plane

CONTROLLERS: tuple[MakeController, ...] = (
    BootstrapController,
    ProvisionerController,
    BinderController,
    DataVolumeController,
)
SIZE = {"requests": {"storage": "1Gi"}}
POD = (NAMESPACE, "cdi-upload-disk")
KEY = (NAMESPACE, "disk")


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with control_plane(tmp_path, further=CONTROLLERS) as made:
        await player.join(made, "node-1")
        local = {"metadata": {"annotations": {"kvtui.io/local-storage": "/var/lib/node-1"}}}
        await made.client.patch(Node, ("", "node-1"), local)
        yield made


async def volume(plane: Plane, **annotations: str) -> None:
    storage = {"storageClassName": "kvtui-local", "resources": SIZE}
    body = {
        "metadata": {"name": KEY[1], "namespace": KEY[0], "annotations": annotations},
        "spec": {"source": {"upload": {}}, "storage": storage},
    }
    await plane.client.create(from_wire(body, DataVolume))


async def says(plane: Plane, phase: str, state: dict[str, Any], *, ready: bool = False) -> None:
    """What the agent reports of the worker."""
    status = {
        "phase": phase,
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [{"name": "importer", "state": state, "image": "", "imageID": ""}],
    }
    await plane.client.patch(Pod, POD, {"status": status}, how=Patch.STRATEGIC, subresource="status")


async def noted(plane: Plane, **wanted: str) -> PersistentVolumeClaim:
    """The claim once it has these annotations, by their names in `names`."""

    def holds(claim: PersistentVolumeClaim | None) -> bool:
        return claim is not None and all(
            claim.metadata.annotations.get(getattr(names, key)) == value for key, value in wanted.items()
        )

    found = await plane.until(PersistentVolumeClaim, KEY, holds)
    assert found is not None
    return found


async def phase(plane: Plane, wanted: str) -> DataVolume:
    found = await plane.until(DataVolume, KEY, lambda dv: dv is not None and dv.status.phase == wanted)
    assert found is not None
    return found


RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


async def test_a_volume_from_its_making_to_its_end(plane: Plane) -> None:
    await volume(plane, **{names.IMMEDIATE: ""})
    await phase(plane, "UploadScheduled")
    pod = await plane.until(Pod, POD, lambda p: p is not None and bool(p.spec.node_name))
    assert pod is not None
    assert pod.metadata.labels[WORKER_LABEL] == "upload"
    job = from_json(pod.metadata.annotations[JOB_ANNOTATION].encode(), Job)
    assert job.upload is not None
    await says(plane, "Running", RUNNING)
    await noted(plane, POD_PHASE="Running", POD_READY="false", UPLOAD_POD=POD[1])
    assert (await phase(plane, "UploadScheduled")).status.progress == "N/A"
    await says(plane, "Running", RUNNING, ready=True)
    await phase(plane, "UploadReady")
    await noted(plane, POD_READY="true")
    await says(plane, "Succeeded", {"terminated": {"exitCode": 0, "reason": "Completed", "message": '{"ok":true}'}})
    done = await phase(plane, "Succeeded")
    assert done.status.progress == "N/A"
    assert {c.type: (c.status, c.message or "") for c in done.status.conditions} == {
        "Bound": ("True", "PVC disk Bound"),
        "Ready": ("True", ""),
        "Running": ("False", "Upload Complete"),
    }
    await plane.until(Pod, POD, lambda p: p is None)


async def test_a_volume_without_a_consumer_has_no_worker(plane: Plane) -> None:
    await volume(plane)
    await phase(plane, "WaitForFirstConsumer")
    assert await plane.client.find(Pod, POD) is None


async def test_a_claim_alone_is_filled_the_same_way_and_may_go_any_time(plane: Plane) -> None:
    annotations = {names.UPLOAD_TARGET: "", names.IMMEDIATE: "", names.CONTENT_TYPE: "archive"}
    body = {
        "metadata": {"name": KEY[1], "namespace": KEY[0], "annotations": annotations},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "kvtui-local", "resources": SIZE},
    }
    await plane.client.create(from_wire(body, PersistentVolumeClaim))
    pod = await plane.until(Pod, POD, lambda p: p is not None and bool(p.spec.node_name))
    assert pod is not None
    assert from_json(pod.metadata.annotations[JOB_ANNOTATION].encode(), Job).archive
    await says(plane, "Running", RUNNING, ready=True)
    await noted(plane, POD_READY="true", POD_PHASE="Running", UPLOAD_POD=POD[1])
    await plane.client.delete(PersistentVolumeClaim, KEY)
    going = await plane.until(Pod, POD, lambda p: p is None or p.metadata.deletion_timestamp is not None)
    if going is not None:  # the agent lets it go
        await plane.client.delete(Pod, POD, grace=0)
    await plane.until(PersistentVolumeClaim, KEY, lambda c: c is None)


async def test_a_worker_that_failed_is_told_and_made_anew(plane: Plane) -> None:
    await volume(plane, **{names.IMMEDIATE: ""})
    await plane.until(Pod, POD, lambda p: p is not None and bool(p.spec.node_name))
    await says(plane, "Running", RUNNING, ready=True)
    await phase(plane, "UploadReady")
    ended = {"exitCode": 1, "reason": "Error", "message": "Unable to process data: x"}
    await says(plane, "Failed", {"terminated": {**ended, "finishedAt": "2026-01-01T00:00:00Z"}})
    await noted(plane, POD_READY="false", RUNNING_MESSAGE="Unable to process data: x")
    fresh = await plane.until(Pod, POD, lambda p: p is not None and p.status.phase != "Failed")
    assert fresh is not None
    assert (await noted(plane, POD_RESTARTS="1")).metadata.name == KEY[1]
