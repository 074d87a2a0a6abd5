"""What an agent makes of Pods and instances, seen through the API."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kvtui.api.core.config import Event
from kvtui.api.core.node import Lease, Node
from kvtui.api.core.parts import PersistentVolumeClaimSpec, VolumeResourceRequirements
from kvtui.api.core.pod import Container, Pod, PodSpec
from kvtui.api.core.storage import (
    LocalVolumeSource,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeSpec,
)
from kvtui.api.kubevirt.config import KubeVirt, KubeVirtConfiguration, KubeVirtSpec
from kvtui.api.kubevirt.domain import Disk, DiskTarget, Firmware
from kvtui.api.kubevirt.vmi import (
    ContainerDiskSource,
    PersistentVolumeClaimVolumeSource,
    VirtualMachineInstance,
    Volume,
)
from kvtui.api.meta import ObjectMeta
from kvtui.client.rest import Patch
from kvtui.node.hypervisor import DomainId, DomainState, HypervisorRefused
from kvtui.node.owner import URI
from kvtui.node.registration import LEASES
from tests.node.builders import NODE, UUID, gate, launcher, vmi
from tests.node.conftest import Bench, condition, is_ready, key, phase

DOMAIN = DomainId(UUID)
SECOND_UID = "7f0c1f4e-0000-4000-8000-000000000002"
FINALIZER = {"finalizers": ["kvtui.io/test"]}


async def reasons(bench: Bench, name: str) -> set[str]:
    listed = await bench.client.list(Event, "default")
    return {e.reason for e in listed.items if e.involved_object.name == name}


async def test_the_node_registers_with_labels_capacity_and_lease(bench: Bench) -> None:
    node = await bench.until(
        Node, ("", NODE), lambda n: n is not None and n.metadata.labels.get("kubevirt.io/schedulable") == "true"
    )
    assert node is not None
    labels = node.metadata.labels
    assert labels["kvtui.io/accelerator"] == "emulation"
    assert labels["machine-type.node.kubevirt.io/q35"] == "true"
    assert labels["cpu-model.node.kubevirt.io/Nehalem"] == "true"
    assert "cpu-model.node.kubevirt.io/qemu64" not in labels
    assert labels["host-model-cpu.node.kubevirt.io/EPYC"] == "true"
    node = await bench.until(Node, ("", NODE), lambda n: n is not None and "cpu" in n.status.capacity)
    assert node is not None
    assert node.status.capacity["cpu"] == "4"
    assert node.status.capacity["devices.kubevirt.io/kvm"] == "0"
    lease = await bench.until(Lease, (LEASES, NODE), lambda found: found is not None)
    assert lease is not None
    assert lease.spec.holder_identity == NODE


async def test_a_host_model_that_the_cluster_calls_obsolete_is_told_and_labelled(bench: Bench) -> None:
    label = "node-labeller.kubevirt.io/obsolete-host-model"
    configuration = KubeVirtConfiguration(obsolete_cpu_models={"EPYC": True})
    about = ObjectMeta(name="kubevirt", namespace="default")
    made = await bench.client.create(KubeVirt(metadata=about, spec=KubeVirtSpec(configuration=configuration)))
    await bench.until(Node, ("", NODE), lambda n: n is not None and n.metadata.labels.get(label) == "true")

    async def told() -> bool:
        events = (await bench.client.list(Event, "default")).items
        return ("HostModelIsObsolete", "node-labeller", NODE) in {
            (e.reason, e.source.component, e.involved_object.name) for e in events
        }

    await bench.eventually(told)
    await bench.client.delete(KubeVirt, made.key)
    await bench.until(Node, ("", NODE), lambda n: n is not None and label not in n.metadata.labels)


async def test_an_instance_runs_and_its_pod_has_an_address(bench: Bench) -> None:
    instance, pod = await bench.run(vmi())
    ready = await bench.until(Pod, pod.key, is_ready)
    assert ready is not None
    assert ready.status.pod_ip == "10.244.0.2"
    assert instance.status is not None
    assert [i.name for i in instance.status.interfaces] == ["default"]
    assert instance.status.interfaces[0].ip_address == "10.244.0.2"
    assert [v.target for v in instance.status.volume_status] == ["vda"]
    assert instance.status.migration_method == "BlockMigration"
    assert bench.hypervisor.fakes[DOMAIN].status.state is DomainState.RUNNING
    await bench.agent.recorder.wait_written()
    assert {"Created", "Started"} <= await reasons(bench, "vm1")


async def test_a_pod_is_ready_only_when_its_gates_are_open(bench: Bench) -> None:
    created = await bench.client.create(vmi())
    wanted = launcher(created)
    gated = await bench.client.create(
        Pod(
            metadata=wanted.metadata,
            spec=PodSpec(containers=wanted.spec.containers, node_name=NODE, readiness_gates=[gate("kubevirt.io/gate")]),
        )
    )
    running = await bench.until(Pod, gated.key, lambda p: p is not None and p.status.phase == "Running")
    assert not is_ready(running)
    body = {"status": {"conditions": [{"type": "kubevirt.io/gate", "status": "True"}]}}
    await bench.client.patch(Pod, gated.key, body, how=Patch.STRATEGIC, subresource="status")
    assert is_ready(await bench.until(Pod, gated.key, is_ready))


async def test_a_pod_that_is_neither_launcher_nor_worker_is_refused(bench: Bench) -> None:
    pod = await bench.client.create(
        Pod(
            metadata=ObjectMeta(name="web", namespace="default"),
            spec=PodSpec(containers=[Container(name="nginx", image="nginx")], node_name=NODE),
        )
    )
    failed = await bench.until(Pod, pod.key, lambda p: p is not None and p.status.phase == "Failed")
    assert failed is not None
    assert failed.status.reason == "UnsupportedPod"
    await bench.client.delete(Pod, pod.key)
    assert await bench.until(Pod, pod.key, lambda p: p is None) is None


async def test_a_deleted_instance_shuts_down_and_leaves_nothing(bench: Bench) -> None:
    _, pod = await bench.run(vmi(meta=FINALIZER))
    await bench.client.delete(VirtualMachineInstance, key())
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Succeeded")
    ended = await bench.until(Pod, pod.key, lambda p: p is not None and p.status.phase == "Succeeded")
    assert ended is not None
    await bench.eventually(lambda: not bench.hypervisor.fakes and not len(bench.agent.records))
    assert bench.networks.made == {}
    assert list(bench.layout.vms.iterdir()) == []
    await bench.client.delete(Pod, pod.key)
    assert await bench.until(Pod, pod.key, lambda p: p is None) is None


async def test_a_guest_that_does_not_listen_is_asked_again_and_then_killed(bench: Bench) -> None:
    await bench.run(vmi(meta=FINALIZER, termination_grace_period_seconds=3))
    fake = bench.hypervisor.fakes[DOMAIN]
    fake.obeys = False
    await bench.client.delete(VirtualMachineInstance, key())
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Failed")
    assert fake.asked >= 2


async def test_an_instance_without_grace_is_killed_at_once(bench: Bench) -> None:
    await bench.run(vmi(meta=FINALIZER, termination_grace_period_seconds=0))
    fake = bench.hypervisor.fakes[DOMAIN]
    await bench.client.delete(VirtualMachineInstance, key())
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Succeeded")
    assert fake.asked == 0


async def test_a_guest_that_powers_off_has_succeeded(bench: Bench) -> None:
    await bench.run(vmi(meta=FINALIZER))
    bench.hypervisor.guest_powers_off(DOMAIN)
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Succeeded")


async def test_a_guest_that_crashes_has_failed_and_so_has_its_pod(bench: Bench) -> None:
    _, pod = await bench.run(vmi(meta=FINALIZER))
    bench.hypervisor.guest_crashes(DOMAIN)
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Failed")
    assert await bench.until(Pod, pod.key, lambda p: p is not None and p.status.phase == "Failed")


async def test_deleting_the_launcher_shuts_the_guest_down(bench: Bench) -> None:
    _, pod = await bench.run(vmi(meta=FINALIZER))
    await bench.client.delete(Pod, pod.key)
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Succeeded")
    assert await bench.until(Pod, pod.key, lambda p: p is None) is None


async def test_a_new_agent_adopts_running_guests_and_keeps_paused_ones_paused(bench: Bench) -> None:
    await bench.run(vmi())
    record = next(iter(bench.agent.records))
    await bench.agent.domains.pause(record)
    await bench.until(VirtualMachineInstance, key(), lambda v: condition(v, "Paused") == "True")
    await bench.stop_agent()
    await bench.start_agent()
    await bench.eventually(lambda: bench.agent.consoles.get(record.uid) is not None)
    assert bench.hypervisor.fakes[DOMAIN].status.state is DomainState.PAUSED
    await bench.agent.domains.unpause(next(iter(bench.agent.records)))
    await bench.until(VirtualMachineInstance, key(), lambda v: condition(v, "Paused") == "")


async def test_what_was_deleted_while_no_agent_ran_is_shut_down_by_the_next_one(bench: Bench) -> None:
    await bench.run(vmi())
    await bench.stop_agent()
    await bench.client.delete(VirtualMachineInstance, key())
    await bench.start_agent()
    await bench.eventually(lambda: not bench.hypervisor.fakes)


async def test_a_daemon_that_is_away_changes_nothing_about_its_guests(bench: Bench) -> None:
    await bench.run(vmi())
    bench.hypervisor.disconnect()
    node = await bench.until(
        Node,
        ("", NODE),
        lambda n: n is not None and any(c.type == "Ready" and c.status == "False" for c in n.status.conditions),
    )
    assert node is not None
    found = await bench.client.get(VirtualMachineInstance, key())
    assert phase(found) == "Running"
    bench.hypervisor.reconnect()
    await bench.until(
        Node,
        ("", NODE),
        lambda n: n is not None and any(c.type == "Ready" and c.status == "True" for c in n.status.conditions),
    )
    assert bench.hypervisor.fakes[DOMAIN].status.state is DomainState.RUNNING


async def test_a_guest_that_ended_while_the_daemon_was_away_is_reported_afterwards(bench: Bench) -> None:
    await bench.run(vmi(meta=FINALIZER))
    bench.hypervisor.disconnect()
    bench.hypervisor.guest_powers_off(DOMAIN)
    bench.hypervisor.reconnect()
    assert await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Succeeded")


async def test_libvirts_own_words_reach_the_instance(bench: Bench) -> None:
    bench.hypervisor.refusals["start"] = HypervisorRefused("internal error: qemu unexpectedly closed the monitor", 1)
    created, _ = await bench.create(vmi())
    await bench.hand_over(created)
    failed = await bench.until(
        VirtualMachineInstance, created.key, lambda v: condition(v, "Synchronized") == "False" or phase(v) == "Running"
    )
    assert failed is not None
    assert failed.status is not None
    assert "closed the monitor" in (failed.status.conditions[0].message or "")
    running = await bench.until(VirtualMachineInstance, created.key, lambda v: phase(v) == "Running")
    assert condition(running, "Synchronized") == ""


class _Refusals(dict[str, HypervisorRefused]):
    """Every start fails, each time in other words, as with QEMU's time stamps."""

    starts = 0

    def pop(self, name: str, default: Any = None) -> Any:
        if name != "start":
            return default
        self.starts += 1
        return HypervisorRefused(f"{self.starts}: qemu unexpectedly closed the monitor", 1)


