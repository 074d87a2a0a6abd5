"""Subresources of a real guest as virtctl asks for them: its ports, shell, screen, USB slots, memory and reset."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire, to_wire
from kvtui.client.rest import Client
from kvtui.errors import ApiError
from tests.e2e.conftest import BOOT, Lab, kvtui, until
from tests.e2e.guests import a_guest, console, machine
from tests.e2e.udp_echo import program

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = "/apis/subresources.kubevirt.io/v1/namespaces/default"
VMI = f"{ROOT}/virtualmachineinstances/wired"
KEY, DUMP = ("default", "wired"), ("default", "wired-dump")
UDP = 7777
RECEIVER = """#!/bin/sh
# The receiving half of rcp's protocol, for one small file: the guest has no scp of its own.
for target; do :; done
printf '\\0'
read -r mode size name
printf '\\0'
dd bs=1 count="$size" of="$target" 2> /dev/null
dd bs=1 count=1 of=/dev/null 2> /dev/null
printf '\\0'
"""


def wired(lab: Lab, key: str) -> VirtualMachine:
    """A guest into which this key may log in, with slots for USB devices."""
    data = f"#cloud-config\nhostname: wired\nssh_authorized_keys:\n- {key}\n"
    body = to_wire(machine("wired", image=lab.image, cloud_init=data))
    body["spec"]["template"]["spec"]["domain"]["devices"]["clientPassthrough"] = {}
    return from_wire(body, VirtualMachine)


class Shell:
    """`kvtui ssh` and `scp` with a key of the test's own."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self._lab = lab
        self._key = directory / "key"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)]
        subprocess.run(command, check=True)
        self.public = self._key.with_suffix(".pub").read_text().strip()

    async def run(self, verb: str, *words: str, check: bool = True) -> str:
        options = ["-i", str(self._key), "-t", "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"]
        options += ["-t", "-o LogLevel=ERROR"]
        return await asyncio.to_thread(kvtui, self._lab, verb, *options, *words, check=check)


@pytest.fixture
def shell(lab: Lab, tmp_path: Path) -> Shell:
    if shutil.which("ssh-keygen") is None or shutil.which("ssh") is None:
        pytest.skip("ssh is not installed")
    return Shell(lab, tmp_path)


async def test_the_subresources_of_a_guest(lab: Lab, client: Client, shell: Shell, tmp_path: Path) -> None:
    async with a_guest(client, wired(lab, shell.public)):
        async with console(client, "wired") as viewer:
            await viewer.expect("login: ")
        await logged_in(shell, tmp_path)
        for kind in ("virtualmachines", "virtualmachineinstances"):
            await forwarded(client, f"{ROOT}/{kind}/wired/portforward")
        await screen(lab, client, tmp_path)
        await usb(client)
        await no_confidence(client)
        await dumped(lab, client)
        await started_over(lab, client)


async def logged_in(shell: Shell, directory: Path) -> None:
    (directory / "scp").write_text(RECEIVER)
    (directory / "echo").write_bytes(program(UDP))
    receiver = (directory / "scp").read_text().replace("'", "'\\''")
    await shell.run("ssh", "root@vm/wired", "-c", f"printf %s '{receiver}' > /bin/scp; chmod 755 /bin/scp")
    await shell.run("scp", "-t", "-O", str(directory / "echo"), "root@vmi/wired/default:/tmp/echo")
    started = "chmod 755 /tmp/echo; (/tmp/echo < /dev/null > /dev/null 2>&1 &); id -un"
    assert await shell.run("ssh", "vmi/wired", "-l", "root", "-c", started) == "root\n"
    assert "exit status 3" in await shell.run("ssh", "root@vm/wired", "-c", "exit 3", check=False)


