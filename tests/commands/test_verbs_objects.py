"""Verbs on objects of any kind, and what completion offers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta, OwnerReference
from kvtui.api.wire import evolve, from_wire
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.commands.drain import choose
from kvtui.commands.exits import ExitCode
from tests.commands.cli import Cli
from tests.fakes.cluster import RunningServer, running_server

VM = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web, labels: {tier: front}}
spec:
  runStrategy: Halted
  template: {spec: {domain: {devices: {}}}}
"""
PATIENCE = 20.0

module_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: RunningServer) -> AsyncIterator[Client]:
    async with Client(await load(server.kubeconfig)) as client:
        await client.create(Node(metadata=ObjectMeta(name="node-a")))
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def kvtui(server: RunningServer, client: Client, tmp_path: Path) -> AsyncIterator[Cli]:
    cli = Cli(server, {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)})
    assert (await cli("apply", "-f", "-", stdin=VM)).code == 0
    yield cli
    await cli("delete", "vm", "web", "-y", "--ignore-not-found")


# Whom a command talks to, and as whom


@module_loop
async def test_the_connection_may_be_given_by_flags_alone(kvtui: Cli, server: RunningServer, tmp_path: Path) -> None:
    pair = server.client_pair("flagged", ("system:masters",))
    where = ("--server", server.url, "--certificate-authority", str(server.ca))
    who = ("--client-certificate", str(pair.cert), "--client-key", str(pair.key))
    ran = await kvtui("get", "vm", "-o", "name", *where, *who, kubeconfig=tmp_path / "none")
    assert ran.out == "virtualmachine.kubevirt.io/web\n", ran.err
    ran = await kvtui(*where, "--token", "wrong", "get", "vm")
    assert (ran.code, "Unauthorized" in ran.err) == (ExitCode.NOT_ALLOWED, True)
    ran = await kvtui("get", "vm", "--tls-server-name", "elsewhere.example")
    assert ran.code == ExitCode.UNREACHABLE
    ran = await kvtui("get", "vm", "--tls-server-name", "elsewhere.example", "--insecure-skip-tls-verify")
    assert ran.code == 0, ran.err
    ran = await kvtui("get", "vm", "--request-timeout", "soon")
    assert (ran.code, "--request-timeout" in ran.err) == (ExitCode.USAGE, True)
    ran = await kvtui("--user", "nobody", "get", "vm")
    assert (ran.code, "no user named 'nobody'" in ran.err) == (ExitCode.USAGE, True)


@module_loop
async def test_an_administrator_may_act_as_somebody_else_and_in_groups(kvtui: Cli) -> None:
    refused = await kvtui("get", "vm", "--as", "bob")
    assert 'User "bob" cannot list resource' in refused.err
    ran = await kvtui("get", "vm", "-o", "name", "--as=bob", "--as-group=devs", "--as-group=system:masters")
    assert ran.out == "virtualmachine.kubevirt.io/web\n", ran.err
    ran = await kvtui("--as", "bob", "--as-group", "system:masters", "get", "vm", "-o", "name")
    assert ran.out == "virtualmachine.kubevirt.io/web\n", ran.err


# Labels, numbers, differences, the editor


@module_loop
async def test_labels_are_set_kept_and_removed(kvtui: Cli) -> None:
    printed = "virtualmachine.kubevirt.io/web "
    assert (await kvtui("label", "vm", "web", "zone=a")).out == f"{printed}labeled\n"
    assert (await kvtui("label", "vm/web", "zone=a")).out == f"{printed}not labeled\n"
    refused = await kvtui("label", "vm", "web", "zone=b")
    assert refused.code == ExitCode.FAILED
    assert "'zone' already has a value (a), and --overwrite is false" in refused.err
    dry = await kvtui("label", "vm", "web", "zone=b", "--overwrite", "--dry-run")
    assert dry.out == f"{printed}labeled (server dry run)\n"
    assert (await kvtui("label", "vm", "-l", "zone=a", "zone-")).out == f"{printed}unlabeled\n"
    assert (await kvtui("get", "vm", "-l", "zone", "-o", "name")).out == ""


