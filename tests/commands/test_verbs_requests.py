"""Verbs of virtctl: what they send, what they say, how they end. The real API with a fake agent behind it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from kvtui.api.core.config import Secret
from kvtui.api.kubevirt.config import DeveloperConfiguration, KubeVirt, KubeVirtConfiguration, KubeVirtSpec
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.apiserver.extension import Extension
from kvtui.client.rest import Patch
from kvtui.commands.exits import ExitCode
from tests.commands.cli import Cli
from tests.fakes.agent import FakeAgent, running_agent
from tests.fakes.recorder import Recorder
from tests.virtapi.cluster import VirtApi, running_virtapi

WEB = ("default", "web")
VM, VMI = "/namespaces/default/virtualmachines/web", "/namespaces/default/virtualmachineinstances/web"
AGENT = {"type": "AgentConnected", "status": "True"}


@dataclass
class Place:
    """One server with its recorder, a running VM `web`, and the agent of its node."""

    api: VirtApi
    recorder: Recorder
    agent: FakeAgent
    kvtui: Cli

    def sent(self) -> list[tuple[str, str, Any]]:
        """Method, path and body of what was asked since the last time."""
        asked = [(a.method, a.path, a.body) for a in self.recorder.asked]
        self.recorder.asked.clear()
        return asked


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    recorders: list[Recorder] = []

    def around(extension: Extension) -> Extension:
        recorders.append(Recorder(extension))
        return recorders[0]

    async with (
        running_virtapi(tmp_path_factory.mktemp("virtapi"), around=around) as api,
        running_agent(api.server.pki) as agent,
    ):
        await api.node(agent)
        await installation(api, "DeclarativeHotplugVolumes", "ObjectGraph")
        await api.vm(runStrategy="Always")
        await api.vmi(conditions=[AGENT])
        yield Place(api, recorders[0], agent, Cli(api.server))


async def installation(api: VirtApi, *gates: str) -> None:
    """KubeVirt where upstream has it, with these feature gates."""
    developer = DeveloperConfiguration(feature_gates=list(gates))
    spec = KubeVirtSpec(configuration=KubeVirtConfiguration(developer_configuration=developer))
    await api.client.create(KubeVirt(metadata=ObjectMeta(name="kubevirt", namespace="kubevirt"), spec=spec))


@pytest.fixture
def place(server: Place) -> Place:
    server.recorder.asked.clear()
    server.recorder.answers.clear()
    server.agent.asked.clear()
    server.agent.refuse.clear()
    return server


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("args", "request_", "says"),
    [
        (("pause", "web"), ("PUT", f"{VMI}/pause", {}), "VMI web was scheduled to pause\n"),
        (("soft-reboot", "web"), ("PUT", f"{VMI}/softreboot", {}), "VMI web was scheduled to soft-reboot\n"),
        (("reset", "vmi/web"), ("PUT", f"{VMI}/reset", {}), "VMI web was scheduled to reset\n"),
        (
            ("stop", "web", "--force=true", "--grace-period=0", "--dry-run=true"),
            ("PUT", f"{VM}/stop", {"gracePeriod": 0, "dryRun": ["All"]}),
            "VM web was scheduled to stop\n",
        ),
        (
            ("restart", "web", "--force", "--grace-period", "0", "--dry-run"),
            ("PUT", f"{VM}/restart", {"gracePeriodSeconds": 0, "dryRun": ["All"]}),
            "VM web was scheduled to restart\n",
        ),
    ],
)
async def test_power_verbs_send_what_virtctl_sends(
    place: Place, args: tuple[str, ...], request_: tuple[str, str, Any], says: str
) -> None:
    ran = await place.kvtui(*args)
    assert (ran.code, ran.out) == (0, says), ran.err
    assert place.sent() == [request_]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("stop", "web", "--force=maybe"), "neither true nor false"),
        (("stop", "-A"), "-A goes with -l"),
        (("start", "web", "--wait=not a condition"), "is no condition"),
        (("start", "dv/web"), "is no VM"),
        (("start",), "name a VM"),
        (("addvolume", "web"), "--volume-name"),
        (("addvolume", "web", "--volume-name", "d", "--disk-type=lun", "--bus=virtio"), "needs --bus=scsi"),
        (("expand",), "name or file must be provided"),
        (("adm", "log-verbosity"), "no flag specified"),
        (("adm", "log-verbosity", "--all=10"), "must be 0-9"),
        (("adm", "log-verbosity", "--all", "--reset"), "only show or set is allowed"),
        (("port-forward", "vm/web", "x:80"), "is no port"),
        (("port-forward", "vm/web", "sctp/80"), "neither tcp nor udp"),
        (("port-forward", "vm/web", "80", "81", "--stdio"), "only one port"),
        (("port-forward", "vm/web/ns/more", "80"), "is no VM"),
        (("scp", "a", "b"), "one of source and destination"),
        (("vnc",), "name one VMI"),
        (("usbredir", "not-a-device", "web", "--no-launch"), "is no device"),
        (("credentials", "set-password", "web", "--user", "ann"), "one of --file and --value"),
        (("image-upload", "web"), "dv NAME or pvc NAME"),
        (("image-upload", "dv", "web", "--image-path", "/nonexistent"), "is no file"),
        (("memory-dump", "get", "web", "--create-claim"), "needs --claim-name"),
        (("vmexport", "create", "e"), "is needed"),
        (("label", "vm", "web"), "at least one label"),
        (("scale", "vm/web", "--replicas", "2"), "no number to scale"),
        (("drain", "node01", "--force"), "--yes confirms it"),
        (("domain-xml",), "name a VMI"),
        (("create", "instancetype", "--cpu", "1", "--memory", "lots"), 'failed to parse "--memory" flag'),
        (("create", "clone", "--source-name", "web", "--new-mac-address", "x"), "is not INTERFACE:MAC"),
    ],
)
async def test_a_wrong_command_line_is_told_and_sends_nothing(place: Place, args: tuple[str, ...], words: str) -> None:
    ran = await place.kvtui(*args)
    assert (ran.code, ran.out) == (ExitCode.USAGE, ""), ran.err
    assert words in ran.err
    assert place.sent() == []


async def test_verbs_on_many_vms_tell_of_each(place: Place) -> None:
    ran = await place.kvtui("pause", "web", "ghost", "-o", "json")
    assert ran.code == ExitCode.PARTLY
    first, second = json.loads(ran.out)
    assert (first["object"], first["action"], first["result"]) == ("virtualmachineinstance/web", "pause", "requested")
    assert (second["object"], second["result"]) == ("virtualmachineinstance/ghost", "failed")
    assert 'virtualmachineinstance.kubevirt.io "ghost" not found' in second["reason"]


async def test_selected_vms_are_found_in_all_namespaces(place: Place) -> None:
    none = await place.kvtui("stop", "-A", "-l", "tier=nowhere", "--dry-run")
    assert (none.code, none.out) == (0, "")
    assert "No resources found" in none.err
    labelled = await place.kvtui("label", "vm", "web", "tier=front")
    assert labelled.out == "virtualmachine.kubevirt.io/web labeled\n"
    ran = await place.kvtui("stop", "-A", "-l", "tier=front", "--dry-run", "-q")
    assert (ran.code, ran.out) == (0, "")
    assert [path for _, path, _ in place.sent()] == [f"{VM}/stop"]


async def test_waiting_ends_at_once_when_the_condition_holds_and_times_out_otherwise(place: Place) -> None:
    ran = await place.kvtui("pause", "web", "--wait=AgentConnected", "-o", "json")
    assert json.loads(ran.out)[0]["result"] == "done"
    ran = await place.kvtui("pause", "web", "--wait=deleted", "--timeout", "0.2")
    assert ran.code == ExitCode.TIMED_OUT
    assert "the request was sent" in ran.err


async def test_a_halted_vm_cannot_be_paused_and_says_why(place: Place) -> None:
    await place.api.vm("off")
    ran = await place.kvtui("pause", "vm", "off")
    assert ran.code == ExitCode.NOT_FOUND
    assert "Error pausing VirtualMachineInstance off. VirtualMachine off is not set to run" in ran.err


async def test_migrate_names_the_node(place: Place) -> None:
    ran = await place.kvtui("migrate", "web", "--to", "node02", "--addedNodeSelector", "zone=a", "--dry-run")
    body = {"addedNodeSelector": {"zone": "a", "kubernetes.io/hostname": "node02"}, "dryRun": ["All"]}
    assert place.sent() == [("PUT", f"{VM}/migrate", body)], ran.err
    cancelled = await place.kvtui("migrate-cancel", "web")
    assert "Found no migration to cancel for web" in cancelled.err
    assert not (await place.api.client.list(VirtualMachineInstanceMigration)).items


async def volume(place: Place, kind: str, name: str) -> None:
    spec = "{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"
    if kind == "DataVolume":
        text = f"apiVersion: cdi.kubevirt.io/v1beta1\nkind: DataVolume\nmetadata: {{name: {name}}}\n"
        text += f"spec: {{source: {{blank: {{}}}}, storage: {spec}}}\n"
    else:
        text = f"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    assert (await place.kvtui("apply", "-f", "-", stdin=text)).code == 0


async def test_addvolume_finds_out_what_the_volume_is(place: Place) -> None:
    await volume(place, "DataVolume", "data")
    await volume(place, "PersistentVolumeClaim", "claim")
    ran = await place.kvtui("addvolume", "web", "--volume-name=data", "--cache=none", "--dry-run")
    assert ran.out == "Successfully submitted add volume request to VM web for volume data\n", ran.err
    ran = await place.kvtui("addvolume", "web", "--volume-name=claim", "--serial=S1", "--bus=virtio", "--persist")
    assert ran.code == 0, ran.err
    first, second = place.sent()
    assert first == (
        "PUT",
        f"{VM}/addvolume",
        {
            "name": "data",
            "disk": {"disk": {"bus": "scsi"}, "serial": "data", "cache": "none"},
            "volumeSource": {"dataVolume": {"name": "data", "hotpluggable": True}},
            "dryRun": ["All"],
        },
    )
    assert second[2]["disk"] == {"disk": {"bus": "virtio"}, "serial": "S1"}
    assert second[2]["volumeSource"] == {"persistentVolumeClaim": {"claimName": "claim", "hotpluggable": True}}
    removed = await place.kvtui("removevolume", "web", "--volume-name=claim")
    assert removed.out == "Successfully submitted remove volume request to VM web for volume claim\n"
    assert place.sent() == [("PUT", f"{VM}/removevolume", {"name": "claim"})]
    again = await place.kvtui("removevolume", "web", "--volume-name=claim")
    assert again.code == ExitCode.REFUSED
    assert "error removing volume, " in again.err


async def test_volumes_go_to_a_bare_instance_where_there_is_no_vm(place: Place) -> None:
    await place.api.vmi("bare")
    await volume(place, "PersistentVolumeClaim", "more")
    ran = await place.kvtui("addvolume", "bare", "--volume-name", "more")
    assert ran.code == 0, ran.err
    assert [path.split("/")[-3] for _, path, _ in place.sent()] == ["virtualmachines", "virtualmachineinstances"]
    vmi = await place.api.client.get(VirtualMachineInstance, ("default", "bare"))
    assert vmi.spec.volumes[-1].name == "more"


async def test_a_concurrent_change_is_tried_again(place: Place) -> None:
    text = "Internal error occurred: the server rejected our request due to an error in our request"
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": text, "code": 500}
    place.recorder.answers["PUT", "/removevolume"] = [(500, status), (202, {})]
    ran = await place.kvtui("removevolume", "web", "--volume-name", "x")
    assert ran.code == 0, ran.err
    assert len(place.sent()) == 2


async def test_an_unknown_volume_is_not_found(place: Place) -> None:
    ran = await place.kvtui("addvolume", "web", "--volume-name", "nothing")
    assert ran.code == ExitCode.NOT_FOUND
    assert place.sent() == []


@pytest.mark.parametrize(
    ("verb", "asked"), [("guestosinfo", "guestosinfo"), ("userlist", "userlist"), ("fslist", "filesystemlist")]
)
async def test_what_the_guest_agent_tells_is_json(place: Place, verb: str, asked: str) -> None:
    ran = await place.kvtui(verb, "web")
    assert json.loads(ran.out)["hostname"] == "guest"
    assert '\n  "hostname"' in ran.out
    assert place.agent.asked == [("GET", asked, {})]


async def test_the_words_of_a_refusal_reach_the_user(place: Place) -> None:
    await place.api.vmi("silent")
    ran = await place.kvtui("guestosinfo", "silent")
    assert ran.code == ExitCode.FAILED
    assert "VMI does not have guest agent connected" in ran.err


async def test_expand_of_the_server_and_of_a_file(place: Place) -> None:
    ran = await place.kvtui("expand", "--vm", "web")
    assert yaml.safe_load(ran.out)["metadata"]["name"] == "web"
    text = "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: new}\n"
    text += "spec: {runStrategy: Halted, template: {spec: {domain: {devices: {}}}}}\n"
    ran = await place.kvtui("expand", "-f", "-", "-o", "json", stdin=text)
    assert json.loads(ran.out)["spec"]["runStrategy"] == "Halted"
    methods = [(method, path.rpartition("/")[2]) for method, path, _ in place.sent()]
    assert methods == [("GET", "expand-spec"), ("PUT", "expand-vm-spec")]


async def test_objectgraph_asks_with_a_body(place: Place) -> None:
    ran = await place.kvtui(
        "objectgraph", "web", "--exclude-optional", "--selector", "kubevirt.io/dependency-type=storage"
    )
    assert json.loads(ran.out)["objectReference"]["name"] == "web", ran.err
    body = {
        "includeOptionalNodes": False,
        "labelSelector": {"matchLabels": {"kubevirt.io/dependency-type": "storage"}},
    }
    assert place.sent() == [("GET", f"{VM}/objectgraph", body)]
    await place.kvtui("objectgraph", "web", "--vmi")
    assert place.sent()[0][:2] == ("GET", f"{VMI}/objectgraph")


async def test_log_verbosity_is_shown_set_and_reset(place: Place) -> None:
    kvtui = place.kvtui
    assert (await kvtui("adm", "log-verbosity", "--virt-api")).out == "virt-api=2\n"
    done = await kvtui("adm", "log-verbosity", "--all=3", "--virt-api=7")
    assert done.out == "successfully set the log verbosity\n", done.err
    shown = (await kvtui("adm", "log-verbosity", "--all")).out.splitlines()
    assert {"virt-api=7", "virt-handler=3"} <= set(shown)
    kubevirt = await place.api.client.get(KubeVirt, ("kubevirt", "kubevirt"))
    assert kubevirt.spec.configuration is not None
    developer = kubevirt.spec.configuration.developer_configuration
    assert developer is not None
    assert developer.feature_gates  # what else is configured stays
    assert (await kvtui("adm", "log-verbosity", "--reset")).out == "successfully reset the log verbosity\n"
    assert (await kvtui("adm", "log-verbosity", "--virt-api")).out == "virt-api=2\n"


async def test_permitted_devices(place: Place) -> None:
    ran = await place.kvtui("permitted-devices", "-n", "kubevirt")
    assert ran.out == "Permitted Devices: \nHost Devices: \nGPU Devices: \n"
    ran = await place.kvtui("permitted-devices", "-n", "other")
    assert ran.code == ExitCode.NOT_FOUND
    assert 'no KubeVirt resource in "other" namespace' in ran.err


async def test_keys_and_passwords_of_a_running_guest(place: Place, tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAA ann@home\n")
    client, user = place.api.client, ("--user", "ann")
    none = await place.kvtui("credentials", "add-ssh-key", "web", *user, "--file", str(key))
    assert none.code == ExitCode.NOT_FOUND
    assert "--create-secret" in none.err
    made = await place.kvtui("credentials", "add-ssh-key", "web", *user, "--file", str(key), "--create-secret")
    assert made.out.startswith('Successfully added the key to secret "web-ssh-key-'), made.err
    name = made.out.split('"')[1]
    secret = await client.get(Secret, ("default", name))
    assert [base64.b64decode(value) for value in secret.data.values()] == [b"ssh-ed25519 AAAA ann@home"]
    vm = await client.get(VirtualMachine, WEB)
    assert secret.metadata.owner_references[0].uid == vm.metadata.uid
    credential = vm.spec.template.spec.access_credentials[-1].ssh_public_key
    assert credential is not None
    assert credential.source.secret is not None
    assert credential.source.secret.secret_name == name
    more = await place.kvtui("credentials", "add-ssh-key", "web", *user, "--value", "ssh-rsa BBBB")
    assert more.out == f'Successfully added the key to secret "{name}"\n', more.err
    gone = await place.kvtui("credentials", "remove-ssh-key", "web", *user, "--file", str(key))
    assert gone.out == f'Successfully removed the key from secret "{name}"\n', gone.err
    kept = (await client.get(Secret, ("default", name))).data
    assert [base64.b64decode(value) for value in kept.values()] == [b"ssh-rsa BBBB"]


async def test_a_secret_of_somebody_else_is_changed_by_force_only(place: Place) -> None:
    created = await place.kvtui("credentials", "set-password", "web", "-u", "ann", "-v", "secret", "--create-secret")
    name = created.out.split('"')[1]
    assert created.out == f'Successfully set password in secret "{name}"\n'
    client = place.api.client
    await client.patch(Secret, ("default", name), {"metadata": {"ownerReferences": None}}, how=Patch.MERGE)
    args = ("credentials", "set-password", "web", "-u", "ann", "-v", "other")
    refused = await place.kvtui(*args)
    assert refused.code == ExitCode.FAILED
    assert f"secret {name} does not have an owner reference pointing to VM web" in refused.err
    assert (await place.kvtui(*args, "--force")).code == 0
    assert base64.b64decode((await client.get(Secret, ("default", name))).data["ann"]) == b"other"


async def test_memory_dump_makes_a_claim_that_is_large_enough(place: Place) -> None:
    ran = await place.kvtui("memory-dump", "get", "web", "--claim-name", "dump", "--create-claim")
    assert ran.out.splitlines() == [
        "PVC default/dump created",
        "Successfully submitted memory dump request of VM web",
    ], ran.err
    assert place.sent() == [("PUT", f"{VM}/memorydump", {"claimName": "dump"})]
    again = await place.kvtui("memory-dump", "get", "web", "--claim-name", "other", "--create-claim")
    assert again.code == ExitCode.FAILED
    removed = await place.kvtui("memory-dump", "remove", "web")
    assert removed.out == "Successfully submitted remove memory dump association of VM web\n", removed.err
