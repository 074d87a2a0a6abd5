"""Verbs that carry bytes: port-forward, ssh, scp, vnc, usbredir. The fake agent sends everything back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.commands.exits import ExitCode
from tests.commands.cli import Cli
from tests.fakes.agent import FakeAgent, running_agent
from tests.virtapi.cluster import VirtApi, guest, running_virtapi

PATIENCE = 20.0


@dataclass
class Place:
    """One server, and the agent of a running VM `web`."""

    api: VirtApi
    agent: FakeAgent
    kvtui: Cli


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with (
        running_virtapi(tmp_path_factory.mktemp("virtapi")) as api,
        running_agent(api.server.pki) as agent,
    ):
        await api.node(agent)
        vm = await api.vm(runStrategy="Always")
        await api.client.patch_status(type(vm), vm.key, {"created": True})
        await api.vmi()
        yield Place(api, agent, Cli(api.server))


@pytest.fixture
def place(server: Place) -> Place:
    server.agent.asked.clear()
    server.agent.refuse.clear()
    return server


pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextlib.asynccontextmanager
async def started(place: Place, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await place.kvtui.start(*args)
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def port_after(stream: asyncio.StreamReader | None, before: str, after: str) -> int:
    """The number between two words of the next line."""
    assert stream is not None
    line = (await stream.readline()).decode()
    assert before in line, line
    return int(line.split(before, 1)[1].split(after, 1)[0])


async def echoed(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    answer = await reader.readexactly(len(data))
    writer.close()
    await writer.wait_closed()
    return answer


async def test_every_connection_has_a_websocket_of_its_own(place: Place) -> None:
    async with started(place, "port-forward", "vm/web", "0:80") as process:
        port = await port_after(process.stderr, "127.0.0.1:", " (tcp) -> 80")
        large = os.urandom(300_000)
        assert await echoed(port, large) == large
        assert await echoed(port, b"again") == b"again"
    assert place.agent.asked == [("GET", "portforward/80/tcp", {})] * 2


async def test_datagrams_keep_their_bounds(place: Place) -> None:
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[bytes] = asyncio.Queue()

    class Peer(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            received.put_nowait(data)

    async with started(place, "port-forward", "vmi/web/default", "udp/0:53") as process:
        port = await port_after(process.stderr, "127.0.0.1:", " (udp) -> 53")
        transport, _ = await loop.create_datagram_endpoint(Peer, remote_addr=("127.0.0.1", port))
        for data in (b"one", b"two"):
            transport.sendto(data)
        assert [await received.get(), await received.get()] == [b"one", b"two"]
        transport.close()
    assert place.agent.asked == [("GET", "portforward/53/udp", {})]


async def test_a_refused_connection_is_told_and_the_next_one_works(place: Place) -> None:
    place.agent.refuse["portforward/80/tcp"] = (500, "connection refused by the guest")
    async with started(place, "port-forward", "web", "0:80") as process:
        port = await port_after(process.stderr, "127.0.0.1:", " (tcp)")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        assert process.stderr is not None
        assert b"connection refused by the guest" in await process.stderr.readline()
        place.agent.refuse.clear()
        assert await echoed(port, b"hello") == b"hello"


async def test_a_port_in_use_and_a_vm_that_is_not_there(place: Place) -> None:
    listener = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    taken = listener.sockets[0].getsockname()[1]
    ran = await place.kvtui("port-forward", "vm/web", f"{taken}:80")
    assert ran.code == ExitCode.FAILED
    assert f"cannot listen on 127.0.0.1:{taken}" in ran.err
    listener.close()
    ran = await place.kvtui("port-forward", "vm/ghost", "0:80")
    assert ran.code == ExitCode.NOT_FOUND


async def test_standard_input_and_output_are_one_connection(place: Place) -> None:
    async with started(place, "port-forward", "--stdio=true", "vm/web/default", "22") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"SSH-2.0-x\r\n")
        assert await process.stdout.readline() == b"SSH-2.0-x\r\n"
        for socket in list(place.agent.sockets):
            await socket.close()
        assert await process.wait() == 0
    ran = await place.kvtui("port-forward", "--stdio", "vm/ghost", "22")
    assert (ran.code, ran.out) == (ExitCode.NOT_FOUND, "")


def program(directory: Path, name: str, script: str) -> str:
    """A PATH on which this program comes first."""
    path = directory / name
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


async def test_ssh_runs_the_local_program_through_a_proxy_command(place: Place, tmp_path: Path) -> None:
    script = (
        "import json, shlex, subprocess, sys\n"
        "proxy = sys.argv[sys.argv.index('-o') + 1].removeprefix('ProxyCommand=').replace('%%', '%')\n"
        "p = subprocess.Popen(shlex.split(proxy), stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "p.stdin.write(b'knock'); p.stdin.flush()\n"
        "print(json.dumps([sys.argv[1:], p.stdout.read(5).decode()]))\n"
        "p.terminate(); p.wait()\n"
        "sys.exit(3)\n"
    )
    path = program(tmp_path, "ssh", script)
    args = ("ssh", "ann@vm/web", "-p", "2222", "-i", "key", "-t", "-o LogLevel=ERROR", "-c", "uname -a")
    ran = await place.kvtui(*args, "--kubeconfig", str(place.api.server.kubeconfig), PATH=path)
    words, answer = json.loads(ran.out)
    assert answer == "knock"
    proxy = shlex.split(words[1].removeprefix("ProxyCommand="))
    assert proxy[-4:] == ["--kubeconfig", str(place.api.server.kubeconfig), "vm/web/default", "2222"]
    assert words[2:] == ["-i", "key", "-o", "LogLevel=ERROR", "ann@vm.web.default", "uname -a"]
    assert (ran.code, ran.err) == (ExitCode.FAILED, "exit status 3\n")


async def test_ssh_reaches_the_guest_as_whom_it_was_told(place: Place, tmp_path: Path) -> None:
    path = program(tmp_path, "ssh", "import sys\nprint(sys.argv[sys.argv.index('-o') + 1])\n")
    flags = ("--as", "bob", "--as-group=a", "--as-group", "b", "--request-timeout=5s", "--insecure-skip-tls-verify")
    ran = await place.kvtui("ssh", "vm/web", *flags, PATH=path)
    words = shlex.split(ran.out)
    given = words[words.index("kvtui") + 1 : words.index("port-forward")]
    expected = ["--insecure-skip-tls-verify", "--as", "bob", "--as-group", "a", "--as-group", "b"]
    assert given == [*expected, "--request-timeout", "5s"]


async def test_scp_names_the_guest_on_one_side(place: Place, tmp_path: Path) -> None:
    path = program(tmp_path, "scp", "import json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    up = await place.kvtui("scp", "-r", "--preserve", "-weird:file", "ann@vmi/web/prod:/tmp/x y", PATH=path)
    assert up.code == ExitCode.USAGE  # it looks like options; nothing is run
    up = await place.kvtui("scp", "-r", "--preserve", "local:file/x", "ann@vmi/web/prod:/tmp/x y", PATH=path)
    assert up.code == ExitCode.USAGE  # both sides look remote
    up = await place.kvtui("scp", "-r", "--preserve", "./local", "ann@vmi/web/prod:/tmp/x y", PATH=path)
    words = json.loads(up.out)
    assert words[:2] == ["-r", "-p"]
    assert words[-2:] == ["./local", "ann@vmi.web.prod:/tmp/x y"]
    down = await place.kvtui("scp", "vm/web:log", "here", "-l", "ann", PATH=path)
    assert json.loads(down.out)[-2:] == ["ann@vm.web.default:log", "./here"]


async def test_vnc_through_a_local_port(place: Place) -> None:
    async with started(place, "vnc", "web", "--proxy-only", "--preserve-session") as process:
        assert process.stdout is not None
        port = json.loads(await process.stdout.readline())["port"]
        assert await echoed(port, b"RFB 003.008\n") == b"RFB 003.008\n"
        assert await process.wait() == 0
    assert place.agent.asked == [("GET", "vnc", {"preserveSession": "true"})]


async def test_vnc_starts_a_viewer(place: Place, tmp_path: Path) -> None:
    script = (
        "import socket, sys, urllib.parse\n"
        "url = urllib.parse.urlsplit(sys.argv[1])\n"
        "s = socket.create_connection((url.hostname, url.port)); s.sendall(b'hi'); assert s.recv(2) == b'hi'\n"
    )
    path = program(tmp_path, "remote-viewer", script)
    ran = await place.kvtui("vnc", "web", PATH=path)
    assert (ran.code, ran.out) == (0, ""), ran.err
    missing = await place.kvtui("vnc", "web", "--vnc-path", "/nonexistent/viewer")
    assert missing.code == ExitCode.FAILED
    assert "could not find /nonexistent/viewer in $PATH" in missing.err


async def test_a_refused_screen_names_the_vmi(place: Place) -> None:
    ran = await place.kvtui("vnc", "ghost", "--proxy-only")
    assert ran.code == ExitCode.NOT_FOUND
    assert "can't access VMI ghost: " in ran.err


async def test_screenshots_are_files(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "web.png"
    assert (await place.kvtui("vnc", "screenshot", "web", "-f", str(file), "-m")).code == 0
    assert file.read_bytes() == b"\x89PNG"
    assert (await place.kvtui("vnc", "web", "--screenshot", "-")).out == "\ufffdPNG"
    ran = await place.kvtui("vnc", "screenshot", "web", "-f", "/nonexistent/web.png")
    assert ran.code == ExitCode.FAILED
    assert "cannot be written" in ran.err


async def test_usb_devices_for_a_client_of_the_user(place: Place) -> None:
    api, spec = place.api.client, guest()
    spec["domain"]["devices"]["clientPassthrough"] = {}
    data = {"metadata": {"name": "usb", "namespace": "default"}, "spec": spec}
    created = await api.create(from_wire(data, VirtualMachineInstance))
    await api.patch(VirtualMachineInstance, created.key, {"status": {"phase": "Running", "nodeName": "node01"}})
    async with started(place, "usbredir", "0951:1666", "usb", "--no-launch") as process:
        port = await port_after(process.stdout, "User can connect usbredir client at: 127.0.0.1:", "\n")
        assert await echoed(port, b"usb") == b"usb"
    refused = await place.kvtui("usbredir", "02-04", "web", "--no-launch")
    assert refused.code == ExitCode.REFUSED
    assert "Not configured with USB Redirection" in refused.err
