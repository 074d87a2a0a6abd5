"""Workloads on a server without nodes: Kubernetes' own controllers, and a node on which every Pod merely seems to run.

async with workload_controllers(server, tmp_path), seeming_node(server):
    ...  # Deployments get ReplicaSets, these get Pods, Pods are bound and Ready a moment later
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from kvtui.api.times import to_time
from tests.apiserver.api import Api
from tests.engines.build import binaries
from tests.engines.kubernetes import free_port
from tests.fakes.cluster import RunningServer

NODE = "node01"
CONTROLLERS = (
    "replicationcontroller-controller",
    "replicaset-controller",
    "deployment-controller",
    "daemonset-controller",
    "statefulset-controller",
    "job-controller",
    "cronjob-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
)
Object = dict[str, Any]


@contextlib.asynccontextmanager
async def workload_controllers(server: RunningServer, directory: Path) -> AsyncIterator[None]:
    """kube-controller-manager with the controllers that kvtui does not have. Raises CannotBuild."""
    programs = await asyncio.to_thread(binaries)
    with (directory / "controller-manager.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(programs / "kube-controller-manager"),
            *(f"--{kind}kubeconfig={server.kubeconfig}" for kind in ("", "authentication-", "authorization-")),
            f"--controllers={','.join(CONTROLLERS)}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={directory / 'certificates'}",
            "--leader-elect=false",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@contextlib.asynccontextmanager
async def seeming_node(server: RunningServer) -> AsyncIterator[None]:
    """A Ready node, on which everything is Running as soon as it is bound, and gone as soon as it is deleted."""
    async with server.session() as session:
        api = Api(session)
        node = {"metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}}}
        await api.post("/api/v1/nodes", node)
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": _now()}
        room = {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"}
        state = {"conditions": [ready], "capacity": room, "allocatable": room}
        answer = await api.merge(f"/api/v1/nodes/{NODE}/status", {"status": state})
        assert answer.code == 200, answer.body
        running = asyncio.create_task(_follow(session, api), name="seeming node")
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def _follow(session: aiohttp.ClientSession, api: Api) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.get("/api/v1/pods", params={"watch": "1"}, read_bufsize=2**22) as response:
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED"):
                        await _attend(api, event["object"])


async def _attend(api: Api, pod: Object) -> None:
    """One step of a Pod's life; whoever was faster has the last word."""
    meta, spec, phase = pod["metadata"], pod["spec"], pod["status"].get("phase")
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
    if meta.get("deletionTimestamp"):
        if spec.get("nodeName"):
            await api.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})
    elif not spec.get("nodeName"):
        if not spec.get("schedulingGates"):
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            await api.post(f"{path}/binding", {"metadata": {"name": meta["name"]}, "target": target})
    elif phase == "Pending":
        await api.strategic(f"{path}/status", {"metadata": {"uid": meta["uid"]}, "status": _running(pod)})


def _running(pod: Object) -> Object:
    job = any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences") or ())
    now = _now()
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    state = ended if job else {"running": {"startedAt": now}}
    conditions = ("Initialized", "ContainersReady", "Ready", "PodScheduled")
    return {
        "phase": "Succeeded" if job else "Running",
        "startTime": now,
        "hostIP": "192.0.2.1",
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": c, "status": "True", "lastTransitionTime": now} for c in conditions],
        "containerStatuses": [
            {
                "name": c["name"],
                "image": c["image"],
                "imageID": c["image"],
                "ready": not job,
                "started": not job,
                "restartCount": 0,
                "state": state,
            }
            for c in pod["spec"]["containers"]
        ],
    }


def _now() -> str:
    return to_time(datetime.now(UTC))
