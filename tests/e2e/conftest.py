"""A lab started by the product's own commands, and a server that offers its guest image."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kvtui.api.meta import Resource
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.commands.engine import free_port
from tests.fakes.images import OciRegistry

R = TypeVar("R", bound=Resource)
NEEDED = ("libvirtd", "qemu-system-x86_64", "qemu-img", "nft", "ip", "genisoimage", "dnsmasq")
BOOT = 120.0
"""Seconds for anything that waits for an emulated guest."""


@dataclass(frozen=True)
class Lab:
    """A running lab."""

    data: Path
    address: str
    """Under which nodes and guests reach this machine."""
    image: str
    """URL of the guest image."""
    guest: Path
    """The guest image as a file."""

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "engine.json").read_text())
        return found

    def pid(self, process: str) -> int:
        return int(self.record()["processes"][process]["pid"])


def run(*arguments: str, timeout: float = 240) -> str:
    """One command of the product. Fails the test with its words."""
    command = [sys.executable, "-m", "kvtui", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"kvtui {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def kvtui(lab: Lab, *arguments: str, check: bool = True, timeout: float = 180) -> str:
    """A verb against the lab. With `check=False` both outputs, whatever the status."""
    done = subprocess.run(
        [sys.executable, "-m", "kvtui", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "KUBECONFIG": str(lab.data / "kubeconfig")},
    )
    if not check:
        return done.stdout + done.stderr
    assert done.returncode == 0, f"kvtui {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two nodes, for all tests of a run."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    data = Path(tempfile.mkdtemp(prefix="kve2e-", dir="/tmp"))
    kept = os.environ.get("KVTUI_E2E_LAB", "")  # a lab that goes on afterwards, for trying one test again and again
    engine = Path(kept) if kept else data / "lab"
    try:
        run("lab", "start", "--nodes", "2", "--data", str(engine))
        address = json.loads(run("lab", "status", "--data", str(engine), "-o", "json"))["hostAddress"]
        images = data / "images"
        images.mkdir()
        run("lab", "image", "--to", str(images / "guest.qcow2"))
        handler = functools.partial(_Quiet, directory=str(images))
        with http.server.ThreadingHTTPServer((address, 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, name="images", daemon=True)
            thread.start()
            yield Lab(engine, address, f"http://{address}:{server.server_port}/guest.qcow2", images / "guest.qcow2")
            server.shutdown()
            thread.join()
    finally:
        if not kept:
            run("lab", "stop", "--data", str(engine))
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(lab: Lab) -> Iterator[OciRegistry]:
    """A registry under the lab's address that stands in for quay.io, by the lab's registries.conf."""
    if shutil.which("docker-registry") is None or shutil.which("skopeo") is None:
        pytest.skip("docker-registry and skopeo are not installed")
    directory = lab.guest.parents[1] / "registry"
    directory.mkdir()
    port = free_port()
    address = f"{lab.address}:{port}"
    config = directory / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(directory / "blobs")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    command = ["docker-registry", "serve", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"listening on" in line:
                break
        drain = threading.Thread(target=process.stderr.read, name="registry stderr", daemon=True)
        drain.start()
        try:
            (lab.data / "registries.conf").write_text(
                f'[[registry]]\nprefix = "quay.io/kubevirt"\nlocation = "{address}/kubevirt"\ninsecure = true\n'
            )
            made = OciRegistry(address)
            disk = lab.guest.read_bytes()
            made.push("kubevirt/fedora-cloud-container-disk-demo:latest", [{"disk/guest.qcow2": disk}], directory / "a")
            made.push("kubevirt/nothing:latest", [{"etc/motd": b"no disk here"}], directory / "b")
            # Without file systems of its own: two disks of the same guest look the same to its boot.
            made.push("kubevirt/plain:latest", [{"disk/plain.img": bytes(8 << 20)}], directory / "c")
            yield made
        finally:
            process.terminate()
            process.wait()
            drain.join()


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[Client]:
    async with Client(await load(lab.data / "kubeconfig")) as made:
        yield made
    # TLS connections of watches that were given up are closed by a farewell that nobody can wait for.
    await asyncio.sleep(0.25)


async def until(
    client: Client, type_: type[R], key: tuple[str, str], holds: Callable[[R | None], object], timeout: float = BOOT
) -> R | None:
    """Follows an object until something holds of it."""
    found: R | None = None
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = await client.find(type_, key)
                if holds(found):
                    return found
                revision = found.metadata.resource_version if found is not None else None
                events = client.watch(
                    type_, key[0], resource_version=revision, field_selector=f"metadata.name={key[1]}", timeout=30
                )
                async with contextlib.aclosing(events) as stream:
                    async for event in stream:
                        if event.type == "BOOKMARK":
                            continue
                        found = None if event.type == "DELETED" else event.object
                        if holds(found):
                            return found
    except TimeoutError:
        raise AssertionError(f"{type_.__name__} {key} never got there; last seen: {found}") from None
