"""Devices that come and go, as QEMU has them: the guest never runs, so all is quick, and what needs its help is left
to the tests with guests that boot."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.config import Event
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.domainxml import live
from kvtui.node.pids import Pid
from kvtui.node.virtiofs import SERVERS
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import in_node, kubectl, none_migrates, restart_reason, wait_running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
VMI = VirtualMachineInstance
MIB = 2**20
NAME = "asleep"
KEY = ("default", NAME)
ROOT = {"name": "root", "disk": {"bus": "virtio"}}
DRIVE = {"name": "drive", "cdrom": {"bus": "sata"}}
SCRATCH = {"name": "root", "emptyDisk": {"capacity": "8Mi"}}


def claim(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "kvtui-shared",
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "16Mi"}},
        },
    }


def machine(name: str, domain: dict[str, Any], volumes: list[dict[str, Any]]) -> dict[str, Any]:
    """A guest that is started and never runs."""
    spec = {
        "startStrategy": "Paused",
        "terminationGracePeriodSeconds": 0,
        "domain": {"memory": {"guest": "1Gi"}, "cpu": {"sockets": 1}, **domain},
        "networks": [{"name": "default", "pod": {}}],
        "volumes": volumes,
    }
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {"runStrategy": "Always", "template": {"spec": spec}},
    }


def devices(*disks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"devices": {"disks": list(disks), "interfaces": [{"name": "default", "masquerade": {}}], **more}}


def apply(lab: Lab, *objects: dict[str, Any]) -> None:
    kubectl(lab, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


@contextlib.contextmanager
def existing(lab: Lab, *objects: dict[str, Any]) -> Iterator[None]:
    names = [f"{o['kind'].lower()}/{o['metadata']['name']}" for o in objects]
    apply(lab, *objects)
    try:
        yield
    finally:
        kubectl(lab, "delete", *reversed(names), "--ignore-not-found", "--timeout=60s")


async def set_plugged(client: Client, **plugged: tuple[str, dict[str, Any] | None]) -> None:
    """The VM with these claims plugged in, by the name of the disk; a drive has no disk to add."""
    volumes = [
        {"name": n, "persistentVolumeClaim": {"claimName": c, "hotpluggable": True}} for n, (c, _) in plugged.items()
    ]
    disks = [{"name": n, **disk} for n, (_, disk) in plugged.items() if disk is not None]
    spec = {"volumes": [SCRATCH, *volumes], "domain": {"devices": {"disks": [ROOT, DRIVE, *disks]}}}
    await client.patch(VirtualMachine, KEY, {"spec": {"template": {"spec": spec}}})


async def wait_phase(client: Client, volume: str, phase: str) -> VMI:
    """Until a volume is in a phase; "" is for one that is not there any more."""

    def holds(instance: VMI | None) -> bool:
        found = [v for v in instance.status.volume_status if v.name == volume] if instance is not None else []
        return (found[0].phase if found else "") == phase

    found = await until(client, VMI, KEY, holds)
    assert found is not None
    return found


async def domain_of(lab: Lab, client: Client, key: tuple[str, str] = KEY) -> live.LiveDomain:
    instance = await client.get(VMI, key)
    text = await asyncio.to_thread(in_node, lab, instance.status.node_name or "", "virsh", "dumpxml", "_".join(key))
    return live.parse(text)


async def reasons(client: Client) -> set[str]:
    listed = await client.list(Event, "default", field_selector=f"involvedObject.name={NAME}")
    return {e.reason for e in listed.items}


async def change(client: Client, **domain: Any) -> None:
    await client.patch(VirtualMachine, KEY, {"spec": {"template": {"spec": {"domain": domain}}}})


async def test_devices_come_and_go_and_move(lab: Lab, client: Client) -> None:
    vm = machine(NAME, devices(ROOT, DRIVE), [SCRATCH])
    scsi, virtio = {"disk": {"bus": "scsi"}, "serial": "S1"}, {"disk": {"bus": "virtio"}}
    with existing(lab, claim("plug-a"), claim("plug-b"), claim("disc-a"), claim("disc-b"), vm):
        await wait_running(client, NAME)

        await asyncio.to_thread(kvtui, lab, "addvolume", NAME, "--volume-name", "plug-a", "--serial", "A1")
        await wait_phase(client, "plug-a", "Ready")
        added = (await domain_of(lab, client)).disk("plug-a")
        assert added is not None
        assert (added.bus, added.serial) == ("scsi", "A1")
        await asyncio.to_thread(kvtui, lab, "removevolume", NAME, "--volume-name", "plug-a")
        await wait_phase(client, "plug-a", "")
        assert (await domain_of(lab, client)).disk("plug-a") is None
        assert {"VolumeReady", "VolumeUnplugged"} <= await reasons(client)

        await set_plugged(client, s=("plug-a", scsi), drive=("disc-a", None))
        instance = await wait_phase(client, "drive", "Ready")
        os.kill(lab.pid(f"agent-{instance.status.node_name}"), signal.SIGKILL)
        await set_plugged(client, s=("plug-a", scsi), v=("plug-b", virtio), drive=("disc-b", None))
        await wait_phase(client, "v", "Ready")
        await until(client, VMI, KEY, lambda v: v is not None and has_medium(v, "disc-b"))
        await wait_phase(client, "drive", "Ready")
        body = {"spec": {"resources": {"requests": {"storage": "32Mi"}}}}
        await client.patch(PersistentVolumeClaim, ("default", "plug-a"), body)

        await change(client, cpu={"sockets": 2})
        await until(client, VMI, KEY, lambda v: v is not None and settled(v) and sockets(v) == 2)
        await change(client, memory={"guest": "1280Mi"})
        await until(client, VMI, KEY, lambda v: v is not None and settled(v) and asked(v) == "1280Mi")

        await none_migrates(client, NAME)
        before = await client.get(VMI, KEY)
        await asyncio.to_thread(kvtui, lab, "migrate", NAME, "--follow")
        after = await client.get(VMI, KEY)
        assert after.status.node_name != before.status.node_name
        there = await domain_of(lab, client)
        grown, disc = there.disk("s"), there.disk("drive")
        assert grown is not None
        assert disc is not None
        claims = [await client.get(PersistentVolumeClaim, ("default", name)) for name in ("plug-a", "disc-b")]
        for found, disk in zip(claims, (grown, disc), strict=True):
            assert (found.spec.volume_name or "?").removeprefix("pvc-") in disk.source
        info = in_node(lab, after.status.node_name or "", "virsh", "domblkinfo", "_".join(KEY), grown.target)
        assert int(info.split()[1]) == 30 * MIB  # the rest is for the file system
        assert there.vcpus == 2
        assert [m.requested for m in there.memory_devices] == [256 * MIB]

        await set_plugged(client, v=("plug-b", virtio))
        await wait_phase(client, "s", "")
        await wait_phase(client, "drive", "")
        last = await domain_of(lab, client)
        assert last.disk("s") is None
        empty = last.disk("drive")
        assert empty is not None
        assert empty.source == ""

        await change(client, cpu={"sockets": 1})
        assert "Reduction of CPU socket count requires a restart" in await restart_reason(client, NAME)
        await change(client, cpu={"sockets": 2})
        await asyncio.to_thread(kvtui, lab, "restart", NAME, "--force", "--grace-period", "0")
        await wait_running(client, NAME, besides=after.metadata.uid)
        await wait_phase(client, "v", "Ready")
        again = await domain_of(lab, client)
        assert again.disk("v") is not None
        assert again.vcpus == 2
        assert "VolumeMountedToPod" in await reasons(client)


def has_medium(instance: VMI, name: str) -> bool:
    return any(
        v.name == "drive" and v.persistent_volume_claim is not None and v.persistent_volume_claim.claim_name == name
        for v in instance.spec.volumes
    )


def settled(instance: VMI) -> bool:
    return not any(c.type in ("HotVCPUChange", "HotMemoryChange") for c in instance.status.conditions)


def sockets(instance: VMI) -> int:
    current = instance.status.current_cpu_topology
    return (current.sockets or 0) if current is not None else 0


def asked(instance: VMI) -> object:
    return instance.status.memory.guest_requested if instance.status.memory is not None else None


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ({"configMap": {"name": "nobody-made-it"}}, 'configmaps "nobody-made-it" not found'),
        ({"emptyDisk": {"capacity": "100Ki"}}, "the size for volume root is too low"),
    ],
)
async def test_a_guest_that_cannot_start_says_why_and_starts_when_it_can(
    lab: Lab, client: Client, volume: dict[str, Any], said: str
) -> None:
    vm = machine("unable", devices(ROOT), [{"name": "root", **volume}])
    with existing(lab, vm):
        told = await until(client, VMI, ("default", "unable"), lambda v: v is not None and bool(failure(v)))
        assert told is not None
        assert failure(told) == said
        assert told.status.phase == "Scheduled"
        if "configMap" in volume:
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nobody-made-it"}, "data": {"a": "b"}}
            with existing(lab, made):
                assert failure(await wait_running(client, "unable")) == ""


def failure(instance: VMI) -> str:
    return next((c.message or "" for c in instance.status.conditions if c.type == "Synchronized"), "")


@contextlib.contextmanager
def loop_device() -> Iterator[tuple[str, Path]]:
    """A block device of 12 MiB, and the file behind it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        backing = Path(place) / "block.raw"
        with backing.open("wb") as file:
            file.truncate(12 * MIB)
        made = subprocess.run(["losetup", "-f", "--show", backing], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"this machine has no loop device to spare: {made.stderr.strip()}")
        try:
            yield made.stdout.strip(), backing
        finally:
            subprocess.run(["losetup", "-d", made.stdout.strip()], check=True)


