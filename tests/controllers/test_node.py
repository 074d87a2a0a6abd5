"""Nodes whose heartbeat has stopped, and VMIs that are lost with them."""

from __future__ import annotations

import pytest

from kvtui.api.core.pod import Pod
from kvtui.controllers.node import is_orphaned, is_unresponsive
from tests.controllers.builders import NOW, launcher, node, vmi


@pytest.mark.parametrize(
    ("heartbeat", "silent"),
    [
        ("2026-03-01T11:55:01Z", False),
        ("2026-03-01T11:54:59Z", True),
        ("nonsense", True),
    ],
)
def test_heartbeats(heartbeat: str, *, silent: bool) -> None:
    beating = node(metadata={"annotations": {"kubevirt.io/heartbeat": heartbeat}})
    assert is_unresponsive(beating, NOW, 300) is silent


def test_a_node_without_a_heartbeat_counts_as_responsive_and_an_absent_one_does_not() -> None:
    assert not is_unresponsive(node(), NOW, 300)
    assert is_unresponsive(None, NOW, 300)


@pytest.mark.parametrize(
    ("pods", "lost"),
    [
        ([], True),
        ([launcher()], False),
        ([launcher(phase="Failed")], True),
        ([launcher(metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"})], False),
        ([launcher(node="node-2")], True),
        (
            [launcher(status={"containerStatuses": [{"name": "compute", "state": {"terminated": {"exitCode": 1}}}]})],
            True,
        ),
    ],
)
def test_a_vmi_is_lost_when_no_launcher_of_it_may_still_run(pods: list[Pod], *, lost: bool) -> None:
    assert is_orphaned(vmi(), "node-1", pods) is lost


def test_a_finished_or_distant_vmi_is_not_lost() -> None:
    assert not is_orphaned(vmi(phase="Succeeded"), "node-1", [])
    assert not is_orphaned(vmi(), "node-2", [])
