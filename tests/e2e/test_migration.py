"""Live migration: followed, called off, and unreadable for whoever listens between the nodes."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from typing import Self

import pytest

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.migration import (
    MigrationPolicy,
    MigrationPolicySpec,
    Selectors,
    VirtualMachineInstanceMigration,
)
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import a_guest, in_node, kubectl, launchers, machine, shell

_EVERY_PROTOCOL = 0x0003
_SO_RCVBUFFORCE = 33

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
async def guest(lab: Lab, client: Client) -> AsyncIterator[VirtualMachineInstance]:
    async with a_guest(client, machine("mover", image=lab.image, memory="128Mi")) as instance:
        yield instance


@pytest.fixture
async def slowly(client: Client) -> AsyncIterator[None]:
    """Migrations take long enough to be looked at and called off."""
    spec = MigrationPolicySpec(bandwidth_per_migration="4Mi", selectors=Selectors())
    await client.create(MigrationPolicy(metadata=ObjectMeta(name="slowly"), spec=spec))
    yield
    await client.delete(MigrationPolicy, ("", "slowly"))


class Wiretap:
    """Reads every packet on this machine's links and looks for some words."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._ended = os.eventfd(0)
        self.seen = 0
        """Bytes of all packets."""
        self.read = False
        """The words were in one of them."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 * 2**20)
        self._thread = threading.Thread(target=self._listen, name="wiretap")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.eventfd_write(self._ended, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._ended)

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket.fileno(), self._ended], [], [])
            if ready == [self._ended]:
                return
            packet = self._socket.recv(2**17)
            self.seen += len(packet)
            self.read = self.read or self._words in packet


async def under_way(lab: Lab, client: Client) -> ObjectKey:
    """Starts a migration and returns its key when memory moves."""
    await asyncio.to_thread(kvtui, lab, "migrate", "mover")
    listed = await client.list(VirtualMachineInstanceMigration, "default")
    key = next(m.key for m in listed.items if m.spec.vmi_name == "mover")
    await until(
        client,
        VirtualMachineInstanceMigration,
        key,
        lambda m: m is not None and "kvtui.io/migration-progress" in m.metadata.annotations,
    )
    return key


async def test_the_command_follows_a_migration(lab: Lab, client: Client, guest: VirtualMachineInstance) -> None:
    async with shell(client, "mover") as viewer:
        await viewer.do("(dirty-memory 16 4 >/dev/null 2>&1 &)")
    lines = await asyncio.to_thread(kvtui, lab, "migrate", "mover", "--follow", "-o", "json")
    samples = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    assert samples[-1]["phase"] == "Succeeded"
    told = [s for s in samples if "remaining" in s]
    assert told, samples
    assert {"elapsed", "total", "remaining", "processed"} <= told[-1].keys()
    moved = await client.get(VirtualMachineInstance, guest.key)
    assert moved.status.node_name != guest.status.node_name
    assert moved.status.migration_state is not None
    assert moved.status.migration_state.completed


async def test_the_memory_of_a_guest_is_unreadable_between_the_nodes(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    words = b"nobody-else-reads-this"
    async with shell(client, "mover") as viewer:
        held = f"yes {words.decode()} | head -c 4194304 >/tmp/secret; wc -c </tmp/secret"
        assert "4194304" in await viewer.do(held)
        with Wiretap(words) as tap:
            await asyncio.to_thread(kvtui, lab, "migrate", "mover", "--follow")
        moved = await client.get(VirtualMachineInstance, guest.key)
        assert moved.status.node_name != guest.status.node_name
        assert "4194304" in await viewer.do("wc -c </tmp/secret")
    with Wiretap(words) as control, socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(words, ("127.0.0.1", 9))
    assert control.read, "the tap reads nothing at all"
    assert tap.seen > 4 * 2**20, "the memory went another way"
    assert not tap.read


@pytest.mark.usefixtures("slowly")
async def test_a_migration_that_is_called_off_leaves_the_guest_where_it_was(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    async with shell(client, "mover") as viewer:
        await viewer.do("(dirty-memory 64 >/dev/null 2>&1 &)")
        key = await under_way(lab, client)
        await asyncio.to_thread(kvtui, lab, "migrate-cancel", "mover")
        await until(client, VirtualMachineInstanceMigration, key, lambda m: m is None)
        found = await until(
            client,
            VirtualMachineInstance,
            guest.key,
            lambda v: v is not None and v.status.migration_state is not None and v.status.migration_state.completed,
        )
        assert found is not None
        assert found.status.migration_state is not None
        assert found.status.migration_state.failed
        assert found.status.node_name == guest.status.node_name
        assert "still here" in await viewer.do("echo still here")
    for node in ("node-1", "node-2"):
        domains = in_node(lab, node, "virsh", "list", "--all", "--name").split()
        assert len(domains) == (1 if node == guest.status.node_name else 0)
    live = [p for p in await launchers(client, found) if p.status.phase == "Running"]
    assert [p.spec.node_name for p in live] == [guest.status.node_name]


@pytest.mark.usefixtures("slowly")
async def test_the_way_between_nodes_needs_a_certificate(
    lab: Lab, client: Client, guest: VirtualMachineInstance
) -> None:
    """While a migration runs, each port on which the target listens for it refuses whoever has none."""
    async with shell(client, "mover") as viewer:
        await viewer.do("(dirty-memory 64 >/dev/null 2>&1 &)")
    key = await under_way(lab, client)
    moving = await client.get(VirtualMachineInstance, guest.key)
    state = moving.status.migration_state
    assert state is not None
    assert state.target_node
    node = await client.get(Node, ("", state.target_node))
    address = next(a.address for a in node.status.addresses if a.type == "InternalIP")
    ports = listening(in_node(lab, state.target_node, "ss", "-Hltn"), address)
    assert ports
    try:
        for port in ports:
            assert await refuses(address, port), f"{address}:{port} talks to strangers"
    finally:
        kubectl(lab, "delete", "vmim", key.name)


def listening(table: str, address: str) -> list[int]:
    """Ports that other machines can reach, as `ss -Hltn` tells them."""
    local = [line.split()[3].rpartition(":") for line in table.splitlines()]
    return sorted({int(port) for host, _, port in local if host in ("*", "0.0.0.0", "[::]", address)})


async def refuses(address: str, port: int) -> bool:
    """Speaks TLS, and ends with an alert for a client without a certificate; says nothing in plain text."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(address, port, ssl=context)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await reader.read(1000)
            writer.close()
    except (OSError, ssl.SSLError):
        return True
    return answer == b"" or b" 401 " in answer or b" 403 " in answer
