"""The whole way of a VM against bare libvirt: same descriptions, same daemons, one run, turn by turn.

`KVTUI_BENCH_LAB` names the data directory of a running lab of two nodes to use instead of an own one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.config import KubeVirt
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.lab.nodes import read_lab
from tests.bench import processes
from tests.bench.bare import Node, bare
from tests.bench.stub import serve_stub
from tests.e2e.conftest import NEEDED, run, until

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
ROUNDS, MIGRATIONS, CROWD_ROUNDS, IDLE_SECONDS = 7, 4, 1, 15.0
CROWD = int(os.environ.get("KVTUI_BENCH_CROWD", "40"))
SPACE = "default"


@dataclass
class Table:
    """Rows that are printed whatever happens, and the limits that were missed."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def ratio(self, what: str, ours: Sequence[float], theirs: Sequence[float], limit: float | None = None) -> None:
        one, other = median(ours), median(theirs)
        ratio = one / other
        self.rows.append((what, f"{one:.2f} s", f"{other:.2f} s", f"{ratio:.2f}", f"{limit:.1f}" if limit else ""))
        if limit is not None and ratio > limit:
            self.missed.append(f"{what}: {ratio:.2f}x of bare libvirt, allowed {limit:.1f}x")

    def most(self, what: str, value: float, limit: float, unit: str) -> None:
        self.rows.append((what, f"{value:.2f} {unit}", "", "", f"{limit:.1f}"))
        if value > limit:
            self.missed.append(f"{what}: {value:.2f} {unit}, allowed {limit:.1f}")

    def number(self, what: str, value: str) -> None:
        self.rows.append((what, value, "", "", ""))

    def print(self) -> None:
        heads = ("", "kvtui", "bare", "ratio", "limit")
        print("\n" + "\n".join("".join((f"{r[0]:44}", *(f"{c:>16}" for c in r[1:]))) for r in (heads, *self.rows)))


