"""The serial console: what was printed before, and not a byte lost or doubled, whatever happens to guest or agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from tests.e2e.conftest import Lab, kvtui
from tests.e2e.guests import a_guest, console, counted, machine, shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
COUNT = "i=0; while [ $i -lt {0} ]; do i=$((i+1)); echo n=$i.; usleep {1}; done; echo cou''nted\n"


@pytest.fixture
async def guest(lab: Lab, client: Client) -> AsyncIterator[VirtualMachineInstance]:
    async with a_guest(client, machine("talker", image=lab.image)) as instance:
        yield instance


async def history(client: Client, name: str) -> bytes:
    """All bytes from the first one on, as a new viewer gets them."""
    async with console(client, name, 0) as viewer:
        assert viewer.start == 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):  # nothing ends a replay but silence
                while True:
                    await viewer.read()
    return viewer.seen


async def test_what_was_printed_while_nobody_looked_and_the_agent_was_dead_is_shown(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    async with shell(client, "talker") as viewer:
        await viewer.type(COUNT.format(40, 100000))
        await viewer.expect("n=3.\r\n")
    os.kill(lab.pid(f"agent-{guest.status.node_name}"), signal.SIGKILL)
    async with console(client, "talker") as viewer:
        await viewer.expect("counted\r\n")
    assert counted(viewer.seen) == list(range(1, 41))
    assert b"log in as root" in viewer.seen


async def test_a_viewer_stays_through_a_migration_and_sees_each_byte_once(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    async with shell(client, "talker") as viewer:
        await viewer.type(COUNT.format(300, 20000))
        await viewer.expect("n=5.\r\n")
        following = asyncio.create_task(viewer.expect("counted\r\n"), name="viewer")
        await asyncio.to_thread(kvtui, lab, "migrate", "talker", "--wait")
        moved = await client.get(VirtualMachineInstance, guest.key)
        assert moved.status.node_name != guest.status.node_name
        await following
        assert counted(viewer.seen) == list(range(1, 301))
        assert "here" in await viewer.do("echo here")
        whole = await history(client, "talker")
        assert whole[viewer.start : viewer.start + len(viewer.seen)] == viewer.seen


async def test_a_viewer_stays_through_a_reboot(lab: Lab, client: Client, guest: VirtualMachineInstance) -> None:
    async with shell(client, "talker") as viewer:
        before = len(viewer.seen)
        await viewer.type("reboot\n")
        await viewer.login(before)
        assert "0 min" in await viewer.do("uptime")
        assert (await client.get(VirtualMachineInstance, guest.key)).metadata.uid == guest.metadata.uid
        whole = await history(client, "talker")
        assert whole[viewer.start : viewer.start + len(viewer.seen)] == viewer.seen


async def test_viewers_share_a_guest_and_one_that_stops_reading_slows_nobody(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    async with shell(client, "talker") as viewer, console(client, "talker") as other, console(client, "talker"):
        await viewer.type("dd if=/dev/zero bs=1024 count=3000 2>/dev/null | tr '\\0' x; echo; echo al''l-written\n")
        at = await viewer.expect("all-written\r\n")
        await other.expect("all-written\r\n")
        assert viewer.seen[:at].count(b"x") >= 3000 * 1024
        assert "typed" in await other.do("echo typed")
        await viewer.expect("typed")


async def test_the_command_attaches_a_terminal_until_its_prefix(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    async with shell(client, "talker"):
        pass
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "kvtui", "console", "talker"]
    environment = {**os.environ, "KUBECONFIG": str(lab.data / "kubeconfig")}
    with subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environment) as process:
        os.close(inside)
        await asyncio.to_thread(_read_until, terminal, b"log in as root")
        os.write(terminal, b"echo $((6*7))-times\n")
        await asyncio.to_thread(_read_until, terminal, b"42-times")
        os.write(terminal, b"\x1d")
        assert await asyncio.to_thread(process.wait, 20) == 0
    os.close(terminal)


def _read_until(terminal: int, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        seen += os.read(terminal, 65536)
    return seen
