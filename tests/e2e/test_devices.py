"""Devices that come and go while a guest runs, and that the guest is seen to use. The tests share one guest.

What needs no guest that boots is tested with one that sleeps, in every run; see test_plugging.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.config import Event
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import to_wire
from kvtui.client.rest import Client
from kvtui.commands.engine import cache_directory
from kvtui.errors import Unsupported
from kvtui.node.volumes import iso
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import Console, kubectl, machine, none_migrates, restart_reason, shell
from tests.guests.debian import SATA, build

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(300)]
VMI = VirtualMachineInstance
MIB = 2**20
NAME = "plug"
KEY = ("default", NAME)


def claim(name: str, size: str = "64Mi") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "kvtui-shared",
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": size}},
        },
    }


def apply(lab: Lab, *objects: dict[str, Any]) -> None:
    kubectl(lab, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


@pytest.fixture(scope="module")
def plug(lab: Lab) -> Iterator[None]:
    """With an empty drive, which is SATA, and as much memory as hot-plug wants."""
    try:
        guest = build(SATA, cache_directory())
    except Unsupported as error:
        pytest.skip(str(error))
    shutil.copyfile(guest, lab.guest.parent / "sata.qcow2")
    wire = to_wire(machine(NAME, image=lab.image.replace("guest.qcow2", "sata.qcow2"), memory="1Gi"))
    domain = wire["spec"]["template"]["spec"]["domain"]
    domain["cpu"] = {"sockets": 1, "cores": 1, "threads": 1}
    domain["devices"]["disks"].append({"name": "drive", "cdrom": {"bus": "sata"}})
    apply(lab, {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", **wire})
    try:
        kubectl(lab, "wait", f"vm/{NAME}", "--for=condition=Ready", "--timeout=120s")
        yield
    finally:
        kubectl(lab, "delete", "vm", NAME, "--grace-period=0", "--ignore-not-found")
        kubectl(lab, "wait", "--for=delete", f"vmi/{NAME}", "--timeout=60s", check=False)


async def wait_phase(client: Client, volume: str, phase: str) -> VMI:
    """Until a volume is in a phase; "" is for one that is not there any more."""

    def holds(instance: VMI | None) -> bool:
        assert instance is not None
        found = next((v for v in instance.status.volume_status if v.name == volume), None)
        return (found.phase if found is not None else "") == phase

    found = await until(client, VMI, KEY, holds)
    assert found is not None
    return found


async def wait_condition(client: Client, type_: str, status: str | None) -> VMI:
    """Until a condition of the instance has this status; None is for one that is gone."""

    def holds(instance: VMI | None) -> bool:
        assert instance is not None
        found = next((c for c in instance.status.conditions if c.type == type_), None)
        return (found.status if found is not None else None) == status

    found = await until(client, VMI, KEY, holds)
    assert found is not None
    return found


async def change(client: Client, domain: dict[str, Any]) -> None:
    await client.patch(VirtualMachine, KEY, {"spec": {"template": {"spec": {"domain": domain}}}})


async def set_volumes(client: Client, *, plugged: dict[str, dict[str, Any]], disc: str = "") -> None:
    """The VM's own disks, with these claims plugged in: name of the disk -> its entry; and a claim in the drive."""
    vm = to_wire(await client.get(VirtualMachine, KEY))
    spec = vm["spec"]["template"]["spec"]
    own = [v for v in spec["volumes"] if v["name"] in ("root", "init")]
    disks = [d for d in spec["domain"]["devices"]["disks"] if d["name"] in ("root", "init", "drive")]
    for name, target in plugged.items():
        claim_name = target.pop("claim")
        own.append({"name": name, "persistentVolumeClaim": {"claimName": claim_name, "hotpluggable": True}})
        disks.append({"name": name, **target})
    if disc:
        own.append({"name": "drive", "persistentVolumeClaim": {"claimName": disc, "hotpluggable": True}})
    body = {"spec": {"template": {"spec": {"volumes": own, "domain": {"devices": {"disks": disks}}}}}}
    await client.patch(VirtualMachine, KEY, body)