@module_loop
async def test_scale_changes_the_number_if_it_is_the_expected_one(kvtui: Cli) -> None:
    manifest = (
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceReplicaSet\nmetadata: {name: many}\n"
        "spec: {replicas: 1, selector: {matchLabels: {a: b}}, "
        "template: {metadata: {labels: {a: b}}, spec: {domain: {devices: {}}}}}\n"
    )
    assert (await kvtui("apply", "-f", "-", stdin=manifest)).code == 0
    ran = await kvtui("scale", "vmirs/many", "--replicas=3")
    assert ran.out == "virtualmachineinstancereplicaset.kubevirt.io/many scaled\n", ran.err
    ran = await kvtui("scale", "vmirs", "many", "--replicas", "5", "--current-replicas", "1")
    assert ran.code == ExitCode.REFUSED
    assert "Expected replicas to be 1, was 3" in ran.err
    ran = await kvtui("scale", "vmirs", "many", "--replicas=4", "--wait", "--timeout", "0.2")
    assert ran.code == ExitCode.TIMED_OUT


@module_loop
async def test_diff_shows_what_apply_would_change_and_changes_nothing(kvtui: Cli) -> None:
    assert (await kvtui("diff", "-f", "-", stdin=VM)).code == 0
    changed = await kvtui("diff", "-f", "-", stdin=VM.replace("Halted", "Manual"))
    assert changed.code == 1
    assert "-  runStrategy: Halted\n+  runStrategy: Manual\n" in changed.out
    new = await kvtui("diff", "-f", "-", stdin=VM.replace("name: web", "name: fresh"))
    assert (new.code, "+  name: fresh" in new.out) == (1, True)
    assert (await kvtui("get", "vm", "fresh")).code == ExitCode.NOT_FOUND
    broken = await kvtui("diff", "-f", "-", stdin=VM.replace("runStrategy", "runStrateggy"))
    assert (broken.code > 0, "runStrateggy" in broken.err) == (True, True)


def editor(directory: Path, *replacements: tuple[str, str]) -> str:
    """An editor that makes one replacement each time it is opened, and keeps what it was shown."""
    script = directory / "editor"
    script.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\n"
        f"state = pathlib.Path({str(directory / 'state')!r})\n"
        f"turn = int(state.read_text()) if state.exists() else 0\nstate.write_text(str(turn + 1))\n"
        f"file = pathlib.Path(sys.argv[1]); text = file.read_text()\n"
        f"pathlib.Path({str(directory)!r}, f'shown{{turn}}').write_text(text)\n"
        f"changes = {list(replacements)!r}\n"
        "if turn < len(changes): file.write_text(text.replace(*changes[turn]))\n"
    )
    script.chmod(0o755)
    return str(script)


@module_loop
async def test_edit_sends_what_the_editor_wrote(kvtui: Cli, tmp_path: Path) -> None:
    ran = await kvtui("edit", "vm", "web", KUBE_EDITOR=editor(tmp_path, ("Halted", "Manual")))
    assert ran.out == "virtualmachine.kubevirt.io/web edited\n", ran.err
    assert "runStrategy: Manual" in (await kvtui("get", "vm", "web", "-o", "yaml")).out
    ran = await kvtui("edit", "vm/web", KUBE_EDITOR="true")
    assert (ran.code, ran.err) == (0, "Edit cancelled, no changes made.\n")
    ran = await kvtui("edit", "vm/web", KUBE_EDITOR="false")
    assert (ran.code, "ended with status 1" in ran.err) == (ExitCode.FAILED, True)


@module_loop
async def test_edit_shows_a_refusal_and_opens_again(kvtui: Cli, tmp_path: Path) -> None:
    changes = (("runStrategy", "runStrateggy"), ("runStrateggy: Halted", "runStrategy: Manual"))
    ran = await kvtui("edit", "vm", "web", KUBE_EDITOR=editor(tmp_path, *changes))
    assert ran.out == "virtualmachine.kubevirt.io/web edited\n", ran.err
    again = (tmp_path / "shown1").read_text()
    assert "# error: " in again
    assert "runStrateggy" in again


