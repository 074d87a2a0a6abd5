"""Live migrations on a real API server with all controllers; both agents are played."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from kvtui.api.core.config import Event, Namespace
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim
from kvtui.api.kubevirt.config import KubeVirt
from kvtui.api.kubevirt.migration import MigrationPolicy, VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.times import to_time
from kvtui.api.wire import from_wire, to_wire
from kvtui.controllers import conditions, names
from kvtui.errors import AlreadyExists
from tests.controllers.engine import player
from tests.controllers.engine.player import NAMESPACE
from tests.controllers.engine.test_machines import WEB, manifest
from tests.controllers.engine.test_volumes import STORAGE, storage_node
from tests.controllers.plane import Plane, control_plane, now

MOVE = (NAMESPACE, "move")
Migration = VirtualMachineInstanceMigration
Vmi = VirtualMachineInstance


@contextlib.asynccontextmanager
async def two_nodes(directory: Path, **over: Any) -> AsyncIterator[Plane]:
    """A VM that runs on one of two nodes."""
    async with control_plane(directory) as plane:
        await player.join(plane, "node-1")
        await player.join(plane, "node-2")
        await plane.client.create(manifest(**over))
        await player.boot(plane, "web")
        yield plane


async def ask(plane: Plane, name: str = "move") -> Migration:
    body = {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"vmiName": "web"}}
    return await plane.client.create(from_wire(body, Migration))


def in_phase(phase: str) -> Any:
    return lambda m: m is not None and m.status.phase == phase


async def hand_over(plane: Plane, migration: Migration) -> tuple[Vmi, Pod]:
    """Plays the target's kubelet until the VMI shows the hand-off."""
    vmi = await plane.client.get(Vmi, WEB)
    target = await player.launcher_of(plane, vmi, of=migration.metadata.uid)
    await player.set_pod(plane, target, "Running", ready=True)
    await plane.until(Migration, migration.key, in_phase("PreparingTarget"))
    return await plane.client.get(Vmi, WEB), target


async def start_copy(plane: Plane) -> None:
    await player.set_vmi(plane, "web", migrationState={"targetNodeAddress": "10.0.0.2"})
    await plane.until(Migration, MOVE, in_phase("TargetReady"))
    await player.set_vmi(plane, "web", migrationState={"startTimestamp": to_time(now())})
    await plane.until(Migration, MOVE, in_phase("Running"))