async def disk_by_serial(viewer: Console, serial: str) -> str:
    """Name of the guest's disk with this serial, once it is there."""
    look = f"grep -l {serial} /sys/block/*/serial /sys/block/*/device/vpd_pg80 2>/dev/null | cut -d/ -f4"
    text = await viewer.do(f'n=0; while [ -z "$({look})" ] && [ $n -lt 30 ]; do sleep 1; n=$((n+1)); done; {look}')
    found = text.split()
    assert found, f"no disk {serial}"
    return found[-1]


async def guest_says(viewer: Console, command: str, least: int) -> int:
    """What a command in the guest prints, once that is a number that is large enough."""
    loop = f"n=0; while [ $({command}) -lt {least} ] && [ $n -lt 60 ]; do sleep 1; n=$((n+1)); done; {command}"
    found = int((await viewer.do(loop)).split()[-1])
    assert found >= least
    return found


async def events(client: Client) -> set[str]:
    listed = await client.list(Event, "default", field_selector=f"involvedObject.name={NAME}")
    return {e.reason or "" for e in listed.items}


@pytest.mark.usefixtures("plug")
async def test_a_disk_is_added_and_removed_by_command(lab: Lab, client: Client) -> None:
    apply(lab, claim("extra"))
    async with shell(client, NAME) as viewer:
        await asyncio.to_thread(kvtui, lab, "addvolume", NAME, "--volume-name", "extra", "--serial", "EXTRA1")
        instance = await wait_phase(client, "extra", "Ready")
        found = next(v for v in instance.status.volume_status if v.name == "extra")
        assert (found.target, found.reason) == ("sdb", "VolumeReady")  # sda is the drive
        assert found.hotplug_volume is not None
        disk = await disk_by_serial(viewer, "EXTRA1")
        assert await guest_says(viewer, f"cat /sys/block/{disk}/size", 1) == 64 * MIB // 512
        assert "kept" in await viewer.do(f"echo kept >/dev/{disk}; sync; head -c 4 /dev/{disk}")
        await asyncio.to_thread(kvtui, lab, "removevolume", NAME, "--volume-name", "extra")
        await wait_phase(client, "extra", "")
        assert "gone" in await viewer.do(f"[ -e /sys/block/{disk} ] || echo gone")
    assert {"VolumeReady", "VolumeUnplugged"} <= await events(client)
    assert (await image(lab, client, "extra")).read_bytes()[:4] == b"kept"


async def image(lab: Lab, client: Client, name: str) -> Path:
    bound = await client.get(PersistentVolumeClaim, ("default", name))
    volume = await client.get(PersistentVolume, ("", bound.spec.volume_name or ""))
    assert volume.spec.host_path is not None
    return Path(volume.spec.host_path.path) / "disk.img"


@pytest.mark.usefixtures("plug")
async def test_discs_are_put_in_exchanged_and_taken_out(lab: Lab, client: Client) -> None:
    names = ("first", "second")
    apply(lab, *(claim(f"disc-{name}", "2Mi") for name in names))
    for name in names:
        bound = await until(client, PersistentVolumeClaim, ("default", f"disc-{name}"), is_bound)
        assert bound is not None
        made = await image(lab, client, f"disc-{name}")
        await iso.build(made, name, {"title": name.encode()})
        made.parent.chmod(0o711)
    # A disc is read when its drive is asked; what the guest knew of the last one goes with it.
    title = "{ mount -t iso9660 -o ro /dev/sr0 /mnt 2> /dev/null && cat /mnt/title && umount /mnt; }"
    async with shell(client, NAME) as viewer:
        for name in names:
            await set_volumes(client, plugged={}, disc=f"disc-{name}")
            words = await viewer.do(f'until [ "$({title})" = {name} ]; do sleep 1; done; {title}')
            assert words.endswith(name)  # the kernel may have told of the drive before
        await set_volumes(client, plugged={})
        words = await viewer.do(f"while {title} > /dev/null; do sleep 1; done; echo empty")
        assert words.endswith("empty")
    for name in names:
        assert (await image(lab, client, f"disc-{name}")).stat().st_size < 2 * MIB


