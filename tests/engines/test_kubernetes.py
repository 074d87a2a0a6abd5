"""The same controllers and agent against a real kube-apiserver, controller manager and scheduler.

Nothing above the API may know which server it talks to: the definitions are the embedded server's, the scheduler is
Kubernetes' own, and kubectl drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvtui.api.core.pod import Pod
from kvtui.api.crds import definitions
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.api.registry import kind_of
from kvtui.api.wire import to_wire
from kvtui.apiserver.pki import issue_serving
from kvtui.client import kubeconfig
from kvtui.client.rest import Client
from kvtui.controllers.datavolume.controller import DataVolumeController
from kvtui.controllers.provisioner import ProvisionerController
from kvtui.controllers.runner import run_controllers
from kvtui.controllers.standins.bootstrap import configuration, storage_classes
from kvtui.lab.daemons import libvirtd_command
from kvtui.lab.image.build import build_image
from kvtui.lab.nodes import raise_nodes, remove_nodes
from kvtui.lab.plan import LabPlan
from kvtui.settings import ControllerSettings
from tests.engines.build import CannotBuild, binaries
from tests.engines.kubernetes import Kubernetes, running_kubernetes
from tests.fakes.images import image_server

pytestmark = [
    pytest.mark.engine,
    pytest.mark.e2e,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(os.geteuid() != 0, reason="nodes of a lab need root"),
]

AGENT = "system:node:node-1"
CONTROLLERS = "kvtui-controllers"


async def kubectl(cluster: Kubernetes, *args: str, stdin: str = "") -> str:
    """In a thread: the controllers live on this loop and must go on meanwhile."""
    command = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", *args]
    run = functools.partial(subprocess.run, input=stdin, capture_output=True, text=True, timeout=180, check=False)
    done = await asyncio.to_thread(run, command)
    assert done.returncode == 0, f"{' '.join(args)}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def lab_of_one_node(data: Path) -> Any:
    data.mkdir(mode=0o700)
    cache = Path(os.environ.get("KVTUI_CACHE") or "/var/cache/kvtui")
    lab = raise_nodes(data, 1, cache, say=lambda line: None)
    daemon = subprocess.Popen(libvirtd_command(lab.nodes[0]), start_new_session=True)
    try:
        yield lab, build_image(cache, say=lambda line: None)
    finally:
        remove_nodes(data)
        daemon.wait(20)


@contextlib.asynccontextmanager
async def agent(cluster: Kubernetes, lab: LabPlan, data: Path) -> AsyncIterator[None]:
    node = lab.nodes[0]
    pair = cluster.pki.pair("agent-serving")
    issue_serving(cluster.pki, AGENT, [node.name, str(node.address)], pair, ["system:nodes"])
    settings = {
        "data": str(data),
        "node": node.name,
        "address": str(node.address),
        "port": 10250,
        "certificate": str(pair.cert),
        "key": str(pair.key),
        "authority": str(cluster.pki.ca.cert),
        "kvm": False,
        "kvm_reason": "tests run under emulation",
    }
    order = json.dumps(
        {
            "kubeconfig": str(cluster.kubeconfig_for(AGENT, ["system:nodes"])),
            "settings": settings,
            "pods": str(node.pods),
        }
    )
    root = Path(__file__).parents[2]
    command = node.enter("env", f"PYTHONPATH={root}", sys.executable, "-m", "tests.engines.agent", order)
    with (data / "agent.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


@contextlib.asynccontextmanager
async def controllers(cluster: Kubernetes, shared: Path) -> AsyncIterator[None]:
    endpoint = await kubeconfig.load(cluster.kubeconfig_for(CONTROLLERS))
    async with Client(endpoint) as client, asyncio.TaskGroup() as tasks:
        further = (DataVolumeController, ProvisionerController)
        settings = ControllerSettings(shared_storage=str(shared))
        running = tasks.create_task(
            run_controllers(client, settings, standins=False, clock=lambda: datetime.now(UTC), further=further)
        )
        yield
        running.cancel()


def virtual_machine(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "guest", "namespace": "default"},
        "spec": {
            "runStrategy": "Once",
            "dataVolumeTemplates": [
                {
                    "metadata": {"name": "guest-disk"},
                    "spec": {
                        "source": {"http": {"url": url}},
                        "storage": {
                            "storageClassName": "kvtui-local",
                            "resources": {"requests": {"storage": "128Mi"}},
                        },
                    },
                }
            ],
            "template": {
                "metadata": {"labels": {"app": "guest"}},
                "spec": {
                    "terminationGracePeriodSeconds": 30,
                    "domain": {
                        "memory": {"guest": "128Mi"},
                        "devices": {
                            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                            "interfaces": [{"name": "default", "masquerade": {}}],
                        },
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "volumes": [{"name": "root", "dataVolume": {"name": "guest-disk"}}],
                },
            },
        },
    }


async def until(
    client: Client, condition: Callable[[VirtualMachineInstance | None], bool], seconds: float
) -> VirtualMachineInstance | None:
    """Watches the VMI until the condition holds."""
    async with asyncio.timeout(seconds):
        while True:
            listed = await client.list(VirtualMachineInstance, "default")
            found = next(iter(listed.items), None)
            if condition(found):
                return found
            stream = client.watch(
                VirtualMachineInstance, "default", resource_version=listed.resource_version, timeout=30
            )
            async with contextlib.aclosing(stream) as events:
                async for event in events:
                    seen = None if event.type == "DELETED" else event.object
                    if event.type != "BOOKMARK" and condition(seen):
                        return seen


async def test_a_vm_runs_is_drained_and_stops_on_a_real_cluster(tmp_path: Path) -> None:
    try:
        await asyncio.to_thread(binaries)
    except CannotBuild as reason:
        pytest.skip(str(reason))
    data = tmp_path / "data"
    with lab_of_one_node(data) as (lab, image):
        host = str(lab.host_address)
        async with running_kubernetes(tmp_path, host=host) as cluster, image_server(host) as images:
            images.files["/guest.qcow2"] = Path(image).read_bytes()
            shared = data / "shared"
            shared.mkdir()
            await _install(cluster, shared)
            async with controllers(cluster, shared), agent(cluster, lab, data):
                client = await _admin(cluster)
                async with client:
                    await kubectl(cluster, "wait", "node/node-1", "--for=create", "--timeout=60s")
                    await kubectl(cluster, "wait", "node/node-1", "--for=condition=Ready", "--timeout=60s")
                    await kubectl(
                        cluster, "apply", "-f", "-", stdin=json.dumps(virtual_machine(f"{images.url}/guest.qcow2"))
                    )
                    vmi = await until(client, lambda v: v is not None and v.status.phase == "Running", 150)
                    assert vmi is not None
                    assert vmi.status.node_name == "node-1"
                    launchers = await client.list(Pod, "default", label_selector="kubevirt.io=virt-launcher")
                    events = (await kubectl(cluster, "get", "events", "-A")).splitlines()
                    placed = [line for line in events if "Scheduled" in line]
                    assert any("virt-launcher-guest" in line for line in placed)
                    assert launchers.items[0].spec.scheduler_name == "default-scheduler"
                    await kubectl(cluster, "drain", "node-1", "--force", "--delete-emptydir-data", "--timeout=120s")
                    ended = await until(client, lambda v: v is None or v.status.phase in ("Succeeded", "Failed"), 60)
                    assert ended is None or ended.status.phase in ("Succeeded", "Failed")
                    await kubectl(cluster, "delete", "vm", "guest", "--timeout=90s")
                    assert (await client.list(VirtualMachineInstance, "default")).items == []


async def _admin(cluster: Kubernetes) -> Client:
    return Client(await kubeconfig.load(cluster.kubeconfig))


async def _install(cluster: Kubernetes, shared: Path) -> None:
    """What an installer would: definitions, rights, configuration and storage classes."""
    documents: list[dict[str, Any]] = list(definitions())
    await kubectl(cluster, "apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(documents))
    await kubectl(cluster, "wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
    for name in (AGENT, CONTROLLERS):
        binding = ("create", "clusterrolebinding", name.replace(":", "-"))
        await kubectl(cluster, *binding, "--clusterrole=cluster-admin", f"--user={name}")
    objects: list[Resource] = [*configuration("kubevirt"), *storage_classes(str(shared))]
    await kubectl(cluster, "apply", "-f", "-", stdin=yaml.safe_dump_all([_document(o) for o in objects]))


def _document(obj: Resource) -> dict[str, Any]:
    kind = kind_of(type(obj))
    return {**to_wire(obj), "apiVersion": kind.api_version, "kind": kind.kind}
