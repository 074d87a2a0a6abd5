"""Subresources in the real embedded server, with a fake agent behind them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Patch
from kvtui.errors import Invalid
from kvtui.virtapi import wiring
from kvtui.virtapi.subresources import tokens
from tests.fakes.agent import DISPLACED, MOVED, PROTOCOL, RESTART, FakeAgent, running_agent
from tests.virtapi.cluster import ROOT, VirtApi, guest, running_virtapi

VMS, VMIS = "virtualmachines", "virtualmachineinstances"
WEB = ("default", "web")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[VirtApi]:
    async with running_virtapi(tmp_path) as running:
        yield running


@pytest.fixture
async def agent(api: VirtApi) -> AsyncIterator[FakeAgent]:
    async with running_agent(api.server.pki) as running:
        await api.node(running)
        yield running


def condition(type_: str) -> dict[str, str]:
    return {"type": type_, "status": "True"}


async def test_discovery(api: VirtApi) -> None:
    _, group = await api.get("/apis/subresources.kubevirt.io")
    assert group["name"] == "subresource.kubevirt.io"
    assert [version["version"] for version in group["versions"]] == ["v1", "v1alpha3"]
    _, listed = await api.get(ROOT)
    names = {entry["name"] for entry in listed["resources"]}
    assert {"virtualmachineinstances/vnc", "virtualmachines/start", "version", "expand-vm-spec"} <= names
    _, listed = await api.get("/apis/upload.cdi.kubevirt.io/v1beta1")
    assert [entry["name"] for entry in listed["resources"]] == ["uploadtokenrequests"]


async def test_version_guestfs_and_health(api: VirtApi) -> None:
    assert (await api.get(f"{ROOT}/version"))[1]["gitVersion"] == "v1.9.0"
    assert set((await api.get(f"{ROOT}/guestfs"))[1]) == {"registry", "tag", "imagePrefix", "gsImage", "digest"}
    code, health = await api.get(f"{ROOT}/healthz")
    assert (code, health["apiserver"]["connectivity"]) == (200, "ok")


async def test_a_missing_vm(api: VirtApi) -> None:
    code, body = await api.put(VMS, "ghost", "start")
    assert code == 404
    assert body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'virtualmachine.kubevirt.io "ghost" not found',
        "reason": "NotFound",
        "details": {"name": "ghost", "group": "kubevirt.io", "kind": "virtualmachine"},
        "code": 404,
    }


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("PUT", f"{ROOT}/namespaces/default/virtualmachines/web/dance", 404),
        ("POST", f"{ROOT}/namespaces/default/virtualmachines/web/start", 405),
        ("PUT", f"{ROOT}/nothing", 404),
    ],
)
async def test_unknown_verbs(api: VirtApi, method: str, path: str, code: int) -> None:
    async with api.http.request(method, path) as answer:
        assert answer.status == code
        assert (await answer.json())["kind"] == "Status"


async def test_start_and_stop(api: VirtApi) -> None:
    await api.vm()
    assert await api.put(VMS, "web", "start", {"dryRun": ["All"]}) == (202, "")
    assert (await api.client.get(VirtualMachine, WEB)).spec.run_strategy == "Halted"
    assert await api.put(VMS, "web", "start") == (202, "")
    assert (await api.client.get(VirtualMachine, WEB)).spec.run_strategy == "Always"
    assert (await api.put(VMS, "web", "start"))[0] == 409
    assert await api.put(VMS, "web", "stop", {"gracePeriod": 5}) == (202, "")
    assert (await api.client.get(VirtualMachine, WEB)).spec.run_strategy == "Halted"


async def test_requests_of_a_manual_vm(api: VirtApi, agent: FakeAgent) -> None:
    await api.vm(runStrategy="Manual")
    assert (await api.put(VMS, "web", "start"))[0] == 202
    vm = await api.client.get(VirtualMachine, WEB)
    assert [change.action for change in vm.status.state_change_requests] == ["Start"]
    code, body = await api.put(VMS, "web", "start")
    assert (code, body["message"]) == (
        500,
        "Internal error occurred: unable to complete request: stop/start already underway",
    )
    vmi = await api.vmi()
    assert (await api.put(VMS, "web", "stop"))[0] == 202
    vm = await api.client.get(VirtualMachine, WEB)
    assert [(change.action, change.uid) for change in vm.status.state_change_requests] == [("Stop", vmi.metadata.uid)]


async def test_a_forced_restart_shortens_the_grace_period(api: VirtApi, agent: FakeAgent) -> None:
    await api.vm(runStrategy="Always")
    await api.vmi()
    assert (await api.put(VMS, "web", "restart", {"gracePeriodSeconds": 0}))[0] == 202
    assert (await api.client.get(VirtualMachineInstance, WEB)).spec.termination_grace_period_seconds == 1
    vm = await api.client.get(VirtualMachine, WEB)
    assert [change.action for change in vm.status.state_change_requests] == ["Stop", "Start"]


async def test_bodies_may_be_yaml_but_not_nonsense(api: VirtApi) -> None:
    await api.vm()
    async with api.http.put(api.path(VMS, "web", "start"), data="dryRun: [All]\n") as answer:
        assert answer.status == 202
    async with api.http.put(api.path(VMS, "web", "start"), data="[1, 2]") as answer:
        assert answer.status == 400
    async with api.http.put(api.path(VMS, "web", "start"), data='{"paused": "very"}') as answer:
        assert answer.status == 400


async def test_migrate(api: VirtApi, agent: FakeAgent) -> None:
    await api.vm(runStrategy="Always")
    assert (await api.put(VMS, "web", "migrate"))[0] == 404
    await api.vmi(phase="Scheduled")
    assert (await api.put(VMS, "web", "migrate"))[0] == 409
    await api.client.patch(VirtualMachineInstance, WEB, {"status": {"phase": "Running"}}, how=Patch.MERGE)
    assert (await api.put(VMS, "web", "migrate", {"addedNodeSelector": {"zone": "a"}}))[0] == 202
    migrations = await api.client.list(VirtualMachineInstanceMigration, "default")
    assert [m.metadata.name.startswith("kubevirt-migrate-vm-") for m in migrations.items] == [True]
    assert migrations.items[0].spec.added_node_selector == {"zone": "a"}
    code, body = await api.put(VMS, "web", "migrate")
    assert code == 500
    assert "in-flight migration detected" in body["message"]


def volume_options(name: str, claim: str) -> dict[str, Any]:
    return {
        "name": name,
        "disk": {"disk": {"bus": "scsi"}},
        "volumeSource": {"persistentVolumeClaim": {"claimName": claim}},
    }


async def test_volumes_are_written_to_the_template(api: VirtApi) -> None:
    await api.vm()
    assert await api.put(VMS, "web", "addvolume", volume_options("data", "claim")) == (202, "")
    spec = (await api.client.get(VirtualMachine, WEB)).spec.template.spec
    claim = spec.volumes[1].persistent_volume_claim
    assert claim is not None
    assert (spec.volumes[1].name, claim.claim_name, claim.hotpluggable) == ("data", "claim", True)
    assert spec.domain.devices.disks[1].name == "data"
    code, body = await api.put(VMS, "web", "addvolume", volume_options("data", "other"))
    assert (code, body["reason"]) == (409, "Conflict")
    assert "Unable to add volume [data] because volume with that name already exists" in body["message"]
    assert (await api.put(VMS, "web", "addvolume", volume_options("more", "claim")))[0] == 409
    assert (await api.put(VMS, "web", "addvolume", {"name": "x"}))[0] == 400
    assert (await api.put(VMS, "web", "removevolume", {"name": "root"}))[0] == 409
    assert (await api.put(VMS, "web", "removevolume", {"name": "ghost"}))[0] == 409
    assert (await api.put(VMS, "web", "removevolume", {"name": "data"}))[0] == 202
    spec = (await api.client.get(VirtualMachine, WEB)).spec.template.spec
    assert [volume.name for volume in spec.volumes] == ["root"]


async def test_volumes_are_requested_with_the_old_gate(api: VirtApi) -> None:
    await api.gates("HotplugVolumes")
    await api.vm()
    assert (await api.put(VMS, "web", "addvolume", volume_options("data", "claim")))[0] == 202
    requests = (await api.client.get(VirtualMachine, WEB)).status.volume_requests
    assert [request.add_volume_options.name for request in requests if request.add_volume_options] == ["data"]
    bad = volume_options("other", "claim2") | {"disk": {"disk": {"bus": "sata"}}}
    code, body = await api.put(VMS, "web", "addvolume", bad)
    assert code == 422
    assert "requires bus to be 'scsi' or 'virtio'" in body["message"]


async def test_volumes_of_a_bare_instance(api: VirtApi, agent: FakeAgent) -> None:
    await api.vmi(volumeStatus=[{"name": "root", "target": "vda"}])
    assert (await api.put(VMIS, "web", "addvolume", volume_options("data", "claim")))[0] == 202
    vmi = await api.client.get(VirtualMachineInstance, WEB)
    assert [volume.name for volume in vmi.spec.volumes] == ["root", "data"]
    assert (await api.put(VMIS, "web", "removevolume", {"name": "data"}))[0] == 202
    vmi = await api.client.get(VirtualMachineInstance, WEB)
    assert [volume.name for volume in vmi.spec.volumes] == ["root"]


async def test_expansion(api: VirtApi) -> None:
    kind = {
        "apiVersion": "instancetype.kubevirt.io/v1beta1",
        "kind": "VirtualMachineClusterInstancetype",
        "metadata": {"name": "small"},
        "spec": {"cpu": {"guest": 2}, "memory": {"guest": "1Gi"}},
    }
    path = "/apis/instancetype.kubevirt.io/v1beta1/virtualmachineclusterinstancetypes"
    async with api.http.post(path, json=kind) as answer:
        assert answer.status == 201
    template = {"spec": {**guest(), "domain": {"devices": {}}}}
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "web"},
        "spec": {"runStrategy": "Halted", "instancetype": {"name": "small"}, "template": template},
    }
    expand = f"{ROOT}/namespaces/default/expand-vm-spec"
    async with api.http.put(expand, json=vm) as answer:
        body = await answer.json()
    assert answer.status == 200
    assert "instancetype" not in body["spec"]
    domain = body["spec"]["template"]["spec"]["domain"]
    assert domain["cpu"] == {"cores": 1, "sockets": 2, "threads": 1}
    assert domain["memory"] == {"guest": "1Gi"}
    async with api.http.put(expand) as answer:
        assert answer.status == 400
    async with api.http.put(expand, json={**vm, "metadata": {"name": "web", "namespace": "other"}}) as answer:
        assert answer.status == 400
    async with api.http.post("/apis/kubevirt.io/v1/namespaces/default/virtualmachines", json=vm) as answer:
        assert answer.status == 201, await answer.text()
    code, body = await api.get(api.path(VMS, "web", "expand-spec"))
    assert (code, body["spec"]["template"]["spec"]["domain"]["cpu"]["sockets"]) == (200, 2)


async def test_life_of_a_guest(api: VirtApi, agent: FakeAgent) -> None:
    await api.vmi()
    assert await api.put(VMIS, "web", "pause", {"dryRun": ["All"]}) == (200, "")
    assert agent.asked == []
    assert await api.put(VMIS, "web", "pause") == (200, "")
    assert await api.put(VMIS, "web", "freeze", {"unfreezeTimeout": "1m"}) == (200, "")
    assert await api.put(VMIS, "web", "reset") == (200, "")
    assert agent.asked == [("PUT", "pause", {}), ("PUT", "freeze", {"unfreezeTimeout": "1m"}), ("PUT", "reset", {})]
    assert (await api.put(VMIS, "web", "unpause"))[1]["message"].endswith(": VMI is not paused")
    await api.client.patch(
        VirtualMachineInstance, WEB, {"status": {"conditions": [condition("Paused")]}}, how=Patch.MERGE
    )
    assert (await api.put(VMIS, "web", "pause"))[1]["message"].endswith(": VMI is already paused")
    assert (await api.put(VMIS, "web", "softreboot"))[0] == 409
    agent.refuse["unpause"] = (500, "qemu has hung")
    assert await api.put(VMIS, "web", "unpause") == (
        500,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "Internal error occurred: qemu has hung",
            "reason": "InternalError",
            "details": {"causes": [{"message": "qemu has hung"}]},
            "code": 500,
        },
    )


async def test_reading_from_guests(api: VirtApi, agent: FakeAgent) -> None:
    path = api.path(VMIS, "web", "guestosinfo")
    assert await api.get(path) == (500, 'virtualmachineinstance.kubevirt.io "web" not found')
    await api.vmi()
    code, text = await api.get(path)
    assert (code, text.endswith("VMI does not have guest agent connected")) == (500, True)
    await api.client.patch(
        VirtualMachineInstance, WEB, {"status": {"conditions": [condition("AgentConnected")]}}, how=Patch.MERGE
    )
    code, body = await api.get(path)
    assert (code, body["kind"], body["hostname"]) == (200, "VirtualMachineInstanceGuestAgentInfo", "guest")
    async with api.http.get(api.path(VMIS, "web", "vnc/screenshot")) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", b"\x89PNG")


async def test_cancelled_evacuation(api: VirtApi, agent: FakeAgent) -> None:
    await api.vm(runStrategy="Always")
    await api.vmi(evacuationNodeName="node01")
    cancel = {"evacuationNodeName": "node02"}
    assert (await api.put(VMS, "web", "evacuate/cancel"))[0] == 400
    assert (await api.put(VMS, "web", "evacuate/cancel", cancel))[0] == 500
    assert (await api.put(VMS, "web", "evacuate/cancel", {"evacuationNodeName": "node01"}))[0] == 200
    assert (await api.client.get(VirtualMachineInstance, WEB)).status.evacuation_node_name is None
    assert (await api.put(VMIS, "web", "evacuate/cancel", cancel))[0] == 200


async def test_object_graph_needs_its_gate(api: VirtApi) -> None:
    await api.vm()
    assert (await api.get(api.path(VMS, "web", "objectgraph")))[0] == 400
    await api.gates("ObjectGraph")
    code, body = await api.get(api.path(VMS, "web", "objectgraph"))
    assert (code, body["objectReference"]["name"]) == (200, "web")


async def test_memory_dump(api: VirtApi, agent: FakeAgent) -> None:
    await api.vm(runStrategy="Always")
    assert (await api.put(VMS, "web", "memorydump"))[0] == 400
    assert (await api.put(VMS, "web", "memorydump", {"claimName": "dump"}))[0] == 404
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "dump"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    async with api.http.post(claims, json=claim) as answer:
        assert answer.status == 201
    async with api.http.post(
        claims,
        json={
            **claim,
            "metadata": {"name": "big"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
        },
    ) as answer:
        assert answer.status == 201
    await api.vmi()
    code, body = await api.put(VMS, "web", "memorydump", {"claimName": "dump"})
    assert code == 409
    assert "pvc size [1Gi] should be bigger then [1243422393]" in body["message"]
    assert (await api.put(VMS, "web", "memorydump", {"claimName": "big"}))[0] == 202
    assert (await api.put(VMS, "web", "memorydump", {"claimName": "big"}))[0] == 409
    request = (await api.client.get(VirtualMachine, WEB)).status.memory_dump_request
    assert request is not None
    assert (request.claim_name, request.phase) == ("big", "Associating")
    assert (await api.put(VMS, "web", "removememorydump"))[0] == 202
    assert (await api.put(VMS, "web", "removememorydump"))[0] == 409


async def test_upload_tokens(api: VirtApi, tmp_path: Path) -> None:
    path = "/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/default/uploadtokenrequests"
    async with api.http.post(path, json={"spec": {"pvcName": "disk"}}) as answer:
        token = (await answer.json())["status"]["token"]
    key = wiring.load_upload_key(tmp_path / "upload.pem").public_key()
    assert tokens.verify(key, token, time.time()) == tokens.Token("Upload", "default", "disk")


# Streams


async def connect(api: VirtApi, verb: str, name: str = "web") -> aiohttp.ClientWebSocketResponse:
    return await api.http.ws_connect(api.path(VMIS, name, verb), protocols=(PROTOCOL,))


async def text(socket: aiohttp.ClientWebSocketResponse, length: int) -> bytes:
    found = b""
    async with asyncio.timeout(10):
        while len(found) < length:
            found += await socket.receive_bytes()
    return found


async def test_streams_are_refused_before_the_upgrade(api: VirtApi, agent: FakeAgent) -> None:
    path = api.path(VMIS, "web", "console")
    assert (await api.get(path))[0] == 404
    await api.vmi(phase="Scheduling")
    code, body = await api.get(path)
    assert (code, body["message"]) == (400, "VMI is not running")
    assert (await api.get(api.path(VMIS, "web", "usbredir")))[0] == 409
    await api.client.patch(VirtualMachineInstance, WEB, {"status": {"phase": "Running"}}, how=Patch.MERGE)
    agent.refuse["vnc"] = (503, "Active VNC connection. Request denied.")
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect(api, "vnc?preserveSession=true")
    assert caught.value.status == 500
    code, body = await api.get(api.path(VMIS, "web", "portforward/0"))
    assert code == 400


async def test_the_refusal_of_an_agent_is_told(api: VirtApi, agent: FakeAgent) -> None:
    await api.vmi()
    agent.refuse["vnc"] = (503, "Active VNC connection. Request denied.")
    code, body = await api.get(api.path(VMIS, "web", "vnc"))
    assert (code, body["message"]) == (500, "Internal error occurred: Active VNC connection. Request denied.")


async def test_ports_carry_bytes_both_ways(api: VirtApi, agent: FakeAgent) -> None:
    await api.vmi()
    async with await connect(api, "portforward/22/tcp") as socket:
        assert socket.protocol == PROTOCOL
        for size in (1, 10240, 300_000):
            await socket.send_bytes(b"a" * size)
            assert await text(socket, size) == b"a" * size
    assert agent.asked == [("GET", "portforward/22/tcp", {})]
    async with api.http.ws_connect(api.path(VMIS, "web", "portforward/53/udp")) as socket:
        assert socket.protocol is None  # offering none is fine
        await socket.send_str("text is ignored")
        await socket.send_bytes(b"datagram")
        assert await text(socket, 8) == b"datagram"


async def test_ports_of_a_vm(api: VirtApi, agent: FakeAgent) -> None:
    await api.vm(runStrategy="Always")
    await api.vmi()
    path = api.path(VMS, "web", "portforward/80")
    assert (await api.get(path))[1]["message"].endswith(": VMI is not started")
    await api.client.patch_status(VirtualMachine, WEB, {"created": True})
    async with api.http.ws_connect(path, protocols=(PROTOCOL,)) as socket:
        await socket.send_bytes(b"hello")
        assert await text(socket, 5) == b"hello"


async def test_a_displaced_viewer_is_cut_off(api: VirtApi, agent: FakeAgent) -> None:
    await api.vmi()
    async with await connect(api, "vnc") as socket:
        await socket.send_bytes(b"RFB")
        assert await text(socket, 3) == b"RFB"
        await agent.leave(DISPLACED)
        message = await socket.receive(timeout=10)
    assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)
    assert socket.close_code == 1006


async def test_a_slow_reader_slows_the_guest_down(api: VirtApi, agent: FakeAgent) -> None:
    await api.vmi()
    agent.flood = 64 * 2**20
    async with await connect(api, "portforward/80/tcp") as socket:
        sent, quiet = -1, 0
        while quiet < 5:  # until nothing more fits into the sockets' buffers
            quiet = quiet + 1 if agent.sent == sent else 0
            sent = agent.sent
            await asyncio.sleep(0.05)
        assert sent < agent.flood // 2
        received = 0
        async with asyncio.timeout(30):
            while received < agent.flood:
                received += len(await socket.receive_bytes())


async def test_a_console_follows_its_guest(api: VirtApi, agent: FakeAgent) -> None:
    """From node to node and over restarts of agents, without a byte lost or told twice."""
    await api.vmi()
    await agent.say(b"boot ")
    async with running_agent(api.server.pki, "node02") as other:
        await api.node(other, "node02")
        async with await connect(api, "console") as socket:
            assert await text(socket, 5) == b"boot "
            await socket.send_bytes(b"root\n")
            await agent.wait_for(lambda: agent.typed == b"root\n")
            other.first = 0
            await other.say(b"boot moved ")
            await agent.leave(MOVED)
            await api.client.patch(VirtualMachineInstance, WEB, {"status": {"nodeName": "node02"}}, how=Patch.MERGE)
            assert await text(socket, 6) == b"moved "
            assert other.asked == [("GET", "console", {"from": "5"})]
            await socket.send_bytes(b"ls\n")
            await other.wait_for(lambda: other.typed == b"ls\n")
            await other.leave(RESTART)
            await socket.send_bytes(b"pwd\n")
            other.gone = False
            await other.say(b"again")
            assert await text(socket, 5) == b"again"
            await other.wait_for(lambda: other.typed == b"ls\npwd\n")


async def test_a_console_ends_with_its_guest(api: VirtApi, agent: FakeAgent) -> None:
    await api.vmi()
    async with await connect(api, "console") as socket:
        await agent.say(b"bye")
        assert await text(socket, 3) == b"bye"
        await api.client.patch(VirtualMachineInstance, WEB, {"status": {"phase": "Succeeded"}}, how=Patch.MERGE)
        await agent.leave(RESTART)
        message = await socket.receive(timeout=10)
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert socket.close_code == 1000


# Admission in the same server


async def test_an_eviction_becomes_a_move(api: VirtApi, agent: FakeAgent) -> None:
    """With the embedded server's own eviction endpoint in between."""
    await api.vmi(conditions=[condition("LiveMigratable")])
    await api.client.patch(VirtualMachineInstance, WEB, {"spec": {"evictionStrategy": "LiveMigrate"}}, how=Patch.MERGE)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "virt-launcher-web-x", "annotations": {"kubevirt.io/domain": "web"}},
        "spec": {"nodeName": "node01", "containers": [{"name": "compute", "image": "x"}]},
    }
    pods = "/api/v1/namespaces/default/pods"
    async with api.http.post(pods, json=pod) as answer:
        assert answer.status == 201, await answer.text()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "virt-launcher-web-x"}}
    async with api.http.post(f"{pods}/virt-launcher-web-x/eviction", json=eviction) as answer:
        body = await answer.json()
    assert answer.status == 429
    assert body["message"] == (
        'admission webhook "virt-launcher-eviction-interceptor.kubevirt.io" denied the request: '
        'Eviction triggered evacuation of VMI "default/web"'
    )
    assert (await api.client.get(VirtualMachineInstance, WEB)).status.evacuation_node_name == "node01"


