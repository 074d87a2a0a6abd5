"""A scraper of an engine: the numbers of a real guest move with what it does."""

from __future__ import annotations

import asyncio

import pytest

from kvtui.client.rest import Client
from tests.e2e.conftest import BOOT, Lab
from tests.e2e.guests import a_guest, fetch, machine, shell
from tests.fakes.scraper import Scrape, scrape

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
WHO = {"namespace": "default", "name": "meter"}
MOVES = {
    "kubevirt_vmi_cpu_usage_seconds_total": {},
    "kubevirt_vmi_vcpu_seconds_total": {"id": "0"},
    "kubevirt_vmi_network_receive_bytes_total": {"interface": "default"},
    "kubevirt_vmi_network_transmit_packets_total": {"interface": "default"},
    "kubevirt_vmi_storage_iops_write_total": {"drive": "root"},
    "kubevirt_vmi_storage_write_traffic_bytes_total": {"drive": "root"},
    "kubevirt_vmi_storage_flush_requests_total": {"drive": "root"},
}
WRITTEN = 4 * 2**20


async def scraped(client: Client, path: str) -> Scrape:
    return scrape((await client.raw("GET", path)).body.decode())


async def test_the_numbers_of_a_guest_move_with_what_it_does(lab: Lab, client: Client) -> None:
    vm = machine("meter", image=lab.image)
    async with a_guest(client, vm) as instance, shell(client, "meter") as guest:
        node = f"/api/v1/nodes/{instance.status.node_name}/proxy/metrics"
        before = await scraped(client, node)
        for name, which in MOVES.items():
            assert before.one(name, **WHO, **which) > 0, name
        assert before.one("kubevirt_vmi_memory_domain_bytes", **WHO) == 96 * 2**20
        assert before.one("kubevirt_vmi_memory_resident_bytes", **WHO) > 2**20
        assert before.one("kubevirt_virt_handler_ready_status") == 1

        await guest.do(f"dd if=/dev/urandom of=/root/written bs=65536 count={WRITTEN >> 16} 2> /dev/null; sync")
        await fetch(f"http://{instance.status.interfaces[0].ip_address}/cgi-bin/info")
        async with asyncio.timeout(BOOT):
            while True:
                now = await scraped(client, node)
                moved = {name: now.one(name, **WHO, **w) - before.one(name, **WHO, **w) for name, w in MOVES.items()}
                if min(moved.values()) > 0 and moved["kubevirt_vmi_storage_write_traffic_bytes_total"] >= WRITTEN:
                    break
                await asyncio.sleep(0.5)  # what libvirt said is used again for a while

        own = await scraped(client, "/metrics")
        assert own.one("kubevirt_console_active_connections", namespace="default", vmi="meter") == 1
        controllers = await scraped(client, "/metrics/controllers")
        assert controllers.one("kubevirt_vm_info", status_group="running", **WHO) == 1
        assert controllers.one("kubevirt_vmi_info", phase="running", node=instance.status.node_name or "", **WHO) == 1
        assert controllers.one("kubevirt_vm_disk_allocated_size_bytes", device="root", **WHO) >= 256 * 2**20
        assert controllers.one("kubevirt_workqueue_adds_total", name="virtualmachine") > 0
