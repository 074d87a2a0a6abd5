"""A hundred kills of agents, libvirts, DHCP servers, TPM and log daemons, at every stage of a guest's life.

What must hold after each: no guest lost, none doubled, a paused one still paused, nothing left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.parts import PersistentVolumeClaimSpec, VolumeResourceRequirements
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.domain import TPMDevice
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import evolve
from kvtui.client.rest import Client
from kvtui.lab.nodes import read_lab
from kvtui.lab.processes import processes_in
from kvtui.node.pids import Pid
from tests.e2e.conftest import Lab, until
from tests.e2e.guests import SUBRESOURCES, boot, console, domains, in_node, machine, remove, running, shell
from tests.e2e.test_faults import all_ready, kill, kill_log_daemon, logged_by_daemon, patiently, start_log_daemon
from tests.e2e.test_node import held

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("KVTUI_SOAK_KILLS", "100"))
NODES = ("node-1", "node-2")
VICTIMS = ("agent", "libvirtd", "dnsmasq", "swtpm", "virtlogd")
DISK = "soak-disk"
MACHINES = SUBRESOURCES.replace("virtualmachineinstances", "virtualmachines")


@dataclass
class Soak:
    """A lab under fire."""

    lab: Lab
    client: Client
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By victim and stage."""

    def processes(self, node: str, program: str) -> list[Pid]:
        """Programs of a node by the name of their file."""
        state = read_lab(self.lab.data)
        assert state is not None
        place = next(n for n in state.nodes if n.name == node)
        found = []
        for pid in processes_in(place.run / "uts"):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if program in words[0].decode().rpartition("/")[2] and (known := Pid.of(pid)):
                    found.append(known)
        return sorted(found, key=lambda p: p.started)

    def strike(self, victim: str, node: str, stage: str) -> None:
        """Kills one; the youngest where there are several."""
        if victim in ("agent", "libvirtd"):
            kill(self.lab, victim, node)
        elif victim == "virtlogd":
            kill_log_daemon(self.lab, node)
            start_log_daemon(self.lab, node)  # as a service manager would: no guest starts without one
        elif victims := self.processes(node, victim):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victims[-1].number, signal.SIGKILL)
        else:
            return
        self.kills[victim, stage] += 1

    async def settled(self, holds: Callable[[], object], what: Callable[[], object]) -> None:
        """Processes tell nobody that they are there or gone."""
        try:
            async with asyncio.timeout(90):
                while not holds():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"never settled: {what()}; kills: {dict(self.kills)}") from None


def cycled(name: str, node: str) -> VirtualMachine:
    """A VM with a TPM and without a system: it costs little, and hears nothing, so that it has no grace."""
    vm = machine(name, ("scratch", {"emptyDisk": {"capacity": "8Mi"}}), memory="64Mi", grace=0)
    spec = vm.spec.template.spec
    devices = evolve(spec.domain.devices, tpm=TPMDevice())
    chosen = evolve(spec, domain=evolve(spec.domain, devices=devices), node_selector={"kubernetes.io/hostname": node})
    return evolve(vm, spec=evolve(vm.spec, template=evolve(vm.spec.template, spec=chosen)))


def phase_in(*phases: str) -> Callable[[VirtualMachineInstance | None], bool]:
    return lambda vmi: vmi is not None and vmi.status.phase in phases


def plugged(vmi: VirtualMachineInstance | None) -> bool:
    return vmi is not None and any(v.name == DISK and v.phase == "Ready" for v in vmi.status.volume_status)


