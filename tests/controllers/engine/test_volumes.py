"""Local volumes and the scheduler together: a claim that waits is provisioned where its launcher goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kvtui.api.cdi.config import CDI, CDIConfig, FilesystemOverhead
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.profile import StorageProfile
from kvtui.api.cdi.sources import DataSource
from kvtui.api.core.config import Namespace
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire, to_json
from kvtui.controllers.context import MakeController
from kvtui.controllers.datavolume.controller import DataVolumeController
from kvtui.controllers.provisioner import ProvisionerController
from kvtui.controllers.standins.binder import BinderController
from kvtui.controllers.standins.bootstrap import BootstrapController
from tests.controllers.engine import player
from tests.controllers.engine.player import NAMESPACE
from tests.controllers.engine.test_machines import WEB, is_, manifest
from tests.controllers.plane import Plane, control_plane

STORAGE: tuple[MakeController, ...] = (
    BootstrapController,
    ProvisionerController,
    BinderController,
    DataVolumeController,
)
SIZE = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}


async def storage_node(plane: Plane, name: str) -> None:
    await player.join(plane, name)
    local = {"metadata": {"annotations": {"kvtui.io/local-storage": f"/var/lib/{name}"}}}
    await plane.client.patch(Node, ("", name), local)


def volumes(source: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"volumes": [{"name": "root", **source}]}}}}


async def test_a_claim_is_bound_on_the_node_that_its_launcher_gets(tmp_path: Path) -> None:
    async with control_plane(tmp_path, further=STORAGE) as plane:
        await player.join(plane, "node-1")
        await storage_node(plane, "node-2")
        body = {
            "metadata": {"name": "disk", "namespace": NAMESPACE},
            "spec": {**SIZE, "storageClassName": "kvtui-local"},
        }
        await plane.client.create(from_wire(body, PersistentVolumeClaim))
        await plane.client.create(manifest(**volumes({"persistentVolumeClaim": {"claimName": "disk"}})))
        vmi = await plane.until(VirtualMachineInstance, WEB, lambda v: v is not None)
        assert vmi is not None
        pod = await player.launcher_of(plane, vmi)
        assert pod.spec.node_name == "node-2"
        claim = await plane.client.get(PersistentVolumeClaim, (NAMESPACE, "disk"))
        assert claim.status.phase == "Bound"
        volume = await plane.client.get(PersistentVolume, ("", claim.spec.volume_name or ""))
        assert volume.spec.local is not None
        assert volume.spec.local.path.startswith("/var/lib/node-2/")


@pytest.mark.timeout(120)
async def test_a_data_volume_is_filled_where_the_vm_will_run(tmp_path: Path) -> None:
    async with control_plane(tmp_path, further=STORAGE) as plane:
        await storage_node(plane, "node-1")
        template = {
            "metadata": {"name": "disk"},
            "spec": {"source": {"blank": {}}, "storage": {**SIZE, "storageClassName": "kvtui-local"}},
        }
        over = volumes({"dataVolume": {"name": "disk"}})
        over["spec"]["dataVolumeTemplates"] = [template]
        await plane.client.create(manifest(**over))
        key = (NAMESPACE, "disk")
        await plane.until(DataVolume, key, lambda d: d is not None and d.metadata.controller is not None)
        worker = await plane.until(
            DataVolume, key, lambda d: d is not None and d.status.phase in ("ImportInProgress", "ImportScheduled")
        )
        assert worker is not None
        claim = await plane.client.get(PersistentVolumeClaim, key)
        assert claim.status.phase == "Bound"
        await plane.until(VirtualMachine, WEB, is_("Provisioning"))
        found = (await plane.client.list(Pod, NAMESPACE, label_selector="kvtui.io/worker")).items
        assert [p.spec.node_name or "node-1" for p in found] == ["node-1"]


async def test_a_data_volume_is_cloned_from_what_a_data_source_names(tmp_path: Path) -> None:
    async with control_plane(tmp_path, further=STORAGE) as plane:
        await storage_node(plane, "node-1")
        copy = {
            "metadata": {"name": "copy", "namespace": NAMESPACE},
            "spec": {
                "sourceRef": {"kind": "DataSource", "name": "golden"},
                "storage": {"accessModes": ["ReadWriteOnce"]},
            },
        }
        source = {
            "metadata": {"name": "golden", "namespace": NAMESPACE},
            "spec": {"source": {"pvc": {"name": "image", "namespace": NAMESPACE}}},
        }
        await plane.client.create(from_wire(source, DataSource))
        key = (NAMESPACE, "golden")
        await plane.until(DataSource, key, lambda s: s is not None and bool(s.status.conditions))
        await plane.client.create(from_wire(copy, DataVolume))
        waiting = await plane.until(
            DataVolume, (NAMESPACE, "copy"), lambda d: d is not None and bool(d.status.conditions)
        )
        assert waiting is not None
        assert waiting.status.conditions[0].reason == "CloneWithoutSource"
        image = {
            "metadata": {
                "name": "image",
                "namespace": NAMESPACE,
                "labels": {"instancetype.kubevirt.io/default-preference": "fedora"},
            },
            "spec": {**SIZE, "storageClassName": "kvtui-local"},
        }
        await plane.client.create(from_wire(image, PersistentVolumeClaim))
        ready = await plane.until(DataSource, key, lambda s: s is not None and s.status.source is not None)
        assert ready is not None
        assert ready.metadata.labels == {"instancetype.kubevirt.io/default-preference": "fedora"}
        claim = await plane.until(PersistentVolumeClaim, (NAMESPACE, "copy"), lambda c: c is not None)
        assert claim is not None
        assert claim.metadata.annotations["k8s.io/CloneRequest"] == f"{NAMESPACE}/image"
        volume = await plane.client.get(DataVolume, (NAMESPACE, "copy"))
        assert volume.spec.source is None
        assert volume.metadata.labels == ready.metadata.labels


FOREIGN = {"name": "image", "namespace": "images"}


async def foreign_image(plane: Plane) -> None:
    await plane.client.create(from_wire({"metadata": {"name": "images"}}, Namespace))
    await plane.client.create(
        from_wire({"metadata": FOREIGN, "spec": {**SIZE, "storageClassName": "kvtui-local"}}, PersistentVolumeClaim)
    )


async def test_a_vm_gets_clones_from_elsewhere_if_its_account_may_make_them(tmp_path: Path) -> None:
    async with control_plane(tmp_path, further=STORAGE) as plane:
        await storage_node(plane, "node-1")
        await foreign_image(plane)
        over = volumes({"dataVolume": {"name": "disk"}})
        template = {"metadata": {"name": "disk"}, "spec": {"source": {"pvc": FOREIGN}, "storage": SIZE}}
        over["spec"]["dataVolumeTemplates"] = [template]
        await plane.client.create(manifest(**over))
        told = await plane.until(VirtualMachine, WEB, lambda v: v is not None and bool(failure_of(v)))
        assert told is not None
        account = f"system:serviceaccount:{NAMESPACE}:default"
        refused = f"User {account} has insufficient permissions in clone source namespace images"
        assert failure_of(told) == f"Error encountered while creating DataVolumes: {refused}"
        assert await plane.client.find(DataVolume, (NAMESPACE, "disk")) is None
        binding = {
            "metadata": {"name": "clones", "namespace": "images"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cdi.kubevirt.io:clone-sourcer",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
        }
        path = "/apis/rbac.authorization.k8s.io/v1/namespaces/images/rolebindings"
        await plane.client.raw("POST", path, body=to_json(binding))
        made = await plane.until(DataVolume, (NAMESPACE, "disk"), lambda d: d is not None)
        assert made is not None
        assert made.spec.source is not None
        assert made.spec.source.pvc is not None
        assert made.spec.source.pvc.namespace == "images"


async def test_a_data_source_that_turns_elsewhere_opens_nothing(tmp_path: Path) -> None:
    async with control_plane(tmp_path, further=STORAGE) as plane:
        await storage_node(plane, "node-1")
        await foreign_image(plane)
        copy = {
            "metadata": {"name": "copy", "namespace": NAMESPACE},
            "spec": {"sourceRef": {"kind": "DataSource", "name": "golden"}, "storage": SIZE},
        }
        await plane.client.create(from_wire(copy, DataVolume))
        source = {"metadata": {"name": "golden", "namespace": NAMESPACE}, "spec": {"source": {"pvc": FOREIGN}}}
        await plane.client.create(from_wire(source, DataSource))
        refused = await plane.until(
            DataVolume,
            (NAMESPACE, "copy"),
            lambda d: d is not None and any(c.reason == "CloneUnauthorized" for c in d.status.conditions),
        )
        assert refused is not None
        assert await plane.client.find(PersistentVolumeClaim, (NAMESPACE, "copy")) is None
        again = {**copy, "metadata": {"name": "again", "namespace": NAMESPACE}}
        await plane.client.create(from_wire(again, DataVolume))  # by somebody who may
        await plane.until(PersistentVolumeClaim, (NAMESPACE, "again"), lambda c: c is not None)


def failure_of(vm: VirtualMachine) -> str:
    return next((c.message or "" for c in vm.status.conditions if c.type == "Failure"), "")


async def test_the_cdi_object_configures_and_profiles_choose_modes(tmp_path: Path) -> None:
    async with control_plane(tmp_path, further=STORAGE) as plane:
        profile = ("", "kvtui-local")
        found = await plane.until(StorageProfile, profile, lambda p: p is not None and p.status is not None)
        assert found is not None
        assert found.status is not None
        assert found.status.claim_property_sets[0].access_modes == ["ReadWriteOnce"]
        wish = {"claimPropertySets": [{"accessModes": ["ReadWriteMany"], "volumeMode": "Block"}]}
        await plane.client.patch(StorageProfile, profile, {"spec": wish})
        cdi = await plane.until(CDI, ("", "cdi"), lambda c: c is not None and c.status.phase == "Deployed")
        assert cdi is not None
        overhead = {"filesystemOverhead": {"global": "0.5"}}
        await plane.client.patch(CDI, cdi.key, {"spec": {"config": overhead}})
        await plane.until(
            CDIConfig,
            ("", "config"),
            lambda c: (
                c is not None
                and c.status.filesystem_overhead
                == FilesystemOverhead(global_="0.5", storage_class={"kvtui-local": "0.5", "local-path": "0.5"})
            ),
        )
        body = {
            "metadata": {"name": "raw", "namespace": NAMESPACE},
            "spec": {
                "source": {"blank": {}},
                "storage": {"resources": SIZE["resources"], "storageClassName": "kvtui-local"},
            },
        }
        await plane.client.create(from_wire(body, DataVolume))
        claim = await plane.until(PersistentVolumeClaim, (NAMESPACE, "raw"), lambda c: c is not None)
        assert claim is not None
        assert (claim.spec.access_modes, claim.spec.volume_mode) == (["ReadWriteMany"], "Block")
