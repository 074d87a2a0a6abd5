"""The command line against a real API server: output, exit codes, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def kvtui(server: RunningServer) -> AsyncIterator[Cli]:
    cli = Cli(server)
    yield cli
    await cli("delete", "vm", "web", "-y", "--ignore-not-found")


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_apply_creates_then_changes_then_leaves_alone(kvtui: Cli) -> None:
    assert (await kvtui("apply", "-f", "-", stdin=VM)).out == "virtualmachine.kubevirt.io/web created\n"
    assert (await kvtui("apply", "-f", "-", stdin=VM)).out == "virtualmachine.kubevirt.io/web unchanged\n"
    changed = VM.replace("Halted", "Manual")
    assert (await kvtui("apply", "-f", "-", stdin=changed)).out == "virtualmachine.kubevirt.io/web configured\n"


async def test_get_prints_what_the_server_shows(kvtui: Cli) -> None:
    await kvtui("apply", "-f", "-", stdin=VM)
    table = await kvtui("get", "vm")
    assert table.out.splitlines()[0].split() == ["NAME", "AGE", "STATUS", "READY"]
    assert table.out.splitlines()[1].startswith("web ")
    assert (await kvtui("get", "vm", "-A")).out.startswith("NAMESPACE")
    assert (await kvtui("get", "vms", "-o", "name")).out == "virtualmachine.kubevirt.io/web\n"
    document = json.loads((await kvtui("get", "vm/web", "-o", "json")).out)
    assert document["spec"]["runStrategy"] == "Halted"
    assert "managedFields" not in document["metadata"]
    listed = yaml.safe_load((await kvtui("get", "vm", "-l", "tier=front", "-o", "yaml")).out)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["web"]


async def test_describe_names_every_field(kvtui: Cli) -> None:
    await kvtui("apply", "-f", "-", stdin=VM)
    out = (await kvtui("describe", "vm", "web")).out
    assert "Run Strategy:  Halted" in out
    assert "tier=front" in out
    assert out.rstrip().endswith("Events:  <none>")


async def test_nothing_found_is_said_on_stderr_and_is_no_error(kvtui: Cli) -> None:
    ran = await kvtui("get", "vmim")
    assert (ran.code, ran.out, ran.err) == (0, "", "No resources found in default namespace.\n")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("get", "vm", "none"), ExitCode.NOT_FOUND, 'virtualmachines.kubevirt.io "none" not found'),
        (("get", "nosuch"), ExitCode.USAGE, 'the server doesn\'t have a resource type "nosuch"'),
        (("get", "vm", "-o", "xml"), ExitCode.USAGE, "Invalid value"),
        (("frobnicate",), ExitCode.USAGE, "No such command"),
        (("get", "vm", "--context", "other"), ExitCode.USAGE, "has no context named 'other'"),
        (("delete", "vm"), ExitCode.USAGE, "name the objects"),
        (("apply", "-f", "/nonexistent.yaml"), ExitCode.USAGE, "cannot be read: No such file"),
        (("stop", "web", "--grace-period", "5"), ExitCode.USAGE, "Must both use --force=true and set --grace-period."),
    ],
)
async def test_errors_have_their_exit_codes(kvtui: Cli, args: tuple[str, ...], code: ExitCode, words: str) -> None:
    ran = await kvtui(*args)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


async def test_a_server_that_is_not_there_is_its_own_exit_code(kvtui: Cli, tmp_path: Path) -> None:
    config = yaml.safe_load(kvtui.server.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    ran = await kvtui("get", "vm", kubeconfig=path)
    assert ran.code == ExitCode.UNREACHABLE
    assert "cannot be reached" in ran.err


async def test_a_user_without_rights_is_told_so(kvtui: Cli) -> None:
    ran = await kvtui("get", "vm", kubeconfig=kvtui.server.kubeconfig_for("nobody"))
    assert ran.code == ExitCode.NOT_ALLOWED
    assert 'User "nobody" cannot list resource "virtualmachines"' in ran.err


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("kind: [", "cannot be read"),
        ("a: 1\na: 2\n", "duplicate key 'a'"),
        ("just text", "no object"),
        ("kind: X", "has no apiVersion"),
        ("apiVersion: v1\nkind: ConfigMap\n", "has no metadata.name"),
        ("", "no objects passed"),
        ("apiVersion: x/v1\nkind: Nope\nmetadata: {name: a}\n", 'no matches for kind "Nope"'),
    ],
)
async def test_a_broken_manifest_changes_nothing(kvtui: Cli, manifest: str, words: str) -> None:
    ran = await kvtui("apply", "-f", "-", stdin=manifest)
    assert ran.code != 0
    assert words in ran.err
    assert "Traceback" not in ran.err


async def test_one_bad_object_of_several_does_not_stop_the_others(kvtui: Cli) -> None:
    bad = "---\napiVersion: x/v1\nkind: Nope\nmetadata: {name: a}\n"
    ran = await kvtui("apply", "-f", "-", stdin=VM + bad)
    assert ran.code == ExitCode.PARTLY
    assert "virtualmachine.kubevirt.io/web created" in ran.out


async def test_an_unknown_field_is_named(kvtui: Cli) -> None:
    ran = await kvtui("apply", "-f", "-", stdin=VM.replace("runStrategy", "runStrateggy"))
    assert ran.code != 0
    assert "runStrateggy" in ran.err


async def test_deleting_a_vm_is_asked_first(kvtui: Cli) -> None:
    await kvtui("apply", "-f", "-", stdin=VM)
    refused = await kvtui("delete", "vm", "web")
    assert refused.code == ExitCode.USAGE
    assert "--yes confirms it" in refused.err
    assert (
        await kvtui("delete", "vm", "web", "--dry-run")
    ).out == 'virtualmachine.kubevirt.io "web" deleted (dry run)\n'
    assert (await kvtui("get", "vm", "web")).code == 0
    assert (await kvtui("delete", "vm", "web", "-y")).out == 'virtualmachine.kubevirt.io "web" deleted\n'
    assert (await kvtui("get", "vm", "web")).code == ExitCode.NOT_FOUND


async def test_what_create_prints_is_accepted(kvtui: Cli) -> None:
    made = await kvtui(
        *("create", "vm", "--name", "made", "--volume-containerdisk", "src:registry.example/disk:1,bootorder:1"),
        *(
            "--volume-import",
            "type:http,url:https://x/y.img,size:1Gi",
            "--user",
            "ann",
            "--ssh-key",
            "ssh-ed25519 A: b",
        ),
        *("--volume-sysprep", "src:answers", "--access-cred", "src:keys,user:ann", "--ga-manage-ssh"),
    )
    assert made.code == 0, made.err
    ran = await kvtui("apply", "-f", "-", "--dry-run", "server", stdin=made.out)
    assert ran.out == "virtualmachine.kubevirt.io/made created (server dry run)\n"
    cloud = yaml.safe_load(made.out)["spec"]["template"]["spec"]["volumes"][-1]["cloudInitNoCloud"]["userData"]
    managed = [["setsebool", "-P", "virt_qemu_ga_manage_ssh", "on"]]
    assert yaml.safe_load(cloud) == {
        "user": "ann",
        "ssh_authorized_keys": ["ssh-ed25519 A: b"],
        "runcmd": managed,
    }
    for kind in ("instancetype", "preference"):
        assert yaml.safe_load(made.out)["spec"][kind] == {
            "inferFromVolume": "made-containerdisk-0",
            "inferFromVolumeFailurePolicy": "Ignore",
        }
    disk = await kvtui("create", "dv", "--name", "d", "--size", "1Gi", "--blank", "--apply")
    assert disk.out == "datavolume.cdi.kubevirt.io/d created\n"


VIRTCTL_VM = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  creationTimestamp: null
  name: vm-abcde
spec:
  dataVolumeTemplates:
  - metadata:
      creationTimestamp: null
      name: imported-volume-abcde
    spec:
      source:
        http:
          url: https://server.example/disk.img
      storage:
        resources:
          requests:
            storage: 1Gi
  instancetype:
    inferFromVolume: imported-volume-abcde
    inferFromVolumeFailurePolicy: Ignore
  preference:
    inferFromVolume: imported-volume-abcde
    inferFromVolumeFailurePolicy: Ignore
  runStrategy: Always
  template:
    metadata:
      creationTimestamp: null
    spec:
      architecture: ""
      domain:
        devices: {}
        memory:
          guest: 512Mi
        resources: {}
      terminationGracePeriodSeconds: 180
      volumes:
      - dataVolume:
          name: imported-volume-abcde
        name: imported-volume-abcde
      - cloudInitNoCloud:
          userData: |-
            #cloud-config
            user: ann
        name: cloudinitdisk
status: {}
"""
VIRTCTL_INSTANCETYPE = """\
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineClusterInstancetype
metadata:
  creationTimestamp: null
  name: clusterinstancetype-abcde
spec:
  cpu:
    guest: 2
  gpus:
  - deviceName: nvidia.example/gpu
    name: gpu1
  ioThreadsPolicy: auto
  memory:
    guest: 256Mi
"""
VIRTCTL_PREFERENCE = """\
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineClusterPreference
metadata:
  creationTimestamp: null
  name: clusterpreference-abcde
spec:
  cpu:
    preferredCPUTopology: sockets
  machine:
    preferredMachineType: pc-q35-10.0
  volumes:
    preferredStorageClassName: fast
"""


