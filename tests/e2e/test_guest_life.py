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
from tests.e2e.guests import Console, a_guest, in_node, kubectl, launcher, machine, shell, wait_running
from tests.e2e.test_guest_agent import condition, debian, guest, reasons, secret
from tests.e2e.test_windows import secure

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
__all__ = ["debian", "secure"]
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


GET_RANDOM = rb"\200\001\000\000\000\014\000\000\001\173\000\010"
"""TPM2_GetRandom of eight bytes. Source: TCG TPM 2.0 Library, Part 3, 16.1."""
ARM_WATCHDOG = """
dev=$(dirname $(grep -l 0x25ab /sys/bus/pci/devices/*/device)); echo 1 > $dev/enable;
bar=$(head -n 1 $dev/resource | cut -d ' ' -f 1);
unlock() { devmem $((bar + 12)) 16 0x80; devmem $((bar + 12)) 16 0x86; };
printf '\\000\\000' | dd of=$dev/config bs=2 seek=48 conv=notrunc 2> /dev/null;
unlock; devmem $bar 32 1024; unlock; devmem $((bar + 4)) 32 1024;
printf '\\002' | dd of=$dev/config bs=1 seek=104 conv=notrunc 2> /dev/null; echo armed
""".replace("\n", " ")
"""The 6300ESB's two stages of a second each, by its registers: the lab's kernel has no driver for it.

Source: Intel 6300ESB I/O Controller Hub, datasheet, 17 (watchdog timer)."""


async def test_a_guest_is_ready_by_tcp_and_has_a_tpm(lab: Lab, client: Client) -> None:
    wire = to_wire(machine("open", image=lab.image))
    spec = wire["spec"]["template"]["spec"]
    spec["readinessProbe"] = {"tcpSocket": {"port": 80}, "periodSeconds": 1, "timeoutSeconds": 3}
    spec["domain"]["devices"]["tpm"] = {}
    async with a_guest(client, from_wire(wire, VirtualMachine)) as instance:
        assert (condition(instance, "Ready") or ("",))[0] == "False"
        async with shell(client, "open") as viewer:
            await until(client, VirtualMachineInstance, instance.key, lambda v: condition(v, "Ready") == ("True", ""))
            random = await ask_tpm(viewer, GET_RANDOM)
            assert random[:4].hex() == "80010000"
            assert (random[6:12].hex(), len(random)) == ("000000000008", 20)


async def ask_tpm(viewer: Console, command: bytes) -> bytes:
    """The TPM's answer to a command, whose bytes are written as printf wants them."""
    asked = (
        f"exec 3<>/dev/tpm0; printf '{command.decode()}' >&3; dd bs=4096 count=1 <&3 2> /dev/null | xxd -p; exec 3<&-"
    )
    return bytes.fromhex("".join((await viewer.do(asked)).split()))


@pytest.mark.soak
@pytest.mark.parametrize(("action", "phase"), [("reset", "Running"), ("poweroff", "Failed")])
async def test_a_watchdog_acts_when_its_guest_stops_feeding_it(
    lab: Lab, client: Client, secure: str, action: str, phase: str
) -> None:
    """By the kernel's own driver. QEMU turns the power off by ending itself, which looks like its death."""
    name = f"dog-{action}"
    wire = to_wire(machine(name, image=secure, memory="256Mi", strategy="Once"))
    devices = wire["spec"]["template"]["spec"]["domain"]["devices"]
    devices["watchdog"] = {"name": "dog", "i6300esb": {"action": action}}
    async with a_guest(client, from_wire(wire, VirtualMachine)) as instance:
        pod = await launcher(client, instance)
        async with shell(client, name) as viewer:
            at = len(viewer.seen)
            if action == "reset":
                await viewer.type("reboot -f\n")
                await viewer.login(at)
            await viewer.do("modprobe i6300esb && watchdog -T 4 -t 1 /dev/watchdog && sleep 10")
            assert await viewer.do("pidof watchdog")  # it was fed, and longer than it waits
            at = len(viewer.seen)
            await viewer.type("killall -9 watchdog\n")
            if action == "reset":
                await viewer.login(at)
        after = await until(client, VirtualMachineInstance, instance.key, lambda v: in_phase(v) == phase)
        assert after is not None
        assert after.metadata.uid == instance.metadata.uid
        if action == "reset":
            assert (await launcher(client, after)).metadata.uid == pod.metadata.uid


async def test_a_watchdog_presses_the_power_button(lab: Lab, client: Client) -> None:
    wire = to_wire(machine("dog-shutdown", image=lab.image, strategy="Once"))
    devices = wire["spec"]["template"]["spec"]["domain"]["devices"]
    devices["watchdog"] = {"name": "dog", "i6300esb": {"action": "shutdown"}}
    async with a_guest(client, from_wire(wire, VirtualMachine)) as instance, shell(client, "dog-shutdown") as viewer:
        await viewer.type(f"{ARM_WATCHDOG}\n")
        await until(client, VirtualMachineInstance, instance.key, lambda v: in_phase(v) == "Succeeded")


def in_phase(vmi: VirtualMachineInstance | None) -> str:
    return (vmi.status.phase or "") if vmi is not None else ""


