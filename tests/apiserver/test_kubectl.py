"""The real kubectl against the server, command by command."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.apiserver.api import Api, widget, widget_definition
from tests.fakes.cluster import RunningServer, running_server

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")


@dataclass(slots=True)
class Output:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split() for line in self.out.splitlines()]


class Kubectl:
    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self._environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig), "HOME": str(home)}

    async def start(self, *arguments: str, stdin: str = "", **environment: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._environment, **environment},
        )
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        return process

    async def run(self, *arguments: str, stdin: str = "", **environment: str) -> Output:
        process = await self.start(*arguments, stdin=stdin, **environment)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Output(process.returncode, out.decode(), err.decode())

    async def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Output:
        """A command that succeeds."""
        output = await self.run(*arguments, stdin=stdin, **environment)
        assert output.code == 0, output.err
        return output


@pytest.fixture
async def kubectl(server: RunningServer, tmp_path: Path) -> Kubectl:
    return Kubectl(server.kubeconfig, tmp_path)


def manifest(**objects: object) -> str:
    return yaml.safe_dump(objects)


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n"


async def test_imperative_creation(kubectl: Kubectl) -> None:
    assert (await kubectl("create", "configmap", "a", "--from-literal=x=y")).out == "configmap/a created\n"
    assert (await kubectl("create", "secret", "generic", "s", "--from-literal=p=w")).out == "secret/s created\n"
    assert (await kubectl("create", "namespace", "n")).out == "namespace/n created\n"
    assert (await kubectl("create", "serviceaccount", "bot")).out == "serviceaccount/bot created\n"
    assert (await kubectl("create", "token", "bot")).out.count(".") == 2
    await kubectl("create", "role", "r", "--verb=get,list", "--resource=pods")
    await kubectl("create", "rolebinding", "rb", "--role=r", "--serviceaccount=default:bot")
    await kubectl("create", "quota", "q", "--hard=pods=1")
    assert (await kubectl("get", "secret", "s", "-o", "jsonpath={.data.p}")).out == "dw=="
    twice = await kubectl.run("create", "configmap", "a")
    assert (twice.code, twice.err) == (
        1,
        'error: failed to create configmap: configmaps "a" already exists\n',
    )


async def test_get_shows_the_columns_of_a_kind(kubectl: Kubectl) -> None:
    assert (await kubectl("get", "ns")).rows[0] == ["NAME", "STATUS", "AGE"]
    assert (await kubectl("get", "configmap")).rows[1][:2] == ["kube-root-ca.crt", "1"]
    assert (await kubectl("get", "cm", "-A")).rows[0][0] == "NAMESPACE"
    assert "kube-root-ca.crt" in (await kubectl("get", "cm", "-o", "name")).out
    missing = await kubectl.run("get", "cm", "nope")
    assert (missing.code, missing.err) == (1, 'Error from server (NotFound): configmaps "nope" not found\n')
    unknown = await kubectl.run("get", "nosuch")
    assert unknown.err == 'error: the server doesn\'t have a resource type "nosuch"\n'


async def test_client_side_apply_is_stable(kubectl: Kubectl) -> None:
    assert (await kubectl("apply", "-f", "-", stdin=CONFIG)).out == "configmap/c created\n"
    assert (await kubectl("apply", "-f", "-", stdin=CONFIG)).out == "configmap/c unchanged\n"
    changed = CONFIG.replace("'1'", "'2'")
    difference = await kubectl.run("diff", "-f", "-", stdin=changed)
    assert difference.code == 1
    assert '+  a: "2"' in difference.out
    assert (await kubectl("apply", "-f", "-", stdin=changed)).out == "configmap/c configured\n"
    dry = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=CONFIG)
    assert dry.out == "configmap/c configured (server dry run)\n"
    assert (await kubectl("get", "cm", "c", "-o", "jsonpath={.data.a}")).out == "2"


async def test_server_side_apply_and_its_conflicts(kubectl: Kubectl) -> None:
    first = await kubectl("apply", "--server-side", "-f", "-", stdin=CONFIG)
    assert first.out == "configmap/c serverside-applied\n"
    other = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    refused = await kubectl.run(*other, stdin=CONFIG.replace("'1'", "'2'"))
    assert refused.code == 1
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.a' in refused.err
    await kubectl(*other, "--force-conflicts", stdin=CONFIG.replace("'1'", "'2'"))
    shown = await kubectl("get", "cm", "c", "-o", "yaml", "--show-managed-fields")
    assert "manager: other" in shown.out


async def test_a_broken_manifest_is_refused_with_its_fields(kubectl: Kubectl) -> None:
    refused = await kubectl.run("apply", "-f", "-", stdin=CONFIG + "colour: red\n")
    assert refused.code == 1
    assert 'strict decoding error: unknown field "colour"' in refused.err
    lax = await kubectl("apply", "--validate=warn", "-f", "-", stdin=CONFIG + "colour: red\n")
    assert 'Warning: unknown field "colour"' in lax.err


async def test_edit_patch_label_annotate_replace(kubectl: Kubectl, tmp_path: Path) -> None:
    await kubectl("create", "-f", "-", stdin=CONFIG)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/"1"/"9"/\' "$1"\n')
    editor.chmod(0o755)
    assert (await kubectl("edit", "cm", "c", EDITOR=str(editor))).out == "configmap/c edited\n"
    await kubectl("patch", "cm", "c", "-p", '{"data":{"b":"2"}}')
    await kubectl("patch", "cm", "c", "--type=json", "-p", '[{"op":"add","path":"/data/d","value":"3"}]')
    await kubectl("label", "cm", "c", "x=y")
    await kubectl("annotate", "cm", "c", "n=m")
    assert (await kubectl("get", "cm", "c", "-o", "jsonpath={.data}")).out == '{"a":"9","b":"2","d":"3"}'
    assert (await kubectl("get", "cm", "-l", "x=y", "-o", "name")).out == "configmap/c\n"
    assert (await kubectl("replace", "-f", "-", stdin=CONFIG)).out == "configmap/c replaced\n"
    assert (await kubectl("get", "cm", "c", "-o", "jsonpath={.data}")).out == '{"a":"1"}'


async def test_get_watch_prints_each_change_once(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=CONFIG)
    process = await kubectl.start("get", "cm", "c", "-w", "--no-headers")
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert (await process.stdout.readline()).split()[:2] == [b"c", b"1"]
        await kubectl("patch", "cm", "c", "-p", '{"data":{"b":"2"}}')
        assert (await process.stdout.readline()).split()[:2] == [b"c", b"2"]
    process.terminate()
    await process.communicate()


async def test_delete_waits_and_wait_waits(kubectl: Kubectl, api: Api) -> None:
    await kubectl("create", "-f", "-", stdin=CONFIG)
    await kubectl("patch", "cm", "c", "--type=merge", "-p", '{"metadata":{"finalizers":["example.com/hold"]}}')
    deleting = await kubectl.start("delete", "cm", "c")
    waiting = await kubectl.start("wait", "--for=delete", "cm/c", "--timeout=30s")
    path = "/api/v1/namespaces/default/configmaps/c"
    async with api.watch("/api/v1/namespaces/default/configmaps", fieldSelector="metadata.name=c") as watch:
        while "deletionTimestamp" not in (await watch.next(30))["object"]["metadata"]:
            pass
    await api.merge(path, {"metadata": {"finalizers": None}})
    for process in (deleting, waiting):
        await process.communicate()
        assert process.returncode == 0
    await kubectl("create", "ns", "gone")
    assert (await kubectl("delete", "ns", "gone")).out == 'namespace "gone" deleted\n'


async def test_custom_kinds_explain_scale_and_wait(kubectl: Kubectl, api: Api) -> None:
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(widget_definition()))
    await kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=5s")
    assert (await kubectl("create", "-f", "-", stdin=yaml.safe_dump(widget("w", size="small")))).code == 0
    assert (await kubectl("get", "wd")).rows == [["NAME", "SIZE"], ["w", "small"]]
    assert "replicas\t<integer>" in (await kubectl("explain", "widget.spec")).out
    assert (await kubectl("scale", "widget/w", "--replicas=3")).out == "widget.example.com/w scaled\n"
    assert (await kubectl("get", "widget", "w", "-o", "jsonpath={.spec.replicas}")).out == "3"
    await kubectl("patch", "widget", "w", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":3}}')
    await kubectl("wait", "--for=jsonpath={.status.replicas}=3", "widget/w", "--timeout=10s")
    bad = await kubectl.run("create", "-f", "-", stdin=yaml.safe_dump(widget("x", size="medium")))
    assert bad.err == (
        'The Widget "x" is invalid: spec.size: Unsupported value: "medium": supported values: "small", "large"\n'
    )
    assert "shortNames" not in (await kubectl("describe", "widget", "w")).err


async def test_who_may_do_what(kubectl: Kubectl) -> None:
    assert "kubernetes-admin" in (await kubectl("auth", "whoami")).out
    assert (await kubectl("auth", "can-i", "delete", "nodes")).out == "yes\n"
    refused = await kubectl.run("auth", "can-i", "delete", "nodes", "--as=bob")
    assert (refused.code, refused.out) == (1, "no\n")
    listed = await kubectl.run("get", "configmaps", "--as=bob")
    assert listed.err == (
        'Error from server (Forbidden): configmaps is forbidden: User "bob" cannot list resource "configmaps" in API '
        'group "" in the namespace "default"\n'
    )
    await kubectl("create", "clusterrolebinding", "v", "--clusterrole=view", "--user=bob")
    assert (await kubectl("get", "configmaps", "--as=bob", "-o", "name")).out == "configmap/kube-root-ca.crt\n"
    assert (await kubectl.run("get", "secrets", "--as=bob")).code == 1
    assert "configmaps" in (await kubectl("auth", "can-i", "--list", "--as=bob")).out


NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"app": "x"}},
    "spec": {"nodeName": "n1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "a", "image": "x"}]},
}


async def test_nodes_are_cordoned_tainted_drained_and_described(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=yaml.safe_dump_all([NODE, POD]))
    assert (await kubectl("get", "nodes")).rows[1][:2] == ["n1", "Ready"]
    assert (await kubectl("get", "pods", "-o", "wide")).rows[1][:3] == ["p", "0/1", "Pending"]
    assert (await kubectl("taint", "node", "n1", "k=v:NoSchedule")).out == "node/n1 tainted\n"
    assert (await kubectl("cordon", "n1")).out == "node/n1 cordoned\n"
    assert (await kubectl("get", "nodes")).rows[1][1] == "Ready,SchedulingDisabled"
    drained = await kubectl("drain", "n1", "--force", "--timeout=20s")
    assert "pod/p evicted" in drained.out
    assert (await kubectl("get", "pods", "-o", "name")).out == ""
    assert "Taints:" in (await kubectl("describe", "node", "n1")).out


async def test_events_are_listed_and_described(kubectl: Kubectl) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "ConfigMap", "name": "c", "namespace": "default", "apiVersion": "v1"},
        "reason": "Seen",
        "message": "it was seen",
        "type": "Normal",
    }
    await kubectl("create", "-f", "-", stdin=yaml.safe_dump(event))
    shown = (await kubectl("get", "events")).rows
    assert shown[0] == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert shown[1][1:] == ["Normal", "Seen", "configmap/c", "it", "was", "seen"]
    assert "it was seen" in (await kubectl("events", "--for=configmap/c")).out
    assert (await kubectl("get", "events.events.k8s.io", "e", "-o", "jsonpath={.note}")).out == "it was seen"


async def test_discovery_commands(kubectl: Kubectl) -> None:
    assert "Server Version: v1.32" in (await kubectl("version")).out
    assert "v1\n" in (await kubectl("api-versions")).out
    assert "customresourcedefinitions" in (await kubectl("api-resources", "--verbs=list", "-o", "name")).out
    assert (await kubectl("get", "--raw", "/readyz")).out == "ok"
    assert (await kubectl("get", "all", "-A")).code == 0
    top = await kubectl.run("top", "node")
    assert "Metrics API not available" not in top.err


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Kubectl]:
    """With the custom kinds of KubeVirt and CDI."""
    async with running_server(tmp_path) as server:
        yield Kubectl(server.kubeconfig, tmp_path)


async def test_virtual_machines_are_ordinary_objects(whole: Kubectl) -> None:
    machine = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "web"},
        "spec": {
            "runStrategy": "Halted",
            "template": {"spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}},
        },
    }
    assert (await whole("apply", "-f", "-", stdin=yaml.safe_dump(machine))).out == (
        "virtualmachine.kubevirt.io/web created\n"
    )
    assert (await whole("apply", "-f", "-", stdin=yaml.safe_dump(machine))).out.endswith("unchanged\n")
    assert (await whole("get", "vm")).rows[0] == ["NAME", "AGE", "STATUS", "READY"]
    old = await whole("get", "virtualmachines.v1alpha3.kubevirt.io", "web", "-o", "jsonpath={.apiVersion}")
    assert old.out == "kubevirt.io/v1alpha3"
    assert "deprecated" in old.err
    assert "runStrategy" in (await whole("explain", "vm.spec", "--recursive")).out
