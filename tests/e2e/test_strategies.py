"""What follows when a guest ends its own life, by the run strategy of its VM. The guests are of one sector."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire, to_wire
from kvtui.client.rest import Client
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import (
    a_guest,
    console,
    in_node,
    launcher,
    machine,
    remove,
    wait_running,
)
from tests.e2e.test_guest_agent import reasons
from tests.e2e.test_guest_life import gates
from tests.fakes.images import OciRegistry
from tests.guests.willing import PANIC, POWER_OFF, RESET, willing

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
FINAL = ("Succeeded", "Failed")
HERE = "here"
READY = "I am here"
DISKS = ("one", "two")


@pytest.fixture(scope="module")
def images(registry: OciRegistry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Container disks of guests by who they say they are."""
    directory = tmp_path_factory.mktemp("willing")
    found = {}
    for name in (HERE, *DISKS):
        place = f"kubevirt/willing-{name}:latest"
        registry.push(place, [{"disk/willing.img": willing(f"I am {name}", directory)}], directory / name)
        found[name] = f"quay.io/{place}"
    return found


def willing_vm(name: str, image: str, strategy: str, *, panics: bool = False, **domain: Any) -> VirtualMachine:
    wire = to_wire(
        machine(name, ("root", {"containerDisk": {"image": image}}), memory="32Mi", strategy=strategy, grace=0)
    )
    wire["spec"]["template"]["spec"]["domain"] |= domain
    if panics:
        wire["spec"]["template"]["spec"]["domain"]["devices"]["panicDevices"] = [{"model": "isa"}]
    return from_wire(wire, VirtualMachine)


async def tell(client: Client, name: str, letter: str) -> None:
    """Gives the guest its order once it is there."""
    async with console(client, name) as viewer:
        await viewer.expect(READY)
        await viewer.type(letter)


async def another(client: Client, name: str, than: VirtualMachineInstance) -> VirtualMachineInstance:
    """The instance that came after this one."""
    return await wait_running(client, name, besides=than.metadata.uid)


async def stopped(client: Client, name: str) -> VirtualMachine:
    found = await until(
        client, VirtualMachine, ("default", name), lambda v: v is not None and v.status.printable_status == "Stopped"
    )
    assert found is not None
    return found


async def ended(client: Client, name: str) -> str:
    """The phase in which the instance stays."""
    found = await until(
        client,
        VirtualMachineInstance,
        ("default", name),
        lambda v: v is not None and v.status.phase in FINAL,
    )
    assert found is not None
    return found.status.phase or ""


async def always(lab: Lab, client: Client, image: str) -> None:
    await client.create(willing_vm("always", image, "Always"))
    first = await wait_running(client, "always")
    await tell(client, "always", POWER_OFF)
    await another(client, "always", first)


async def rerun_on_failure(lab: Lab, client: Client, image: str) -> None:
    """Its own reset is nobody's business; a panic and the death of its process are failures; powering off ends it."""
    name = "reruns"
    await client.create(willing_vm(name, image, "RerunOnFailure", panics=True))
    first = await wait_running(client, name)
    pod = await launcher(client, first)
    async with console(client, name) as viewer:
        at = await viewer.expect(READY)
        await viewer.type(RESET)
        await viewer.expect(READY, at)
    same = await client.get(VirtualMachineInstance, first.key)
    assert (same.metadata.uid, same.status.phase) == (first.metadata.uid, "Running")
    assert (await launcher(client, same)).metadata.uid == pod.metadata.uid
    await tell(client, name, PANIC)
    second = await another(client, name, first)
    assert "GuestPanicked" in await reasons(client, name)
    os.kill(qemu(lab, second), signal.SIGKILL)
    third = await another(client, name, second)
    await tell(client, name, POWER_OFF)
    await until(client, VirtualMachineInstance, third.key, lambda v: v is None)
    assert (await stopped(client, name)).status.state_change_requests == []


def qemu(lab: Lab, instance: VirtualMachineInstance) -> int:
    """The process of a guest."""
    name = f"default_{instance.metadata.name}"
    return int(in_node(lab, instance.status.node_name or "", "cat", f"/run/libvirt/qemu/{name}.pid"))


async def once(lab: Lab, client: Client, image: str) -> None:
    await client.create(willing_vm("once", image, "Once"))
    await wait_running(client, "once")
    await tell(client, "once", POWER_OFF)
    assert await ended(client, "once") == "Succeeded"
    await stopped(client, "once")


