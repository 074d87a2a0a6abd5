"""The real guest agent in a real Debian guest: what it tells, what is put into the guest, and one that means harm."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.config import Event, Secret
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire, to_wire
from kvtui.client.rest import Client, Patch
from kvtui.commands.engine import cache_directory
from kvtui.errors import Unsupported
from tests.e2e.conftest import BOOT, Lab, kvtui, until
from tests.e2e.guests import (
    SUBRESOURCES,
    Console,
    a_guest,
    launcher,
    machine,
    running,
    shell,
    wait_running,
)
from tests.guests.debian import AGENT, build

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
KEYS, PASSWORDS = "talker-keys", "talker-passwords"


@pytest.fixture(scope="module")
def debian(lab: Lab) -> str:
    """URL of a Debian guest with the real guest agent."""
    try:
        image = build(AGENT, cache_directory())
    except Unsupported as error:
        pytest.skip(str(error))
    shutil.copyfile(image, lab.guest.parent / "debian.qcow2")
    return lab.image.replace("guest.qcow2", "debian.qcow2")


def guest(
    name: str, image: str, devices: dict[str, Any] | None = None, *, strategy: str = "Always", **spec: Any
) -> VirtualMachine:
    """A VM of an image with more in its spec."""
    wire = to_wire(machine(name, image=image, memory="160Mi", grace=40, strategy=strategy))
    inside = wire["spec"]["template"]["spec"]
    inside["domain"]["devices"] |= devices or {}
    wire["spec"]["template"]["spec"] = {**inside, **spec}
    return from_wire(wire, VirtualMachine)


def condition(vmi: VirtualMachineInstance | None, name: str) -> tuple[str, str] | None:
    found = next((c for c in vmi.status.conditions if c.type == name), None) if vmi is not None else None
    return (found.status, found.message or "") if found is not None else None


def secret(name: str, **data: str) -> Secret:
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return from_wire({"metadata": {"name": name, "namespace": "default"}, "data": encoded}, Secret)


async def wait_agent(client: Client, name: str) -> VirtualMachineInstance:
    found = await until(
        client, VirtualMachineInstance, ("default", name), lambda v: condition(v, "AgentConnected") == ("True", "")
    )
    assert found is not None
    return found


async def reasons(client: Client, name: str) -> list[str]:
    listed = await client.list(Event, "default", field_selector=f"involvedObject.name={name}")
    return [e.reason for e in listed.items]


def key_pair(place: Path) -> tuple[Path, str]:
    """A private key and its public line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", place.name, "-f", place], check=True)
    return place, place.with_suffix(".pub").read_text().strip()


