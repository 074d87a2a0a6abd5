"""Kubernetes' own conformance specs against the embedded server: which pass, fail and are left out.

The suite is the real `e2e.test`; the controllers of workloads are Kubernetes' own, and Pods seem to run on a node that
runs nothing. Every API-machinery spec is run but those in LEFT_OUT, and of other groups those that are about the API.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.engines.build import CannotBuild, suite
from tests.engines.stand_in import seeming_node, workload_controllers
from tests.fakes.cluster import running_server

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3000)]

GROUPS = {
    "sig-api-machinery": ".*",
    "sig-instrumentation": ".*",
    "sig-auth": "SubjectReview|Certificates API|ServiceAccounts should (create|run|update|guarantee)",
    "sig-cli": "api-versions|cluster-info|describe|diff|label|patch|replace|run pod|dry-run|version|Proxy",
    "sig-scheduling": "LimitRange|PriorityClass endpoints",
    "sig-node": "Lease|PodTemplates|RuntimeClasses API|ConfigMap lifecycle",
    "sig-apps": "ControllerRevision|PodDisruptionBudget|(Deployment|Replicaset|ReplicationController).*(status|Status|"
    "lifecycle|scale)|Daemon set should (list|verify)|StatefulSet.*(list|validate|scale)|CronJob API",
    "sig-network": "Ingress API|IngressClass API|EndpointSlice API|lifecycle of an Endpoint|service status lifecycle",
    "sig-storage": "lifecycle of a (csinode|CSIDriver|PV|StorageClass|Volume)|CSIStorageCapacities API|status",
}
"""Which specs of a group are about the API; the rest of them needs containers, networks or volumes."""
LEFT_OUT = {
    "AdmissionWebhook": "starts a webhook from an image",
    "ConversionWebhook": "starts a webhook from an image",
    "CustomResourceFieldSelectors": "starts a webhook from an image, to see a field in two versions",
    "Aggregator": "starts an API server from an image",
    "compacted away": "waits for etcd's compaction, which has its own time of five minutes",
    "Kubectl logs": "reads what a container wrote",
    "Guestbook|Update Demo": "asks a container over the network",
    "Projected|Downward API|NodeConformance": "looks into a container",
    "Inline": "starts a Pod with a volume",
}
SECONDS = 2400


@dataclass(frozen=True, slots=True)
class Spec:
    name: str
    state: str
    seconds: float
    message: str


def focus() -> str:
    return "|".join(rf"\[{group}\].*({wanted}).*\[Conformance\]" for group, wanted in GROUPS.items())


def specs(report: Path) -> Iterator[Spec]:
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = case.get("name", "")
        if not name.startswith("[It]"):
            continue
        failure = case.find("failure")
        message = "" if failure is None else f"{failure.get('message', '')} {failure.text or ''}"
        yield Spec(name.removeprefix("[It] "), case.get("status", ""), float(case.get("time", "0")), message)


async def run(program: Path, kubeconfig: Path, directory: Path, seconds: float) -> None:
    with (directory / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(program),
            f"--kubeconfig={kubeconfig}",
            *("--provider=skeleton", "--allowed-not-ready-nodes=-1", "--minStartupPods=0", "--disable-log-dump"),
            *("--system-pods-startup-timeout=5s", f"--report-dir={directory}", f"--ginkgo.timeout={int(seconds)}s"),
            *(f"--ginkgo.focus={focus()}", f"--ginkgo.skip={'|'.join(LEFT_OUT)}", "--ginkgo.no-color", "--ginkgo.v"),
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


async def test_the_specs_about_the_api(tmp_path: Path) -> None:
    try:
        program = await asyncio.to_thread(suite)
        async with (
            running_server(tmp_path, crds=False) as server,
            workload_controllers(server, tmp_path),
            seeming_node(server),
        ):
            await run(program, server.kubeconfig, tmp_path, SECONDS)
    except CannotBuild as error:
        pytest.skip(str(error))
    found = [s for s in specs(tmp_path / "junit_01.xml") if s.state != "skipped"]
    for passed in (True, False):
        chosen = [s for s in found if (s.state == "passed") is passed]
        print(f"\n{'passed' if passed else 'failed'}: {len(chosen)}")
        for spec in chosen:
            print(f"  {spec.name} ({spec.seconds:.1f} s)", "" if passed else spec.message[:300])
    print("\nleft out:", *(f"  {pattern}: {reason}" for pattern, reason in LEFT_OUT.items()), sep="\n")
    sys.stdout.flush()
    assert found
    assert [s.name for s in found if s.state != "passed"] == []
