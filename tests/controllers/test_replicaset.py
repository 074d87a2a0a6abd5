"""How many instances a replica set makes and deletes, and what it says about them."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.replicaset import VirtualMachineInstanceReplicaSet
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.controllers.replicaset import instance_of, next_status, plan, sort_out, valid_selector
from tests.controllers.builders import NOW, guest, merged, vmi


def replica_set(**over: Any) -> VirtualMachineInstanceReplicaSet:
    base: dict[str, Any] = {
        "metadata": {"name": "web", "namespace": "default", "uid": "set-uid"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": guest()},
        },
    }
    return from_wire(merged(base, over), VirtualMachineInstanceReplicaSet)


READY = [{"type": "Ready", "status": "True"}]
GOING = [{"type": "Ready", "status": "False", "reason": "PodTerminating"}]


def instances(active: int, ready: int = 0, finished: int = 0, going: int = 0) -> list[VirtualMachineInstance]:
    return [
        *(vmi(f"r{n}", status={"conditions": READY}) for n in range(ready)),
        *(vmi(f"a{n}", phase="Scheduling") for n in range(active - ready)),
        *(vmi(f"f{n}", phase="Failed") for n in range(finished)),
        *(vmi(f"g{n}", status={"conditions": GOING}) for n in range(going)),
    ]


@pytest.mark.parametrize(
    ("present", "create", "delete", "clear"),
    [
        (instances(0), 3, 0, 0),
        (instances(3), 0, 0, 0),
        (instances(5), 0, 2, 0),
        (instances(2, going=1), 1, 0, 0),
        (instances(2, finished=2), 1, 0, 2),
    ],
)
def test_scaling(present: list[VirtualMachineInstance], create: int, delete: int, clear: int) -> None:
    scale = plan(replica_set(), sort_out(present))
    assert (scale.create, len(scale.delete), len(scale.clear)) == (create, delete, clear)


def test_one_pass_makes_at_most_250() -> None:
    assert plan(replica_set(spec={"replicas": 1000}), sort_out([])).create == 250


def test_the_default_is_one() -> None:
    one = from_wire({"metadata": {"name": "x"}, "spec": {}}, VirtualMachineInstanceReplicaSet)
    assert plan(one, sort_out([])).create == 1


def test_a_paused_set_only_reports() -> None:
    paused = replica_set(spec={"paused": True})
    assert plan(paused, sort_out(instances(5, finished=1))) == plan(paused, sort_out([]))
    status = next_status(paused, sort_out(instances(5, ready=2)), None, NOW)
    assert (status.replicas, status.ready_replicas, status.label_selector) == (5, 2, "app=web")
    assert [(c.type, c.status) for c in status.conditions] == [("ReplicaPaused", "True")]


@pytest.mark.parametrize(("active", "reason"), [(1, "FailedCreate"), (5, "FailedDelete")])
def test_failures_are_said(active: int, reason: str) -> None:
    status = next_status(replica_set(), sort_out(instances(active)), "no room", NOW)
    assert [(c.type, c.reason, c.message) for c in status.conditions] == [("ReplicaFailure", reason, "no room")]


def test_names_are_generated_without_a_dash() -> None:
    assert instance_of(replica_set()).metadata.generate_name == "web"
    named = replica_set(spec={"template": {"metadata": {"name": "inst-"}}})
    assert instance_of(named).metadata.generate_name == "inst-"
    assert instance_of(replica_set()).metadata.labels == {"app": "web"}


def test_a_selector_that_does_not_match_the_template_stops_the_set() -> None:
    assert valid_selector(replica_set()) is not None
    assert valid_selector(replica_set(spec={"selector": {"matchLabels": {"app": "other"}}})) is None
    assert valid_selector(replica_set(spec={"template": {"metadata": {"labels": {"app": "db"}}}})) is None