async def test_that_a_failed_start_is_told_is_no_reason_to_try_again(bench: Bench) -> None:
    await bench.configure(start_retry=3600.0)
    refusals = bench.hypervisor.refusals = _Refusals()
    created, _ = await bench.create(vmi())
    await bench.hand_over(created)
    told = await bench.until(VirtualMachineInstance, created.key, lambda v: condition(v, "Synchronized") == "False")
    await bench.client.patch(VirtualMachineInstance, created.key, {"metadata": {"labels": {"seen": "yes"}}})
    bench.hypervisor.refusals = {}
    other = Firmware(uuid="7a1e3c5d-0000-4000-8000-000000000002")
    await bench.run(vmi("vm2", uid=SECOND_UID, domain={"firmware": other}))
    assert told is not None
    assert refusals.starts == 1
    left = await bench.client.get(VirtualMachineInstance, created.key)
    assert phase(left) == "Scheduled"


async def test_two_guests_with_one_uuid_are_told_and_the_first_runs_on(bench: Bench) -> None:
    await bench.run(vmi())
    second, _ = await bench.create(vmi("vm2", uid=SECOND_UID))
    await bench.hand_over(second)
    told = await bench.until(
        VirtualMachineInstance,
        second.key,
        lambda v: condition(v, "Synchronized") == "False" and phase(v) == "Scheduled",
    )
    assert told is not None
    words = next(c.message or "" for c in told.status.conditions if c.type == "Synchronized")
    assert words.startswith(f"the UUID {UUID} is that of default/vm1")
    assert bench.hypervisor.fakes[DOMAIN].status.state is DomainState.RUNNING


