"""The state machine of a migration, step by step."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.wire import from_wire
from kvtui.controllers.launcher.target import missing_cpu
from kvtui.controllers.migration.plan import Next, handed_off, plan, with_failed_state
from kvtui.controllers.migration.view import View, backoff_left
from tests.controllers.builders import NOW, launcher, migration, vmi

MARK = {"kubevirt.io/migrationJobUID": "move-uid"}
SOURCE = launcher()
CPU = {"cpu-model-migration.node.kubevirt.io/Haswell": "true", "cpu-feature.node.kubevirt.io/x": "true"}
DELETED = {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}


def target(phase: str = "Running", **over: Any) -> Pod:
    base: dict[str, Any] = {"metadata": {"labels": MARK, "creationTimestamp": "2026-03-01T11:59:30Z"}}
    return launcher("target", node="node-2", phase=phase, **{**base, **over})


def state(**fields: Any) -> dict[str, Any]:
    return {"migrationState": {"migrationUid": "move-uid", "targetNode": "node-2", "targetPod": "target", **fields}}


def view(
    phase: str, *pods: Pod, over: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **more: Any
) -> View:
    instance = more.pop("vmi", None) or vmi(status=status or {})
    return View(migration=migration(phase=phase, **(over or {})), now=NOW, vmi=instance, pods=pods, **more)


def ended_before_a_change() -> dict[str, Any]:
    change = {"type": "HotVCPUChange", "status": "True", "lastTransitionTime": "2026-03-01T12:00:05Z"}
    return {**state(completed=True, endTimestamp="2026-03-01T12:00:04Z"), "conditions": [change]}


@pytest.mark.parametrize(
    ("at", "phase"),
    [
        (view(""), "Pending"),
        (view("Pending", SOURCE, target("Pending")), "Scheduling"),
        (view("Scheduling", SOURCE, target()), "Scheduled"),
        (view("Scheduled", SOURCE, target(), status=state()), "PreparingTarget"),
        (view("PreparingTarget", SOURCE, target(), status=state(targetNodeAddress="10.0.0.2")), "TargetReady"),
        (view("TargetReady", SOURCE, target(), status=state(startTimestamp="2026-03-01T12:00:00Z")), "Running"),
        (view("Running", SOURCE, target(), status=state(completed=True)), "Succeeded"),
        (view("Running", SOURCE, target(), status=ended_before_a_change()), "Succeeded"),
    ],
)
def test_a_migration_advances_one_phase_at_a_time(at: View, phase: str) -> None:
    assert plan(at).phase == phase


@pytest.mark.parametrize(
    "at",
    [
        view("Scheduling", SOURCE, target("Pending")),
        view("PreparingTarget", SOURCE, target(), status=state()),
        view("TargetReady", SOURCE, target(), status=state(targetNodeAddress="10.0.0.2")),
        view("Running", SOURCE, target(), status=state()),
        view(
            "Running",
            SOURCE,
            target(),
            status={**state(completed=True), "conditions": [{"type": "HotVCPUChange", "status": "True"}]},
        ),
    ],
)
def test_it_waits_for_the_others(at: View) -> None:
    assert plan(at).phase is None


def test_a_pending_migration_makes_its_target() -> None:
    assert plan(view("Pending", SOURCE)) == Next(
        create_target=True, drop_conditions=("migrationBlockedByBackup", "migrationBlockedByUtilityVolumes")
    )


@pytest.mark.parametrize(
    "at",
    [
        view("Pending", SOURCE, may_start=False),
        view("Pending", vmi=vmi(phase="Scheduled")),
        view("Pending", SOURCE, launcher("another")),
    ],
)
def test_it_waits_for_its_turn_and_for_its_vmi(at: View) -> None:
    step = plan(at)
    assert not step.create_target
    assert step.phase is None


def test_it_waits_for_a_backup_and_for_utility_volumes() -> None:
    backup = {"changedBlockTracking": {"backupStatus": {"backupName": "b"}}}
    assert [c[0] for c in plan(view("Pending", SOURCE, status=backup)).set_conditions] == ["migrationBlockedByBackup"]
    attached = vmi(spec={"utilityVolumes": [{"name": "u", "claimName": "u"}]})
    step = plan(view("Pending", SOURCE, vmi=attached))
    assert [c[0] for c in step.set_conditions] == ["migrationBlockedByUtilityVolumes"]
    late = {"metadata": {"creationTimestamp": "2026-03-01T11:50:00Z"}}
    assert plan(view("Pending", SOURCE, vmi=attached, over=late)).phase == "Failed"


GOING: dict[str, Any] = {"metadata": {"labels": MARK, "deletionTimestamp": "2026-03-01T12:00:00Z"}}


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (View(migration=migration(phase="Pending"), now=NOW), "Migration failed because vmi does not exist."),
        (view("Running", vmi=vmi(phase="Failed")), "Migration failed vmi shutdown during migration."),
        (view("Pending", SOURCE, over=DELETED), "Migration failed due to being canceled"),
        (view("Scheduling", SOURCE, target("Failed")), "Migration failed because target pod shutdown during migration"),
        (view("Scheduling", SOURCE, target(**GOING)), "Migration failed because target pod shutdown during migration"),
        (view("Scheduled", SOURCE), "Migration target pod was removed during active migration."),
        (view("TargetReady", SOURCE, target()), "VMI's migration state was cleared during the active migration."),
        (
            view("Running", SOURCE, target(), status={"migrationState": {"migrationUid": "else"}}),
            "VMI's migration state was taken over by another migration job during active migration.",
        ),
        (
            view("Running", SOURCE, target(), status=state(failed=True, completed=True, failureReason="no room")),
            "source node reported migration failed",
        ),
    ],
)
def test_failures(at: View, why: str) -> None:
    step = plan(at)
    assert step.phase == "Failed"
    assert step.failure == why


def test_another_migration_under_way_refuses_a_second() -> None:
    other = migration("other", phase="Running")
    busy = {"migrationState": {"migrationUid": "other-uid"}}
    assert plan(view("", others=[other], status=busy)).phase == "Failed"
    ended = {"migrationState": {"migrationUid": "other-uid", "completed": True}}
    assert plan(view("", others=[other], status=ended)).phase == "Failed", "the other one does not know yet"
    done = migration("other", phase="Succeeded")
    assert plan(view("", others=[done], status=busy)).phase == "Pending"
    assert plan(view("", status=busy)).phase == "Pending", "the other one is gone"


def test_canceling_a_running_migration_asks_the_source() -> None:
    running = view("Running", SOURCE, target(), status=state(), over=DELETED)
    assert plan(running).abort
    asked = view("Running", SOURCE, target(), status=state(abortRequested=True), over=DELETED)
    assert not plan(asked).abort
    preparing = view("PreparingTarget", SOURCE, target(), status=state(targetNodeAddress="x"), over=DELETED)
    assert plan(preparing).phase == "TargetReady", "it can only be stopped once it runs"


@pytest.mark.parametrize(
    ("age", "annotation", "conditions", "why"),
    [
        ("2026-03-01T11:56:00Z", {}, {"PodScheduled": "False"}, None),
        ("2026-03-01T11:54:00Z", {}, {"PodScheduled": "False"}, "unschedulable"),
        ("2026-03-01T11:54:00Z", {}, {"PodScheduled": "True"}, None),
        ("2026-03-01T11:44:00Z", {}, {"PodScheduled": "True"}, "pending"),
        (
            "2026-03-01T11:59:00Z",
            {"kubevirt.io/migrationUnschedulablePodTimeoutSeconds": "30"},
            {"PodScheduled": "False"},
            "unschedulable",
        ),
    ],
)
def test_a_target_that_does_not_start_is_given_up(
    age: str, annotation: dict[str, str], conditions: dict[str, str], why: str | None
) -> None:
    stuck = target(
        "Pending",
        metadata={"labels": MARK, "creationTimestamp": age},
        status={"conditions": [{"type": t, "status": s, "reason": "Unschedulable"} for t, s in conditions.items()]},
    )
    step = plan(view("Scheduling", SOURCE, stuck, over={"metadata": {"annotations": annotation}}))
    assert step.phase is None
    assert step.delete_target == (f"{why} pod default/target timeout period exceeded" if why else None)


def test_the_hand_off_names_both_sides() -> None:
    at = view("Scheduled", SOURCE, target(), status={"migrationState": {"migrationUid": "older", "completed": True}})
    handed = handed_off(at, claims=None)
    found = handed.status.migration_state
    assert found is not None
    assert (found.migration_uid, found.completed) == ("move-uid", None)
    assert (found.source_node, found.source_pod) == ("node-1", "virt-launcher-web-abcde")
    assert (found.target_node, found.target_pod) == ("node-2", "target")
    assert handed.metadata.labels["kubevirt.io/migrationTargetNodeName"] == "node-2"


def test_a_vmi_is_told_that_its_migration_is_over() -> None:
    told = with_failed_state(view("Running", SOURCE, target(), status=state()), "Target pod is down")
    assert told is not None
    assert told.status.migration_state is not None
    assert told.status.migration_state.failed
    assert told.status.migration_state.completed
    assert with_failed_state(view("Running", status=state(completed=True)), "late") is None


def failed_before(name: str, at: str, **annotations: str) -> Any:
    return migration(
        name,
        phase="Failed",
        metadata={
            "creationTimestamp": at,
            "annotations": annotations or {"kubevirt.io/evacuationMigration": "node-1"},
        },
        status={"phaseTransitionTimestamps": [{"phase": "Failed", "phaseTransitionTimestamp": "2026-03-01T11:59:50Z"}]},
    )


def test_the_system_backs_off_after_failures_and_people_do_not() -> None:
    system = {"metadata": {"annotations": {"kubevirt.io/evacuationMigration": "node-1"}}}
    one = [failed_before("a", "2026-03-01T11:50:00Z")]
    assert backoff_left(view("Pending", SOURCE, over=system, others=one)) == 10
    two = [*one, failed_before("b", "2026-03-01T11:52:00Z")]
    assert backoff_left(view("Pending", SOURCE, over=system, others=two)) == 30
    assert backoff_left(view("Pending", SOURCE, others=two)) == 0
    newer = [*two, failed_before("c", "2026-03-01T11:59:59Z")]
    assert backoff_left(view("Pending", SOURCE, over=system, others=newer)) == 0
    by_hand = {"creationTimestamp": "2026-03-01T11:58:00Z"}
    between = [*two, migration("c", phase="Succeeded", metadata=by_hand)]
    assert backoff_left(view("Pending", SOURCE, over=system, others=between)) == 30, "people's do not count"
    by_system = {**by_hand, **system["metadata"]}
    between = [*two, migration("c", phase="Succeeded", metadata=by_system)]
    assert backoff_left(view("Pending", SOURCE, over=system, others=between)) == 0


@pytest.mark.parametrize(
    ("model", "labels", "why"),
    [
        ("host-model", {"node-1": CPU, "node-2": {}}, "map[cpu-feature.node.kubevirt.io/x:true cpu-model-"),
        ("host-model", {"node-1": {}, "node-2": CPU}, None),
        ("Haswell", {"node-2": {}}, None),
    ],
)
def test_the_cpu_that_no_other_node_has(model: str, labels: dict[str, dict[str, str]], why: str | None) -> None:
    pod = target("Pending", spec={"nodeSelector": {**CPU, "zone": "z"}})
    nodes = [from_wire({"metadata": {"name": name, "labels": found}}, Node) for name, found in labels.items()]
    found = missing_cpu(vmi(spec={"domain": {"cpu": {"model": model}}}), pod, nodes)
    assert (found is None) is (why is None)
    assert (why or "") in (found or "")
