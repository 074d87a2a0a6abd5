"""Parts of an engine are killed in the middle of their work: guests go on, promises are kept, everything converges."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import ConfigMap
from kvtui.api.core.node import Node
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import evolve
from kvtui.client.rest import Client
from kvtui.errors import KvtuiError, Transient
from kvtui.node.serial import LOST
from tests.e2e.conftest import BOOT, Lab, kvtui, run, until
from tests.e2e.guests import (
    a_guest,
    boot,
    console,
    domains,
    fetch,
    in_node,
    launcher,
    machine,
    remove,
    running,
    shell,
    wait_running,
)
from tests.e2e.test_strategies import HERE, READY, images, willing_vm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
__all__ = ["images"]
PARTS = ("apiserver", "controllers", "agent", "libvirtd")


def kill(lab: Lab, part: str, node: str = "node-1") -> None:
    name = part if part in ("apiserver", "controllers") else f"{part}-{node}"
    with contextlib.suppress(ProcessLookupError):
        os.kill(lab.pid(name), signal.SIGKILL)


async def patiently(work: Callable[[], Awaitable[object]]) -> None:
    """Repeats a reading through outages of the API server, which tells nobody when it is back."""
    async with asyncio.timeout(BOOT):
        while True:
            try:
                await work()
                return
            except Transient:
                await asyncio.sleep(0.2)


async def all_ready(client: Client) -> None:
    for name in ("node-1", "node-2"):
        await patiently(lambda name=name: until(client, Node, ("", name), ready))  # type: ignore[misc]


def ready(node: Node | None) -> bool:
    return node is not None and any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


@contextlib.asynccontextmanager
async def writing(client: Client, acknowledged: list[str]) -> AsyncIterator[None]:
    """Objects are made all the time; those that the server has confirmed are noted."""

    async def write(writer: int) -> None:
        number = 0
        while True:
            number += 1
            name = f"promise-{writer}-{number}"
            try:
                await client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data={"n": name}))
            except KvtuiError:
                await asyncio.sleep(0.05)  # unknown is not acknowledged
            else:
                acknowledged.append(name)

    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(write(n), name=f"writer {n}") for n in range(4)]
        try:
            yield
        finally:
            for writer in writers:
                writer.cancel()


async def test_no_acknowledged_write_is_lost_when_the_server_is_killed_under_load(lab: Lab, client: Client) -> None:
    acknowledged: list[str] = []
    async with writing(client, acknowledged):
        for _ in range(3):
            goal = len(acknowledged) + 60
            async with asyncio.timeout(60):
                while len(acknowledged) < goal:
                    await asyncio.sleep(0.02)
            kill(lab, "apiserver")
        goal = len(acknowledged) + 20
        async with asyncio.timeout(60):
            while len(acknowledged) < goal:
                await asyncio.sleep(0.02)
    kept = {c.metadata.name for c in (await client.list(ConfigMap, "default")).items}
    assert set(acknowledged) - kept == set()
    await client.raw("DELETE", "/api/v1/namespaces/default/configmaps")
    await all_ready(client)


@pytest.mark.parametrize("part", PARTS)
async def test_a_part_is_killed_during_import_start_and_run(lab: Lab, client: Client, part: str) -> None:
    name = f"hit-{part}"
    try:
        await client.create(machine(name, image=lab.image))
        importing = lambda d: d is not None and d.status.phase not in (None, "", "Pending")  # noqa: E731
        await patiently(lambda: until(client, DataVolume, ("default", f"{name}-root"), importing))
        for node in ("node-1", "node-2"):
            kill(lab, part, node)
        scheduled = lambda v: v is not None and v.status.phase in ("Scheduled", "Running")  # noqa: E731
        await patiently(lambda: until(client, VirtualMachineInstance, ("default", name), scheduled))
        for node in ("node-1", "node-2"):
            kill(lab, part, node)
        await patiently(lambda: wait_running(client, name))
        instance = await client.get(VirtualMachineInstance, ("default", name))
        async with shell(client, name) as viewer:
            await viewer.do("echo alive > /run/marker")
        address = (await launcher(client, instance)).status.pod_ip
        kill(lab, part, instance.status.node_name or "")
        assert name in await fetch(f"http://{address}/cgi-bin/info")
        await all_ready(client)
        after = await client.get(VirtualMachineInstance, ("default", name))
        assert after.metadata.uid == instance.metadata.uid
        assert running(after)
        async with console(client, name) as viewer:
            await viewer.type("\n")
            assert await viewer.do("cat /run/marker") == "alive"
    finally:
        await all_ready(client)
        await remove(client, name)


@pytest.mark.parametrize("part", [*PARTS, "agent-target", "libvirtd-target"])
async def test_a_part_is_killed_during_a_migration(lab: Lab, client: Client, part: str) -> None:
    name = f"flight-{part}"
    async with a_guest(client, machine(name, image=lab.image)) as instance:
        async with shell(client, name) as viewer:
            await viewer.do("echo alive > /run/marker; (dirty-memory 24 6 >/dev/null 2>&1 &)")
        source = instance.status.node_name or ""
        target = "node-1" if source == "node-2" else "node-2"
        await asyncio.to_thread(kvtui, lab, "migrate", name)
        key = next(
            m.key
            for m in (await client.list(VirtualMachineInstanceMigration, "default")).items
            if m.spec.vmi_name == name
        )
        moving = lambda m: m is not None and m.status.phase in ("Running", "Succeeded", "Failed")  # noqa: E731
        await until(client, VirtualMachineInstanceMigration, key, moving)
        kill(lab, part.removesuffix("-target"), target if part.endswith("-target") else source)
        over = lambda m: m is not None and m.status.phase in ("Succeeded", "Failed")  # noqa: E731
        await patiently(lambda: until(client, VirtualMachineInstanceMigration, key, over))
        await all_ready(client)
        after = await client.get(VirtualMachineInstance, instance.key)
        assert after.metadata.uid == instance.metadata.uid
        assert running(after)
        async with console(client, name) as viewer:
            await viewer.type("\n")
            assert await viewer.do("cat /run/marker") == "alive"
        where = [node for node in ("node-1", "node-2") if await domains(lab, node)]
        assert where == [after.status.node_name]


async def test_an_engine_whose_supervisor_was_killed_starts_again_around_its_guests(lab: Lab, client: Client) -> None:
    async with a_guest(client, machine("survivor", image=lab.image)) as instance:
        async with shell(client, "survivor") as viewer:
            await viewer.do("echo alive > /run/marker")
        supervisor = lab.record()["supervisor"]["pid"]
        os.kill(supervisor, signal.SIGKILL)
        await asyncio.to_thread(run, "lab", "start", "--data", str(lab.data))
        await all_ready(client)
        after = await client.get(VirtualMachineInstance, instance.key)
        assert after.metadata.uid == instance.metadata.uid
        assert running(after)
        async with console(client, "survivor") as viewer:
            await viewer.type("\n")
            assert await viewer.do("cat /run/marker") == "alive"


LOG_DAEMON = "/run/libvirt/virtlogd.pid"


@contextlib.asynccontextmanager
async def logged_by_daemon(lab: Lab, client: Client, *nodes: str) -> AsyncIterator[None]:
    """Console logs of these nodes are virtlogd's, as distributions have it. Starting one is left to the test."""
    settings = {node: lab.data / f"nodes/{node}/system/etc-libvirt/qemu.conf" for node in nodes}
    before = {node: path.read_text() for node, path in settings.items()}

    async def restart(conf: dict[str, str]) -> None:
        for node, path in settings.items():
            path.write_text(conf[node])
            kill(lab, "libvirtd", node)
            await domains(lab, node)

    await restart({node: text.replace('"file"', '"logd"') for node, text in before.items()})
    try:
        yield
    finally:
        await restart(before)
        await all_ready(client)