@module_loop
async def test_edit_keeps_a_text_that_is_given_up(kvtui: Cli, tmp_path: Path) -> None:
    ran = await kvtui("edit", "vm", "web", KUBE_EDITOR=editor(tmp_path, ("spec:", "spec: [")))
    assert ran.code == ExitCode.FAILED
    kept = Path(ran.err.rpartition("your text is in ")[2].strip())
    assert "spec: [" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


# Watching


@contextlib.asynccontextmanager
async def started(kvtui: Cli, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await kvtui.start(*args)
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


@module_loop
async def test_watch_prints_every_change_in_the_same_columns(kvtui: Cli) -> None:
    async with started(kvtui, "watch", "vm") as process:
        assert process.stdout is not None
        title, first = [(await process.stdout.readline()).decode() for _ in range(2)]
        assert first.startswith("web ")
        await kvtui("label", "vm", "web", "seen=yes")
        second = (await process.stdout.readline()).decode()
        assert second.index("web") == first.index("web") == title.index("NAME")


@module_loop
async def test_watch_writes_one_object_a_line(kvtui: Cli) -> None:
    async with started(kvtui, "watch", "vm", "web", "-o", "json", "--output-watch-events") as process:
        assert process.stdout is not None
        first = json.loads(await process.stdout.readline())
        assert (first["type"], first["object"]["kind"]) == ("ADDED", "VirtualMachine")
        await kvtui("delete", "vm", "web", "-y")
        events: list[str] = []
        while not events or events[-1] != "DELETED":
            events.append(json.loads(await process.stdout.readline())["type"])


@module_loop
async def test_a_kind_that_is_not_there_is_no_endless_watch(kvtui: Cli) -> None:
    assert (await kvtui("watch", "nosuch")).code == ExitCode.USAGE
    assert (await kvtui("top", "vm", "ghost")).code == ExitCode.NOT_FOUND


# Nodes


@module_loop
async def test_cordon_and_uncordon(kvtui: Cli, client: Client) -> None:
    assert (await kvtui("cordon", "node-a", "--dry-run")).out == "node/node-a cordoned (server dry run)\n"
    assert (await kvtui("cordon", "node/node-a")).out == "node/node-a cordoned\n"
    assert (await client.get(Node, ("", "node-a"))).spec.unschedulable is True
    assert (await kvtui("cordon", "node-a")).out == "node/node-a already cordoned\n"
    assert (await kvtui("uncordon", "node-a")).out == "node/node-a uncordoned\n"
    assert (await kvtui("uncordon", "ghost")).code == ExitCode.NOT_FOUND


def pod(name: str, owner: OwnerReference | None, *, launcher: bool = False, empty_dir: bool = False) -> Pod:
    labels = {"kubevirt.io": "virt-launcher"} if launcher else {}
    owners = [owner] if owner is not None else []
    meta = ObjectMeta(name=name, namespace="default", labels=labels, owner_references=owners)
    volumes = [{"name": "v", "emptyDir": {}}] if empty_dir else []
    spec = {
        "nodeName": "node-a",
        "containers": [{"name": "c", "image": "i"}],
        "terminationGracePeriodSeconds": 0,
        "volumes": volumes,
    }
    return evolve(from_wire({"spec": spec}, Pod), metadata=meta)


async def owner_of(client: Client, name: str) -> OwnerReference:
    """A real one, since Pods without their owner are removed."""
    data = {"metadata": {"name": name, "namespace": "default"}, "spec": {"domain": {"devices": {}}}}
    vmi = await client.create(from_wire(data, VirtualMachineInstance))
    return OwnerReference(
        api_version="kubevirt.io/v1", kind="VirtualMachineInstance", name=name, uid=vmi.metadata.uid, controller=True
    )


DRAIN = {"ignore_daemonsets": False, "force": False, "delete_emptydir_data": False}


def test_what_a_drain_may_evict() -> None:
    vmi = OwnerReference(
        api_version="kubevirt.io/v1", kind="VirtualMachineInstance", name="o", uid="u", controller=True
    )
    daemon = OwnerReference(api_version="apps/v1", kind="DaemonSet", name="o", uid="u", controller=True)
    launcher = pod("launcher", vmi, launcher=True, empty_dir=True)
    pods = [launcher, pod("cache", vmi, empty_dir=True), pod("daemon", daemon), pod("loose", None)]
    errors = choose(pods, DRAIN).errors
    assert [error.rpartition(": ")[2] for error in errors] == ["default/daemon", "default/loose", "default/cache"]
    chosen = choose(pods, dict.fromkeys(DRAIN, True))
    assert not chosen.errors
    assert [found.metadata.name for found in chosen.evict] == ["launcher", "cache", "loose"]
    assert choose([launcher], DRAIN).evict == [launcher]  # a VM has no data in its launcher


@module_loop
async def test_drain_evicts_and_waits_until_the_node_is_empty(kvtui: Cli, client: Client) -> None:
    owner = await owner_of(client, "drained")
    for made in (pod("launcher", owner, launcher=True), pod("worker", owner), pod("loose", None)):
        await client.create(made)
    refused = await kvtui("drain", "node-a")
    assert refused.code == ExitCode.FAILED
    assert "cannot delete Pods that declare no controller (use --force to override): default/loose" in refused.err
    dry = await kvtui("drain", "node-a", "--force", "--dry-run")
    assert dry.out.endswith("node/node-a drained (server dry run)\n")
    ran = await kvtui("drain", "node-a", "--force", "--yes", "--timeout", "15")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "node/node-a already cordoned"
    assert set(lines[1:-1]) == {"pod/launcher evicted", "pod/worker evicted", "pod/loose evicted"}
    assert lines[-1] == "node/node-a drained"
    assert not (await client.list(Pod, "default")).items
    assert (await client.get(Node, ("", "node-a"))).spec.unschedulable is True
    await kvtui("uncordon", "node-a")


@module_loop
async def test_drain_says_what_keeps_it_and_gives_up_in_time(kvtui: Cli, client: Client) -> None:
    created = await client.create(pod("kept", await owner_of(client, "kept"), launcher=True))
    await client.patch_status(Pod, created.key, {"phase": "Running"})
    budget = (
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: keep}\n"
        "spec: {minAvailable: 1, selector: {matchLabels: {kubevirt.io: virt-launcher}}}\n"
    )
    assert (await kvtui("apply", "-f", "-", stdin=budget)).code == 0
    ran = await kvtui("drain", "node-a", "--timeout", "0.5")
    assert ran.code == ExitCode.TIMED_OUT, ran.err
    assert "disruption budget" in ran.err
    assert "still there: default/kept" in ran.err
    forced = await kvtui("drain", "node-a", "--disable-eviction", "--yes", "--timeout", "15", "--grace-period", "0")
    assert forced.code == 0, forced.err
    await kvtui("delete", "pdb", "keep")
    await kvtui("uncordon", "node-a")


