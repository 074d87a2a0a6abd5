"""A node's metrics as a scraper gets them: through the API server, with guests and without libvirt."""

from __future__ import annotations

import asyncio
import json

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.node.hypervisor import DomainId
from kvtui.node.measuring import FRESH, TURN, Statistics
from tests.fakes.hypervisor import FakeHypervisor
from tests.fakes.scraper import Scrape, scrape
from tests.node.builders import NODE, UUID, vmi
from tests.node.conftest import Bench, key, phase

DOMAIN = DomainId(UUID)
KEPT = {"finalizers": ["kvtui.io/test"]}
WHO = {"namespace": "default", "name": "vm1"}


async def scraped(bench: Bench) -> Scrape:
    await bench.until(Node, ("", NODE), lambda n: n is not None and n.status.daemon_endpoints.kubelet_endpoint.port)
    async with bench.server.session() as session, session.get(f"/api/v1/nodes/{NODE}/proxy/metrics") as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return scrape(await answer.text())


async def test_a_guest_is_told_by_the_names_of_its_spec(bench: Bench) -> None:
    await bench.run(vmi(meta={"labels": {"app": "shop"}}))
    bench.hypervisor.more_stats[DOMAIN] = {"block.count": 1, "block.0.name": "vda", "block.0.wr.bytes": 7}
    found = await scraped(bench)
    ((labels, value),) = found["kubevirt_vmi_cpu_usage_seconds_total"]
    assert value == 1
    assert labels | {"node": NODE, "kubernetes_vmi_label_app": "shop"} | WHO == labels
    ((labels, _),) = found["kubevirt_vmi_storage_write_traffic_bytes_total"]
    assert labels["drive"] != "vda"
    assert found.one("kubevirt_vmi_node_cpu_affinity", name="vm1") >= 4
    assert found.one("kubevirt_virt_handler_ready_status") == 1
    assert found.one("kubevirt_vmi_sync_total", controller="virt-handler", **WHO) >= 1
    assert found.one("kubevirt_workqueue_adds_total", name="domains") >= 1


async def test_dirty_rates_are_sampled_for_the_next_scrape_only(bench: Bench) -> None:
    await bench.run(vmi())
    assert bench.hypervisor.sampled == []
    assert "kubevirt_vmi_dirty_rate_bytes_per_second" not in await scraped(bench)
    await bench.eventually(lambda: bench.hypervisor.sampled == [DOMAIN])


async def test_a_panic_is_counted(bench: Bench) -> None:
    await bench.run(vmi(meta=KEPT))
    bench.hypervisor.guest_panics(DOMAIN)
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Failed")
    assert (await scraped(bench)).one("kubevirt_vmi_guest_os_panic_total", type="unknown", **WHO) == 1


async def test_a_node_without_libvirt_says_that_it_is_not_ready(bench: Bench) -> None:
    await bench.run(vmi())
    bench.hypervisor.disconnect()
    found = await scraped(bench)
    assert found.one("kubevirt_virt_handler_ready_status") == 0
    assert "kubevirt_vmi_cpu_usage_seconds_total" not in found


async def test_what_an_agent_says_of_its_load_is_told(bench: Bench) -> None:
    await bench.run(vmi())
    info = {"return": {"version": "10.0", "supported_commands": [{"name": "guest-get-load"}]}}
    load = {"return": {"load1m": 0.5, "load5m": 0.25, "load15m": 0.125}}
    said = {"guest-info": info, "guest-get-load": load}
    answers = {json.dumps({"execute": name}): json.dumps(answer) for name, answer in said.items()}
    bench.hypervisor.agent_connects(DOMAIN, answers)

    async def told() -> bool:
        return "kubevirt_vmi_guest_load_1m" in await scraped(bench)

    await bench.eventually(told)


async def test_however_many_scrape_libvirt_is_asked_once() -> None:
    hypervisor = FakeHypervisor("e")
    running = asyncio.create_task(hypervisor.run())
    await hypervisor.wait_connected()
    statistics = Statistics(hypervisor)
    assert hypervisor.stats_calls == 0
    await asyncio.gather(*(statistics.get() for _ in range(20)))
    assert hypervisor.stats_calls == 1
    await asyncio.gather(*(statistics.get(dirty_rates=True) for _ in range(20)))
    await statistics.get()
    assert hypervisor.stats_calls == 2
    running.cancel()


def test_statistics_are_used_no_longer_than_a_scraper_may_wait() -> None:
    assert 0 < FRESH < 5
    assert TURN < 100
