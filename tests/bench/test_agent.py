"""What an agent costs that has five hundred guests and nothing to do, on libvirt's test driver."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.domain import Firmware
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import evolve
from kvtui.apiserver.pki import issue_serving
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from tests.bench import processes
from tests.e2e.conftest import until
from tests.fakes.cluster import running_server
from tests.node.builders import NODE, launcher, vmi
from tests.node.conftest import is_ready, phase

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
GUESTS = int(os.environ.get("KVTUI_BENCH_GUESTS", "500"))
SECONDS = 60.0
"""Every guest is looked at once in that time."""
LIMIT = 5.0
"""Percent of a core."""


async def start(client: Client, number: int) -> None:
    made = vmi(f"vm{number}", uid="", volumes=[])
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    spec = evolve(made.spec, domain=evolve(made.spec.domain, firmware=Firmware(uuid=uuid)))
    instance = await client.create(evolve(made, spec=spec))
    pod = await client.create(launcher(instance, f"virt-launcher-{instance.metadata.name}"))
    await until(client, Pod, pod.key, is_ready)
    body: dict[str, Any] = {
        "metadata": {"labels": {"kubevirt.io/nodeName": NODE}},
        "status": {"phase": "Scheduled", "nodeName": NODE},
    }
    await client.patch(VirtualMachineInstance, instance.key, body)
    await until(client, VirtualMachineInstance, instance.key, lambda v: phase(v) == "Running")


async def test_five_hundred_idle_guests(tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="kvbench-", dir="/tmp"))
    async with running_server(tmp_path) as server, Client(await load(server.kubeconfig)) as client:
        pair = server.pki.pair("node")
        issue_serving(server.pki, f"system:node:{NODE}", [NODE, "127.0.0.1"], pair, ["system:nodes"])
        kubeconfig = server.kubeconfig_for(f"system:node:{NODE}", ["system:nodes"])
        words = (str(kubeconfig), str(directory), NODE, str(pair.cert), str(pair.key), str(server.ca))
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.agent_program", *words, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert agent.stdout is not None
            assert await agent.stdout.readline() == b"ready\n"
            empty = processes.resident(agent.pid)[0]
            began = time.monotonic()
            slots = asyncio.Semaphore(20)

            async def one(number: int) -> None:
                async with slots:
                    await start(client, number)

            async with asyncio.TaskGroup() as tasks:
                for number in range(GUESTS):
                    tasks.create_task(one(number))
            took = time.monotonic() - began
            await asyncio.sleep(5)
            shares = []
            for _ in range(int(SECONDS) // 5):
                before = processes.cpu_seconds(agent.pid)
                await asyncio.sleep(5)
                shares.append((processes.cpu_seconds(agent.pid) - before) / 5 * 100)
            resident = processes.resident(agent.pid)[0]
        finally:
            agent.kill()
            await agent.wait()
            shutil.rmtree(directory)
    mean = sum(shares) / len(shares)
    print(
        f"\n{GUESTS} guests started in {took:.1f} s; then {mean:.1f} % of a core, at most {max(shares):.1f} % in 5 s; "
        f"RSS {empty:.0f} -> {resident:.0f} MiB, {(resident - empty) / GUESTS:.2f} MiB each"
    )
    assert mean <= LIMIT
    assert max(shares) <= 4 * LIMIT