@pytest.mark.parametrize("manifest", [VIRTCTL_VM, VIRTCTL_INSTANCETYPE, VIRTCTL_PREFERENCE])
async def test_what_virtctl_create_prints_is_accepted(kvtui: Cli, manifest: str) -> None:
    wanted = yaml.safe_load(manifest)
    path = f"/apis/{wanted['apiVersion']}/" + {
        "VirtualMachine": "namespaces/default/virtualmachines",
        "VirtualMachineClusterInstancetype": "virtualmachineclusterinstancetypes",
        "VirtualMachineClusterPreference": "virtualmachineclusterpreferences",
    }.get(wanted["kind"], "")
    headers = {"Content-Type": "application/yaml"}
    params = {"dryRun": "All", "fieldValidation": "Strict"}
    async with kvtui.server.session() as http, http.post(path, data=manifest, params=params, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        assert "Warning" not in answer.headers


async def test_what_is_inferred_by_request_must_be_there(kvtui: Cli) -> None:
    made = await kvtui("create", "vm", "--volume-pvc=src:disk", "--infer-instancetype", "--infer-preference=false")
    spec = yaml.safe_load(made.out)["spec"]
    assert spec["instancetype"] == {"inferFromVolume": "disk"}
    assert "preference" not in spec
    assert "memory" not in spec["template"]["spec"]["domain"]


@pytest.mark.parametrize(
    "args",
    [
        ("vm", "--volume-containerdisk", "registry/disk"),
        ("vm", "--volume-containerdisk", "src:a,frob:b"),
        ("vm", "--volume-import", "type:floppy,size:1Gi"),
        ("vm", "--volume-import", "type:http,url:x"),
        ("vm", "--instancetype", "a", "--memory", "1Gi"),
        ("vm", "--instancetype", "a", "--infer-instancetype"),
        ("vm", "--infer-preference"),
        ("vm", "--volume-pvc", "src:a", "--infer-preference-from", "b"),
        ("vm", "--access-cred", "src:a"),
        ("vm", "--access-cred", "src:a,method:configdrive"),
        ("vm", "--volume-sysprep", "src:a,type:drawer"),
        ("vm", "--cloud-init-user-data", "!!"),
        ("dv", "--name", "d"),
        ("dv", "--name", "d", "--blank", "--pvc", "x"),
    ],
)
async def test_flags_that_make_no_sense_are_usage_errors(kvtui: Cli, args: tuple[str, ...]) -> None:
    ran = await kvtui("create", *args)
    assert (ran.code, ran.out) == (ExitCode.USAGE, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_scripts_are_printed(kvtui: Cli, shell: str) -> None:
    assert "_KVTUI_COMPLETE" in (await kvtui("completion", shell)).out


async def test_a_reader_that_leaves_is_no_crash(kvtui: Cli) -> None:
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m kvtui get ns -o yaml | true",
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(kvtui.server.kubeconfig)},
    )
    _, err = await process.communicate()
    assert b"Traceback" not in err