async def test_a_block_claim_is_the_device_itself_and_grows_with_it(lab: Lab, client: Client) -> None:
    shape = {"accessModes": ["ReadWriteMany"], "volumeMode": "Block", "storageClassName": "by-hand"}
    with loop_device() as (device, backing):
        retained = {"capacity": {"storage": "12Mi"}, "persistentVolumeReclaimPolicy": "Retain"}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "raw-device"},
            "spec": {**shape, **retained, "hostPath": {"path": device}},
        }
        bound = claim("raw")
        bound["spec"] = {**shape, "resources": {"requests": {"storage": "12Mi"}}}
        disk = {"name": "raw", "disk": {"bus": "virtio"}, "blockSize": {"matchVolume": {"enabled": True}}}
        vm = machine("blocky", devices(disk), [{"name": "raw", "persistentVolumeClaim": {"claimName": "raw"}}])
        with existing(lab, volume, bound, vm):
            instance = await wait_running(client, "blocky")
            found = (await domain_of(lab, client, instance.key)).disk("raw")
            assert found is not None
            assert found.source == device
            sizes = found.element.find("blockio")
            assert sizes is not None
            assert sizes.get("logical_block_size") == "512"
            with backing.open("r+b") as file:
                file.truncate(20 * MIB)
            subprocess.run(["losetup", "-c", device], check=True)
            kubectl(lab, "annotate", "vmi/blocky", "seen=now")
            ask = ("virsh", "domblkinfo", "default_blocky", "vda")
            async with asyncio.timeout(30):
                while int(in_node(lab, instance.status.node_name or "", *ask).split()[1]) != 20 * MIB:
                    await asyncio.sleep(0.3)  # nothing tells when QEMU has looked at its device


