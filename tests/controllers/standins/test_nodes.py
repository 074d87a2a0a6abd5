"""Silent nodes, evictions by taint, and disruption budgets."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.core.config import PodDisruptionBudget
from kvtui.api.core.node import Lease, Taint
from kvtui.api.wire import from_wire
from kvtui.controllers.standins.disruption import next_status, scaled
from kvtui.controllers.standins.nodelifecycle import eviction_in, plan_node
from tests.controllers.builders import NOW, node, pod

GRACE = 40.0


def lease(renewed: str) -> Lease:
    return from_wire({"metadata": {"name": "node-1"}, "spec": {"renewTime": renewed}}, Lease)


def beat(at: str, ready: str = "True") -> dict[str, Any]:
    return {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": at}]}


def test_a_node_that_renews_its_lease_is_left_alone() -> None:
    planned = plan_node(
        node(status=beat("2026-03-01T11:00:00Z")), lease("2026-03-01T11:59:50.000000Z"), from_(hours=3), NOW, GRACE
    )
    assert not planned.silent
    assert planned.node == node(status=beat("2026-03-01T11:00:00Z"))
    assert planned.wake == pytest.approx(30.1)


def from_(*, hours: int) -> Any:
    from datetime import timedelta

    return NOW - timedelta(hours=hours)


def test_a_silent_node_is_unknown_and_tainted() -> None:
    planned = plan_node(
        node(status=beat("2026-03-01T11:00:00Z")), lease("2026-03-01T11:59:00Z"), from_(hours=3), NOW, GRACE
    )
    assert planned.silent
    assert {c.type: c.status for c in planned.node.status.conditions} == {
        "Ready": "Unknown",
        "MemoryPressure": "Unknown",
        "DiskPressure": "Unknown",
        "PIDPressure": "Unknown",
    }
    assert [(t.key, t.effect) for t in planned.node.spec.taints] == [
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    ]


def test_a_node_that_was_just_seen_first_gets_its_time() -> None:
    assert not plan_node(node(status=beat("2026-03-01T11:00:00Z")), None, NOW, NOW, GRACE).silent


def test_taints_follow_the_node_and_foreign_ones_stay() -> None:
    foreign = {"key": "gpu", "effect": "NoSchedule"}
    cordoned = node(spec={"unschedulable": True, "taints": [foreign]}, status=beat("2026-03-01T12:00:00Z"))
    planned = plan_node(cordoned, None, NOW, NOW, GRACE)
    assert [t.key for t in planned.node.spec.taints] == ["gpu", "node.kubernetes.io/unschedulable"]
    back = node(spec={"taints": [foreign, {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]})
    assert [t.key for t in plan_node(back, None, NOW, NOW, GRACE).node.spec.taints] == ["gpu"]


TAINT = Taint(key="node.kubernetes.io/unreachable", effect="NoExecute", time_added="2026-03-01T11:59:00Z")


@pytest.mark.parametrize(
    ("tolerations", "left"),
    [
        ([], 0.0),
        ([{"key": "node.kubernetes.io/unreachable", "operator": "Exists"}], None),
        ([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300}], 240.0),
        ([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 10}], 0.0),
        ([{"operator": "Exists"}], None),
    ],
)
def test_eviction_by_taint(tolerations: list[dict[str, Any]], left: float | None) -> None:
    assert eviction_in(pod(spec={"tolerations": tolerations}), [TAINT], NOW) == left
    assert eviction_in(pod(), [Taint(key="x", effect="NoSchedule")], NOW) is None


def budget(**spec: Any) -> PodDisruptionBudget:
    return from_wire({"metadata": {"name": "b", "generation": 2}, "spec": spec}, PodDisruptionBudget)


READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.mark.parametrize(
    ("spec", "ready", "unready", "allowed"),
    [
        ({"minAvailable": 2}, 3, 0, 1),
        ({"minAvailable": 2}, 2, 1, 0),
        ({"minAvailable": "50%"}, 3, 0, 1),
        ({"maxUnavailable": 1}, 3, 0, 1),
        ({"maxUnavailable": 1}, 2, 1, 0),
        ({"maxUnavailable": "100%"}, 2, 0, 2),
        ({"minAvailable": 1}, 0, 0, 0),
    ],
)
def test_budgets(spec: dict[str, Any], ready: int, unready: int, allowed: int) -> None:
    pods = [pod(f"r{n}", node="a", status=READY) for n in range(ready)]
    pods += [pod(f"u{n}", node="a") for n in range(unready)]
    status = next_status(budget(**spec), pods, NOW)
    assert status.disruptions_allowed == allowed
    assert status.expected_pods == ready + unready
    assert status.observed_generation == 2
    assert [c.status for c in status.conditions] == ["True" if allowed else "False"]


def test_an_evicted_pod_counts_as_gone_for_a_while() -> None:
    pods = [pod("a", node="a", status=READY), pod("b", node="a", status=READY)]
    evicted = from_wire(
        {
            "spec": {"minAvailable": 1},
            "status": {"disruptedPods": {"a": "2026-03-01T11:59:59Z", "old": "2026-03-01T11:00:00Z"}},
        },
        PodDisruptionBudget,
    )
    status = next_status(evicted, pods, NOW)
    assert (status.disruptions_allowed, list(status.disrupted_pods)) == (0, ["a"])


@pytest.mark.parametrize(("value", "result"), [(2, 2), ("50%", 3), ("10%", 1), ("x", 0)])
def test_shares_are_rounded_up(value: int | str, result: int) -> None:
    assert scaled(value, 5) == result