# Making manifests


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (
            ("instancetype", "--cpu", "2", "--memory", "1Gi", "--gpu", "name:g,devicename:nvidia.com/x"),
            "VirtualMachineClusterInstancetype",
        ),
        (("instancetype", "--cpu", "2", "--memory", "1Gi", "--namespaced"), "VirtualMachineInstancetype"),
        (("preference", "--cpu-topology", "sockets", "--machine-type", "q35"), "VirtualMachineClusterPreference"),
        (("preference", "--volume-storage-class", "s", "--namespaced"), "VirtualMachinePreference"),
        (
            ("clone", "--target-type=vm", "--source-name=web", "--label-filter", "*", "--new-mac-address", "d:02-00"),
            "VirtualMachineClone",
        ),
        (("snapshot", "--vm", "web"), "VirtualMachineSnapshot"),
    ],
)
@module_loop
async def test_what_create_prints_is_accepted(kvtui: Cli, args: tuple[str, ...], kind: str) -> None:
    made = await kvtui("create", *args)
    document = yaml.safe_load(made.out)
    assert document["kind"] == kind
    assert "namespace" not in document["metadata"]
    ran = await kvtui("apply", "-f", "-", "--dry-run", "server", stdin=made.out)
    assert ran.out.endswith("created (server dry run)\n"), ran.err