def start_log_daemon(lab: Lab, node: str) -> None:
    in_node(lab, node, "virtlogd", "--daemon", "--pid-file", LOG_DAEMON)


def kill_log_daemon(lab: Lab, node: str) -> None:
    """Returns when it is gone."""
    pid = int(in_node(lab, node, "cat", LOG_DAEMON))
    end = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        select.select([end], [], [], BOOT)
    finally:
        os.close(end)


async def test_consoles_outlive_the_daemon_that_writes_their_logs(
    lab: Lab, client: Client, images: dict[str, str]
) -> None:
    """It dies again and again."""
    names = ("logged-1", "logged-2")
    async with logged_by_daemon(lab, client, "node-1"):
        try:
            for count, name in enumerate(names, 1):
                start_log_daemon(lab, "node-1")
                vm = willing_vm(name, images[HERE], "Always")
                spec = evolve(vm.spec.template.spec, node_selector={"kubernetes.io/hostname": "node-1"})
                await boot(client, evolve(vm, spec=evolve(vm.spec, template=evolve(vm.spec.template, spec=spec))))
                async with console(client, name) as viewer:
                    await viewer.expect(READY)
                    assert LOST not in viewer.seen
                    kill_log_daemon(lab, "node-1")
                    # Another viewer finds out, and the first one has the benefit of it.
                    for known in names[:count]:
                        async with console(client, known) as other:
                            await other.expect("is lost up to here")
                            at = len(other.seen)
                            await other.type("Q")
                            await other.expect("Q", at)
                    await viewer.expect("Q")
            assert sorted(await domains(lab, "node-1")) == [f"default_{name}" for name in names]
        finally:
            for name in names:
                await remove(client, name)
