"""The embedded server against kube-apiserver with etcd: same disk, same definitions, same objects, same client.

Both run at the same time and are measured in turns, so that what else the machine does meets both.
"""

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
SECONDS = 1.0
"""Of one turn: short ones, so that a moment in which the machine is busy meets both."""
TURNS = 5
STARTED_WITH = 20_000
"""Objects at the measured start-up."""
LISTED = 10_000
WATCHERS = 100
EVENTS = 100


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

    def peak(self) -> float:
        """The most resident MB of its processes since `forget_peak`."""
        total = 0
        for pid in self.pids:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
        return total / 1024

    def forget_peak(self) -> None:
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")


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

    async def creates(self, clients: int, turn: int) -> float:
        return await _rate(clients, self._create(clients, turn))

    async def updates(self, clients: int) -> float:
        return await _rate(clients, self._update)

    async def gets(self) -> float:
        return await _rate(64, self._get)

    async def list_all(self) -> None:
        numbers = self.target.numbers
        before = self.target.memory()
        self.target.forget_peak()
        started = time.monotonic()
        raw = await self.send("GET", PATH)
        numbers["list of 10,000, s"] = time.monotonic() - started
        numbers["list of 10,000, peak MB more"] = self.target.peak() - before
        assert len(json.loads(raw)["items"]) >= LISTED

    async def longest_block(self) -> None:
        """Of our event loop; nothing to compare with."""
        text = (await self.send("GET", "/metrics")).decode()
        for name in ("block", "work"):
            start = f"kvtui_event_loop_longest_{name}_seconds"
            found = [float(line.split()[1]) for line in text.splitlines() if line.startswith(start)]
            self.target.numbers[f"longest loop {name}, ms"] = found[0] * 1000 if found else float("nan")

    def _create(self, clients: int, turn: int) -> Callable[[int, int], Awaitable[None]]:
        async def create(me: int, number: int) -> None:
            await self.send("POST", PATH, machine(f"c{clients}-{me}-{turn * 100_000 + number}"))

        return create

    async def _update(self, me: int, number: int) -> None:
        body = json.dumps({"metadata": {"labels": {"n": str(number)}}, "spec": {"running": None}}).encode()
        await self.send("PATCH", f"{PATH}/c64-{me}-0", body, "application/merge-patch+json")

    async def _get(self, me: int, number: int) -> None:
        await self.send("GET", f"{PATH}/c64-{me}-0")

    async def fill(self, wanted: int) -> None:
        present = len(json.loads(await self.send("GET", PATH))["items"])
        numbers = iter(range(present, max(wanted, present)))

        async def worker() -> None:
            for number in numbers:
                await self.send("POST", PATH, machine(f"fill-{number}"))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(32):
                tasks.create_task(worker())

    async def fan_out(self) -> float:
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


@contextlib.asynccontextmanager
async def measured(target: Target) -> AsyncIterator[Measurement]:
    """Knows the definitions of all custom kinds."""
    connector = aiohttp.TCPConnector(ssl=target.tls, limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20) as session:
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
        yield Measurement(target, session)


async def compare(sides: list[Measurement]) -> None:
    """Every measurement on all sides, one after the other."""

    async def rate(name: str, measure: Callable[[Measurement, int], Awaitable[float]]) -> None:
        for turn in range(TURNS):
            for side in sides:
                numbers = side.target.numbers
                numbers[name] = numbers.get(name, 0.0) + await measure(side, turn) / TURNS

    for side in sides:
        side.target.numbers["resident MB, fresh"] = side.target.memory()
    for clients in (1, 64):
        await rate(f"creates/s, {clients} clients", lambda side, turn, n=clients: side.creates(n, turn))  # type: ignore[misc]
    for clients in (1, 64):
        await rate(f"updates/s, {clients} clients", lambda side, turn, n=clients: side.updates(n))  # type: ignore[misc]
    await rate("gets/s, 64 clients", lambda side, turn: side.gets())
    for side in sides:
        await side.fill(LISTED)
    for side in sides:
        await side.list_all()
    await rate("event to 100 watchers p99, ms", lambda side, turn: side.fan_out())
    for side in sides:
        side.target.numbers["resident MB, 10,000 VMs"] = side.target.memory()
        await side.longest_block()
        await side.fill(STARTED_WITH)


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


@contextlib.asynccontextmanager
async def theirs(directory: Path) -> AsyncIterator[Target]:
    directory.mkdir(exist_ok=True)
    async with running_kubernetes(directory, managers=False, schedulers=False) as kube:
        yield Target("kube-apiserver + etcd", kube.url, tls(kube.pki), kube.pids)


Side = Callable[[Path], contextlib.AbstractAsyncContextManager[Target]]


async def test_against_kube_apiserver(tmp_path: Path) -> None:
    places: list[tuple[Side, Path]] = [(embedded, tmp_path / "kvtui"), (theirs, tmp_path / "kube")]
    targets: list[Target] = []
    async with contextlib.AsyncExitStack() as stack:
        sides: list[Measurement] = []
        for side, place in places:
            try:
                target = await stack.enter_async_context(side(place))
            except CannotBuild as error:
                print(f"no kube-apiserver to compare with: {error}")
                continue
            targets.append(target)
            sides.append(await stack.enter_async_context(measured(target)))
        await compare(sides)
    for target, (side, place) in zip(targets, places, strict=False):
        started = time.monotonic()
        async with side(place) as again:
            target.numbers["start-up with 20,000 objects, s"] = time.monotonic() - started
            target.numbers["resident MB after it"] = again.memory()
    show(targets)


def show(targets: list[Target]) -> None:
    print(f"\n{'':34}" + "".join(f"{t.name:>24}" for t in targets) + f"{'ratio':>10}")
    for row in targets[0].numbers:
        numbers = [t.numbers[row] for t in targets]
        ratio = f"{numbers[0] / numbers[1]:10.2f}" if len(numbers) > 1 and numbers[1] else ""
        print(f"{row:34}" + "".join(f"{n:24.2f}" for n in numbers) + ratio)