@pytest.mark.soak
async def test_a_port_that_opens_and_closes_decides_whether_a_guest_is_ready_and_lives(
    lab: Lab, client: Client
) -> None:
    port = {"tcpSocket": {"port": 80}, "periodSeconds": 1, "timeoutSeconds": 3}
    probes = {"readinessProbe": port, "livenessProbe": {**port, "initialDelaySeconds": 25, "failureThreshold": 8}}
    async with a_guest(client, with_template(machine("open", image=lab.image), **probes)) as instance:
        async with shell(client, "open") as viewer:
            await until(client, VirtualMachineInstance, instance.key, lambda v: condition(v, "Ready") == ("True", ""))
            await viewer.do("killall httpd")
            closed = lambda v: (condition(v, "Ready") or ("",))[0] == "False"  # noqa: E731
            await until(client, VirtualMachineInstance, instance.key, closed)
            await viewer.do("httpd -p 80 -h /www")
            await until(client, VirtualMachineInstance, instance.key, lambda v: condition(v, "Ready") == ("True", ""))
            await viewer.do("killall httpd")
        again = await wait_running(client, "open", besides=instance.metadata.uid)
        await until(client, VirtualMachineInstance, again.key, lambda v: condition(v, "Ready") == ("True", ""))


OWN_THE_TPM = rb"\200\002\000\000\000\041\000\000\001\051\100\000\000\001"
OWN_THE_TPM += rb"\000\000\000\011\100\000\000\011\000\000\000\000\000\000\004kept"
"""TPM2_HierarchyChangeAuth: a password for the owner, who had none. Source: TCG TPM 2.0 Library, Part 3, 24.8."""
EXTEND = rb"\200\002\000\000\000\101\000\000\001\202\000\000\000\020"
EXTEND += rb"\000\000\000\011\100\000\000\011\000\000\000\000\000\000\000\000\001\000\013" + rb"\001" * 32
"""TPM2_PCR_Extend of register 16 with a SHA-256. Source: Part 3, 22.2."""
READ_REGISTER = rb"\200\001\000\000\000\024\000\000\001\176\000\000\000\001\000\013\003\000\000\001"
"""TPM2_PCR_Read of register 16. Source: Part 3, 22.4."""
VARIABLE = "/sys/firmware/efi/efivars/Kept-6b767475-6900-4000-8000-000000000001"


@pytest.mark.soak
async def test_a_tpm_and_firmware_variables_are_the_same_after_a_restart_and_on_another_node(
    lab: Lab, client: Client
) -> None:
    """What the guest wrote: a password in the TPM and a variable; and what the TPM only keeps while it runs."""
    wire = to_wire(machine("keeps", image=lab.image, memory="512Mi", grace=60))
    domain = wire["spec"]["template"]["spec"]["domain"]
    domain["firmware"] = {"bootloader": {"efi": {"secureBoot": False, "persistent": True}}}
    domain["devices"]["tpm"] = {"persistent": True}
    kept = f"mount -t efivarfs none /sys/firmware/efi/efivars; tail -c 4 {VARIABLE}"
    async with a_guest(client, from_wire(wire, VirtualMachine)) as instance:
        async with shell(client, "keeps") as viewer:
            await viewer.do(kept)
            await viewer.do(rf"printf '\007\000\000\000kept' > {VARIABLE}")
            assert code_of(await ask_tpm(viewer, OWN_THE_TPM)) == 0
            assert code_of(await ask_tpm(viewer, EXTEND)) == 0
            register = await ask_tpm(viewer, READ_REGISTER)
            assert code_of(register) == 0
            source = instance.status.node_name
            await asyncio.to_thread(kvtui, lab, "migrate", "keeps", "--follow")
            moved = await wait_running(client, "keeps")
            assert (moved.metadata.uid, moved.status.node_name != source) == (instance.metadata.uid, True)
            # Its count of updates aside, all that the TPM answers is the same.
            assert (await ask_tpm(viewer, READ_REGISTER))[14:] == register[14:]
            assert code_of(await ask_tpm(viewer, OWN_THE_TPM)) == BAD_PASSWORD
            assert (await viewer.do(f"tail -c 4 {VARIABLE}")).endswith("kept")
        await asyncio.to_thread(kvtui, lab, "restart", "keeps")
        await wait_running(client, "keeps", besides=instance.metadata.uid)
        async with shell(client, "keeps") as viewer:
            assert (await viewer.do(kept)).endswith("kept")
            assert code_of(await ask_tpm(viewer, OWN_THE_TPM)) == BAD_PASSWORD
            assert (await ask_tpm(viewer, READ_REGISTER))[14:] != register[14:]
        (claim,) = json.loads(kubectl(lab, "get", "pvc", "-l", "persistent-state-for=keeps", "-o", "json"))["items"]
        assert "deletionTimestamp" not in claim["metadata"]


BAD_PASSWORD = 0x9A2


def code_of(answer: bytes) -> int:
    """What a TPM says of a command. Source: Part 2, 6.6 (TPM_RC)."""
    return int.from_bytes(answer[6:10], "big")


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
