"""Labs side by side, a lab that cannot start, one whose disk is full, and what is left of one that was stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvtui.api.core.config import ConfigMap
from kvtui.api.meta import ObjectMeta
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.errors import KvtuiError
from tests.e2e.conftest import Lab, run
from tests.e2e.guests import a_guest, fetch, kubectl, launcher, machine, shared_volume
from tests.e2e.test_bad_input import complaint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="kve2e-", dir="/tmp"))
    yield directory
    if (directory / "lab" / "engine.json").exists():
        run("lab", "stop", "--data", str(directory / "lab"))
    shutil.rmtree(directory, ignore_errors=True)


def second(lab: Lab, data: Path) -> Lab:
    address = json.loads(run("lab", "status", "--data", str(data), "-o", "json"))["hostAddress"]
    return Lab(data, address, lab.image, lab.guest)


def output(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def traces(data: Path, address: str) -> list[str]:
    """Whatever of a lab can still be seen on this machine."""
    network = ".".join(address.split(".")[:2]) + "."
    found = [line for line in output("ps", "-eo", "args") if str(data) in line and "lab stop" not in line]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(data) in line]
    found += [line for line in output("ip", "-o", "addr") if f" {network}" in line]
    found += [line for line in output("ip", "route") if line.startswith(network)]
    found += [line for line in output("nft", "list", "ruleset") if re.search(rf"\b{re.escape(network)}", line)]
    return found + [str(data)] * data.exists()


async def test_two_labs_coexist_and_a_stopped_one_leaves_nothing(lab: Lab, client: Client, place: Path) -> None:
    data = place / "lab"
    await asyncio.to_thread(run, "lab", "start", "--nodes", "1", "--data", str(data))
    other = second(lab, data)
    assert other.address != lab.address
    assert traces(data, other.address)
    async with Client(await load(data / "kubeconfig")) as second_client:
        volume = machine("twin", image=f"{lab.image}")
        async with a_guest(client, machine("twin", image=lab.image)) as mine:
            await second_client.create(volume)
            kubectl(other, "wait", "vm/twin", "--for=condition=Ready", "--timeout=120s")
            assert "twin" in await fetch(f"http://{(await launcher(client, mine)).status.pod_ip}/cgi-bin/info")
            await asyncio.to_thread(run, "lab", "stop", "--data", str(data))
            assert traces(data, other.address) == []
            assert "twin" in await fetch(f"http://{(await launcher(client, mine)).status.pod_ip}/cgi-bin/info")
    await asyncio.sleep(0.25)  # the farewell of TLS connections, which nobody can wait for


def test_a_port_in_use_stops_the_start_and_leaves_nothing_running(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["lab", "start", "--nodes", "0", "--port", str(port), "--data", str(place / "lab")]
        with pytest.raises(AssertionError, match=f"port {port} of 127.0.0.1 is in use") as error:
            run(*command)
    assert "Traceback" not in str(error.value)
    assert [line for line in output("ps", "-eo", "args") if str(place) in line] == []


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """A data directory with 160 MiB of room."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    data = place / "lab"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "kvtui-e2e", data], check=True)
    yield data
    try:
        if (data / "engine.json").exists():
            run("lab", "stop", "--data", str(data))
    finally:
        subprocess.run(["umount", data], check=True)


def fill(path: Path) -> None:
    """Until there is no room."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))


def fill_but(place: Path, rest: int) -> Path:
    """A file that leaves the given number of bytes free."""
    ballast = place / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(shutil.disk_usage(place).free - rest))
    return ballast


async def refused(client: Client) -> str:
    """Creates until the server takes nothing new, and tells what it says then."""
    for number in range(200):
        name = ObjectMeta(name=f"heavy-{number}", namespace="default")
        try:
            await client.create(ConfigMap(metadata=name, data={"x": "y" * 100_000}))
        except KvtuiError as error:
            return str(error)
    return ""


async def taken(client: Client) -> ConfigMap:
    """Creates one as soon as the server takes new objects again."""
    while True:
        with contextlib.suppress(KvtuiError):
            name = ObjectMeta(name="light", namespace="default")
            return await client.create(ConfigMap(metadata=name, data={"x": "y"}))
        await asyncio.sleep(0.5)


def test_a_lab_without_room_is_refused_at_once(small: Path) -> None:
    ballast = fill_but(small, 20 * 2**20)
    with pytest.raises(AssertionError, match=r"has (19|20) MiB of room, and an engine keeps 64 MiB free"):
        run("lab", "start", "--nodes", "0", "--data", str(small))
    assert {path for path in small.iterdir() if path.name != ".lock"} == {ballast}


async def test_a_full_disk_is_told_and_work_goes_on_when_there_is_room(lab: Lab, small: Path) -> None:
    await asyncio.to_thread(run, "lab", "start", "--nodes", "1", "--data", str(small))
    tight = second(lab, small)
    async with Client(await load(small / "kubeconfig")) as client:
        ballast = fill_but(small, 70 * 2**20)
        kubectl(tight, "apply", "-f", "-", stdin=json.dumps(shared_volume("too-much", lab.image, "256Mi")))
        said = await complaint(client, "too-much")
        assert "too small" in said or "space" in said
        kubectl(tight, "delete", "dv", "too-much")

        with pytest.raises(OSError, match="No space left"):
            fill(small / "rest")
        said = await refused(client)
        assert "full" in said
        assert "Traceback" not in said
        assert kubectl(tight, "get", "nodes")
        ballast.unlink()
        (small / "rest").unlink()
        assert (await taken(client)).metadata.uid
    await asyncio.sleep(0.25)  # the farewell of TLS connections, which nobody can wait for
