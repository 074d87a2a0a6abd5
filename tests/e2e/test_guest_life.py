"""What may befall a guest: a full disk, a panic, a reset; how its life begins, and what outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kvtui.api.core.config import Secret
from kvtui.api.kubevirt.config import KubeVirt
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire, to_wire
from kvtui.client.rest import Client, Patch
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import a_guest, in_node, kubectl, launcher, machine, shell, wait_running
from tests.e2e.test_guest_agent import condition, debian, guest, reasons, secret

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
__all__ = ["debian"]
NODE = {"kubernetes.io/hostname": "node-1"}


async def test_a_full_disk_pauses_a_guest_and_room_lets_it_go_on(lab: Lab, client: Client) -> None:
    place = "/run/kve2e-tiny"
    in_node(lab, "node-1", "mkdir", "-m", "711", "-p", place)
    in_node(lab, "node-1", "mount", "-t", "tmpfs", "-o", "size=8m,mode=711", "tiny", place)
    in_node(lab, "node-1", "truncate", "-s", "64M", f"{place}/disk.img")
    disk = {"hostDisk": {"path": f"{place}/disk.img", "type": "Disk"}}
    vm = machine("full", ("tiny", disk), image=lab.image)
    vm = with_template(vm, nodeSelector=NODE)
    try:
        async with gates(client, "HostDisk"), a_guest(client, vm) as instance:
            async with shell(client, "full") as viewer:
                at = len(viewer.seen)
                await viewer.type("dd if=/dev/urandom of=/dev/vdb bs=1M count=24 oflag=direct; echo wro''te-$?\n")
                found = await until(
                    client, VirtualMachineInstance, instance.key, lambda v: condition(v, "Paused") is not None
                )
                assert found is not None
                assert found.status.phase == "Running"
                paused = next(c for c in found.status.conditions if c.type == "Paused")
                assert (paused.reason, paused.message) == (
                    "PausedIOError",
                    "VMI was paused, low-level IO error detected",
                )
                in_node(lab, "node-1", "mount", "-o", "remount,size=64m", place)
                await viewer.expect("wrote-0", at)
                await until(client, VirtualMachineInstance, instance.key, lambda v: condition(v, "Paused") is None)
            assert "IOerror" in await reasons(client, "full")
    finally:
        in_node(lab, "node-1", "umount", place)
        in_node(lab, "node-1", "rmdir", place)


def with_template(vm: VirtualMachine, **spec: Any) -> VirtualMachine:
    wire = to_wire(vm)
    wire["spec"]["template"]["spec"] |= spec
    return from_wire(wire, VirtualMachine)


@contextlib.asynccontextmanager
async def gates(client: Client, *names: str) -> AsyncIterator[None]:
    """Opens feature gates of the cluster for a while."""
    found = (await client.list(KubeVirt)).items[0]
    developer = found.spec.configuration and found.spec.configuration.developer_configuration
    before = list(developer.feature_gates) if developer else []

    async def put(wanted: list[str]) -> None:
        body = {"spec": {"configuration": {"developerConfiguration": {"featureGates": wanted}}}}
        await client.patch(KubeVirt, found.key, body, how=Patch.MERGE)

    await put([*before, *names])
    try:
        yield
    finally:
        await put(before)


@pytest.mark.soak
async def test_a_panic_is_told_and_fails_the_instance(lab: Lab, client: Client, debian: str) -> None:
    async with gates(client, "PanicDevices"):
        vm = guest("panics", debian, {"panicDevices": [{"model": "isa"}]}, strategy="Once")
        async with a_guest(client, vm) as instance:
            async with shell(client, "panics") as viewer:
                await viewer.type("echo c > /proc/sysrq-trigger\n")
                await until(
                    client, VirtualMachineInstance, instance.key, lambda v: v is None or v.status.phase == "Failed"
                )
            assert "GuestPanicked" in await reasons(client, "panics")


@pytest.mark.soak
async def test_a_guest_that_starts_paused_waits_and_its_console_is_a_log(lab: Lab, client: Client) -> None:
    by_cloud_init = {"source": {"secret": {"secretName": "patient-keys"}}, "propagationMethod": {"noCloud": {}}}
    credentials = [{"sshPublicKey": by_cloud_init}]
    vm = with_template(machine("patient", image=lab.image), startStrategy="Paused", accessCredentials=credentials)
    await client.create(secret("patient-keys", anna="ssh-ed25519 AAAA anna\n"))
    async with a_guest(client, vm) as instance:
        found = await until(client, VirtualMachineInstance, instance.key, lambda v: condition(v, "Paused") is not None)
        assert found is not None
        node = found.status.node_name or ""
        assert in_node(lab, node, "virsh", "list", "--name", "--state-paused").split()
        await asyncio.to_thread(kvtui, lab, "unpause", "patient")
        async with shell(client, "patient") as viewer:
            assert await viewer.do("cat /root/.ssh/authorized_keys") == "ssh-ed25519 AAAA anna"
            at = len(viewer.seen)
            await asyncio.to_thread(kvtui, lab, "reset", "patient")
            await viewer.login(at)
        assert (await wait_running(client, "patient")).metadata.uid == instance.metadata.uid
        assert "Reset" in await reasons(client, "patient")
        pod = (await launcher(client, found)).metadata.name
        assert kubectl(lab, "logs", pod, "-c", "guest-console-log").count("log in as root") == 2
    await client.delete(Secret, ("default", "patient-keys"))


async def test_firmware_variables_and_tpm_state_outlive_an_instance(lab: Lab, client: Client) -> None:
    """On the VM's claim, while the guest stands still: what is written there is firmware's and the TPM's own start."""
    wire = to_wire(with_template(machine("stateful", grace=0), startStrategy="Paused", nodeSelector=NODE))
    domain = wire["spec"]["template"]["spec"]["domain"]
    domain["firmware"] = {"bootloader": {"efi": {"secureBoot": False, "persistent": True}}}
    domain["devices"]["tpm"] = {"persistent": True}
    async with a_guest(client, from_wire(wire, VirtualMachine)) as instance:
        found = json.loads(kubectl(lab, "get", "pvc", "-l", "persistent-state-for=stateful", "-o", "json"))["items"]
        volume = kubectl(
            lab, "get", "pv", found[0]["spec"]["volumeName"], "-o", "jsonpath={.spec.local.path}{.spec.hostPath.path}"
        )
        kept = (f"{volume}/nvram/vars.fd", f"{volume}/swtpm/tpm2/tpm2-00.permall")
        before = in_node(lab, "node-1", "stat", "--format=%i", *kept).split()
        assert "swtpm" in in_node(lab, "node-1", "cat", "/proc/self/mounts")
        in_node(lab, "node-1", "sh", "-c", f"printf kept | dd of={kept[0]} bs=1 seek=1000 conv=notrunc")
        await asyncio.to_thread(kvtui, lab, "restart", "stateful")
        await wait_running(client, "stateful", besides=instance.metadata.uid)
        assert in_node(lab, "node-1", "stat", "--format=%i", *kept).split() == before
        assert in_node(lab, "node-1", "dd", f"if={kept[0]}", "bs=1", "skip=1000", "count=4") == "kept"
    assert "/var/lib/libvirt/swtpm/" not in in_node(lab, "node-1", "cat", "/proc/self/mounts")
