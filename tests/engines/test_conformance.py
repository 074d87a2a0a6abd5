"""Kubernetes' own API-machinery conformance specs against the embedded server: which pass, fail and are left out.

The suite is the real `e2e.test`. Left out are specs that need a container image or a controller of workloads, and
kinds that an engine of virtual machines does not serve; every group says why.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.apiserver.api import Api
from tests.engines.build import CannotBuild, suite
from tests.fakes.cluster import RunningServer, running_server

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2400)]

FOCUS = r"\[sig-api-machinery\].*\[Conformance\]"
LEFT_OUT = {
    "AdmissionWebhook": "starts a webhook from an image",
    "ConversionWebhook": "starts a webhook from an image",
    "Aggregator": "starts an API server from an image",
    "AdmissionPolicy": "ValidatingAdmissionPolicies are not served",
    r"Garbage collector.*(rc|RC|RS|deployment)": "needs the controllers of ReplicationControllers and Deployments",
    "compacted away": "waits for etcd's compaction",
    "FlowSchema|PriorityLevelConfiguration|API priority": "priority and fairness is not served",
    "CronJob|Job ": "needs the controllers of workloads",
    "all pods are removed when a namespace is deleted": "waits for a Pod that a kubelet would start",
}
KNOWN = {
    "AggregatedDiscovery should support aggregated discovery interface [Conformance]": "autoscaling/v1 is not served",
    "Discovery should locate the groupVersion and a resource": "autoscaling/v1 is not served",
}
"""Specs that fail, and why that is accepted."""
SECONDS = 1500


@dataclass(frozen=True, slots=True)
class Spec:
    name: str
    state: str
    seconds: float
    message: str


def specs(report: Path) -> Iterator[Spec]:
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = case.get("name", "")
        if not name.startswith("[It]"):
            continue
        failure = case.find("failure")
        message = "" if failure is None else f"{failure.get('message', '')} {failure.text or ''}"
        yield Spec(name.removeprefix("[It] "), case.get("status", ""), float(case.get("time", "0")), message)


async def join(server: RunningServer) -> None:
    """The suite wants to see a node before it begins."""
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    async with server.session() as session:
        api = Api(session)
        await api.post("/api/v1/nodes", {"metadata": {"name": "node01"}})
        answer = await api.merge("/api/v1/nodes/node01/status", {"status": {"conditions": [ready]}})
        assert answer.code == 200, answer.body


async def run(program: Path, kubeconfig: Path, directory: Path, seconds: float) -> None:
    with (directory / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(program),
            f"--kubeconfig={kubeconfig}",
            *("--provider=skeleton", "--allowed-not-ready-nodes=-1", "--minStartupPods=0", "--disable-log-dump"),
            *("--system-pods-startup-timeout=5s", f"--report-dir={directory}", f"--ginkgo.timeout={int(seconds)}s"),
            *(f"--ginkgo.focus={FOCUS}", f"--ginkgo.skip={'|'.join(LEFT_OUT)}", "--ginkgo.no-color", "--ginkgo.v"),
            stdout=output,
            stderr=output,
            cwd=directory,
        )
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_the_api_machinery_specs(tmp_path: Path) -> None:
    try:
        program = await asyncio.to_thread(suite)
    except CannotBuild as error:
        pytest.skip(str(error))
    async with running_server(tmp_path) as server:
        await join(server)
        await run(program, server.kubeconfig, tmp_path, SECONDS)
    found = [s for s in specs(tmp_path / "junit_01.xml") if "[sig-api-machinery]" in s.name and "Conformance" in s.name]
    for state in ("passed", "failed", "skipped"):
        chosen = [s for s in found if s.state == state]
        print(f"\n{state}: {len(chosen)}")
        for spec in chosen:
            print(f"  {spec.name} ({spec.seconds:.1f} s)", spec.message[:300] if state == "failed" else "")
    print("\nleft out:", *(f"  {pattern}: {reason}" for pattern, reason in LEFT_OUT.items()), sep="\n")
    sys.stdout.flush()
    failed = [s.name for s in found if s.state not in ("passed", "skipped")]
    unexpected = [name for name in failed if not any(known in name for known in KNOWN)]
    assert any(s.state == "passed" for s in found)
    assert not unexpected, unexpected
