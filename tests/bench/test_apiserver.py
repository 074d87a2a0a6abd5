"""The embedded server against kube-apiserver with etcd: same disk, same definitions, same objects, same client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from kvtui.api import crds
from kvtui.apiserver.pki import Pki
from tests.apiserver.test_kills import free_port
from tests.engines.build import CannotBuild
from tests.engines.kubernetes import running_kubernetes

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
PATH = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
SECONDS = 5.0
LISTED = 10_000
WATCHERS = 100
EVENTS = 200


def machine(name: str) -> bytes:
    disk = {"name": "root", "disk": {"bus": "virtio"}}
    domain = {
        "cpu": {"cores": 2},
        "memory": {"guest": "1Gi"},
        "devices": {"disks": [disk], "interfaces": [{"name": "default", "masquerade": {}}], "rng": {}},
        "resources": {"requests": {"memory": "1Gi"}},
    }
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "domain": domain,
            "networks": [{"name": "default", "pod": {}}],
            "terminationGracePeriodSeconds": 30,
            "volumes": [{"name": "root", "containerDisk": {"image": "registry.example.com/disk:1"}}],
        },
    }
    return json.dumps(
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"runStrategy": "Halted", "template": template},
        }
    ).encode()


@dataclass
class Target:
    """A server under measurement."""

    name: str
    url: str
    tls: ssl.SSLContext
    pids: tuple[int, ...]
    numbers: dict[str, float] = field(default_factory=dict)

    def memory(self) -> float:
        """Resident MB of all its processes."""
        total = 0
        for pid in self.pids:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
        return total / 1024


async def _rate(clients: int, request: Callable[[int, int], Awaitable[None]]) -> float:
    """Requests per second of so many clients, each with its own sequence."""
    end = time.monotonic() + SECONDS
    done = 0

    async def client(me: int) -> None:
        nonlocal done
        number = 0
        while time.monotonic() < end:
            await request(me, number)
            number += 1
            done += 1

    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for me in range(clients):
            tasks.create_task(client(me))
    return done / (time.monotonic() - started)


class Measurement:
    def __init__(self, target: Target, session: aiohttp.ClientSession) -> None:
        self.target = target
        self.session = session

    async def send(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        async with self.session.request(
            method, self.target.url + path, data=body, headers={"Content-Type": kind}
        ) as answer:
            raw = await answer.read()
            assert answer.status in (200, 201), raw[:500]
            return raw

    async def run(self) -> None:
        numbers = self.target.numbers
        numbers["resident MB, fresh"] = self.target.memory()
        for clients in (1, 64):
            numbers[f"creates/s, {clients} clients"] = await _rate(clients, self._create(clients))
        for clients in (1, 64):
            numbers[f"updates/s, {clients} clients"] = await _rate(clients, self._update)
        numbers["gets/s, 64 clients"] = await _rate(64, self._get)
        await self._fill()
        started = time.monotonic()
        raw = await self.send("GET", PATH)
        numbers["list of 10,000, s"] = time.monotonic() - started
        assert len(json.loads(raw)["items"]) >= LISTED
        numbers["event to 100 watchers p99, ms"] = await self._fan_out()
        numbers["resident MB, 10,000 VMs"] = self.target.memory()

    def _create(self, clients: int) -> Callable[[int, int], Awaitable[None]]:
        async def create(me: int, number: int) -> None:
            await self.send("POST", PATH, machine(f"c{clients}-{me}-{number}"))

        return create

    async def _update(self, me: int, number: int) -> None:
        body = json.dumps({"metadata": {"labels": {"n": str(number)}}, "spec": {"running": None}}).encode()
        await self.send("PATCH", f"{PATH}/c64-{me}-0", body, "application/merge-patch+json")

    async def _get(self, me: int, number: int) -> None:
        await self.send("GET", f"{PATH}/c64-{me}-0")

    async def _fill(self) -> None:
        present = len(json.loads(await self.send("GET", PATH))["items"])
        numbers = iter(range(max(LISTED - present, 0)))

        async def worker() -> None:
            for number in numbers:
                await self.send("POST", PATH, machine(f"fill-{number}"))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(32):
                tasks.create_task(worker())

    async def _fan_out(self) -> float:
        """From the moment of the request to the arrival at each watcher, 99th percentile."""
        revision = json.loads(await self.send("GET", f"{PATH}?limit=1"))["metadata"]["resourceVersion"]
        sent: dict[str, float] = {}
        delays: list[float] = []
        opened = asyncio.Semaphore(0)

        async def watcher() -> None:
            url = f"{self.target.url}{PATH}?watch=1&resourceVersion={revision}"
            async with self.session.get(url) as stream:
                opened.release()
                for _ in range(EVENTS):
                    event = json.loads(await stream.content.readline())
                    mark = event["object"]["metadata"]["labels"]["mark"]
                    delays.append(time.monotonic() - sent[mark])

        async with asyncio.TaskGroup() as tasks:
            for _ in range(WATCHERS):
                tasks.create_task(watcher())
            for _ in range(WATCHERS):
                await opened.acquire()
            for number in range(EVENTS):
                sent[str(number)] = time.monotonic()
                body = json.dumps({"metadata": {"labels": {"mark": str(number)}}}).encode()
                await self.send("PATCH", f"{PATH}/c64-0-0", body, "application/merge-patch+json")
                await asyncio.sleep(0.02)  # fifty events a second: latency, not throughput
        delays.sort()
        return delays[int(len(delays) * 0.99)] * 1000


async def measure(target: Target) -> None:
    connector = aiohttp.TCPConnector(ssl=target.tls, limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20) as session:
        measurement = Measurement(target, session)
        for definition in crds.definitions():
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            async with session.post(target.url + path, json=definition) as answer:
                assert answer.status in (201, 409), await answer.text()
        async with asyncio.timeout(30):
            while True:
                async with session.get(target.url + PATH) as answer:
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.1)
        await measurement.run()


def tls(pki: Pki) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki.ca.cert))
    context.load_cert_chain(pki.admin.cert, pki.admin.key)
    return context


@contextlib.asynccontextmanager
async def embedded(directory: Path) -> AsyncIterator[Target]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.apiserver.process", str(directory), str(port), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        pki = Pki(directory / "pki")
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"https://127.0.0.1:{port}/readyz", ssl=tls(pki)) as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.05)
        yield Target("kvtui", f"https://127.0.0.1:{port}", tls(pki), (process.pid,))
    finally:
        process.kill()
        await process.wait()


async def test_against_kube_apiserver(tmp_path: Path) -> None:
    targets: list[Target] = []
    async with embedded(tmp_path / "kvtui") as ours:
        await measure(ours)
        targets.append(ours)
    try:
        (tmp_path / "kube").mkdir()
        async with running_kubernetes(tmp_path / "kube", managers=False, schedulers=False) as kube:
            theirs = Target("kube-apiserver + etcd", kube.url, tls(kube.pki), kube.pids)
            await measure(theirs)
            targets.append(theirs)
    except CannotBuild as error:
        print(f"no kube-apiserver to compare with: {error}")
    print(f"\n{'':32}" + "".join(f"{t.name:>24}" for t in targets))
    for row in targets[0].numbers:
        print(f"{row:32}" + "".join(f"{t.numbers[row]:24.2f}" for t in targets))
