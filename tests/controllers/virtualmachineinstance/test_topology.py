"""Clocks of their own: which guests ask for a TSC frequency, and which one they are given."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.config import KubeVirtConfiguration
from kvtui.api.kubevirt.vmi import TopologyHints
from kvtui.api.wire import from_wire
from kvtui.controllers.clusterconfig import Configuration
from kvtui.controllers.virtualmachineinstance import topology
from kvtui.controllers.virtualmachineinstance.plan import CreatePod, Situation, plan
from kvtui.controllers.virtualmachineinstance.status import next_version
from tests.controllers.builders import NOW, vmi

INVARIANT: dict[str, Any] = {"cpu": {"features": [{"name": "invtsc", "policy": "require"}]}}
TOLD: dict[str, Any] = {"features": {"hyperv": {"reenlightenment": {}}}}


def asking(domain: dict[str, Any], architecture: str = "amd64", **status: Any) -> Any:
    return vmi(phase="Pending", spec={"domain": domain, "architecture": architecture}, status=status)


def config(minimum: int | None = None) -> Configuration:
    developer = {"developerConfiguration": {"minimumClusterTSCFrequency": minimum}}
    return Configuration(configuration=from_wire(developer, KubeVirtConfiguration))


def nodes(*frequencies: int) -> list[Node]:
    key = "cpu-timer.node.kubevirt.io/tsc-frequency"
    return [from_wire({"metadata": {"name": "n", "labels": {key: str(f)}}}, Node) for f in frequencies]


@pytest.mark.parametrize(
    ("domain", "architecture", "offered", "minimum", "frequency"),
    [
        ({}, "amd64", (3,), None, None),
        (INVARIANT, "amd64", (3, 2), None, 2),
        (INVARIANT, "amd64", (3, 2), 7, 7),
        (INVARIANT, "amd64", (), None, 0),
        (INVARIANT, "arm64", (3,), None, None),
        ({"cpu": {"features": [{"name": "invtsc", "policy": "optional"}]}}, "amd64", (3,), None, None),
        (TOLD, "amd64", (3,), None, 3),
        ({"features": {"hyperv": {"reenlightenment": {"enabled": False}}}}, "amd64", (3,), None, None),
    ],
)
def test_the_lowest_frequency_on_offer(
    domain: dict[str, Any], architecture: str, offered: tuple[int, ...], minimum: int | None, frequency: int | None
) -> None:
    found = topology.hints(asking(domain, architecture), nodes(*offered), config(minimum))
    assert (found.tsc_frequency if found is not None else None) == frequency


def test_a_frequency_that_no_clock_has() -> None:
    with pytest.raises(topology.NoFrequency, match="must be greater 0, but got -1"):
        topology.hints(asking(INVARIANT), nodes(3), config(-1))


def test_a_launcher_waits_for_the_frequency() -> None:
    waiting = Situation(vmi=asking(INVARIANT), now=NOW)
    assert plan(waiting).steps == ()
    given = Situation(vmi=asking(INVARIANT), now=NOW, hints=TopologyHints(tsc_frequency=2))
    told = next_version(given, None)
    assert told.status.topology_hints == TopologyHints(tsc_frequency=2)
    (made,) = plan(Situation(vmi=told, now=NOW)).steps
    assert isinstance(made, CreatePod)
    assert made.pod.spec.node_selector["cpu-timer.node.kubevirt.io/tsc-frequency"] == "2"