@pytest.fixture
def gates(lab: Lab) -> Iterator[None]:
    def set_gates(value: list[str] | None) -> None:
        body = {"spec": {"configuration": {"developerConfiguration": {"featureGates": value}}}}
        kubectl(lab, "patch", "kubevirt/kubevirt", "-n", "kubevirt", "--type=merge", "-p", json.dumps(body))

    set_gates(["DownwardMetrics", "EnableVirtioFsStorageVolumes"])
    yield
    set_gates(None)


@pytest.mark.usefixtures("gates")
async def test_file_systems_and_metrics_come_and_go_with_their_guest(lab: Lab, client: Client) -> None:
    if not any(path.exists() for path in SERVERS):
        pytest.skip("virtiofsd is not installed")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shown"}, "data": {"color": "blue"}}
    volumes: list[dict[str, Any]] = [
        {"name": "load", "downwardMetrics": {}},
        {"name": "shown", "configMap": {"name": "shown"}},
        {"name": "tree", "persistentVolumeClaim": {"claimName": "tree"}},
    ]
    shares = [{"name": "shown", "virtiofs": {}}, {"name": "tree", "virtiofs": {}}]
    load = {"name": "load", "disk": {"bus": "virtio"}}
    vm = machine("sharing", devices(load, filesystems=shares, downwardMetrics={}), volumes)
    with existing(lab, config, claim("tree"), vm):
        instance = await wait_running(client, "sharing")
        verdict = next(c for c in instance.status.conditions if c.type == "LiveMigratable")
        assert (verdict.status, verdict.reason) == ("False", "VirtIOFSNotLiveMigratable")
        state = lab.data / "nodes" / (instance.status.node_name or "") / "vms" / instance.metadata.uid
        servers = [Pid.from_text(path.read_text()) for path in state.glob("fs-*.pid")]
        assert len(servers) == 2
        os.kill(lab.pid(f"agent-{instance.status.node_name}"), signal.SIGKILL)
        shown = state / "shares" / "shown" / "color"
        assert shown.read_text() == "blue"
        apply(lab, {**config, "data": {"color": "green"}})
        kubectl(lab, "annotate", "vmi/sharing", "seen=now")
        async with asyncio.timeout(60):
            while shown.read_text() != "green" or b"HostName" not in (state / "disks/vhostmd0").read_bytes()[:8192]:
                await asyncio.sleep(0.3)  # files that follow tell nobody
        assert all(pid is not None and pid.alive for pid in servers)
    async with asyncio.timeout(30):
        while state.exists() or any(pid is not None and pid.alive for pid in servers):
            await asyncio.sleep(0.3)  # nor does a process that is nobody's child
