"""Freezing guests: what is promised, kept over an agent's death, and told."""

from __future__ import annotations

import json

import aiohttp
import pytest

from kvtui.api.core.config import Event
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.errors import Invalid
from kvtui.node import freezing
from kvtui.node.hypervisor import DomainId
from tests.node.builders import UUID, vmi
from tests.node.conftest import Bench, key
from tests.node.test_agent import tls

DOMAIN = DomainId(UUID)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", freezing.DEFAULT),
        ("0s", 0.0),
        ("0", 0.0),
        ("5m0s", 300.0),
        ("1h2m3s", 3723.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
    ],
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert freezing.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["5", "m", "5x", "1..5s", "1.2.3s", "s5", "-5s", "5m!", "\N{ARABIC-INDIC DIGIT FIVE}s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        freezing.seconds(text)


def frozen(instance: VirtualMachineInstance | None) -> bool:
    return instance is not None and instance.status.fs_freeze_status == "frozen"


def commands(bench: Bench) -> list[str]:
    return [c for c in bench.hypervisor.fakes[DOMAIN].commands if c in ("freeze", "thaw")]


STATUS = json.dumps({"execute": "guest-fsfreeze-status"})


async def put(bench: Bench, verb: str, body: str = "") -> int:
    """The status of a request to the agent's endpoint, as the API server makes it."""
    await bench.agent.server.started.wait()
    url = f"https://127.0.0.1:{bench.agent.server.port}/v1/namespaces/default/virtualmachineinstances/vm1/{verb}"
    async with aiohttp.ClientSession() as session:
        context = tls(bench, "kvtui-apiserver", ["kvtui:apiserver"])
        async with session.put(url, data=body, ssl=context) as answer:
            return answer.status


async def test_a_promise_to_thaw_outlives_the_agent(bench: Bench) -> None:
    instance, _ = await bench.run(vmi())
    uid = instance.metadata.uid
    bench.hypervisor.agent_connects(DOMAIN, {STATUS: '{"return": "thawed"}'})
    await bench.until(VirtualMachineInstance, key(), lambda v: v is not None and v.status.guest_os_info is not None)
    assert await put(bench, "freeze", '{"unfreezeTimeout": "1s"}') == 202
    await bench.until(VirtualMachineInstance, key(), frozen)
    await bench.stop_agent()
    await bench.start_agent()
    await bench.eventually(lambda: commands(bench) == ["freeze", "thaw"])
    await bench.until(VirtualMachineInstance, key(), lambda v: v is not None and not frozen(v))
    await bench.eventually(lambda: (kept := bench.agent.records.get(uid)) is not None and kept.thaw is None)


async def test_a_guest_without_an_agent_is_not_frozen_and_that_is_told(bench: Bench) -> None:
    await bench.run(vmi())
    assert await put(bench, "freeze", '{"unfreezeTimeout": "1s"}') == 400
    await bench.agent.recorder.wait_written()
    assert [record.thaw for record in bench.agent.records] == [None]
    assert "FreezeError" in {e.reason for e in (await bench.client.list(Event, "default")).items}