async def test_a_guest_with_a_plugged_volume_starts_with_it_once_it_is_mounted(bench: Bench) -> None:
    plugged = Volume(
        name="data", persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name="data", hotpluggable=True)
    )
    image = bench.layout.storage / "pv" / "disk.img"
    await bench.client.create(volume("data", str(image.parent)))
    bound = await bench.client.create(claim("data"))
    await bench.client.patch_status(
        PersistentVolumeClaim, bound.key, {"phase": "Bound", "capacity": {"storage": "8Mi"}}
    )
    created, _ = await bench.create(vmi(volumes=[plugged]))
    await bench.hand_over(created)
    entry = {"name": "data", "phase": "AttachedToNode", "target": "", "hotplugVolume": {"attachPodName": "p"}}
    await bench.client.patch(VirtualMachineInstance, created.key, {"status": {"volumeStatus": [entry]}})
    running = await bench.until(
        VirtualMachineInstance,
        created.key,
        lambda v: v is not None and [s.phase for s in v.status.volume_status] == ["Ready"],
    )
    assert running is not None
    assert image.exists()
    await bench.agent.recorder.wait_written()
    assert {"VolumeMountedToPod", "VolumeReady"} <= await reasons(bench, "vm1")


async def test_a_volume_that_is_not_there_is_told_after_a_while_and_waited_for(bench: Bench, tmp_path: Path) -> None:
    await bench.configure(start_patience=0.0)
    gone = tmp_path / "by-hand"
    await bench.client.create(volume("data", str(gone)))
    bound = await bench.client.create(claim("data"))
    await bench.client.patch_status(PersistentVolumeClaim, bound.key, {"phase": "Bound"})
    source = PersistentVolumeClaimVolumeSource(claim_name="data")
    created, _ = await bench.create(vmi(volumes=[Volume(name="data", persistent_volume_claim=source)]))
    await bench.hand_over(created)
    told = await bench.until(VirtualMachineInstance, created.key, lambda v: condition(v, "Synchronized") == "False")
    assert told is not None
    assert [c.message for c in told.status.conditions if c.type == "Synchronized"] == [
        f"the directory {gone} is not there"
    ]
    gone.mkdir()
    running = await bench.until(VirtualMachineInstance, created.key, lambda v: phase(v) == "Running")
    assert condition(running, "Synchronized") == ""


