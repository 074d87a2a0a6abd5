"""Virtual machines of the guest image, and what a person does with them: kubectl, the console, the guest's web page."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.client.rest import Client
from kvtui.commands.console import OFFSET
from kvtui.errors import Transient
from kvtui.lab.nodes import read_lab
from tests.e2e.conftest import BOOT, Lab, until

SUBRESOURCES = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances"


def machine(
    name: str,
    *volumes: tuple[str, dict[str, Any]],
    memory: str = "96Mi",
    image: str = "",
    claim: str = "",
    strategy: str = "Always",
    ports: tuple[int, ...] = (),
    grace: int = 20,
    cloud_init: str = "",
) -> VirtualMachine:
    """A VM whose root is the guest image: freshly imported to shared storage from a URL, or a claim that exists."""
    templates: list[dict[str, Any]] = []
    disks: list[tuple[str, dict[str, Any]]] = []
    if image:
        templates = [shared_volume(f"{name}-root", image)]
        disks.append(("root", {"dataVolume": {"name": f"{name}-root"}}))
    elif claim:
        disks.append(("root", {"persistentVolumeClaim": {"claimName": claim}}))
    disks.extend(volumes)
    data = cloud_init or f"#cloud-config\nhostname: {name}\n"
    disks.append(("init", {"cloudInitNoCloud": {"userData": data}}))
    interface: dict[str, Any] = {"name": "default", "masquerade": {}}
    if ports:
        interface["ports"] = [{"port": p} for p in ports]
    return from_wire(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "runStrategy": strategy,
                "dataVolumeTemplates": templates,
                "template": {
                    "spec": {
                        "terminationGracePeriodSeconds": grace,
                        "domain": {
                            "memory": {"guest": memory},
                            "devices": {
                                "disks": [{"name": n, "disk": {"bus": "virtio"}, "serial": n} for n, _ in disks],
                                "interfaces": [interface],
                            },
                        },
                        "networks": [{"name": "default", "pod": {}}],
                        "volumes": [{"name": n, **source} for n, source in disks],
                    }
                },
            },
        },
        VirtualMachine,
    )


def shared_volume(name: str, url: str, size: str = "256Mi") -> dict[str, Any]:
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": {"name": name},
        "spec": {
            "source": {"http": {"url": url}},
            "storage": {
                "storageClassName": "kvtui-shared",
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": size}},
            },
        },
    }


def running(instance: VirtualMachineInstance | None) -> bool:
    return instance is not None and instance.status.phase == "Running"


async def boot(client: Client, vm: VirtualMachine) -> VirtualMachineInstance:
    """Creates the VM and waits until it runs."""
    await client.create(vm)
    return await wait_running(client, vm.metadata.name)


async def wait_running(client: Client, name: str, besides: str = "") -> VirtualMachineInstance:
    """The running instance; another one than that with the UID `besides`."""
    found = await until(
        client,
        VirtualMachineInstance,
        ("default", name),
        lambda v: running(v) and v is not None and v.metadata.uid != besides,
    )
    assert found is not None
    return found


async def remove(client: Client, name: str) -> None:
    """Deletes a VM and waits until nothing of it is left in the API."""
    if await client.find(VirtualMachine, ("default", name)) is None:
        return
    await client.delete(VirtualMachine, ("default", name), grace=0)
    await until(client, VirtualMachineInstance, ("default", name), lambda v: v is None)
    await until(client, VirtualMachine, ("default", name), lambda v: v is None)


@contextlib.asynccontextmanager
async def a_guest(client: Client, vm: VirtualMachine) -> AsyncIterator[VirtualMachineInstance]:
    """A VM for the length of a test."""
    try:
        yield await boot(client, vm)
    finally:
        await remove(client, vm.metadata.name)


async def launchers(client: Client, instance: VirtualMachineInstance) -> list[Pod]:
    listed = await client.list(Pod, "default", label_selector=f"kubevirt.io/created-by={instance.metadata.uid}")
    return listed.items


async def launcher(client: Client, instance: VirtualMachineInstance) -> Pod:
    """The Pod in which the instance runs now."""
    pods = await launchers(client, instance)
    return next(p for p in pods if p.spec.node_name == instance.status.node_name and p.status.phase == "Running")


def kubectl(lab: Lab, *arguments: str, stdin: str = "", check: bool = True, timeout: float = 120) -> str:
    """Standard output of kubectl; with `check=False` both outputs, whatever the status."""
    done = subprocess.run(
        ["kubectl", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "KUBECONFIG": str(lab.data / "kubeconfig")},
    )
    if not check:
        return done.stdout + done.stderr
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def in_node(lab: Lab, node: str, *command: str, check: bool = True) -> str:
    """Output of a command inside a node's namespaces."""
    state = read_lab(lab.data)
    assert state is not None
    found = next(n for n in state.nodes if n.name == node)
    done = subprocess.run(found.enter(*command), capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


async def domains(lab: Lab, node: str, *which: str) -> list[str]:
    """Names of the domains on a node; waits for a libvirtd that was killed."""
    async with asyncio.timeout(BOOT):
        while True:
            try:
                return in_node(lab, node, "virsh", "list", "--name", *which).split()
            except AssertionError:
                await asyncio.sleep(0.2)  # its socket is not there yet


class Console:
    """A viewer of a serial console that remembers all it saw."""

    _numbers = itertools.count(1)

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.seen = b""
        self.start = int(socket._response.headers.get(OFFSET, "0"))
        """Offset of the first byte seen."""

    async def read(self) -> bytes:
        """The next bytes. Raises EOFError when the server has closed."""
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise EOFError(f"the console was closed: {message.type} {self._socket.close_code} {self.seen[-300:]!r}")
        data: bytes = message.data
        self.seen += data
        return data

    async def expect(self, words: str, after: int = 0, timeout: float = BOOT) -> int:
        """Reads until the words were seen, at or behind position `after`; the position behind them."""
        needle = words.encode()
        try:
            async with asyncio.timeout(timeout):
                while (at := self.seen.find(needle, after)) < 0:
                    await self.read()
        except TimeoutError:
            raise AssertionError(f"the console never said {words!r}, but {self.seen[-600:]!r}") from None
        return at + len(needle)

    async def type(self, text: str) -> None:
        await self._socket.send_bytes(text.encode())

    async def login(self, after: int = 0) -> None:
        at = await self.expect("login: ", after)
        await self.type("root\n")
        await self.expect("# ", at)

    async def do(self, command: str, timeout: float = BOOT) -> str:
        """What a command in the guest prints."""
        number = next(self._numbers)
        before = len(self.seen)
        await self.type(f"echo be''gin-{number}; {command}; echo en''d-{number}-$?\n")
        start = await self.expect(f"begin-{number}\r\n", before, timeout)
        end = await self.expect(f"end-{number}-", start, timeout)
        return self.seen[start : end - len(f"end-{number}-")].decode(errors="replace").replace("\r", "").strip()


@contextlib.asynccontextmanager
async def console(client: Client, name: str, offset: int | None = None) -> AsyncIterator[Console]:
    """A viewer; waits for an agent that was killed, as the command does."""
    path, opened = f"{SUBRESOURCES}/{name}/console", contextlib.AsyncExitStack()
    async with opened, asyncio.timeout(BOOT) as deadline:
        while True:
            try:
                socket = await opened.enter_async_context(client.websocket(path, params={"from": offset}))
                break
            except Transient:
                await asyncio.sleep(0.2)  # the agent is coming back
        deadline.reschedule(None)
        yield Console(socket)


@contextlib.asynccontextmanager
async def shell(client: Client, name: str) -> AsyncIterator[Console]:
    """A console on which root has logged in."""
    async with console(client, name) as viewer:
        await viewer.login()
        yield viewer


def counted(text: bytes) -> list[int]:
    """The numbers of a guest that counts as `n=17.` in whole lines."""
    return [int(n) for n in re.findall(rb"n=(\d+)\.\r\n", text)]


async def fetch(url: str, timeout: float = BOOT) -> str:
    """The page, once the guest's server listens; nobody announces that."""
    async with asyncio.timeout(timeout), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    return await answer.text()
            except aiohttp.ClientError:
                await asyncio.sleep(0.3)


def as_list(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["items"]
    return found


async def none_migrates(client: Client, name: str) -> None:
    """Until the migrations that followed a change are over; one whose reason has gone is called off."""
    for migration in (await client.list(VirtualMachineInstanceMigration, "default")).items:
        if migration.spec.vmi_name == name:
            await until(
                client,
                VirtualMachineInstanceMigration,
                migration.key,
                lambda m: m is None or m.status.phase in ("Succeeded", "Failed"),
            )


async def restart_reason(client: Client, name: str) -> str:
    """Why the change of a VM waits for a restart."""

    def waits(vm: VirtualMachine | None) -> bool:
        return vm is not None and any(c.type == "RestartRequired" and c.status == "True" for c in vm.status.conditions)

    vm = await until(client, VirtualMachine, ("default", name), waits)
    assert vm is not None
    return next(c.message or "" for c in vm.status.conditions if c.type == "RestartRequired")