class Bench:
    """A lab with its client and the daemons of its nodes."""

    def __init__(self, data: Path, client: Client, nodes: dict[str, Node], disks: Path) -> None:
        self.data, self.client, self.nodes, self.disks = data, client, nodes, disks

    def disk(self, name: str) -> str:
        """A disk of its own with the guest image."""
        path = self.disks / f"{name}.img"
        if not path.exists():
            shutil.copyfile(self.disks / "guest.raw", path)
        return str(path)

    def pids(self) -> dict[str, int]:
        record = json.loads((self.data / "engine.json").read_text())
        found = {name: int(process["pid"]) for name, process in record["processes"].items()}
        return {"supervisor": int(record["supervisor"]["pid"]), **found}

    async def create(self, names: Sequence[str]) -> float:
        """Seconds from the first request until all instances run."""
        manifests = [machine(name, self.disk(name)) for name in names]
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for name, manifest in zip(names, manifests, strict=True):
                tasks.create_task(self.client.create(manifest))
                tasks.create_task(until(self.client, VirtualMachineInstance, (SPACE, name), _running))
        return time.monotonic() - began

    async def delete(self, names: Sequence[str]) -> float:
        """Seconds until machines and instances are gone."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(self._delete(name))
        took = time.monotonic() - began
        for name in names:
            listed = await self.client.list(Pod, SPACE, label_selector=f"vm.kubevirt.io/name={name}")
            for pod in listed.items:
                await until(self.client, Pod, (SPACE, pod.metadata.name), lambda found: found is None)
        return took

    async def _delete(self, name: str) -> None:
        await self.client.delete(VirtualMachine, (SPACE, name))
        await until(self.client, VirtualMachineInstance, (SPACE, name), lambda found: found is None)
        await until(self.client, VirtualMachine, (SPACE, name), lambda found: found is None)

    async def place(self, name: str) -> Node:
        instance = await self.client.get(VirtualMachineInstance, (SPACE, name))
        assert instance.status is not None
        return self.nodes[instance.status.node_name or ""]

    async def describe(self, name: str, bare_name: str) -> tuple[Node, str]:
        """Where a machine runs, and the description of its like without kvtui."""
        node = await self.place(name)
        return node, bare(await node.call(lambda: node.describe(f"{SPACE}_{name}")), bare_name)


def machine(name: str, disk: str) -> VirtualMachine:
    devices = {
        "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
        "interfaces": [{"name": "default", "masquerade": {}}],
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        # Little enough for a crowd of them on a small machine.
        "domain": {"memory": {"guest": "96Mi"}, "resources": {"requests": {"cpu": "10m"}}, "devices": devices},
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "hostDisk": {"path": disk, "type": "Disk", "shared": True}}],
    }
    labels = {"vm.kubevirt.io/name": name}
    return from_wire(
        {
            "metadata": {"name": name, "namespace": SPACE},
            "spec": {"runStrategy": "Always", "template": {"metadata": {"labels": labels}, "spec": spec}},
        },
        VirtualMachine,
    )


def _running(instance: VirtualMachineInstance | None) -> bool:
    return instance is not None and instance.status is not None and instance.status.phase == "Running"


async def timed(work: Awaitable[object]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def together(works: Sequence[Awaitable[None]]) -> None:
    await asyncio.gather(*works)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """The data directory of a lab."""
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if given := os.environ.get("KVTUI_BENCH_LAB"):
        yield Path(given)
        return
    data = Path(tempfile.mkdtemp(prefix="kvbench-", dir="/tmp"))
    try:
        run("lab", "start", "--nodes", "2", "--data", str(data / "lab"))
        yield data / "lab"
    finally:
        run("lab", "stop", "--data", str(data / "lab"))
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
async def bench(directory: Path) -> AsyncIterator[Bench]:
    lab = read_lab(directory)
    assert lab is not None
    record = json.loads((directory / "engine.json").read_text())
    disks = Path(tempfile.mkdtemp(prefix="kvdisks-", dir="/tmp"))
    disks.chmod(0o711)  # QEMU's users pass
    run("lab", "image", "--to", str(disks / "guest.qcow2"))
    image = ("qemu-img", "convert", "-O", "raw", str(disks / "guest.qcow2"), str(disks / "guest.raw"))
    await asyncio.to_thread(subprocess.run, image, check=True)
    with contextlib.ExitStack() as stack:
        nodes = {}
        for plan in lab.nodes:
            node = Node(plan, int(record["processes"][f"libvirtd-{plan.name}"]["pid"]))
            stack.callback(node.close)
            nodes[plan.name] = node
        async with Client(await load(directory / "kubeconfig")) as client:
            gates = {"developerConfiguration": {"featureGates": ["HostDisk"]}}
            for found in (await client.list(KubeVirt)).items:
                await client.patch(KubeVirt, found.key, {"spec": {"configuration": gates}})
            yield Bench(directory, client, nodes, disks)
        shutil.rmtree(disks)
        # TLS connections of watches that were given up are closed by a farewell that nobody can wait for.
        await asyncio.sleep(0.25)


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table()
    yield made
    made.print()
    assert not made.missed, "; ".join(made.missed)


async def test_one_machine(bench: Bench, table: Table) -> None:
    """Create to Running, and delete to gone, one machine at a time."""
    starts: list[float] = []
    ends: list[float] = []
    bare_starts: list[float] = []
    bare_ends: list[float] = []
    for number in range(ROUNDS + 1):
        name = f"one-{number}"
        start = await bench.create([name])
        node, xml = await bench.describe(name, name)
        node.make_room([name])
        end = await bench.delete([name])
        bare_start = await timed(node.start(xml))
        bare_end = await timed(node.remove(name))
        if number:  # the first warms caches on both sides
            starts.append(start)
            ends.append(end)
            bare_starts.append(bare_start)
            bare_ends.append(bare_end)
    table.ratio("create to Running", starts, bare_starts, 2.0)
    table.ratio("delete to gone", ends, bare_ends)


async def test_many_machines(bench: Bench, table: Table) -> None:
    """Many at once, then what everything costs while they do nothing."""
    names = [f"many-{n}" for n in range(CROWD)]
    agents = {name: pid for name, pid in bench.pids().items() if name.startswith("agent")}
    await processes.wait_idle(list(bench.pids().values()))
    idle = {name: processes.resident(pid) for name, pid in bench.pids().items()}
    starts: list[float] = []
    bare_starts: list[float] = []
    ends: list[float] = []
    bare_ends: list[float] = []
    for number in range(CROWD_ROUNDS):
        starts.append(await bench.create(names))
        described = [await bench.describe(name, name) for name in names]
        if number == CROWD_ROUNDS - 1:
            await _costs(bench, table, agents, idle)
        ends.append(await bench.delete(names))
        for node in bench.nodes.values():
            node.make_room(names)
        bare_starts.append(await timed(together([node.start(xml) for node, xml in described])))
        pairs = zip(names, described, strict=True)
        bare_ends.append(await timed(together([node.remove(name) for name, (node, _) in pairs])))
    table.ratio(f"{CROWD} at once to Running", starts, bare_starts, 1.2)
    table.ratio(f"{CROWD} at once to gone", ends, bare_ends)


async def _costs(bench: Bench, table: Table, agents: dict[str, int], idle: dict[str, tuple[float, float]]) -> None:
    await processes.wait_idle(processes.guests("/kvtui/"))
    before = {name: processes.cpu_seconds(pid) for name, pid in bench.pids().items()}
    await asyncio.sleep(IDLE_SECONDS)
    for name, pid in bench.pids().items():
        share = (processes.cpu_seconds(pid) - before[name]) / IDLE_SECONDS * 100
        (rss, _), (rss_now, pss_now) = idle[name], processes.resident(pid)
        table.number(f"{name}: RSS idle, with {CROWD} (PSS)", f"{rss:.0f} {rss_now:.0f} ({pss_now:.0f}) MiB")
        table.number(f"{name}: CPU with {CROWD} idle guests", f"{share:.1f} %")
        if name in agents:
            table.most(f"{name}: CPU with idle guests", share, 1.0, "%")
    helpers = [processes.resident(pid) for pid in processes.children(list(agents.values()), "dnsmasq")]
    assert len(helpers) >= CROWD
    grown = sum(processes.resident(pid)[0] - idle[name][0] for name, pid in agents.items())
    each = (grown + sum(pss for _, pss in helpers)) / CROWD
    table.most("agents and helpers per VM", each, 6.0, "MiB")
    table.number(
        "dnsmasq per VM: RSS (PSS)",
        f"{median(h[0] for h in helpers):.1f} ({median(h[1] for h in helpers):.1f}) MiB",
    )


async def test_migration(bench: Bench, table: Table) -> None:
    """To the other node and back, the guests idle and alike."""
    await bench.create(["mover"])
    node, xml = await bench.describe("mover", "bare-mover")
    xml = xml.replace(bench.disk("mover"), bench.disk("bare-mover"))
    for each in bench.nodes.values():
        each.make_room(["bare-mover"])
    await node.start(xml)
    ours: list[float] = []
    theirs: list[float] = []
    try:
        await processes.wait_idle(processes.guests("mover"))
        for _ in range(MIGRATIONS):
            ours.append(await _migrate(bench))
            there = next(n for n in bench.nodes.values() if n is not node)
            theirs.append(await timed(node.migrate("bare-mover", there)))
            node = there
    finally:
        await node.remove("bare-mover")
        await bench.delete(["mover"])
    table.ratio("migration to Succeeded", ours, theirs, 1.5)


async def _migrate(bench: Bench) -> float:
    body: dict[str, Any] = {"metadata": {"generateName": "mover-", "namespace": SPACE}, "spec": {"vmiName": "mover"}}
    began = time.monotonic()
    made = await bench.client.create(from_wire(body, VirtualMachineInstanceMigration))
    done = await until(bench.client, VirtualMachineInstanceMigration, (SPACE, made.metadata.name), _over)
    took = time.monotonic() - began
    assert done is not None
    assert done.status is not None
    assert done.status.phase == "Succeeded"
    return took


def _over(migration: VirtualMachineInstanceMigration | None) -> bool:
    return migration is not None and migration.status is not None and migration.status.phase in ("Succeeded", "Failed")


async def test_verbs(tmp_path: Path, table: Table) -> None:
    """How long a verb takes on its own: help, and requests to a server that takes no time."""
    async with serve_stub(tmp_path) as stub:
        for words in (("start", "--help"), ("get", "vm"), ("start", "web")):
            rounds = []
            for _ in range(ROUNDS):
                stub.seconds = 0.0
                began = time.monotonic()
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "kvtui", *words),
                    env={**os.environ, "KUBECONFIG": str(stub.kubeconfig)},
                    stdout=asyncio.subprocess.DEVNULL,
                )
                assert await process.wait() == 0, words
                rounds.append(time.monotonic() - began - stub.seconds)
            table.number(f"kvtui {' '.join(words)}: median (best)", f"{median(rounds):.2f} ({min(rounds):.2f}) s")
            if median(rounds) > 0.3:
                table.missed.append(f"kvtui {' '.join(words)}: {median(rounds):.2f} s, allowed 0.30 s")