def is_bound(claim: PersistentVolumeClaim | None) -> bool:
    return claim is not None and claim.status.phase == "Bound"


@pytest.mark.usefixtures("plug")
async def test_a_disk_of_the_spec_comes_grows_outlives_the_agent_and_goes(lab: Lab, client: Client) -> None:
    apply(lab, claim("grows"))
    async with shell(client, NAME) as viewer:
        await set_volumes(client, plugged={"grows": {"claim": "grows", "disk": {"bus": "virtio"}, "serial": "GROWS1"}})
        instance = await client.get(VMI, KEY)
        os.kill(lab.pid(f"agent-{instance.status.node_name}"), signal.SIGKILL)
        await wait_phase(client, "grows", "Ready")
        disk = await disk_by_serial(viewer, "GROWS1")
        body = {"spec": {"resources": {"requests": {"storage": "128Mi"}}}}
        await client.patch(PersistentVolumeClaim, ("default", "grows"), body)
        # 6 % of a file system are not for the image.
        await guest_says(viewer, f"cat /sys/block/{disk}/size", 120 * MIB // 512)
        assert "far" in await viewer.do(f"echo far | dd of=/dev/{disk} bs=1M seek=110 && sync && echo far")
        await set_volumes(client, plugged={})
        await wait_phase(client, "grows", "")
        assert "gone" in await viewer.do(f"[ -e /sys/block/{disk} ] || echo gone")


@pytest.mark.usefixtures("plug")
async def test_processors_and_memory_are_added_and_less_needs_a_restart(lab: Lab, client: Client) -> None:
    async with shell(client, NAME) as viewer:
        before = await guest_says(viewer, "awk '/MemTotal/{print $2}' /proc/meminfo", 1)
        await change(client, {"cpu": {"sockets": 2}})
        await guest_says(viewer, "nproc", 2)
        found = await wait_condition(client, "HotVCPUChange", None)
        await change(client, {"memory": {"guest": "1280Mi"}})
        after = await guest_says(viewer, "awk '/MemTotal/{print $2}' /proc/meminfo", before + 200 * 1024)
        assert after > before
        found = await wait_condition(client, "HotMemoryChange", None)
    assert found.status.current_cpu_topology is not None
    assert found.status.current_cpu_topology.sockets == 2
    assert found.status.memory is not None
    assert found.status.memory.guest_requested == "1280Mi"
    await change(client, {"cpu": {"sockets": 1}})
    words = await restart_reason(client, NAME)
    assert "Reduction of CPU socket count requires a restart" in words
    await change(client, {"cpu": {"sockets": 2}})


@pytest.mark.usefixtures("plug")
async def test_plugged_devices_move_with_the_guest_and_go_on_the_other_node(lab: Lab, client: Client) -> None:
    apply(lab, claim("moves"))
    async with shell(client, NAME) as viewer:
        await set_volumes(client, plugged={"moves": {"claim": "moves", "disk": {"bus": "scsi"}, "serial": "MOVES1"}})
        before = await wait_phase(client, "moves", "Ready")
        disk = await disk_by_serial(viewer, "MOVES1")
        await none_migrates(client, NAME)
        await asyncio.to_thread(kvtui, lab, "migrate", NAME, "--follow")
        moved = await client.get(VMI, KEY)
        assert moved.status.node_name != before.status.node_name
        assert "both" in await viewer.do(f"echo both >/dev/{disk}; sync; head -c 4 /dev/{disk}")
        await set_volumes(client, plugged={})
        await wait_phase(client, "moves", "")
        assert "gone" in await viewer.do(f"[ -e /sys/block/{disk} ] || echo gone")
