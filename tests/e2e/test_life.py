"""A VM's day: what survives a restart, who can reach it, how it stops, and what is left when it is gone."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator

import aiohttp
import pytest

from kvtui.api.core.storage import PersistentVolume
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import (
    a_guest,
    boot,
    fetch,
    in_node,
    kubectl,
    launcher,
    machine,
    remove,
    running,
    shell,
    wait_running,
)
from tests.fakes.images import OciRegistry

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
PLAIN = "quay.io/kubevirt/plain:latest"


@pytest.fixture
async def guest(lab: Lab, client: Client) -> AsyncIterator[VirtualMachineInstance]:
    async with a_guest(client, machine("daily", image=lab.image, ports=(80,))) as instance:
        yield instance


async def test_claims_survive_a_restart_and_the_other_disks_do_not(
    lab: Lab, client: Client, registry: OciRegistry
) -> None:
    vm = machine(
        "keeper",
        ("throw", {"emptyDisk": {"capacity": "16Mi"}}),
        ("contained", {"containerDisk": {"image": PLAIN}}),
        image=lab.image,
    )
    disks = {"throw": "/dev/vdb", "contained": "/dev/vdc"}
    write = "echo mark-{0} | dd of={1} bs=512 seek=8 conv=notrunc 2>/dev/null"
    read = "dd if={0} bs=512 skip=8 count=1 2>/dev/null | tr -cd 'a-z-'"
    async with a_guest(client, vm) as instance:
        async with shell(client, "keeper") as viewer:
            await viewer.do("echo kept > /root/kept")
            for name, device in disks.items():
                await viewer.do(write.format(name, device))
                assert await viewer.do(read.format(device)) == f"mark-{name}"
            await viewer.do("sync")
        await asyncio.to_thread(kvtui, lab, "restart", "keeper")
        await wait_running(client, "keeper", besides=instance.metadata.uid)
        async with shell(client, "keeper") as viewer:
            assert await viewer.do("cat /root/kept") == "kept"
            for name, device in disks.items():
                assert "mark" not in await viewer.do(read.format(device)), name
            assert await viewer.do("hostname") == "keeper"


async def test_the_guest_reaches_out_and_only_its_declared_port_reaches_in(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    address = (await launcher(client, guest)).status.pod_ip
    assert "daily" in await fetch(f"http://{address}/cgi-bin/info")
    with pytest.raises((OSError, TimeoutError)):
        async with asyncio.timeout(3):
            await asyncio.open_connection(address, 22)
    async with shell(client, "daily") as viewer:
        assert await viewer.do(f"wget -q -O /dev/null {lab.image} && echo fetched") == "fetched"


async def test_kubectl_sees_a_vm_from_every_side(lab: Lab, client: Client, guest: VirtualMachineInstance) -> None:
    pod = (await launcher(client, guest)).metadata.name
    async with shell(client, "daily"):
        pass
    assert "log in as root" in kubectl(lab, "logs", pod, "-c", "compute")
    assert "daily" in kubectl(lab, "get", "vm,vmi,dv,pvc,pods", "-o", "wide")
    described = kubectl(lab, "describe", "vmi", "daily")
    assert "Started" in described
    assert "Running" in described
    reasons = {e["reason"] for e in json.loads(kubectl(lab, "get", "events", "-o", "json"))["items"]}
    assert {"SuccessfulCreate", "Created", "Started", "ImportSucceeded"} <= reasons
    assert kubectl(lab, "explain", "vm.spec.runStrategy")
    kubectl(lab, "label", "vm/daily", "tier=web")
    assert "daily" in kubectl(lab, "get", "vm", "-l", "tier=web", "-o", "name")
    server_side = json.dumps(
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": "daily", "labels": {"ssa": "x"}},
        }
    )
    kubectl(lab, "apply", "--server-side", "--field-manager=e2e", "-f", "-", stdin=server_side)
    assert kubectl(lab, "auth", "can-i", "--list")


async def test_kubectl_watches_a_vm_that_is_paused_and_goes_on(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    command = ["kubectl", "--kubeconfig", str(lab.data / "kubeconfig"), "get", "vm", "daily", "-w", "--no-headers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        assert "Running" in await asyncio.to_thread(watch.stdout.readline)
        await asyncio.to_thread(kvtui, lab, "pause", "daily")
        kubectl(lab, "wait", "vmi/daily", "--for=condition=Paused", "--timeout=30s")
        node = guest.status.node_name or ""
        assert in_node(lab, node, "virsh", "list", "--name", "--state-paused").split()
        while "Paused" not in await asyncio.to_thread(watch.stdout.readline):
            pass
        await asyncio.to_thread(kvtui, lab, "unpause", "daily")
        kubectl(lab, "wait", "vm/daily", "--for=condition=Ready", "--timeout=30s")
        watch.terminate()
    async with shell(client, "daily") as viewer:
        assert "awake" in await viewer.do("echo awake")


async def test_a_stop_lets_the_guest_say_goodbye(lab: Lab, client: Client, guest: VirtualMachineInstance) -> None:
    async with shell(client, "daily") as viewer:
        await viewer.do("touch /root/clean")
    await asyncio.to_thread(kvtui, lab, "stop", "daily")
    gone = await until(client, VirtualMachineInstance, guest.key, lambda v: v is None or v.status.phase == "Succeeded")
    assert gone is None or gone.status.phase == "Succeeded"
    await until(client, VirtualMachineInstance, guest.key, lambda v: v is None)
    stopped = await until(
        client, VirtualMachine, guest.key, lambda v: v is not None and v.status.printable_status == "Stopped"
    )
    assert stopped is not None
    await asyncio.to_thread(kvtui, lab, "start", "daily")
    await wait_running(client, "daily", besides=guest.metadata.uid)
    async with shell(client, "daily") as viewer:
        assert "/root/clean" in await viewer.do("ls /root/clean")


async def test_a_guest_that_hears_nothing_is_stopped_by_force(lab: Lab, client: Client) -> None:
    async with a_guest(client, machine("deaf", image=lab.image, grace=600)) as instance:
        async with shell(client, "deaf") as viewer:
            await viewer.do("killall acpid; true")
        async with asyncio.timeout(30):
            await asyncio.to_thread(kvtui, lab, "stop", "deaf", "--force", "--grace-period=0")
            await until(client, VirtualMachineInstance, instance.key, lambda v: v is None)


async def test_a_deleted_vm_leaves_nothing(lab: Lab, client: Client) -> None:
    before = {node: traces(lab, node) for node in ("node-1", "node-2")}
    volumes = {v.metadata.name for v in (await client.list(PersistentVolume)).items}
    try:
        instance = await boot(client, machine("brief", image=lab.image))
        assert running(instance)
        node = instance.status.node_name or ""
        assert traces(lab, node) != before[node]
        mine = {v.metadata.name for v in (await client.list(PersistentVolume)).items} - volumes
        assert len(mine) == 1
    finally:
        await remove(client, "brief")
    await until(client, PersistentVolume, ("", mine.pop()), lambda v: v is None)
    pods = json.loads(kubectl(lab, "get", "pods", "-o", "json"))["items"]
    assert [p["metadata"]["name"] for p in pods if "brief" in p["metadata"]["name"]] == []
    assert {node: traces(lab, node) for node in ("node-1", "node-2")} == before


def traces(lab: Lab, node: str) -> dict[str, list[str]]:
    """What a guest has on its node while it runs."""
    directory = lab.data / "nodes" / node
    shared = lab.data / "shared"
    return {
        "domains": in_node(lab, node, "virsh", "list", "--all", "--name").split(),
        "namespaces": in_node(lab, node, "ip", "netns", "list").split(),
        "links": sorted(line.split(":")[1] for line in in_node(lab, node, "ip", "-o", "link").splitlines()),
        "networks": sorted(p.name for p in (directory / "net").glob("*")),
        "instances": sorted(p.name for p in (directory / "vms").glob("*")),
        "shared": sorted(p.name for p in shared.glob("*")),
    }


async def test_a_closed_port_is_told_at_once(lab: Lab, client: Client, guest: VirtualMachineInstance) -> None:
    address = (await launcher(client, guest)).status.pod_ip
    await fetch(f"http://{address}/")
    async with aiohttp.ClientSession() as session:
        with pytest.raises((aiohttp.ClientError, TimeoutError)):
            await session.get(f"http://{address}:81/", timeout=aiohttp.ClientTimeout(3))