async def forwarded(client: Client, path: str) -> None:
    async with client.websocket(f"{path}/80/tcp") as socket:
        assert socket.protocol == "plain.kubevirt.io"
        await socket.send_bytes(b"GET /cgi-bin/info HTTP/1.0\r\n\r\n")
        assert (await socket.receive_bytes()).startswith(b"HTTP/1.1 200 OK")
    async with client.websocket(f"{path}/{UDP}/udp") as socket:
        for datagram in (b"one", b"", b"x" * 1200):
            await socket.send_bytes(datagram)
            assert await socket.receive_bytes() == datagram


async def screen(lab: Lab, client: Client, directory: Path) -> None:
    async with client.websocket(f"{VMI}/vnc") as socket:
        assert await socket.receive_bytes() == b"RFB 003.008\n"
        await socket.send_bytes(b"RFB 003.008\n")
        assert await socket.receive_bytes() == b"\x01\x01"  # one type of security, which is none
        with pytest.raises(ApiError, match=r"Active VNC connection\. Request denied\."):
            async with client.websocket(f"{VMI}/vnc", params={"preserveSession": "true"}):
                pass
    picture = directory / "screen.png"
    await asyncio.to_thread(kvtui, lab, "vnc", "screenshot", "wired", "-f", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")


async def usb(client: Client) -> None:
    async with client.websocket(f"{VMI}/usbredir") as socket:
        hello = await socket.receive_bytes()
        assert hello[:4] == bytes(4)  # usb_redir_hello
        assert b"qemu" in hello.lower()


async def no_confidence(client: Client) -> None:
    """What a guest without encrypted memory is told."""
    for method, verb, code, words in (
        ("GET", "fetchcertchain", 409, "Attestation not requested for VMI"),
        ("GET", "querylaunchmeasurement", 409, "Attestation not requested for VMI"),
        ("PUT", "setupsession", 400, "Session and DHCert are required"),
        ("PUT", "injectlaunchsecret", 400, "Header and secret are required"),
    ):
        with pytest.raises(ApiError, match=words) as refused:
            await client.raw(method, f"{VMI}/sev/{verb}")
        assert refused.value.code == code


async def dumped(lab: Lab, client: Client) -> None:
    def phase(vm: VirtualMachine | None) -> Any:
        request = vm.status.memory_dump_request if vm is not None else None
        return request.phase if request is not None else None

    try:
        get = ("memory-dump", "get", "wired", "--claim-name", DUMP[1], "--create-claim", "--storage-class")
        await asyncio.to_thread(kvtui, lab, *get, "kvtui-shared")
        done = await until(client, VirtualMachine, KEY, lambda vm: phase(vm) in ("Completed", "Failed"))
        assert phase(done) == "Completed"
        assert done is not None
        assert done.status.memory_dump_request is not None
        name = done.status.memory_dump_request.file_name
        claim = await client.get(PersistentVolumeClaim, DUMP)
        assert claim.metadata.annotations["kubevirt.io/memory-dump"] == name
        (core,) = (lab.data / "shared" / claim.metadata.uid).iterdir()
        assert core.name == name
        head = core.read_bytes()[:20]
        assert head[:5] == b"\x7fELF\x02"
        assert int.from_bytes(head[16:18], "little") == 4  # ET_CORE
        assert core.stat().st_size > 96 * 2**20
        await asyncio.to_thread(kvtui, lab, "memory-dump", "remove", "wired")
        left = await until(client, VirtualMachine, KEY, lambda vm: phase(vm) is None)
        assert left is not None
        assert all(v.memory_dump is None for v in left.spec.template.spec.volumes)
    finally:
        await client.delete(PersistentVolumeClaim, DUMP)


async def started_over(lab: Lab, client: Client) -> None:
    """A reset, and a guest that does not notice that its instance is the same."""
    before = await client.get(VirtualMachineInstance, KEY)
    async with console(client, "wired") as viewer:
        await viewer.expect("login: ")
        seen = len(viewer.seen)
        await asyncio.to_thread(kvtui, lab, "reset", "wired")
        await viewer.expect("login: ", seen, BOOT)
    after = await client.get(VirtualMachineInstance, KEY)
    assert (after.metadata.uid, after.status.phase) == (before.metadata.uid, "Running")
