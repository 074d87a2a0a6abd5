"""Manifests that people have, unchanged: only where their images come from is redirected, by mirrors and by a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from tests.e2e.conftest import Lab, until
from tests.e2e.guests import a_guest, console, fetch, kubectl, launcher, machine, shared_volume, wait_running
from tests.fakes.images import OciRegistry, authority, image_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SHARED = Path(os.environ.get("KVTUI_SHARED", Path(__file__).parents[3] / "shared"))


def manifest(start: str) -> str:
    found = sorted((SHARED / "data" / "manifests").glob(f"{start}-*.yaml"))
    if not found:
        pytest.skip(f"no manifests in {SHARED}; KVTUI_SHARED names their place")
    return str(found[0])


@contextlib.asynccontextmanager
async def connect_proxy(host: str, target: tuple[str, int], asked: list[str]) -> AsyncIterator[str]:
    """An HTTP proxy that knows CONNECT, and brings everybody to one server. Yields its URL."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0].decode())
        upstream_reader, upstream = await asyncio.open_connection(*target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(copy(reader, upstream), copy(upstream_reader, writer))

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def imported(client: Client, name: str) -> None:
    found = await until(
        client,
        DataVolume,
        ("default", name),
        lambda d: d is not None and d.status.phase in ("Succeeded", "Failed"),
    )
    assert found is not None
    assert found.status.phase == "Succeeded", found.status


async def test_a_vm_with_a_data_volume_runs_and_moves(lab: Lab, client: Client) -> None:
    """01 and 10: 4 GiB of memory are promised, and used only as far as the guest touches them."""
    vm, migration = manifest("01"), manifest("10")
    volume = shared_volume("my-vm-dv", lab.image, "10Gi")
    kubectl(lab, "apply", "-f", "-", stdin=json.dumps(volume))
    try:
        await imported(client, "my-vm-dv")
        kubectl(lab, "apply", "-f", vm)
        kubectl(lab, "wait", "vm/my-vm", "--for=condition=Ready", "--timeout=120s")
        instance = await wait_running(client, "my-vm")
        assert "my-vm" in await fetch(f"http://{(await launcher(client, instance)).status.pod_ip}/cgi-bin/info")
        source = instance.status.node_name
        kubectl(lab, "apply", "-f", migration)
        kubectl(lab, "wait", "vmim/migration-my-vm", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
        moved = await client.get(VirtualMachineInstance, ("default", "my-vm"))
        assert moved.status.node_name != source
        assert "my-vm" in await fetch(f"http://{(await launcher(client, moved)).status.pod_ip}/cgi-bin/info")
    finally:
        kubectl(lab, "delete", "vm/my-vm", "dv/my-vm-dv", "vmim/migration-my-vm", "--ignore-not-found")


async def test_an_instance_with_a_container_disk_runs_and_says_why_it_cannot_move(
    lab: Lab, client: Client, registry: OciRegistry
) -> None:
    """02 and 04: its network is bound by bridge, which would lose its address on another node."""
    vmi, migration = manifest("02"), manifest("04")
    kubectl(lab, "apply", "-f", vmi)
    try:
        kubectl(lab, "wait", "vmi/my-vmi", "--for=jsonpath={.status.phase}=Running", "--timeout=120s")
        async with console(client, "my-vmi") as viewer:
            await viewer.login()
        refused = kubectl(lab, "apply", "-f", migration, check=False)
        assert "InterfaceNotLiveMigratable" in refused or "cannot migrate VMI" in refused, refused
        assert await client.find(VirtualMachineInstanceMigration, ("default", "migration-job")) is None
        condition = kubectl(
            lab, "get", "vmi/my-vmi", "-o", "jsonpath={.status.conditions[?(@.type=='LiveMigratable')].reason}"
        )
        assert condition == "InterfaceNotLiveMigratable"
    finally:
        kubectl(lab, "delete", "vmi/my-vmi", "--ignore-not-found", "--grace-period=0")
        await until(client, VirtualMachineInstance, ("default", "my-vmi"), lambda v: v is None)


async def test_an_https_import_goes_through_the_proxy_with_its_own_authority(
    lab: Lab, client: Client, tmp_path: Path
) -> None:
    """05: imported for its first consumer, whose node it is on."""
    path = manifest("05")
    host = "cloud-images.ubuntu.com"
    known = authority(tmp_path, host)
    asked: list[str] = []
    async with image_server(lab.address, known.context) as server:
        server.files["/jammy/current/jammy-server-cloudimg-amd64.img"] = lab.guest.read_bytes()
        port = int(server.url.rpartition(":")[2])
        async with connect_proxy(lab.address, (lab.address, port), asked) as proxy:
            (tmp_path / "ca.pem").write_text(known.pem)
            kubectl(lab, "create", "configmap", "proxy-ca", "-n", "cdi", f"--from-file=ca.pem={tmp_path}/ca.pem")
            set_proxy(lab, f'{{"HTTPSProxy":"{proxy}","trustedCAProxy":"proxy-ca"}}')
            try:
                kubectl(lab, "apply", "-f", path)
                async with a_guest(client, machine("ubuntu", claim="ubuntu-dv")) as instance:
                    await imported(client, "ubuntu-dv")
                    pod = await launcher(client, instance)
                    assert "ubuntu" in await fetch(f"http://{pod.status.pod_ip}/cgi-bin/info")
                assert asked[0] == f"CONNECT {host}:443 HTTP/1.1"
            finally:
                set_proxy(lab, "null")
                kubectl(lab, "delete", "dv/ubuntu-dv", "--ignore-not-found")
                kubectl(lab, "delete", "configmap/proxy-ca", "-n", "cdi")


def set_proxy(lab: Lab, value: str) -> None:
    kubectl(lab, "patch", "cdiconfig/config", "--type=merge", "-p", f'{{"spec":{{"importProxy":{value}}}}}')


async def test_a_registry_import_uses_the_mirror(lab: Lab, client: Client, registry: OciRegistry) -> None:
    """06"""
    kubectl(lab, "apply", "-f", manifest("06"))
    try:
        await imported(client, "registry-dv")
        async with a_guest(client, machine("from-registry", claim="registry-dv")) as instance:
            pod = await launcher(client, instance)
            assert "from-registry" in await fetch(f"http://{pod.status.pod_ip}/cgi-bin/info")
    finally:
        kubectl(lab, "delete", "dv/registry-dv", "--ignore-not-found")