async def test_a_vm_moves_to_the_other_node(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as plane:
        source = (await plane.client.get(Vmi, WEB)).status.node_name
        policy = {
            "metadata": {"name": "gentle"},
            "spec": {
                "bandwidthPerMigration": "64Mi",
                "selectors": {"virtualMachineInstanceSelector": {"app": "web"}},
            },
        }
        await plane.client.create(from_wire(policy, MigrationPolicy))
        await plane.until(MigrationPolicy, ("", "gentle"), lambda p: p is not None)
        migration = await ask(plane)
        vmi, target = await hand_over(plane, migration)
        assert target.spec.node_name != source
        assert target.spec.node_selector["cpu-model-migration.node.kubevirt.io/Skylake"] == "true"
        state = vmi.status.migration_state
        assert state is not None
        assert (state.source_node, state.target_node) == (source, target.spec.node_name)
        assert state.target_pod == target.metadata.name
        assert state.migration_policy_name == "gentle"
        assert state.migration_configuration is not None
        assert state.migration_configuration.bandwidth_per_migration == "64Mi"
        assert vmi.metadata.labels[names.MIGRATION_TARGET_NODE] == target.spec.node_name
        await start_copy(plane)
        await plane.until(VirtualMachine, WEB, lambda v: v is not None and v.status.printable_status == "Migrating")
        moved = {
            "completed": True,
            "endTimestamp": to_time(now()),
            "targetNodeDomainReadyTimestamp": to_time(now()),
        }
        await player.set_vmi(plane, "web", nodeName=target.spec.node_name, migrationState=moved)
        done = await plane.until(
            Migration,
            MOVE,
            lambda m: m is not None and m.status.phase == "Succeeded" and m.status.migration_state is not None,
        )
        assert done is not None
        assert [t.phase for t in done.status.phase_transition_timestamps] == [
            "Pending",
            "Scheduling",
            "Scheduled",
            "PreparingTarget",
            "TargetReady",
            "Running",
            "Succeeded",
        ]
        await plane.until(Migration, MOVE, lambda m: m is not None and not m.metadata.finalizers)
        await plane.until(VirtualMachine, WEB, lambda v: v is not None and v.status.printable_status == "Running")


async def test_a_running_migration_is_aborted(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as plane:
        _, target = await hand_over(plane, await ask(plane))
        await start_copy(plane)
        await plane.client.delete(Migration, MOVE)
        await plane.until(
            Vmi,
            WEB,
            lambda v: (
                v is not None
                and v.status.migration_state is not None
                and v.status.migration_state.abort_requested is True
            ),
        )
        aborted = {
            "abortStatus": "Succeeded",
            "failed": True,
            "completed": True,
            "failureReason": "aborted",
            "endTimestamp": to_time(now()),
        }
        await player.set_vmi(plane, "web", migrationState=aborted)
        await plane.until(Migration, MOVE, lambda m: m is None)
        await plane.until(Pod, target.key, lambda p: p is None or bool(p.metadata.deletion_timestamp))
        vmi = await plane.client.get(Vmi, WEB)
        assert vmi.status.phase == "Running"


async def test_a_migration_is_canceled_before_the_hand_off(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as plane:
        migration = await ask(plane)
        vmi = await plane.client.get(Vmi, WEB)
        target = await player.launcher_of(plane, vmi, of=migration.metadata.uid)
        await plane.client.delete(Migration, MOVE)
        await plane.until(Migration, MOVE, lambda m: m is None)
        await plane.until(Pod, target.key, lambda p: p is None or bool(p.metadata.deletion_timestamp))
        assert (await plane.client.get(Vmi, WEB)).status.migration_state is None


async def test_a_target_that_dies_fails_the_migration_and_not_the_vm(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as plane:
        _, target = await hand_over(plane, await ask(plane))
        await player.set_pod(plane, target, "Failed", ready=False)
        await plane.until(Migration, MOVE, in_phase("Failed"))
        told = await plane.until(
            Vmi,
            WEB,
            lambda v: (
                v is not None and v.status.migration_state is not None and v.status.migration_state.failed is True
            ),
        )
        assert told is not None
        assert told.status.phase == "Running"
        assert told.status.migration_state is not None
        assert told.status.migration_state.failure_reason == "Target pod is down"


@contextlib.asynccontextmanager
async def keeper(directory: Path) -> AsyncIterator[tuple[Plane, PersistentVolumeClaim, Migration, Vmi]]:
    """A VM that keeps its TPM's state on its node, and is handed over to another one."""
    persistent: dict[str, Any] = {
        "spec": {"template": {"spec": {"domain": {"devices": {"tpm": {"persistent": True}}}}}}
    }
    async with control_plane(directory, further=STORAGE) as plane:
        for node in ("node-1", "node-2"):
            await storage_node(plane, node)
        await plane.client.create(manifest(**persistent))
        await player.boot(plane, "web")
        (first,) = await state_claims(plane)
        migration = await ask(plane)
        vmi, _ = await hand_over(plane, migration)
        yield plane, first, migration, vmi


async def state_claims(plane: Plane) -> list[PersistentVolumeClaim]:
    """Those that hold the state of the VM."""
    listed = await plane.client.list(PersistentVolumeClaim, NAMESPACE, label_selector="persistent-state-for=web")
    return [c for c in listed.items if not c.metadata.deletion_timestamp]


async def test_state_that_persists_moves_to_a_claim_on_the_targets_side(tmp_path: Path) -> None:
    async with keeper(tmp_path) as (plane, first, _, vmi):
        state = vmi.status.migration_state
        assert state is not None
        assert state.source_persistent_state_pvc_name == first.metadata.name
        new = await plane.client.get(PersistentVolumeClaim, (NAMESPACE, state.target_persistent_state_pvc_name or ""))
        assert new.metadata.name != first.metadata.name
        volume = await plane.client.get(PersistentVolume, ("", new.spec.volume_name or ""))
        assert volume.spec.local is not None
        assert volume.spec.local.path.startswith(f"/var/lib/{state.target_node}/")
        assert [c.metadata.name for c in await state_claims(plane)] == [first.metadata.name]
        await start_copy(plane)
        await player.set_vmi(plane, "web", nodeName=state.target_node, migrationState={"completed": True})
        await plane.until(Migration, MOVE, in_phase("Succeeded"))
        assert [c.metadata.name for c in await state_claims(plane)] == [new.metadata.name]


async def test_state_that_persists_stays_where_it_is_when_a_migration_fails(tmp_path: Path) -> None:
    async with keeper(tmp_path) as (plane, first, _, vmi):
        state = vmi.status.migration_state
        assert state is not None
        await start_copy(plane)
        await player.set_vmi(plane, "web", migrationState={"completed": True, "failed": True})
        await plane.until(Migration, MOVE, in_phase("Failed"))
        new = (NAMESPACE, state.target_persistent_state_pvc_name or "")
        await plane.until(PersistentVolumeClaim, new, lambda c: c is None or bool(c.metadata.deletion_timestamp))
        assert [c.metadata.name for c in await state_claims(plane)] == [first.metadata.name]


async def test_there_is_nowhere_to_go(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        await plane.client.create(manifest())
        await player.boot(plane, "web")
        body = {
            "metadata": {
                "name": "move",
                "namespace": NAMESPACE,
                "annotations": {"kubevirt.io/migrationUnschedulablePodTimeoutSeconds": "1"},
            },
            "spec": {"vmiName": "web"},
        }
        await plane.client.create(from_wire(body, Migration))
        failed = await plane.until(Migration, MOVE, in_phase("Failed"))
        assert failed is not None
        await plane.until(Vmi, WEB, lambda v: v is not None and v.status.phase == "Running")


async def test_an_evicted_vm_gets_a_migration(tmp_path: Path) -> None:
    over: dict[str, Any] = {"spec": {"template": {"spec": {"evictionStrategy": "LiveMigrate"}}}}
    async with two_nodes(tmp_path, **over) as plane:
        vmi = await plane.client.get(Vmi, WEB)
        await player.set_vmi(plane, "web", evacuationNodeName=vmi.status.node_name)
        marked = await plane.until(
            Vmi, WEB, lambda v: v is not None and conditions.is_true(v.status.conditions, "EvictionRequested")
        )
        assert marked is not None
        target = await plane.until(Vmi, WEB, lambda v: v is not None and len(v.status.active_pods) == 2)
        assert target is not None
        made = (await plane.client.list(Migration, NAMESPACE)).items
        assert [m.spec.priority for m in made] == ["system-critical"]
        assert made[0].metadata.annotations[names.EVACUATION_MIGRATION] == vmi.status.node_name
        pod = await player.launcher_of(plane, vmi)
        await plane.until(
            Pod, pod.key, lambda p: p is not None and names.EVICTION_IN_PROGRESS in p.metadata.annotations
        )


async def configure(plane: Plane, spec: dict[str, Any]) -> None:
    with contextlib.suppress(AlreadyExists):
        await plane.client.create(from_wire({"metadata": {"name": "kubevirt"}}, Namespace))
    body = {"metadata": {"name": "kubevirt", "namespace": "kubevirt"}, "spec": spec}
    await plane.client.create(from_wire(body, KubeVirt))


async def update_by(plane: Plane, method: str) -> None:
    await configure(plane, {"workloadUpdateStrategy": {"workloadUpdateMethods": [method]}})


async def plug_cpus(plane: Plane) -> None:
    sockets = {"spec": {"template": {"spec": {"domain": {"cpu": {"sockets": 2}}}}}}
    await plane.client.patch(VirtualMachine, WEB, sockets)
    await plane.until(Vmi, WEB, lambda v: v is not None and conditions.is_true(v.status.conditions, "HotVCPUChange"))


async def told_of(plane: Plane, reason: str) -> str:
    """The message of the first event with that reason."""
    async with asyncio.timeout(20), contextlib.aclosing(plane.client.watch(Event, NAMESPACE)) as events:
        async for event in events:
            if event.object is not None and event.object.reason == reason:
                return event.object.message
    raise AssertionError("the watch ended")


async def test_utility_volumes_are_detached_before_a_migration_begins(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as plane:
        gates = {"developerConfiguration": {"featureGates": ["UtilityVolumes"]}}
        await configure(plane, {"configuration": gates})
        volume = {"name": "backup", "type": "Backup", "claimName": "backup"}
        # As a component: this is not for users to write.
        await plane.context.client.patch(Vmi, WEB, {"spec": {"utilityVolumes": [volume]}})
        await ask(plane)
        words = "Migration waits until utility volumes are detached"
        assert await told_of(plane, "UtilityVolumeMigrationPending") == words
        await plane.context.client.patch(Vmi, WEB, {"spec": {"utilityVolumes": None}})
        await plane.until(Vmi, WEB, lambda v: v is not None and len(v.status.active_pods) == 2)


async def test_a_cpu_change_migrates_by_itself_where_that_is_configured(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as plane:
        await update_by(plane, "LiveMigrate")
        await plug_cpus(plane)
        await plane.until(Vmi, WEB, lambda v: v is not None and len(v.status.active_pods) == 2)
        (made,) = (await plane.client.list(Migration, NAMESPACE)).items
        assert made.spec.priority == "user-triggered"
        assert names.WORKLOAD_UPDATE_MIGRATION in made.metadata.annotations
        # What has come about by itself needs no migration.
        vmi = await plane.client.get(Vmi, WEB)
        kept = [to_wire(c) for c in vmi.status.conditions if c.type != "HotVCPUChange"]
        await player.set_vmi(plane, "web", conditions=kept, currentCPUTopology={"sockets": 2})
        assert await told_of(plane, "SuccessfulChangeAbortion") == "Aborted change for vmi: web"
        await plane.until(Migration, made.key, lambda m: m is None or m.status.phase == "Failed")


async def test_a_change_of_what_cannot_migrate_ends_the_launcher_where_that_is_configured(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as plane:
        await update_by(plane, "Evict")
        vmi = await plane.client.get(Vmi, WEB)
        pod = await player.launcher_of(plane, vmi)
        await plug_cpus(plane)
        await plane.until(Pod, pod.key, lambda p: p is None or p.metadata.deletion_timestamp is not None)
        message = await told_of(plane, "SuccessfulEvict")
        assert message == "Initiated eviction of VMI as part of automated workload update"
        assert (await plane.client.list(Migration, NAMESPACE)).items == []


async def test_only_so_many_vms_leave_a_node_at_once(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await player.join(plane, "node-1")
        for name in ("a", "b", "c"):
            await plane.client.create(manifest(name))
            await player.boot(plane, name)
        await player.join(plane, "node-2")
        for name in ("a", "b", "c"):
            body = {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"vmiName": name}}
            await plane.client.create(from_wire(body, Migration))
        for name in ("a", "b"):
            await plane.until(Migration, (NAMESPACE, name), in_phase("Scheduling"))
        await plane.until(Migration, (NAMESPACE, "c"), in_phase("Pending"))
        await plane.client.delete(Migration, (NAMESPACE, "a"))
        await plane.until(Migration, (NAMESPACE, "c"), in_phase("Scheduling"))
