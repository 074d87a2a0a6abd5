"""One line through the house on real libvirt: image, guest, console log, faults, another node, end."""

from __future__ import annotations

import asyncio
import os
import signal

import aiohttp
import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration, VirtualMachineInstanceMigrationSpec
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import from_wire
from kvtui.client.rest import Client
from kvtui.errors import ServerError, Unreachable
from tests.e2e.conftest import BOOT, Lab, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
NAME = ("default", "line")


def machine(lab: Lab) -> VirtualMachine:
    source = {"http": {"url": lab.image}}
    storage = {
        "storageClassName": "kvtui-shared",
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "256Mi"}},
    }
    return from_wire(
        {
            "metadata": {"name": "line", "namespace": "default"},
            "spec": {
                "runStrategy": "Always",
                "dataVolumeTemplates": [
                    {"metadata": {"name": "line-root"}, "spec": {"source": source, "storage": storage}}
                ],
                "template": {
                    "spec": {
                        "terminationGracePeriodSeconds": 20,
                        "domain": {
                            "memory": {"guest": "128Mi"},
                            "devices": {
                                "disks": [
                                    {"name": "root", "disk": {"bus": "virtio"}},
                                    {"name": "scratch", "disk": {"bus": "virtio"}},
                                    {"name": "init", "disk": {"bus": "virtio"}},
                                ],
                                "interfaces": [{"name": "default", "masquerade": {}}],
                            },
                        },
                        "networks": [{"name": "default", "pod": {}}],
                        "volumes": [
                            {"name": "root", "dataVolume": {"name": "line-root"}},
                            {"name": "scratch", "emptyDisk": {"capacity": "16Mi"}},
                            {
                                "name": "init",
                                "cloudInitNoCloud": {"userData": "#cloud-config\nhostname: on-the-line\n"},
                            },
                        ],
                    }
                },
            },
        },
        VirtualMachine,
    )


def running(instance: VirtualMachineInstance | None) -> bool:
    return instance is not None and instance.status is not None and instance.status.phase == "Running"


async def launcher(client: Client, instance: VirtualMachineInstance) -> Pod:
    """The Pod in which the instance runs now."""
    listed = await client.list(Pod, "default", label_selector=f"kubevirt.io/created-by={instance.metadata.uid}")
    assert instance.status is not None
    return next(p for p in listed.items if p.spec.node_name == instance.status.node_name)


async def printed(client: Client, pod: Pod, words: str) -> str:
    """The launcher's log once these words are in it."""
    path = f"/api/v1/namespaces/default/pods/{pod.metadata.name}/log"
    async with asyncio.timeout(BOOT):
        while True:
            try:
                answer = await client.raw("GET", path, params={"container": "compute"}, accept="*/*")
                if words in (text := answer.body.decode(errors="replace")):
                    return text
            except (ServerError, Unreachable):
                pass  # an agent that was killed is coming back
            await asyncio.sleep(0.5)


async def hello(client: Client, instance: VirtualMachineInstance) -> str:
    """What the guest's own web server says at the Pod's address."""
    pod = await launcher(client, instance)
    async with asyncio.timeout(BOOT), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://{pod.status.pod_ip}/cgi-bin/info") as answer:
                    return await answer.text()
            except aiohttp.ClientError:
                await asyncio.sleep(0.5)  # the guest boots, and nobody tells when its server listens


async def test_the_line(lab: Lab, client: Client) -> None:
    await client.create(machine(lab))
    volume = await until(
        client,
        DataVolume,
        ("default", "line-root"),
        lambda d: d is not None and d.status and d.status.phase == "Succeeded",
    )
    assert volume is not None
    instance = await until(client, VirtualMachineInstance, NAME, running)
    assert instance is not None
    assert "on-the-line" in await hello(client, instance)
    first = await launcher(client, instance)
    assert first.status.phase == "Running"
    before = await printed(client, first, "log in as root")

    await _agent_dies(lab, client, instance)
    await _libvirt_dies(lab, client, instance)
    instance = await _moves(client, instance, before)

    await client.delete(VirtualMachine, NAME)
    assert await until(client, VirtualMachineInstance, NAME, lambda v: v is None) is None


async def _agent_dies(lab: Lab, client: Client, instance: VirtualMachineInstance) -> None:
    """The guest does not notice, and a new agent knows it."""
    assert instance.status is not None
    node = instance.status.node_name
    pid = lab.pid(f"agent-{node}")
    os.kill(pid, signal.SIGKILL)
    assert "on-the-line" in await hello(client, instance)
    pod = await launcher(client, instance)
    assert "log in as root" in await printed(client, pod, "log in as root")
    assert running(await client.find(VirtualMachineInstance, NAME))


async def _libvirt_dies(lab: Lab, client: Client, instance: VirtualMachineInstance) -> None:
    """Unknown is not failed: the node says so and the guest goes on."""
    assert instance.status is not None
    node = instance.status.node_name or ""
    os.kill(lab.pid(f"libvirtd-{node}"), signal.SIGKILL)
    assert "on-the-line" in await hello(client, instance)
    await until(
        client,
        Node,
        ("", node),
        lambda n: n is not None and any(c.type == "Ready" and c.status == "True" for c in n.status.conditions),
    )
    assert running(await client.find(VirtualMachineInstance, NAME))


async def _moves(client: Client, instance: VirtualMachineInstance, before: str) -> VirtualMachineInstance:
    """To the other node, with everything that was printed."""
    assert instance.status is not None
    source = instance.status.node_name
    migration = await client.create(
        VirtualMachineInstanceMigration(
            metadata=ObjectMeta(name="line-moves", namespace="default"),
            spec=VirtualMachineInstanceMigrationSpec(vmi_name="line"),
        )
    )
    done = await until(
        client,
        VirtualMachineInstanceMigration,
        migration.key,
        lambda m: m is not None and m.status and m.status.phase in ("Succeeded", "Failed"),
    )
    assert done is not None
    assert done.status is not None
    assert done.status.phase == "Succeeded", done.status
    assert "kvtui.io/migration-progress" in done.metadata.annotations
    moved = await until(
        client,
        VirtualMachineInstance,
        NAME,
        lambda v: v is not None and v.status is not None and v.status.node_name != source,
    )
    assert moved is not None
    assert "on-the-line" in await hello(client, moved)
    after = await printed(client, await launcher(client, moved), "log in as root")
    assert after.splitlines()[:5] == before.splitlines()[:5]
    return moved
