"""The engine of an ordinary user: session libvirt, user-mode networking, and refusals where only root could."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.config import Event
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire, to_wire
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.lab.image.build import build_image
from kvtui.node.rootless import FORWARDS
from tests.e2e.conftest import until
from tests.e2e.guests import SUBRESOURCES, fetch, launcher, machine, remove, shell, wait_running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Somebody:
    """An ordinary user."""

    name: str
    uid: int
    home: Path
    python: str

    def run(self, *command: str, timeout: float = 180) -> str:
        environment = {
            "HOME": str(self.home),
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join((str(ROOT), *(p for p in sys.path if p.endswith("site-packages")))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        words = [f"{key}={value}" for key, value in environment.items()]
        argv = ["runuser", "-u", self.name, "--", "env", "-i", "-C", "/", *words, *command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def kvtui(self, *arguments: str) -> str:
        return self.run(self.python, "-m", "kvtui", *arguments)

    def processes(self) -> dict[int, str]:
        """Command lines by process id."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and entry.stat().st_uid == self.uid:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if words:
                        found[int(entry.name)] = words
        return found


@pytest.fixture(scope="module")
def somebody() -> Iterator[Somebody]:
    if os.geteuid() != 0:
        pytest.skip("making a user needs root")
    missing = [program for program in ("useradd", "runuser", "libvirtd", "qemu-img") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    name = f"kvtest{os.getpid()}"
    home = Path(tempfile.mkdtemp(prefix="kvhome-", dir="/tmp"))
    subprocess.run(["useradd", "--system", "--no-create-home", "--home-dir", str(home), name], check=True)
    uid = int(subprocess.run(["id", "-u", name], capture_output=True, text=True, check=True).stdout)
    shutil.chown(home, uid)
    made = Somebody(name, uid, home, "")
    try:
        yield Somebody(name, uid, home, _python(made))
    finally:
        for pid in made.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # the session's libvirtd would stay for two more minutes
        subprocess.run(["userdel", name], check=True, capture_output=True)
        for place in (home, Path(f"/tmp/kvtui-{uid}")):
            shutil.rmtree(place, ignore_errors=True)


def _python(somebody: Somebody) -> str:
    """An interpreter that this user may run, and that has what the product needs."""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(AssertionError, OSError):
            somebody.run(python, "-c", "import kvtui, libvirt, aiohttp, msgspec, structlog")
            return python
    pytest.skip("an ordinary user can run no Python that has the product's dependencies")


@pytest.fixture
async def engine(somebody: Somebody) -> AsyncIterator[Client]:
    somebody.kvtui("local", "start")
    kubeconfig = Path(somebody.kvtui("local", "kubeconfig").strip())
    try:
        async with Client(await load(kubeconfig)) as client:
            yield client
    finally:
        somebody.kvtui("local", "stop", "--vms")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the guest image."""
    directory = tmp_path_factory.mktemp("images")
    shutil.copyfile(build_image(directory, say=lambda line: None), directory / "guest.qcow2")
    handler = functools.partial(_Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="images", daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/guest.qcow2"
        server.shutdown()
        thread.join()


def on_a_bridge() -> VirtualMachine:
    body = to_wire(machine("bridged"))
    spec = body["spec"]["template"]["spec"]
    spec["networks"] = [{"name": "default", "multus": {"networkName": "br-vlan100"}}]
    spec["domain"]["devices"]["interfaces"] = [{"name": "default", "bridge": {}}]
    return from_wire(body, VirtualMachine)


async def test_an_ordinary_user_runs_a_guest_and_reaches_it(somebody: Somebody, engine: Client, image: str) -> None:
    assert "user-mode networking" in somebody.kvtui("local", "doctor")
    await engine.create(on_a_bridge())
    await engine.create(machine("mine", image=image, ports=(80,)))
    instance = await wait_running(engine, "mine")
    emulators = [words for words in somebody.processes().values() if "qemu-system" in words.split(" ")[0]]
    assert len(emulators) == 1

    async with shell(engine, "mine") as viewer:
        assert await viewer.do("hostname") == "mine"

    declared = lambda p: p is not None and FORWARDS in p.metadata.annotations  # noqa: E731
    pod = await until(engine, Pod, (await launcher(engine, instance)).key, declared)
    assert pod is not None
    address = json.loads(pod.metadata.annotations[FORWARDS])["80/tcp"]
    assert "mine" in await fetch(f"http://{address}/cgi-bin/info")
    async with engine.websocket(f"{SUBRESOURCES}/mine/portforward/80/tcp") as socket:
        await socket.send_bytes(b"GET /cgi-bin/info HTTP/1.0\r\n\r\n")
        assert b"200" in (await socket.receive()).data

    refused = [e for e in (await engine.list(Event, "default")).items if e.involved_object.name == "bridged"]
    assert any("plugins need root" in e.message for e in refused)
    assert (await engine.get(VirtualMachineInstance, ("default", "bridged"))).status.phase != "Running"
    await remove(engine, "bridged")
    await remove(engine, "mine")
    assert not [words for words in somebody.processes().values() if "qemu-system" in words.split(" ")[0]]
