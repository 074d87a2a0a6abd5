"""Phases, conditions and marks of a VMI as far as the control plane sets them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import to_wire
from kvtui.controllers.launcher.networks import pod_interface_name
from kvtui.controllers.virtualmachineinstance.hotplug import wake_in, with_changes
from kvtui.controllers.virtualmachineinstance.plan import Situation, dynamic_labels, unpaused_gate
from kvtui.controllers.virtualmachineinstance.status import free_cid, next_version
from tests.controllers.builders import NOW, launcher, vmi

DELETED = {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}
BOTH = ["kubevirt.io/virtualMachineControllerFinalize", "kubevirt.io/foregroundDeleteVirtualMachine"]


def after(
    phase: str, *pods: Pod, over: dict[str, Any] | None = None, used: tuple[int, ...] = (), **more: Any
) -> VirtualMachineInstance:
    at = Situation(vmi=vmi(phase=phase, **(over or {})), now=NOW, pods=pods, **more)
    return next_version(at, None, used_cids=used)


PENDING_POD = launcher(phase="Pending", conditions={"PodScheduled": "True"})
FAILED_POD = launcher(phase="Failed")
GOING_POD = launcher(metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"})
ENDED_POD = launcher(
    status={"containerStatuses": [{"name": "compute", "state": {"terminated": {"exitCode": 1}}}]},
)


@pytest.mark.parametrize(
    ("phase", "pods", "over", "wanted"),
    [
        ("", (), {}, "Pending"),
        ("Pending", (), {}, "Pending"),
        ("Pending", (), DELETED, "Failed"),
        ("Pending", (PENDING_POD,), {}, "Scheduling"),
        ("Scheduling", (PENDING_POD,), {}, "Scheduling"),
        ("Scheduling", (launcher(),), {}, "Scheduled"),
        ("Scheduling", (launcher(),), DELETED, "Scheduling"),
        ("Scheduling", (FAILED_POD,), {}, "Failed"),
        ("Scheduling", (GOING_POD,), {}, "Failed"),
        ("Scheduling", (ENDED_POD,), {}, "Failed"),
        ("Scheduling", (), {}, "Failed"),
        ("Scheduled", (launcher(),), {}, "Scheduled"),
        ("Scheduled", (), {}, "Failed"),
        ("Running", (launcher(),), {}, "Running"),
        ("Running", (FAILED_POD,), {}, "Running"),
        ("Running", (), {}, "Failed"),
        ("WaitingForSync", (PENDING_POD,), {}, "Scheduling"),
        ("WaitingForSync", (), DELETED, "Failed"),
        ("Succeeded", (), {}, "Succeeded"),
    ],
)
def test_phase(phase: str, pods: tuple[Pod, ...], over: dict[str, Any], wanted: str) -> None:
    assert after(phase, *pods, over=over).status.phase == wanted


def test_a_scheduled_vmi_knows_its_node() -> None:
    scheduled = after(
        "Scheduling", launcher(), over={"spec": {"domain": {"devices": {"autoattachVSOCK": True}}}}, used=(3, 4)
    )
    assert scheduled.status.node_name == "node-1"
    assert scheduled.metadata.labels["kubevirt.io/nodeName"] == "node-1"
    assert scheduled.status.migration_transport == "Unix"
    assert scheduled.status.vsockcid == 5
    assert [v.name for v in scheduled.status.volume_status] == ["root"]
    assert scheduled.status.active_pods == {"virt-launcher-web-abcde-uid": "node-1"}


def test_context_ids_start_after_the_reserved_ones() -> None:
    assert free_cid([]) == 3


def test_dedicated_cpus_need_a_guaranteed_pod() -> None:
    burstable = launcher(status={"qosClass": "Burstable"})
    stuck = after("Scheduling", burstable, over={"spec": {"domain": {"cpu": {"dedicatedCpuPlacement": True}}}})
    assert stuck.status.phase == "Scheduling"
    assert [c.reason for c in stuck.status.conditions if c.type == "Synchronized"] == ["FailedGuaranteeResources"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("ErrImagePull", "ErrImagePull"),
        ("ImagePullBackOff", "ImagePullBackOff"),
        ("ContainerCreating", "FailedCreatePodSandBox"),
    ],
)
def test_an_image_or_a_network_that_cannot_be_had_is_said(reason: str, said: str) -> None:
    waiting = {"name": "compute", "state": {"waiting": {"reason": reason, "message": "there is none"}}}
    stuck = after("Scheduling", launcher(phase="Pending", status={"containerStatuses": [waiting]}))
    found = next(c for c in stuck.status.conditions if c.type == "Synchronized")
    assert (found.status, found.reason, found.message) == ("False", said, "there is none")
    goes_on = after("Scheduling", launcher(phase="Pending"), over={"status": {"conditions": [to_wire(found)]}})
    assert not [c for c in goes_on.status.conditions if c.type == "Synchronized"]


@pytest.mark.parametrize(
    ("phase", "pods", "ready"),
    [
        ("Pending", (), ("False", "PodNotExists")),
        ("Scheduled", (launcher(),), ("False", "GuestNotRunning")),
        ("Running", (launcher(),), ("True", None)),
        ("Running", (launcher(conditions={"Ready": "False"}),), ("False", None)),
        ("Running", (launcher(conditions={"Initialized": "True"}),), ("False", "PodConditionMissing")),
        ("Running", (GOING_POD,), ("False", "PodTerminating")),
    ],
)
def test_readiness(phase: str, pods: tuple[Pod, ...], ready: tuple[str, str | None]) -> None:
    found = next(c for c in after(phase, *pods).status.conditions if c.type == "Ready")
    assert (found.status, found.reason) == ready


def test_a_pod_without_a_node_is_explained_until_it_has_one() -> None:
    message = "0/1 nodes are available: 1 Insufficient memory."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    waiting = launcher(node="", phase="Pending", status={"conditions": [condition]})
    stuck = after("Scheduling", waiting)
    found = next(c for c in stuck.status.conditions if c.type == "PodScheduled")
    assert (found.status, found.reason, found.message) == ("False", "Unschedulable", message)
    over = {"status": {"conditions": [condition]}}
    assert all(c.type != "PodScheduled" for c in after("Scheduling", PENDING_POD, over=over).status.conditions)


@pytest.mark.parametrize(
    ("pods", "owner", "left"),
    [((FAILED_POD,), False, BOTH), ((), False, []), ((), True, BOTH[:1])],
)
def test_a_finished_vmi_lets_go_when_its_pods_are_gone(pods: tuple[Pod, ...], left: list[str], *, owner: bool) -> None:
    finished = after("Failed", *pods, over={"metadata": {"finalizers": BOTH}}, owner_exists=owner)
    assert finished.metadata.finalizers == left


def test_a_vmi_that_admission_did_not_see_is_completed() -> None:
    new = after("", over={"metadata": {"finalizers": []}})
    assert new.metadata.finalizers == ["kubevirt.io/foregroundDeleteVirtualMachine"]
    assert new.status.current_cpu_topology is not None
    assert new.status.memory is not None
    assert new.status.memory.guest_at_boot == "1Gi"
    assert [t.phase for t in new.status.phase_transition_timestamps] == ["Pending"]


def test_a_migration_target_is_not_the_launcher_before_the_vmi_is_there() -> None:
    target = launcher("target", node="node-2", metadata={"labels": {"kubevirt.io/migrationJobUID": "m"}})
    running = after("Running", launcher(), target)
    assert running.status.phase == "Running"
    assert len(running.status.active_pods) == 2
    assert after("Running", target).status.phase == "Failed", "its own launcher has vanished"


@pytest.mark.parametrize(
    ("paused", "present", "status"),
    [
        (False, "", "True"),
        (False, "True", None),
        (True, "True", "False"),
        (True, "False", None),
        (False, "False", "True"),
    ],
)
def test_the_readiness_gate_follows_pauses(present: str, status: str | None, *, paused: bool) -> None:
    conditions = {"kubevirt.io/virtual-machine-unpaused": present} if present else {"Ready": "True"}
    gated = launcher(
        conditions=conditions, spec={"readinessGates": [{"conditionType": "kubevirt.io/virtual-machine-unpaused"}]}
    )
    instance = vmi(status={"conditions": [{"type": "Paused", "status": "True"}] if paused else []})
    gate = unpaused_gate(instance, gated, NOW)
    assert (gate["status"] if gate is not None else None) == status
    assert unpaused_gate(instance, launcher(), NOW) is None, "no gate, nothing to open"
    if gate is not None:
        told = {
            "True": ("NotPaused", "the virtual machine is not paused"),
            "False": ("Paused", "the virtual machine is paused"),
        }
        assert (gate["reason"], gate["message"]) == told[gate["status"]]


def test_a_launcher_of_another_kind_is_outdated() -> None:
    def marked(image: str, **labels: str) -> bool:
        pod = launcher(spec={"containers": [{"name": "compute", "image": image}]})
        found = after("Running", pod, over={"metadata": {"labels": labels}})
        return "kubevirt.io/outdatedLauncherImage" in found.metadata.labels

    assert marked("kvtui.io/older")
    assert not marked("kvtui.io/launcher", **{"kubevirt.io/outdatedLauncherImage": ""})


def test_a_launcher_carries_the_labels_that_change() -> None:
    labels = {"kubevirt.io/nodeName": "node-1", "app": "web"}
    pod = launcher(metadata={"labels": {"kubevirt.io/outdatedLauncherImage": ""}})
    wanted = {"kubevirt.io/nodeName": "node-1", "kubevirt.io/outdatedLauncherImage": None}
    assert dynamic_labels(vmi(metadata={"labels": labels}), pod) == wanted


def test_pinned_cpus_need_a_pod_that_is_guaranteed_them() -> None:
    pinned = {"spec": {"domain": {"cpu": {"dedicatedCpuPlacement": True}}}}
    found = after("Scheduling", launcher(status={"qosClass": "Burstable"}), over=pinned)
    assert found.status.phase == "Scheduling"
    (told,) = (c for c in found.status.conditions if c.type == "Synchronized")
    assert (told.reason, told.message) == ("FailedGuaranteeResources", "failed to guarantee pod resources")


def running(**status: Any) -> VirtualMachineInstance:
    return vmi(status=status)


def test_more_sockets_wait_for_a_migration() -> None:
    waiting = with_changes(running(currentCPUTopology={"sockets": 2, "cores": 1, "threads": 1}), launcher(), NOW)
    assert [(c.type, c.status) for c in waiting.status.conditions] == [("HotVCPUChange", "True")]
    same = with_changes(running(currentCPUTopology={"sockets": 1, "cores": 1, "threads": 1}), launcher(), NOW)
    assert same.status.conditions == []


def test_more_memory_waits_for_a_migration() -> None:
    pod = launcher(spec={"containers": [{"name": "compute", "resources": {"requests": {"memory": "800Mi"}}}]})
    waiting = with_changes(running(memory={"guestRequested": "512Mi"}), pod, NOW)
    assert [(c.type, c.status) for c in waiting.status.conditions] == [("HotMemoryChange", "True")]
    assert waiting.metadata.labels["kubevirt.io/vmi-pod-memory-resource-requests"] == "1312Mi"


NEW_NIC = {
    "domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}, {"name": "blue", "bridge": {}}]}},
    "networks": [{"name": "default", "pod": {}}, {"name": "blue", "multus": {"networkName": "blue"}}],
}


def test_a_nic_that_no_agent_plugs_in_becomes_a_reason_to_migrate() -> None:
    first = with_changes(vmi(spec=NEW_NIC), launcher(), NOW)
    assert [(c.type, c.status) for c in first.status.conditions] == [("MigrationRequired", "False")]
    assert wake_in(first, NOW) == pytest.approx(15.1)
    old = {"type": "MigrationRequired", "status": "False", "lastTransitionTime": "2026-03-01T11:59:45Z"}
    later = with_changes(vmi(spec=NEW_NIC, status={"conditions": [old]}), launcher(), NOW)
    assert [(c.status, c.reason) for c in later.status.conditions] == [("True", "AutoMigrationDueToLiveUpdate")]
    plugged = vmi(spec=NEW_NIC, status={"conditions": [old], "interfaces": [{"name": "blue"}]})
    assert with_changes(plugged, launcher(), NOW).status.conditions == []


def test_another_network_is_a_reason_to_migrate_at_once() -> None:
    def waiting(name: str) -> list[tuple[str, str | None]]:
        element = {"name": name, "namespace": "default", "interface": pod_interface_name("blue")}
        pod = launcher(metadata={"annotations": {"k8s.v1.cni.cncf.io/networks": json.dumps([element])}})
        found = with_changes(vmi(spec=NEW_NIC), pod, NOW).status.conditions
        return [(c.status, c.reason) for c in found if c.type == "MigrationRequired"]

    assert waiting("blue") == []
    assert waiting("green") == [("True", "AutoMigrationDueToLiveUpdate")]
