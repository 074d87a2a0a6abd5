"""What comes from outside and is wrong: a precise error, nothing half-done, no file outside the state directory."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.wire import from_wire
from kvtui.client.rest import Client
from kvtui.errors import KvtuiError
from tests.e2e.conftest import Lab, until
from tests.e2e.guests import a_guest, fetch, kubectl, launcher, machine, shared_volume, shell
from tests.fakes.images import OciRegistry, image_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def backed(path: Path) -> None:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", str(path), "8M"]
    subprocess.run(command, check=True)


def enormous(path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "500T"], check=True)


def truncated(path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize("make", [backed, enormous, truncated])
async def test_a_hostile_image_is_refused_and_the_volume_says_why(
    lab: Lab, client: Client, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "evil.qcow2")
    name = f"evil-{make.__name__}"
    async with image_server(lab.address) as server:
        server.files["/evil.qcow2"] = (tmp_path / "evil.qcow2").read_bytes()
        kubectl(lab, "apply", "-f", "-", stdin=json.dumps(shared_volume(name, f"{server.url}/evil.qcow2", "64Mi")))
        try:
            said = await complaint(client, name)
            assert said
            assert "Traceback" not in said
            leaked = [p for p in (lab.data / "shared").rglob("*") if p.is_file() and b"root:" in p.read_bytes()[:65536]]
            assert leaked == []
        finally:
            kubectl(lab, "delete", "dv", name)


async def complaint(client: Client, name: str) -> str:
    """What the volume says about its failing worker."""

    def failing(volume: DataVolume | None) -> bool:
        return volume is not None and bool(messages(volume))

    found = await until(client, DataVolume, ("default", name), failing)
    assert found is not None
    assert found.status.phase != "Succeeded"
    return messages(found)


def messages(volume: DataVolume) -> str:
    conditions = volume.status.conditions
    return " ".join(c.message or "" for c in conditions if c.type == "Running" and c.reason in ("Error", "Failed"))


async def test_an_image_without_a_disk_is_refused(lab: Lab, client: Client, registry: OciRegistry) -> None:
    volume = shared_volume("no-disk", "")
    volume["spec"]["source"] = {"registry": {"url": "docker://quay.io/kubevirt/nothing:latest"}}
    kubectl(lab, "apply", "-f", "-", stdin=json.dumps(volume))
    try:
        assert "disk" in await complaint(client, "no-disk")
    finally:
        kubectl(lab, "delete", "dv", "no-disk")


async def test_an_image_nobody_serves_is_told_and_mends_itself(lab: Lab, client: Client) -> None:
    async with image_server(lab.address) as server:
        kubectl(lab, "apply", "-f", "-", stdin=json.dumps(shared_volume("late", f"{server.url}/late.qcow2")))
        try:
            assert "404" in await complaint(client, "late")
            server.files["/late.qcow2"] = lab.guest.read_bytes()
            # In a thread: the server of the image lives on this loop.
            arguments = ("wait", "dv/late", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
            await asyncio.to_thread(kubectl, lab, *arguments)
        finally:
            kubectl(lab, "delete", "dv", "late")


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "a/b", "a\x1b[2J", "A", "x" * 300, ".."])
async def test_a_name_with_other_than_its_letters_is_refused(lab: Lab, client: Client, name: str) -> None:
    vm = from_wire(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
        },
        VirtualMachine,
    )
    with pytest.raises(KvtuiError, match=r"(?i)name|invalid"):
        await client.create(vm)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("runStrategy", "Sometimes", "runStrategy"),
        ("runStrategy", 5, "runStrategy"),
        ("unheardOf", True, "unheardOf"),
        ("template", "text", "template"),
    ],
)
def test_a_broken_manifest_is_refused_by_its_field(lab: Lab, field: str, value: object, said: str) -> None:
    document: dict[str, Any] = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "broken"},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
    }
    document["spec"][field] = value
    output = kubectl(lab, "create", "-f", "-", stdin=json.dumps(document), check=False)
    assert said in output
    assert "created" not in output


async def test_a_body_that_is_too_large_is_refused(lab: Lab, client: Client) -> None:
    body = json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"x": "y" * 4 * 2**20}}
    )
    with pytest.raises(KvtuiError, match=r"(?i)large|limit"):
        await client.raw("POST", "/api/v1/namespaces/default/configmaps", body=body.encode())


async def test_a_name_that_is_taken_is_told_and_the_first_lives_on(lab: Lab, client: Client) -> None:
    async with a_guest(client, machine("first", image=lab.image)) as instance:
        with pytest.raises(KvtuiError, match="already exists"):
            await client.create(machine("first", image=lab.image))
        pod = await launcher(client, instance)
        assert "first" in await fetch(f"http://{pod.status.pod_ip}/cgi-bin/info")


async def test_escape_sequences_of_a_guest_reach_its_viewer_and_harm_nothing(lab: Lab, client: Client) -> None:
    evil = r"\033]0;owned\007\033[2J\033c\033P+q\033\\\377\200"
    async with a_guest(client, machine("painter", image=lab.image)), shell(client, "painter") as viewer:
        await viewer.do(f"printf '{evil}'")
        assert b"\x1b]0;owned\x07" in viewer.seen
        assert "alive" in await viewer.do("echo alive")
        shown = await asyncio.to_thread(kubectl, lab, "get", "vmi,pods")
        assert "\x1b" not in shown