async def test_a_claim_that_is_only_read_is_neither_written_nor_filled(bench: Bench) -> None:
    image = bench.layout.storage / "pv" / "disk.img"
    await bench.client.create(volume("data", str(image.parent)))
    bound = await bench.client.create(claim("data"))
    await bench.client.patch_status(PersistentVolumeClaim, bound.key, {"phase": "Bound"})
    source = PersistentVolumeClaimVolumeSource(claim_name="data", read_only=True)
    volumes = [Volume(name="data", persistent_volume_claim=source)]
    written, _ = await bench.create(vmi("writer", uid=SECOND_UID, volumes=volumes))
    await bench.hand_over(written)
    told = await bench.until(VirtualMachineInstance, written.key, lambda v: condition(v, "Synchronized") == "False")
    assert told is not None
    assert [c.message for c in told.status.conditions if c.type == "Synchronized"] == [
        "persistentVolumeClaim.readOnly of volume data wants its disk to be readonly too"
    ]
    assert not image.exists()
    image.parent.mkdir(parents=True)
    image.write_bytes(bytes(2**20))
    disks = [Disk(name="data", disk=DiskTarget(bus="virtio", readonly=True))]
    await bench.run(vmi(volumes=volumes, devices={"disks": disks}))


def volume(name: str, directory: str) -> PersistentVolume:
    return PersistentVolume(
        metadata=ObjectMeta(name=f"pv-{name}"),
        spec=PersistentVolumeSpec(
            capacity={"storage": "8Mi"},
            access_modes=["ReadWriteOnce"],
            local=LocalVolumeSource(path=directory),
            claim_ref=ObjectReference(kind="PersistentVolumeClaim", namespace="default", name=name),
        ),
    )


def claim(name: str) -> PersistentVolumeClaim:
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=PersistentVolumeClaimSpec(
            access_modes=["ReadWriteOnce"],
            resources=VolumeResourceRequirements(requests={"storage": "8Mi"}),
            volume_name=f"pv-{name}",
        ),
    )


async def test_an_image_that_cannot_be_had_is_told_on_the_pod(bench: Bench) -> None:
    broken = vmi(volumes=[Volume(name="x", container_disk=ContainerDiskSource(image="registry/none:1"))])
    _, pod = await bench.create(broken)
    waiting = await bench.until(
        Pod,
        pod.key,
        lambda p: p is not None and any(c.state.waiting is not None for c in p.status.container_statuses),
    )
    assert waiting is not None
    state = waiting.status.container_statuses[0].state.waiting
    assert state is not None
    assert state.reason == "ErrImageNeverPull"
    assert "registry/none:1" in state.message


async def test_a_network_that_fails_is_tried_again(bench: Bench) -> None:
    bench.networks.failures = 1
    instance, pod = await bench.run(vmi())
    assert phase(instance) == "Running"
    await bench.agent.recorder.wait_written()
    assert "FailedCreatePodSandBox" in await reasons(bench, pod.metadata.name)