async def test_admission_speaks_with_its_webhooks_name(api: VirtApi) -> None:
    spec = guest()
    spec["domain"]["devices"]["disks"][0]["disk"]["bus"] = "ide"
    vmi = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "a"}, "spec": spec}
    path = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
    async with api.http.post(path, json=vmi) as answer:
        body = await answer.json()
    assert answer.status == 422
    assert body["message"] == (
        'admission webhook "virtualmachineinstances-create-validator.kubevirt.io" denied the request: '
        "IDE bus is not supported"
    )
    assert body["details"]["causes"][0]["field"] == "spec.domain.devices.disks[0].disk.bus"


async def test_the_stored_instance_has_its_defaults(api: VirtApi, agent: FakeAgent) -> None:
    await api.vmi()
    vmi = await api.client.get(VirtualMachineInstance, WEB)
    assert vmi.spec.domain.cpu is not None
    assert (vmi.spec.domain.cpu.model, vmi.spec.domain.cpu.max_sockets) == ("host-model", 4)
    with pytest.raises(Invalid, match="update of VMI object is restricted"):
        async with api.http.patch(
            "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/web",
            data=json.dumps({"spec": {"hostname": "other"}}),
            headers={"Content-Type": "application/merge-patch+json"},
        ) as answer:
            raise Invalid(await answer.text())
