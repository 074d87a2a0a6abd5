"""Connections to guests and VMs that were made, as a scraper of the API server reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kvtui.virtapi.subresources.traffic import LAST, MOST, Traffic
from tests.fakes.agent import PROTOCOL, running_agent
from tests.fakes.scraper import Scrape, scrape
from tests.virtapi.cluster import VirtApi, running_virtapi

WHO = {"namespace": "default", "vmi": "web"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[VirtApi]:
    async with running_virtapi(tmp_path) as running, running_agent(running.server.pki) as agent:
        await running.node(agent)
        yield running


async def scraped(api: VirtApi) -> Scrape:
    async with api.http.get("/metrics") as answer:
        assert answer.status == 200
        return scrape(await answer.text())


STREAMS = {
    "console": "kubevirt_console_active_connections",
    "vnc": "kubevirt_vnc_active_connections",
    "usbredir": "kubevirt_usbredir_active_connections",
    "portforward/22/tcp": "kubevirt_portforward_active_tunnels",
}


async def test_open_connections_are_counted_by_kind_and_guest(api: VirtApi) -> None:
    await api.vmi(conditions=[{"type": "Ready", "status": "True"}])
    assert not set(STREAMS.values()) & set((await scraped(api)).samples)
    path = api.path("virtualmachineinstances", "web", "portforward/22/tcp")
    for _ in range(2):
        async with api.http.ws_connect(path, protocols=(PROTOCOL,)):
            found = await scraped(api)
            assert found["kubevirt_portforward_active_tunnels"] == [(WHO, 1)]
            assert found.one(LAST, **WHO) > 1_500_000_000


async def test_vms_that_are_made_are_counted(api: VirtApi) -> None:
    await api.vm("a")
    await api.vm("b")
    async with api.http.delete("/apis/kubevirt.io/v1/namespaces/default/virtualmachines/a") as answer:
        assert answer.status == 200
    found = await scraped(api)
    for name in ("kubevirt_vm_created_by_pod_total", "kubevirt_vm_created_total"):
        assert found[name] == [({"namespace": "default"}, 2)]
        assert found.types[name] == "counter"
    assert found.one("kubevirt_virt_api_ready_status") == 1
    assert found.one("kubevirt_info", kubeversion="v1.9.0") == 1


def at(moment: float) -> Callable[[], float]:
    return lambda: moment


@pytest.mark.parametrize(("verb", "name"), STREAMS.items())
def test_each_kind_has_its_metric(verb: str, name: str) -> None:
    traffic = Traffic(at(5.0))
    kind = verb.partition("/")[0]
    with traffic.connected(kind, "default", "web"), traffic.connected(kind, "default", "web"):
        assert scrape(traffic.families())[name] == [(WHO, 2)]
    found = scrape(traffic.families())
    assert found[name] == [(WHO, 0)]
    assert found[LAST] == [(WHO, 5.0)]


def test_guests_that_nobody_uses_any_more_are_forgotten_before_others() -> None:
    traffic = Traffic(at(1.0))
    with traffic.connected("vnc", "default", "kept"):
        for n in range(MOST + 10):
            with traffic.connected("console", "default", f"vm{n}"):
                pass
        rows = scrape(traffic.families())[LAST]
        assert len(rows) == MOST
        names = {row["vmi"] for row, _ in rows}
        assert "kept" in names
        assert "vm0" not in names