async def manual(lab: Lab, client: Client, image: str) -> None:
    await client.create(willing_vm("manual", image, "Manual"))
    await stopped(client, "manual")
    await asyncio.to_thread(kvtui, lab, "start", "manual")
    first = await wait_running(client, "manual")
    await tell(client, "manual", POWER_OFF)
    assert await ended(client, "manual") == "Succeeded"
    await asyncio.to_thread(kvtui, lab, "start", "manual")
    await another(client, "manual", first)
    await asyncio.to_thread(kvtui, lab, "stop", "manual")
    await until(client, VirtualMachineInstance, first.key, lambda v: v is None)


async def halted(lab: Lab, client: Client, image: str) -> None:
    """A start makes it one that always runs, a stop makes it a halted one again."""
    await client.create(willing_vm("halted", image, "Halted"))
    await stopped(client, "halted")
    await asyncio.to_thread(kvtui, lab, "start", "halted")
    first = await wait_running(client, "halted")
    assert (await client.get(VirtualMachine, first.key)).spec.run_strategy == "Always"
    await asyncio.to_thread(kvtui, lab, "stop", "halted")
    await until(client, VirtualMachineInstance, first.key, lambda v: v is None)
    assert (await stopped(client, "halted")).spec.run_strategy == "Halted"


async def terminates(lab: Lab, client: Client, image: str) -> None:
    """A policy turns the guest's reset into its end."""
    await client.create(willing_vm("terminates", image, "RerunOnFailure", rebootPolicy="Terminate"))
    await wait_running(client, "terminates")
    await tell(client, "terminates", RESET)
    await until(client, VirtualMachineInstance, ("default", "terminates"), lambda v: v is None)
    await stopped(client, "terminates")


GRACE = 3


async def hears_nothing(lab: Lab, client: Client, image: str) -> None:
    """An instance without a VM that is deleted: it has its grace, and what is killed after that has failed."""
    vm = to_wire(willing_vm("deaf", image, "Always"))
    spec = {**vm["spec"]["template"]["spec"], "terminationGracePeriodSeconds": GRACE}
    made = from_wire({"metadata": vm["metadata"], "spec": spec}, VirtualMachineInstance)
    await client.create(made)
    await wait_running(client, "deaf")
    began = asyncio.get_running_loop().time()
    await client.delete(VirtualMachineInstance, made.key)
    found = await until(client, VirtualMachineInstance, made.key, lambda v: v is None or v.status.phase in FINAL)
    assert found is not None
    assert found.status.phase == "Failed"
    assert asyncio.get_running_loop().time() - began >= GRACE
    assert {"ShuttingDown", "Deleted"} <= set(await reasons(client, "deaf"))
    await until(client, VirtualMachineInstance, made.key, lambda v: v is None)


async def test_how_a_guest_ends_and_its_strategy_decide_what_follows(
    lab: Lab, client: Client, images: dict[str, str]
) -> None:
    stories = (always, rerun_on_failure, once, manual, halted, terminates, hears_nothing)
    names = ("always", "reruns", "once", "manual", "halted", "terminates")
    try:
        async with gates(client, "PanicDevices"), asyncio.TaskGroup() as tasks:
            for story in stories:
                tasks.create_task(story(lab, client, images[HERE]), name=story.__name__)
        # What has ended for good has stayed so all the while.
        last = await client.get(VirtualMachineInstance, ("default", "once"))
        assert last.status.phase == "Succeeded"
        for name in ("reruns", "terminates", "manual", "halted"):
            assert await client.find(VirtualMachineInstance, ("default", name)) is None
    finally:
        for name in names:
            await remove(client, name)


@pytest.mark.parametrize("orders", [(2, 1), (1, 2)])
async def test_the_disk_with_the_lower_boot_order_is_booted(
    lab: Lab, client: Client, images: dict[str, str], orders: tuple[int, int]
) -> None:
    """Wherever it stands in the list."""
    wire = to_wire(willing_vm("order", images["one"], "Always"))
    inside = wire["spec"]["template"]["spec"]
    inside["volumes"] = [{"name": n, "containerDisk": {"image": images[n]}} for n in DISKS]
    inside["domain"]["devices"]["disks"] = [
        {"name": n, "disk": {"bus": "virtio"}, "bootOrder": order} for n, order in zip(DISKS, orders, strict=True)
    ]
    async with a_guest(client, from_wire(wire, VirtualMachine)), console(client, "order") as viewer:
        await viewer.expect(f"I am {DISKS[orders.index(1)]}")
        assert f"I am {DISKS[orders.index(2)]}".encode() not in viewer.seen