async def one_life(soak: Soak, number: int) -> None:
    """A VM starts, runs, is given a disk and is deleted, and somebody is killed each time."""
    client, name, node = soak.client, f"cycle-{number}", NODES[number % 2]
    turn = [VICTIMS[(number // 2 + n) % len(VICTIMS)] for n in range(4)]
    key = ("default", name)

    async def reach(holds: Callable[[VirtualMachineInstance | None], bool]) -> None:
        await patiently(lambda: until(client, VirtualMachineInstance, key, holds))

    await patiently(lambda: client.create(cycled(name, node)))
    await reach(phase_in("Scheduled", "Running"))
    soak.strike(turn[0], node, "start")
    await reach(phase_in("Running"))
    instance = await client.get(VirtualMachineInstance, key)
    soak.strike(turn[1], node, "run")
    body: dict[str, Any] = {
        "name": DISK,
        "disk": {"disk": {"bus": "scsi"}},
        "volumeSource": {"persistentVolumeClaim": {"claimName": DISK, "hotpluggable": True}},
    }
    await patiently(lambda: client.raw("PUT", f"{MACHINES}/{name}/addvolume", body=json.dumps(body).encode()))
    soak.strike(turn[2], node, "plug")
    await reach(plugged)
    after = await client.get(VirtualMachineInstance, key)
    assert (after.metadata.uid, after.status.phase) == (instance.metadata.uid, "Running")
    assert len([p for n in NODES for p in soak.processes(n, "qemu-system")]) == 3
    await patiently(lambda: client.delete(VirtualMachine, key))
    soak.strike(turn[3], node, "stop")
    await reach(lambda v: v is None)


@pytest.fixture
async def logged(lab: Lab, client: Client) -> AsyncIterator[None]:
    """Console logs are virtlogd's on both nodes."""
    async with logged_by_daemon(lab, client, *NODES):
        for node in NODES:
            start_log_daemon(lab, node)
        yield
        for node in NODES:
            kill_log_daemon(lab, node)


@pytest.mark.usefixtures("logged")
async def test_a_hundred_kills_lose_and_double_nothing(lab: Lab, client: Client) -> None:
    soak = Soak(lab, client)
    size = VolumeResourceRequirements(requests={"storage": "16Mi"})
    claim = PersistentVolumeClaimSpec(access_modes=["ReadWriteMany"], resources=size, storage_class_name="kvtui-shared")
    await client.create(PersistentVolumeClaim(metadata=ObjectMeta(name=DISK, namespace="default"), spec=claim))
    try:
        steady = await boot(client, machine("steady", image=lab.image))
        paused = await boot(client, held("paused"))
        async with shell(client, "steady") as viewer:
            await viewer.do("echo alive > /run/marker")
        home = {v.metadata.name: v.status.node_name or "" for v in (steady, paused)}

        def state() -> dict[str, object]:
            return {
                n: (
                    soak.processes(n, "qemu-system"),
                    len(soak.processes(n, "dnsmasq")),
                    len(soak.processes(n, "swtpm")),
                    len(in_node(lab, n, "ls", "/run/netns").split()),
                )
                for n in NODES
            }

        wanted = state()
        number = 0
        while sum(soak.kills.values()) < KILLS:
            await one_life(soak, number)
            number += 1
            await soak.settled(lambda: state() == wanted, lambda: (state(), wanted))
            await all_ready(client)
            print(f"life {number}: {sum(soak.kills.values())} kills", flush=True)
        for vmi in (steady, paused):
            after = await client.get(VirtualMachineInstance, vmi.key)
            assert after.metadata.uid == vmi.metadata.uid
            assert running(after)
        assert await domains(lab, home["paused"], "--state-paused") == ["default_paused"]
        assert sorted([d for n in NODES for d in await domains(lab, n, "--all")]) == [
            "default_paused",
            "default_steady",
        ]
        async with console(client, "steady") as viewer:
            await viewer.type("\n")
            assert await viewer.do("cat /run/marker") == "alive"
        print(f"kills: {dict(soak.kills)}")
    finally:
        await all_ready(client)
        for name in ("steady", "paused", *(f"cycle-{n}" for n in range(200))):
            await remove(client, name)
        await client.delete(PersistentVolumeClaim, ("default", DISK))