@module_loop
async def test_a_domain_of_a_manifest(kvtui: Cli) -> None:
    ran = await kvtui("domain-xml", "-f", "-", "--libvirt", "test:///default", stdin=VM)
    assert ran.out.startswith("<domain "), ran.err
    assert "<name>default_web</name>" in ran.out
    plain = await kvtui("domain-xml", "-f", "-", "--converted", "--libvirt", "test:///default", stdin=VM)
    assert "<uuid>" not in plain.out.partition("<sysinfo")[0]
    typed = VM.replace("runStrategy: Halted", "runStrategy: Halted\n  instancetype: {name: small}")
    refused = await kvtui("domain-xml", "-f", "-", stdin=typed)
    assert refused.code == ExitCode.USAGE
    assert "kvtui expand" in refused.err


# Completion


async def completed(kvtui: Cli, line: str, **environment: str) -> list[str]:
    """What bash would offer for the last word."""
    words = ["kvtui", *line.split(" ")]
    shell = {"_KVTUI_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; sys.argv = ['kvtui']; from kvtui.cli import run; run()"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(kvtui.server.kubeconfig), **kvtui.environment, **shell, **environment},
    )
    out, err = await process.communicate()
    assert err == b""
    return [line.partition(",")[2] for line in out.decode().splitlines() if line]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("star", ["start"]),
        ("start ", ["web"]),
        ("start w", ["web"]),
        ("start vm/", ["vm/web"]),
        ("start web ", []),
        ("get virtualmachines", ["virtualmachines", "virtualmachinesnapshotcontents", "virtualmachinesnapshots"]),
        ("get dv,virtualmachinepo", ["dv,virtualmachinepools"]),
        ("describe vm ", ["web"]),
        ("edit vm/w", ["vm/web"]),
        ("cordon ", ["node-a"]),
        ("migrate web --to ", ["node-a"]),
        ("get vm --context ", ["kvtui"]),
        ("get vm -n kube-p", ["kube-public"]),
        ("label nosuch ", []),
        ("stop --sel", ["--selector"]),
    ],
)
@module_loop
async def test_completion_offers(kvtui: Cli, line: str, offered: list[str]) -> None:
    # The first answer may take longer than a shell wants to wait; then the second one comes from the cache.
    for _ in range(20):
        found = await completed(kvtui, line)
        if found == offered:
            return
    assert found == offered


@module_loop
async def test_completion_without_a_server_is_silent_and_quick(kvtui: Cli, tmp_path: Path) -> None:
    config = yaml.safe_load(kvtui.server.kubeconfig.read_text())
    calls: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda reader, writer: calls.append(writer), "127.0.0.1", 0) as deaf:
        port = deaf.sockets[0].getsockname()[1]
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(config))
        began = time.monotonic()
        assert await completed(kvtui, "start ", KUBECONFIG=str(path)) == []
        assert time.monotonic() - began < 5  # half a second on a machine that is idle
        for writer in calls:
            writer.close()
            await writer.wait_closed()
    assert await completed(kvtui, "start ", KUBECONFIG="/nonexistent") == []
    assert await completed(kvtui, "get vm --context ", KUBECONFIG="/nonexistent") == []


@module_loop
async def test_the_words_of_last_time_stand_in_for_a_server_that_is_away(kvtui: Cli, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(kvtui.server.kubeconfig.read_text())
    for _ in range(20):
        if await completed(kvtui, "start ", KUBECONFIG=str(path)) == ["web"]:
            break
    config = yaml.safe_load(path.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path.write_text(yaml.safe_dump(config))
    for file in (tmp_path / "cache").rglob("*.json"):
        os.utime(file, (0, 0))
    assert await completed(kvtui, "start ", KUBECONFIG=str(path)) == ["web"]