def ssh(key: Path, address: str, *command: str) -> str:
    """What a command in the guest prints, run as kvtui with this key and no other way in; empty when refused."""
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes")
    return subprocess.run(
        ["ssh", "-F", "none", *(f"-o{o}" for o in options), "-i", key, f"kvtui@{address}", *command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    ).stdout.strip()


async def wait_ssh(key: Path, address: str, *command: str) -> str:
    """Tries until the guest lets the key in; nobody tells when it does."""
    async with asyncio.timeout(BOOT):
        while not (said := await asyncio.to_thread(ssh, key, address, *command)):
            await asyncio.sleep(0.3)
    return said


@pytest.fixture
def keys(tmp_path: Path) -> tuple[tuple[Path, str], tuple[Path, str]]:
    return key_pair(tmp_path / "first"), key_pair(tmp_path / "second")


async def test_a_day_with_the_guest_agent(
    lab: Lab, client: Client, debian: str, keys: tuple[tuple[Path, str], tuple[Path, str]]
) -> None:
    """One boot for all that a guest with an agent can do, in the order of its life."""
    (first, first_line), (second, second_line) = keys
    await client.create(secret(KEYS, anna=first_line))
    await client.create(secret(PASSWORDS, kvtui="correct horse"))
    credentials = [
        {
            "sshPublicKey": {
                "source": {"secret": {"secretName": KEYS}},
                "propagationMethod": {"qemuGuestAgent": {"users": ["kvtui"]}},
            }
        },
        {
            "userPassword": {
                "source": {"secret": {"secretName": PASSWORDS}},
                "propagationMethod": {"qemuGuestAgent": {}},
            }
        },
    ]
    vm = guest(
        "talker",
        debian,
        accessCredentials=credentials,
        readinessProbe={"guestAgentPing": {}, "periodSeconds": 1, "timeoutSeconds": 5},
    )
    try:
        async with a_guest(client, vm), shell(client, "talker") as viewer:
            await tells_what_it_is(lab, client)
            address = (await launcher(client, await wait_running(client, "talker"))).status.pod_ip
            await keys_and_passwords(client, viewer, address, first, second, second_line)
            await freezes_and_thaws(lab, client)
            await reboots_softly(lab, client, viewer)
            await loses_its_agent(lab, client, viewer)
            await shuts_down_by_agent(lab, client, viewer)
    finally:
        for name in (KEYS, PASSWORDS):
            await client.delete(Secret, ("default", name))


async def tells_what_it_is(lab: Lab, client: Client) -> None:
    await wait_agent(client, "talker")
    found = await until(
        client,
        VirtualMachineInstance,
        ("default", "talker"),
        lambda v: (
            v is not None
            and v.status.guest_os_info is not None
            and v.status.guest_os_info.id == "debian"
            and [i.info_source for i in v.status.interfaces][:1] == ["domain, guest-agent"]
        ),
    )
    assert found is not None
    assert found.status.guest_os_info is not None
    assert found.status.guest_os_info.version_id == "12"
    assert [i.interface_name for i in found.status.interfaces] == ["eth0"]
    assert condition(found, "AgentVersionNotSupported") is None
    pod = await launcher(client, found)
    await until(
        client,
        Pod,
        ("default", pod.metadata.name),
        lambda p: p is not None and any((c.type, c.status) == ("Ready", "True") for c in p.status.conditions),
    )
    async with asyncio.timeout(30):
        # The list is renewed every ten seconds; that somebody is in it is nobody's event. It is asked for last.
        while not (
            users := json.loads(await asyncio.to_thread(kvtui, lab, "userlist", "talker", "-o", "json"))["items"]
        ):
            await asyncio.sleep(1)
    assert [u["userName"] for u in users] == ["root"]
    assert users[0]["loginTime"] > 1.7e9
    info = json.loads(await asyncio.to_thread(kvtui, lab, "guestosinfo", "talker", "-o", "json"))
    assert info["guestAgentVersion"].startswith("7.2")
    assert (info["hostname"], info["os"]["id"]) == ("talker", "debian")
    assert "guest-exec" in {c["name"] for c in info["supportedCommands"]}
    systems = json.loads(await asyncio.to_thread(kvtui, lab, "fslist", "talker", "-o", "json"))["items"]
    assert [(s["mountPoint"], s["fileSystemType"]) for s in systems] == [("/", "ext4")]


async def keys_and_passwords(
    client: Client, viewer: Console, address: str, first: Path, second: Path, second_line: str
) -> None:
    key = ("default", "talker")
    await until(
        client, VirtualMachineInstance, key, lambda v: condition(v, "AccessCredentialsSynchronized") == ("True", "")
    )
    assert await wait_ssh(first, address, "id", "-un") == "kvtui"
    assert await asyncio.to_thread(ssh, second, address, "id", "-un") == ""
    hash_before = await viewer.do("grep ^kvtui: /etc/shadow")
    assert hash_before.startswith("kvtui:$6$")
    body = {"data": {"anna": base64.b64encode(second_line.encode()).decode()}}
    await client.patch(Secret, ("default", KEYS), body, how=Patch.MERGE)
    assert await wait_ssh(second, address, "id", "-un") == "kvtui"
    assert await asyncio.to_thread(ssh, first, address, "id", "-un") == ""
    body = {"data": {"nobody-there": base64.b64encode(b"x").decode()}}
    await client.patch(Secret, ("default", PASSWORDS), body, how=Patch.MERGE)
    failed = await until(
        client,
        VirtualMachineInstance,
        key,
        lambda v: (condition(v, "AccessCredentialsSynchronized") or ("",))[0] == "False",
    )
    assert "guest-set-user-password" in (condition(failed, "AccessCredentialsSynchronized") or ("", ""))[1]
    body = {"data": {"nobody-there": None}}  # type: ignore[dict-item]
    await client.patch(Secret, ("default", PASSWORDS), body, how=Patch.MERGE)
    await until(
        client, VirtualMachineInstance, key, lambda v: condition(v, "AccessCredentialsSynchronized") == ("True", "")
    )
    said = await reasons(client, "talker")
    assert {"AccessCredentialsSyncSuccess", "AccessCredentialsSyncFailed"} <= set(said)


def frozen(vmi: VirtualMachineInstance | None) -> bool:
    return vmi is not None and vmi.status.fs_freeze_status == "frozen"


async def freezes_and_thaws(lab: Lab, client: Client) -> None:
    """By hand, and by the safety thaw of an agent that was killed after it had promised."""
    key, path = ("default", "talker"), f"{SUBRESOURCES}/talker"
    await client.raw("PUT", f"{path}/freeze", body=b'{"unfreezeTimeout": "0s"}')
    await until(client, VirtualMachineInstance, key, frozen)
    await client.raw("PUT", f"{path}/unfreeze")
    await until(client, VirtualMachineInstance, key, lambda v: v is not None and not frozen(v))
    await client.raw("PUT", f"{path}/freeze", body=b'{"unfreezeTimeout": "4s"}')
    instance = await until(client, VirtualMachineInstance, key, frozen)
    assert instance is not None
    os.kill(lab.pid(f"agent-{instance.status.node_name}"), signal.SIGKILL)
    await until(client, VirtualMachineInstance, key, lambda v: v is not None and not frozen(v))


async def reboots_softly(lab: Lab, client: Client, viewer: Console) -> None:
    before = await wait_running(client, "talker")
    await viewer.do("killall acpid; true")  # so that it is the agent who does it
    at = len(viewer.seen)
    await asyncio.to_thread(kvtui, lab, "soft-reboot", "talker")
    await viewer.login(at)
    assert (await wait_running(client, "talker")).metadata.uid == before.metadata.uid
    assert "SoftRebooted" in await reasons(client, "talker")
    await wait_agent(client, "talker")


async def loses_its_agent(lab: Lab, client: Client, viewer: Console) -> None:
    await viewer.do("mv /sbin/run-guest-agent /sbin/away; killall qemu-ga")
    key = ("default", "talker")
    await until(
        client,
        VirtualMachineInstance,
        key,
        lambda v: (
            v is not None
            and condition(v, "AgentConnected") is None
            and condition(v, "AccessCredentialsSynchronized") == ("False", "Guest agent is offline")
        ),
    )
    assert "does not have guest agent connected" in await asyncio.to_thread(
        lambda: kvtui(lab, "guestosinfo", "talker", check=False)
    )
    await viewer.do("sed -i 's/--statedir/--blacklist=guest-get-timezone --statedir/' /sbin/away")
    await viewer.do("mv /sbin/away /sbin/run-guest-agent")
    poor = lambda v: condition(v, "AgentVersionNotSupported") == ("True", "")  # noqa: E731
    found = await until(client, VirtualMachineInstance, key, poor)
    assert condition(found, "AgentConnected") == ("True", "")


async def shuts_down_by_agent(lab: Lab, client: Client, viewer: Console) -> None:
    await viewer.do("killall acpid; true")
    before = await wait_running(client, "talker")
    async with asyncio.timeout(30):  # its grace is longer
        await asyncio.to_thread(kvtui, lab, "stop", "talker")
        gone = await until(client, VirtualMachineInstance, before.key, lambda v: not running(v))
        assert gone is None or gone.status.phase == "Succeeded"


HARM = {
    "silent": "cat /dev/$port > /dev/null",
    "broken": "while :; do read -r line; echo '{\"return\": [[['; sleep 0.2; done <> /dev/$port >&0",
    "huge": "tr '\\0' a < /dev/zero > /dev/$port",
}
"""What a guest may have at its end of the channel."""


async def test_a_guest_agent_that_means_harm_harms_nobody_else(lab: Lab, client: Client, debian: str) -> None:
    """Silence, broken answers and an endless one, beside a good guest on the same node."""
    node = {"kubernetes.io/hostname": "node-1"}
    probe = {"guestAgentPing": {}, "periodSeconds": 1, "timeoutSeconds": 1}
    good, bad = (
        guest("good", debian, nodeSelector=node),
        guest("harm", lab.image, nodeSelector=node, readinessProbe=probe),
    )
    async with a_guest(client, good), a_guest(client, bad) as harm, shell(client, "harm") as viewer:
        await wait_agent(client, "good")
        await viewer.do("port=$(grep -l guest_agent /sys/class/virtio-ports/*/name | cut -d/ -f5)")
        before = resident(lab.pid("agent-node-1"))
        for how, command in HARM.items():
            await viewer.do(f"({command}) & echo $! > /run/harm")
            if how == "silent":  # the others are shown the door by libvirt, again and again
                await wait_agent(client, "harm")
            async with asyncio.timeout(20):
                for verb in ("pause", "unpause"):
                    await client.raw("PUT", f"{SUBRESOURCES}/harm/{verb}")
                    await client.raw("PUT", f"{SUBRESOURCES}/good/{verb}")
                    await settled(client, "good", paused=verb == "pause")
                    await settled(client, "harm", paused=verb == "pause")
                await client.raw("PUT", f"{SUBRESOURCES}/good/freeze", body=b'{"unfreezeTimeout": "0s"}')
                await client.raw("PUT", f"{SUBRESOURCES}/good/unfreeze")
            assert resident(lab.pid("agent-node-1")) - before < 96 * 2**20, how
            if how != "huge":
                await viewer.do("pkill -P $(cat /run/harm); kill $(cat /run/harm); true")
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(kvtui, lab, "stop", "harm")
        await until(client, VirtualMachineInstance, harm.key, lambda v: not running(v))
        assert asyncio.get_running_loop().time() - began < 30  # its grace is longer


async def settled(client: Client, name: str, *, paused: bool) -> None:
    await until(
        client,
        VirtualMachineInstance,
        ("default", name),
        lambda v: (condition(v, "Paused") is not None) is paused,
    )


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.soak
async def test_probes_decide_whether_a_guest_is_ready_and_whether_it_lives(
    lab: Lab, client: Client, debian: str
) -> None:
    vm = guest(
        "probed",
        debian,
        readinessProbe={"exec": {"command": ["test", "-e", "/run/ready"]}, "periodSeconds": 1, "timeoutSeconds": 5},
        livenessProbe={
            "httpGet": {"port": 80, "path": "/"},
            "initialDelaySeconds": 25,
            "periodSeconds": 1,
            "timeoutSeconds": 3,
        },
    )
    async with a_guest(client, vm) as instance, shell(client, "probed") as viewer:
        await wait_agent(client, "probed")
        for command, ready in (("touch /run/ready", "True"), ("rm /run/ready", "False")):
            await viewer.do(command)
            await until(
                client,
                VirtualMachineInstance,
                instance.key,
                lambda v, ready=ready: (condition(v, "Ready") or ("",))[0] == ready,  # type: ignore[misc]
            )
        pod = await launcher(client, instance)
        assert "Unhealthy" in await reasons(client, pod.metadata.name)
        await viewer.do("killall httpd")
        again = await wait_running(client, "probed", besides=instance.metadata.uid)
        assert again.metadata.uid != instance.metadata.uid
        assert "Unhealthy" in await reasons(client, "probed")