async def test_an_io_error_is_told_and_the_guest_is_resumed(bench: Bench) -> None:
    await bench.run(vmi())
    bench.hypervisor.disk_fails(DOMAIN, "vda", no_space=True)
    await bench.eventually(lambda: bench.hypervisor.fakes[DOMAIN].status.state is DomainState.RUNNING)


async def test_an_instance_can_be_made_again_under_the_same_name(bench: Bench) -> None:
    _, pod = await bench.run(vmi())
    await bench.client.delete(VirtualMachineInstance, key())
    await bench.eventually(lambda: not len(bench.agent.records))
    await bench.client.delete(Pod, pod.key)
    await bench.until(Pod, pod.key, lambda p: p is None)
    again, _ = await bench.run(vmi())
    assert phase(again) == "Running"


async def test_a_launcher_whose_state_was_lost_is_failed(bench: Bench) -> None:
    instance, pod = await bench.run(vmi())
    await bench.stop_agent()
    (bench.layout.vms / instance.metadata.uid / "record.json").unlink()
    (bench.layout.vms / instance.metadata.uid).rename(bench.layout.node / "away")
    await bench.start_agent()
    failed = await bench.until(Pod, pod.key, lambda p: p is not None and p.status.phase == "Failed")
    assert failed is not None
    assert failed.status.container_statuses[0].state.terminated is not None


def tls(bench: Bench, name: str, groups: list[str]) -> ssl.SSLContext:
    pair = bench.server.client_pair(name, groups)
    return bench.server.tls(pair)


@pytest.mark.parametrize(
    ("name", "groups", "path", "status"),
    [
        ("kvtui-apiserver", ["kvtui:apiserver"], "/metrics/resource", 200),
        ("system:node:other", ["system:nodes"], "/metrics/resource", 403),
        (
            "system:node:other",
            ["system:nodes"],
            "/v1/namespaces/default/virtualmachineinstances/none/migration/target",
            404,
        ),
        ("somebody", ["system:authenticated"], "/metrics/resource", 403),
        ("somebody", [], "/healthz", 200),
    ],
)
async def test_only_the_api_server_and_other_agents_may_call(
    bench: Bench, name: str, groups: list[str], path: str, status: int
) -> None:
    await bench.agent.server.started.wait()
    await bench.hypervisor.wait_connected()
    url = f"https://127.0.0.1:{bench.agent.server.port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=tls(bench, name, groups)) as answer:
        assert answer.status == status


async def test_a_caller_without_certificate_is_not_let_in(bench: Bench) -> None:
    await bench.agent.server.started.wait()
    context = ssl.create_default_context(cafile=str(bench.server.ca))
    url = f"https://127.0.0.1:{bench.agent.server.port}/healthz"
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(url, ssl=context)


async def test_a_domain_that_nobody_wants_any_more_is_removed(bench: Bench) -> None:
    await bench.hypervisor.wait_connected()
    await bench.stop_agent()
    vmi_tag = f"<k:vmi xmlns:k='{URI}' engine='engine' namespace='default' name='ghost' uid='gone'/>"
    text = f"<domain><name>default_ghost</name><uuid>{UUID}</uuid><metadata>{vmi_tag}</metadata><devices/></domain>"
    await bench.hypervisor.start(await bench.hypervisor.define(text))
    stranger = await bench.hypervisor.define("<domain><name>stranger</name><devices/></domain>")
    await bench.hypervisor.start(stranger)
    await bench.start_agent()
    await bench.eventually(lambda: DOMAIN not in bench.hypervisor.fakes)
    assert bench.hypervisor.fakes[stranger].status.state is DomainState.RUNNING


@pytest.mark.parametrize("how", ["gone", "damaged"])
async def test_a_guest_whose_record_is_lost_goes_on(bench: Bench, how: str) -> None:
    instance, pod = await bench.run(vmi())
    await bench.stop_agent()
    path = bench.layout.vm(instance.metadata.uid).record
    if how == "gone":
        path.unlink()
    else:
        path.write_text("{")
    await bench.start_agent()

    def known() -> bool:
        record = bench.agent.records.get(instance.metadata.uid)
        return record is not None and (record.pod_uid, record.domain) == (pod.metadata.uid, UUID)

    await bench.eventually(known)
    assert bench.hypervisor.fakes[DOMAIN].status.state is DomainState.RUNNING
    assert phase(await bench.client.get(VirtualMachineInstance, instance.key)) == "Running"
