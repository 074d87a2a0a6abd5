"""Pipes between nodes: what goes in comes out, ends are passed on, strangers get nothing, and closing ends all."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvtui.apiserver.pki import ensure_pki, issue_serving
from kvtui.node.access import NODES, contexts
from kvtui.node.migration.proxies import CONTROL, STREAM, Proxies

HOST = "127.0.0.1"
BULK = os.urandom(1024) * 5000
"""More than all buffers on the way hold together."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Line:
    """A listening far side, and both nodes' proxies before it."""

    directory: Path
    ports: dict[str, int]
    source: Proxies
    target: Proxies
    arrivals: asyncio.Queue[Streams]
    trusted: ssl.SSLContext

    async def connect(self) -> tuple[Streams, Streams]:
        near = await asyncio.open_unix_connection(str(self.directory / "near"))
        return near, await self.arrivals.get()

    @property
    def port(self) -> int:
        return int(next(iter(self.ports)))


def certificate(directory: Path, organization: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    pki = ensure_pki(directory / "pki", (HOST,))
    pair = pki.pair(organization.replace(":", "-"))
    issue_serving(pki, f"{organization}:one", [HOST], pair, [organization])
    return contexts(str(pair.cert), str(pair.key), str(pki.ca.cert))


@asynccontextmanager
async def made(directory: Path) -> AsyncIterator[Line]:
    serving, calling = certificate(directory, NODES)
    arrivals: asyncio.Queue[Streams] = asyncio.Queue()
    far = await asyncio.start_unix_server(lambda *streams: arrivals.put_nowait(streams), str(directory / "far"))
    source, target = Proxies(), Proxies()
    ports = await target.listen_tls(HOST, serving, {STREAM: directory / "far"})
    await source.listen_unix({STREAM: directory / "near"}, HOST, ports, calling, os.geteuid())
    try:
        yield Line(directory, ports, source, target, arrivals, calling)
    finally:
        await source.close()
        await target.close()
        far.close()


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    async with made(tmp_path) as found:
        yield found


async def hang_up(*ends: Streams) -> None:
    for _, writer in ends:
        writer.close()


async def test_all_that_goes_in_comes_out_both_ways_at_once(line: Line) -> None:
    near, far = await line.connect()

    async def send(end: Streams, data: bytes) -> None:
        end[1].write(data)
        await end[1].drain()

    back = bytes(reversed(BULK))
    out, answer, *_ = await asyncio.gather(
        far[0].readexactly(len(BULK)), near[0].readexactly(len(back)), send(near, BULK), send(far, back)
    )
    assert out == BULK
    assert answer == back
    await hang_up(near, far)


@pytest.mark.parametrize("speaks_last", ["near", "far"])
async def test_what_was_said_before_the_end_arrives_and_then_the_end(line: Line, speaks_last: str) -> None:
    near, far = await line.connect()
    speaker, listener = (near, far) if speaks_last == "near" else (far, near)
    speaker[1].write(BULK)
    speaker[1].write_eof()
    assert await listener[0].read(-1) == BULK
    listener[1].write(b"to nobody")
    listener[1].close()
    assert await speaker[0].read(-1) in (b"", b"to nobody")
    await hang_up(near, far)


async def test_a_listener_that_does_not_read_holds_its_own_pipe_only(line: Line) -> None:
    stuck, ignoring = await line.connect()
    stuck[1].write(BULK)
    near, far = await line.connect()
    near[1].write(b"through")
    assert await far[0].readexactly(7) == b"through"
    await hang_up(near, far, stuck, ignoring)


async def test_closing_ends_every_connection_and_leaves_no_socket(line: Line) -> None:
    near, far = await line.connect()
    near[1].write(b"through")
    assert await far[0].readexactly(7) == b"through"
    await line.source.close()
    await line.target.close()
    assert await near[0].read(-1) == b""
    assert await far[0].read(-1) == b""
    assert not (line.directory / "near").exists()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, line.port)
    await hang_up(near, far)


async def test_what_has_only_begun_is_closed_too(tmp_path: Path) -> None:
    serving, _ = certificate(tmp_path, NODES)
    target = Proxies()
    ports = await target.listen_tls(HOST, serving, {STREAM: tmp_path / "far"})
    await target.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, int(next(iter(ports))))


async def test_only_nodes_are_joined(line: Line) -> None:
    _, stranger = certificate(line.directory, "system:authenticated")
    reader, writer = await asyncio.open_connection(HOST, line.port, ssl=stranger, server_hostname=HOST)
    assert await reader.read(-1) == b""
    writer.close()
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(HOST, line.port, ssl=nobody)
    with pytest.raises(ssl.SSLError):
        await reader.read(-1)
    writer.close()
    with socket.create_connection((HOST, line.port)) as silent:
        # One that says nothing keeps nobody waiting.
        near, far = await line.connect()
        near[1].write(b"through")
        assert await far[0].readexactly(7) == b"through"
        assert line.arrivals.empty()
        await hang_up(near, far)
        silent.close()


async def test_a_server_that_is_no_peer_is_not_spoken_to(line: Line, tmp_path: Path) -> None:
    foreign, _ = certificate(tmp_path / "elsewhere", NODES)
    impostor = Proxies()
    ports = await impostor.listen_tls(HOST, foreign, {CONTROL: line.directory / "far"})
    await line.source.listen_unix({CONTROL: line.directory / "other"}, HOST, ports, line.trusted, os.geteuid())
    reader, writer = await asyncio.open_unix_connection(str(line.directory / "other"))
    writer.write(b"secret")
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    assert line.arrivals.empty()
    writer.close()
    await impostor.close()


async def test_a_far_side_that_is_not_there_ends_the_near_one(line: Line) -> None:
    (line.directory / "far").unlink()
    reader, writer = await asyncio.open_unix_connection(str(line.directory / "near"))
    assert await reader.read(-1) == b""
    writer.close()
