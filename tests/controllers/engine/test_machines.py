"""VMs on a real API server with all controllers; the node's part is played."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvtui.api.cdi.datavolume import DataVolume, DataVolumeStatus
from kvtui.api.core.config import ControllerRevision, Event, Namespace
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.config import KubeVirt
from kvtui.api.kubevirt.instancetype import VirtualMachineClusterInstancetype, VirtualMachinePreference
from kvtui.api.kubevirt.pool import VirtualMachinePool
from kvtui.api.kubevirt.replicaset import VirtualMachineInstanceReplicaSet
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta, Resource
from kvtui.api.registry import owner_reference
from kvtui.api.wire import from_wire, to_wire
from kvtui.controllers import conditions
from kvtui.errors import AlreadyExists
from tests.controllers.builders import guest, merged
from tests.controllers.engine import player
from tests.controllers.engine.player import NAMESPACE
from tests.controllers.plane import Plane, control_plane

WEB = (NAMESPACE, "web")


def plain_guest() -> dict[str, Any]:
    """Without what admission adds."""
    spec = guest()
    spec["domain"]["cpu"].pop("maxSockets")
    spec["domain"]["memory"].pop("maxGuest")
    return spec


def manifest(name: str = "web", **over: Any) -> VirtualMachine:
    spec = plain_guest()
    base: dict[str, Any] = {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"runStrategy": "Always", "template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
    }
    return from_wire(merged(base, over), VirtualMachine)


def is_(word: str) -> Any:
    return lambda vm: vm is not None and vm.status.printable_status == word


def gone(obj: Resource | None) -> bool:
    return obj is None


async def reasons(plane: Plane, name: str) -> set[tuple[str, str]]:
    await plane.context.recorders.wait_written()
    events = (await plane.client.list(Event, NAMESPACE)).items
    return {(e.involved_object.kind, e.reason) for e in events if e.involved_object.name == name}


async def test_a_vm_runs_stops_and_goes(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        await plane.client.create(manifest())
        vmi = await player.boot(plane, "web")
        await plane.until(
            VirtualMachine,
            WEB,
            lambda v: v is not None and v.status.printable_status == "Running" and v.status.ready is True,
        )
        await plane.client.patch(VirtualMachine, WEB, {"spec": {"runStrategy": "Halted"}})
        await plane.until(VirtualMachine, WEB, is_("Stopping"))
        pod = await plane.client.list(Pod, NAMESPACE)
        await player.set_vmi(plane, "web", phase="Succeeded")
        for found in pod.items:
            await player.set_pod(plane, found, "Succeeded", ready=False)
            await plane.client.delete(Pod, found.key, grace=0)
        await plane.until(VirtualMachineInstance, WEB, gone)
        await plane.until(VirtualMachine, WEB, is_("Stopped"))
        await plane.client.delete(VirtualMachine, WEB)
        await plane.until(VirtualMachine, WEB, gone)
        assert vmi.metadata.uid
        assert await reasons(plane, "web") == {
            ("VirtualMachine", "SuccessfulCreate"),
            ("VirtualMachine", "SuccessfulDelete"),
            ("VirtualMachineInstance", "SuccessfulCreate"),
            ("VirtualMachineInstance", "SuccessfulDelete"),
        }


async def test_a_vm_for_which_there_is_no_room_says_so_and_starts_when_there_is(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        await plane.client.create(manifest(spec={"template": {"spec": {"nodeSelector": {"disk": "fast"}}}}))
        stuck = await plane.until(VirtualMachine, WEB, is_("ErrorUnschedulable"))
        assert stuck is not None
        found = conditions.find(stuck.status.conditions, "PodScheduled")
        assert found is not None
        assert (found.message or "").startswith(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        )
        await plane.client.patch(Node, ("", "node-1"), {"metadata": {"labels": {"disk": "fast"}}})
        await plane.until(VirtualMachine, WEB, is_("Starting"))


async def test_a_vm_waits_for_its_claim(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        volumes = [{"name": "root", "persistentVolumeClaim": {"claimName": "disk"}}]
        await plane.client.create(manifest(spec={"template": {"spec": {"volumes": volumes}}}))
        await plane.until(VirtualMachine, WEB, is_("ErrorPvcNotFound"))
        assert ("VirtualMachineInstance", "FailedPvcNotFound") in await reasons(plane, "web")
        claim = {
            "metadata": {"name": "disk", "namespace": NAMESPACE},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        await plane.client.create(from_wire(claim, PersistentVolumeClaim))
        await plane.until(
            VirtualMachine, WEB, lambda v: v is not None and v.status.printable_status != "ErrorPvcNotFound"
        )


async def test_an_instance_whose_volume_cannot_be_filled_fails_and_says_so(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        about = {"name": "disk", "namespace": NAMESPACE}
        source = {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "1Gi"}}}}
        made = await plane.client.create(from_wire({"metadata": about, "spec": source}, DataVolume))
        await plane.client.patch_status(DataVolume, made.key, DataVolumeStatus(phase="Failed"))
        volumes = [{"name": "root", "dataVolume": {"name": "disk"}}]
        instance = {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": {**guest(), "volumes": volumes}}
        await plane.client.create(from_wire(instance, VirtualMachineInstance))
        await plane.until(VirtualMachineInstance, WEB, lambda v: v is not None and v.status.phase == "Failed")
        assert ("VirtualMachineInstance", "FailedDataVolumeImport") in await reasons(plane, "web")


async def test_an_instance_without_an_owner_is_adopted_and_a_foreign_one_is_not(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        orphan = from_wire(
            {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": guest()}, VirtualMachineInstance
        )
        orphan = await plane.client.create(orphan)
        vm = await plane.client.create(manifest())
        adopted = await plane.until(
            VirtualMachineInstance, WEB, lambda v: v is not None and v.metadata.controller is not None
        )
        assert adopted is not None
        assert adopted.metadata.controller is not None
        assert adopted.metadata.controller.uid == vm.metadata.uid
        assert adopted.metadata.uid == orphan.metadata.uid


async def test_an_instancetype_and_a_preference_make_the_guest_and_are_frozen(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        size = {"metadata": {"name": "big"}, "spec": {"cpu": {"guest": 2}, "memory": {"guest": "2Gi"}}}
        await plane.client.create(from_wire(size, VirtualMachineClusterInstancetype))
        taste = {
            "metadata": {"name": "old", "namespace": NAMESPACE},
            "spec": {"devices": {"preferredDiskBus": "sata"}, "cpu": {"preferredCPUTopology": "cores"}},
        }
        await plane.client.create(from_wire(taste, VirtualMachinePreference))
        template = {"spec": {"domain": {"devices": {"disks": [{"name": "root", "disk": {}}]}}}}
        template["spec"]["volumes"] = [{"name": "root", "emptyDisk": {"capacity": "1Gi"}}]  # type: ignore[assignment]
        machine = {
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {
                "runStrategy": "Always",
                "instancetype": {"name": "big"},
                "preference": {"name": "old", "kind": "VirtualMachinePreference"},
                "template": template,
            },
        }
        await plane.client.create(from_wire(machine, VirtualMachine))
        vmi = await plane.until(VirtualMachineInstance, WEB, lambda v: v is not None)
        assert vmi is not None
        cpu, memory = vmi.spec.domain.cpu, vmi.spec.domain.memory
        assert cpu is not None
        assert memory is not None
        assert (cpu.cores, cpu.sockets, memory.guest) == (2, 1, "2Gi")
        assert vmi.spec.domain.devices.disks[0].disk is not None
        assert vmi.spec.domain.devices.disks[0].disk.bus == "sata"
        assert vmi.metadata.annotations["kubevirt.io/cluster-instancetype-name"] == "big"
        assert vmi.metadata.annotations["kubevirt.io/preference-name"] == "old"
        vm = await plane.until(VirtualMachine, WEB, lambda v: v is not None and v.status.instancetype_ref is not None)
        assert vm is not None
        assert vm.status.instancetype_ref is not None
        ref = vm.status.instancetype_ref.controller_revision_ref
        assert ref is not None
        frozen = await plane.client.get(ControllerRevision, (NAMESPACE, ref.name or ""))
        assert frozen.metadata.labels["instancetype.kubevirt.io/object-name"] == "big"
        assert frozen.data["spec"]["memory"]["guest"] == "2Gi"


async def test_a_revision_of_an_older_version_is_brought_into_the_latest(tmp_path: Path) -> None:
    label = "instancetype.kubevirt.io/object-"
    async with control_plane(tmp_path) as plane:
        size = {"metadata": {"name": "big"}, "spec": {"cpu": {"guest": 2}, "memory": {"guest": "2Gi"}}}
        live = await plane.client.create(from_wire(size, VirtualMachineClusterInstancetype))
        spec = {
            "runStrategy": "Halted",
            "instancetype": {"name": "big"},
            "template": {"spec": {"domain": {"devices": {}}}},
        }
        machine = {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": spec}
        vm = await plane.client.create(from_wire(machine, VirtualMachine))
        noted = await plane.until(
            VirtualMachine, WEB, lambda v: v is not None and v.status.instancetype_ref is not None
        )
        assert noted is not None
        assert noted.status.instancetype_ref is not None
        # As it was left by a release that kept v1alpha2, when the live object was smaller.
        old = ControllerRevision(
            metadata=ObjectMeta(
                name="web-big-v1alpha2",
                namespace=NAMESPACE,
                labels={f"{label}name": "big", f"{label}version": "v1alpha2"},
                owner_references=[owner_reference(vm)],
            ),
            data={
                "apiVersion": "instancetype.kubevirt.io/v1alpha2",
                "kind": "VirtualMachineClusterInstancetype",
                "metadata": {"name": "big", "uid": "before", "generation": 1},
                "spec": {"cpu": {"guest": 1}, "memory": {"guest": "1Gi"}},
            },
        )
        await plane.client.create(old)
        ref = {**to_wire(noted.status.instancetype_ref), "controllerRevisionRef": {"name": "web-big-v1alpha2"}}
        await plane.client.patch_status(VirtualMachine, WEB, {"instancetypeRef": ref})
        name = "web-big-v1beta1-before-1"
        made = await plane.until(ControllerRevision, (NAMESPACE, name), lambda r: r is not None)
        assert made is not None
        assert (made.metadata.labels[f"{label}version"], made.data["spec"]["memory"]["guest"]) == ("v1beta1", "1Gi")
        await plane.until(ControllerRevision, (NAMESPACE, "web-big-v1alpha2"), gone)
        after = await plane.client.get(VirtualMachine, WEB)
        assert after.status.instancetype_ref is not None
        assert after.status.instancetype_ref.controller_revision_ref is not None
        assert after.status.instancetype_ref.controller_revision_ref.name == name
        await plane.client.patch(VirtualMachine, WEB, {"spec": {"runStrategy": "Always"}})
        vmi = await plane.until(VirtualMachineInstance, WEB, lambda v: v is not None)
        assert vmi is not None
        assert vmi.spec.domain.memory is not None
        assert vmi.spec.domain.memory.guest == "1Gi"
        assert live.spec.memory is not None


async def test_a_revision_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        size = {"metadata": {"name": "big"}, "spec": {"cpu": {"guest": 2}, "memory": {"guest": "2Gi"}}}
        await plane.client.create(from_wire(size, VirtualMachineClusterInstancetype))
        spec = {
            "runStrategy": "Halted",
            "instancetype": {"name": "big"},
            "template": {"spec": {"domain": {"devices": {}}}},
        }
        machine = {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": spec}
        vm = await plane.client.create(from_wire(machine, VirtualMachine))
        await plane.until(VirtualMachine, WEB, lambda v: v is not None and v.status.instancetype_ref is not None)
        labels = {"instancetype.kubevirt.io/object-name": "big"}
        meta = ObjectMeta(name="odd", namespace=NAMESPACE, labels=labels, owner_references=[owner_reference(vm)])
        await plane.client.create(ControllerRevision(metadata=meta, data={"kind": "Odd"}))
        ref = {"name": "big", "kind": "virtualmachineclusterinstancetype", "controllerRevisionRef": {"name": "odd"}}
        await plane.client.patch_status(VirtualMachine, WEB, {"instancetypeRef": ref})
        failed = await plane.until(
            VirtualMachine, WEB, lambda v: v is not None and conditions.is_true(v.status.conditions, "Failure")
        )
        assert failed is not None
        assert "odd" in str(conditions.find(failed.status.conditions, "Failure"))


async def test_an_instancetype_that_does_not_exist_is_a_failure_until_it_does(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        spec = guest()
        del spec["domain"]["cpu"], spec["domain"]["memory"]
        machine = {
            "metadata": {"name": "web", "namespace": NAMESPACE},
            "spec": {"runStrategy": "Always", "instancetype": {"name": "later"}, "template": {"spec": spec}},
        }
        await plane.client.create(from_wire(machine, VirtualMachine))
        failed = await plane.until(
            VirtualMachine, WEB, lambda v: v is not None and conditions.is_true(v.status.conditions, "Failure")
        )
        assert failed is not None
        found = conditions.find(failed.status.conditions, "Failure")
        assert found is not None
        assert found.reason == "FailedFindInstancetype"
        size = {"metadata": {"name": "later"}, "spec": {"cpu": {"guest": 1}, "memory": {"guest": "1Gi"}}}
        await plane.client.create(from_wire(size, VirtualMachineClusterInstancetype))
        await plane.until(VirtualMachineInstance, WEB, lambda v: v is not None)


async def test_a_replica_set_scales(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        body = {
            "metadata": {"name": "set", "namespace": NAMESPACE},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "set"}},
                "template": {"metadata": {"labels": {"app": "set"}}, "spec": guest()},
            },
        }
        await plane.client.create(from_wire(body, VirtualMachineInstanceReplicaSet))
        key = (NAMESPACE, "set")
        three = await plane.until(
            VirtualMachineInstanceReplicaSet, key, lambda s: s is not None and s.status.replicas == 3
        )
        assert three is not None
        assert three.status.label_selector == "app=set"
        assert len((await plane.client.list(VirtualMachineInstance, NAMESPACE)).items) == 3
        await plane.client.patch(VirtualMachineInstanceReplicaSet, key, {"spec": {"replicas": 1}})
        await plane.until(VirtualMachineInstanceReplicaSet, key, lambda s: s is not None and s.status.replicas == 1)


def strategy(name: str) -> dict[str, Any]:
    return {"spec": {"virtualMachineTemplate": {"spec": {"runStrategy": name}}}}


def ending(vmi: VirtualMachineInstance | None) -> bool:
    return vmi is None or vmi.metadata.deletion_timestamp is not None


def of_revision(name: str) -> Callable[[VirtualMachineInstance | None], bool]:
    return lambda v: v is not None and v.metadata.labels.get("kubevirt.io/vm-pool-revision-name") == name


async def test_a_pool_makes_updates_and_deletes_its_vms(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        body = {
            "metadata": {"name": "pool", "namespace": NAMESPACE},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "pool"}},
                "virtualMachineTemplate": {
                    "metadata": {"labels": {"app": "pool"}},
                    "spec": {
                        "runStrategy": "Halted",
                        "template": {"metadata": {"labels": {"app": "pool"}}, "spec": plain_guest()},
                    },
                },
            },
        }
        await plane.client.create(from_wire(body, VirtualMachinePool))
        key = (NAMESPACE, "pool")
        await plane.until(VirtualMachinePool, key, lambda p: p is not None and p.status.replicas == 2)
        names = sorted(v.metadata.name for v in (await plane.client.list(VirtualMachine, NAMESPACE)).items)
        assert names == ["pool-0", "pool-1"]
        template = {"virtualMachineTemplate": {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}}}
        await plane.client.patch(VirtualMachinePool, key, {"spec": template})
        await plane.until(
            VirtualMachine,
            (NAMESPACE, "pool-1"),
            lambda v: v is not None and v.spec.template.spec.termination_grace_period_seconds == 7,
        )
        await plane.client.patch(VirtualMachinePool, key, strategy("Always"))
        first = await plane.until(VirtualMachineInstance, (NAMESPACE, "pool-0"), lambda v: v is not None)
        assert first is not None
        await plane.client.patch(VirtualMachinePool, key, strategy("RerunOnFailure"))
        same = await plane.until(VirtualMachineInstance, (NAMESPACE, "pool-0"), of_revision("pool-4"))
        assert same is not None
        assert same.metadata.uid == first.metadata.uid, "its template is the same: a label is enough"
        template = {"virtualMachineTemplate": {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 8}}}}}
        await plane.client.patch(VirtualMachinePool, key, {"spec": template})
        ends = await plane.until(VirtualMachineInstance, (NAMESPACE, "pool-0"), ending)
        assert ends is None or ends.metadata.uid == first.metadata.uid
        await plane.client.patch(VirtualMachinePool, key, {"spec": {"replicas": 0}})
        await plane.until(VirtualMachine, (NAMESPACE, "pool-0"), gone)
        await plane.until(VirtualMachine, (NAMESPACE, "pool-1"), gone)
        await plane.client.delete(VirtualMachinePool, key)
        await plane.until(VirtualMachinePool, key, gone)


async def test_the_kubevirt_object_becomes_available_and_counts_at_once(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        body = {"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": {}}
        with_namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubevirt"}}
        with contextlib.suppress(AlreadyExists):
            await plane.client.create(from_wire(with_namespace, Namespace))
        await plane.client.create(from_wire(body, KubeVirt))
        key = ("kubevirt", "kubevirt")
        ready = await plane.until(
            KubeVirt, key, lambda k: k is not None and conditions.is_true(k.status.conditions, "Available")
        )
        assert ready is not None
        assert ready.status.phase == "Deployed"
        assert not plane.context.config.now.use_emulation
        configuration = {"developerConfiguration": {"useEmulation": True}}
        await plane.client.patch(KubeVirt, key, {"spec": {"configuration": configuration}})
        await plane.client.create(manifest())
        await player.join(plane, "node-1")
        vmi = await plane.until(VirtualMachineInstance, WEB, lambda v: v is not None)
        assert vmi is not None
        pod = await player.launcher_of(plane, vmi)
        assert "devices.kubevirt.io/kvm" not in pod.spec.containers[0].resources.requests


async def test_metrics_of_a_running_plane(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        await plane.client.create(manifest())
        await player.boot(plane, "web")
        await plane.until(VirtualMachine, WEB, is_("Running"))
        text = plane.context.metrics.text()
        assert 'kubevirt_vm_info{name="web",namespace="default"' in text
        assert 'status_group="running"} 1' in text
        assert "kubevirt_vmi_phase_transition_time_seconds_bucket" in text
