"""Probes: counting results in a row, and what a guest's answers do to its Pod."""

from __future__ import annotations

import pytest

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import GuestAgentPing, Probe, VirtualMachineInstance
from kvtui.node.hypervisor import DomainId
from kvtui.node.probes import Count, counted
from tests.node.builders import UUID, vmi
from tests.node.conftest import Bench, is_ready, key, phase

DOMAIN = DomainId(UUID)


@pytest.mark.parametrize(
    ("start", "results", "healthy"),
    [
        (True, [False, False], True),
        (True, [False, False, False], False),
        (True, [False, False, True, False, False], True),
        (False, [True], True),
    ],
)
def test_a_state_changes_after_enough_results_in_a_row(start: bool, results: list[bool], healthy: bool) -> None:
    count = Count(healthy=start)
    for result in results:
        count = counted(count, result, Probe())
    assert count.healthy is healthy


def ping(failures: int) -> Probe:
    return Probe(guest_agent_ping=GuestAgentPing(), period_seconds=1, failure_threshold=failures)


async def test_a_launcher_is_ready_when_its_guest_says_so(bench: Bench) -> None:
    _, pod = await bench.run(vmi(readiness_probe=ping(1)))
    await bench.until(Pod, pod.key, lambda p: p is not None and not is_ready(p))
    bench.hypervisor.agent_connects(DOMAIN, {})
    assert await bench.until(Pod, pod.key, is_ready)


async def test_a_guest_that_fails_its_liveness_probe_is_ended(bench: Bench) -> None:
    await bench.run(vmi(meta={"finalizers": ["kvtui.io/test"]}, liveness_probe=ping(2)))
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Succeeded")
