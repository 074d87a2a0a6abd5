"""What befalls guests, as their instances tell it: panics, pauses that cost time, agents that do not hear."""

from __future__ import annotations

import json

import pytest

from kvtui.api.core.config import Event
from kvtui.api.core.parts import ExecAction
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import Probe, VirtualMachineInstance, VirtualMachineInstanceStatus
from kvtui.api.wire import from_wire
from kvtui.node import status
from kvtui.node.hypervisor import AgentUnavailable, DomainId
from tests.node.builders import NODE, UUID, vmi
from tests.node.conftest import Bench, is_ready, key, phase
from tests.node.test_freezing import put

DOMAIN = DomainId(UUID)
KEPT = {"finalizers": ["kvtui.io/test"]}


async def reasons(bench: Bench) -> set[str]:
    await bench.agent.recorder.wait_written()
    return {e.reason for e in (await bench.client.list(Event, "default")).items}


async def test_a_panic_is_told_before_the_instance_fails(bench: Bench) -> None:
    await bench.run(vmi(meta=KEPT))
    bench.hypervisor.guest_panics(DOMAIN)
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Failed")
    assert "GuestPanicked" in await reasons(bench)


async def test_a_guest_that_goes_on_gets_the_time(bench: Bench) -> None:
    await bench.run(vmi())
    bench.hypervisor.agent_connects(DOMAIN, {})
    assert await put(bench, "pause") == 202
    assert await put(bench, "unpause") == 202
    await bench.eventually(lambda: "time" in bench.hypervisor.fakes[DOMAIN].commands)


async def test_a_guest_whose_agent_does_not_hear_has_its_button_pressed(bench: Bench) -> None:
    await bench.run(vmi(meta=KEPT))
    bench.hypervisor.refusals["shutdown"] = AgentUnavailable("Guest agent is not responding", 86)
    await bench.client.delete(VirtualMachineInstance, key())
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Succeeded")
    assert bench.hypervisor.pressed == [DOMAIN]


async def test_what_users_do_to_a_guest_is_told(bench: Bench) -> None:
    await bench.run(vmi())
    bench.hypervisor.agent_connects(DOMAIN, {})
    for verb in ("softreboot", "reset"):
        assert await put(bench, verb) == 202
    assert {"SoftRebooted", "Reset"} <= await reasons(bench)


def exec_answers(code: int) -> dict[str, str]:
    started = json.dumps({"execute": "guest-exec", "arguments": {"path": "true", "arg": []}})
    status = json.dumps({"execute": "guest-exec-status", "arguments": {"pid": 7}})
    return {started: '{"return": {"pid": 7}}', status: json.dumps({"return": {"exited": True, "exitcode": code}})}


@pytest.mark.parametrize(("code", "ready"), [(0, True), (1, False)])
async def test_a_command_in_the_guest_decides_whether_it_is_ready(bench: Bench, code: int, ready: bool) -> None:
    probe = Probe(exec=ExecAction(command=["true"]), period_seconds=1, failure_threshold=1)
    _, pod = await bench.run(vmi(readiness_probe=probe))
    bench.hypervisor.agent_connects(DOMAIN, exec_answers(code))
    if ready:
        assert await bench.until(Pod, pod.key, is_ready)
    else:
        await bench.eventually(lambda: any("exec-status" in c for c in bench.hypervisor.fakes[DOMAIN].commands))
        assert "Unhealthy" in await reasons(bench)
        assert not is_ready(await bench.client.get(Pod, pod.key))


async def test_an_end_is_told_by_how_it_came(bench: Bench) -> None:
    await bench.run(vmi(meta=KEPT))
    await bench.client.delete(VirtualMachineInstance, key())
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Succeeded")
    await bench.eventually(lambda: not bench.hypervisor.fakes)
    await bench.agent.recorder.wait_written()
    told = [(e.reason, e.type, e.message) for e in (await bench.client.list(Event, "default")).items]
    assert ("ShuttingDown", "Normal", "Signaled Graceful Shutdown") in told
    assert ("Stopped", "Normal", "The VirtualMachineInstance was shut down.") in told
    assert ("Deleted", "Normal", "Signaled Deletion") in told
    sources = {(e.source.component, e.source.host) for e in (await bench.client.list(Event, "default")).items}
    assert sources == {("virt-handler", NODE)}


@pytest.mark.parametrize(
    ("strategy", "before", "now", "told"),
    [
        ("LiveMigrate", [], "False", "EvictionStrategy is set but vmi is not migratable; no way"),
        ("LiveMigrate", [], "True", ""),
        ("LiveMigrate", ["LiveMigratable"], "False", ""),
        ("LiveMigrateIfPossible", [], "False", ""),
        (None, [], "False", ""),
    ],
)
def test_an_instance_that_should_move_and_cannot_is_told_once(
    strategy: str | None, before: list[str], now: str, told: str
) -> None:
    known = [{"type": t, "status": "False"} for t in before]
    old = from_wire({"spec": {"evictionStrategy": strategy}, "status": {"conditions": known}}, VirtualMachineInstance)
    wanted = {"conditions": [{"type": "LiveMigratable", "status": now, "message": "no way"}]}
    assert status.immovable_news(old, from_wire(wanted, VirtualMachineInstanceStatus)) == told
