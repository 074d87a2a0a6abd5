"""Reconciles VMIs: applies the plan, then writes the next version of the VMI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import TopologyHints, VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.api.wire import ObjectKey, evolve
from kvtui.client.rest import Patch
from kvtui.controllers import conditions, indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.launcher.check import problem_of
from kvtui.controllers.launcher.volumes import claim_of
from kvtui.controllers.patches import write_changes
from kvtui.controllers.surroundings import SurroundingsOf
from kvtui.controllers.virtualmachineinstance import hotplug, pods, topology
from kvtui.controllers.virtualmachineinstance.plan import (
    FINAL,
    UNPROCESSED,
    AnnotatePod,
    CreateClaim,
    CreatePod,
    DeletePod,
    LabelPod,
    OpenGate,
    PlaceClaim,
    Situation,
    Step,
    SyncError,
    plan,
)
from kvtui.controllers.virtualmachineinstance.status import next_version
from kvtui.controllers.virtualmachineinstance.volumes import Readiness
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.controlloop.expectations import Expectations
from kvtui.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Transient

COMPONENT = "virtualmachine-controller"
WORKERS = 10
ACTIVE_MIGRATION = ("Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running")


class Retry(Transient):
    """What the last pass could not do is tried again with back-off."""


class VirtualMachineInstanceController:
    """The control plane's half of every VMI."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.vmis = indices.vmis(informers)
        self.pods = indices.pods(informers)
        self.claims = indices.claims(informers)
        self.data_volumes = indices.data_volumes(informers)
        self.migrations = indices.migrations(informers)
        self.vms = informers.of(VirtualMachine)
        self.nodes = informers.of(Node)
        self.classes = informers.of(StorageClass)
        self.surroundings = SurroundingsOf(context)
        self.recorder = context.recorders.of(COMPONENT)
        self.syncs = context.metrics.counter("kubevirt_vmi_sync_total", "How often a VMI was looked at.")
        self.expectations: Expectations[ObjectKey] = Expectations(lambda: asyncio.get_running_loop().time())
        self.controller: Controller[ObjectKey] = Controller(
            "virtualmachineinstance",
            self.reconcile,
            informers=[
                self.vmis,
                self.pods,
                self.claims,
                self.data_volumes,
                self.vms,
                self.migrations,
                self.classes,
                self.nodes,
            ],
            settings=context.settings.loop,
            workers=WORKERS,
        )
        queue = self.controller.queue
        self.vmis.subscribe(lambda old, new: queue.add(_key(old, new)))
        self.pods.subscribe(self._pod_changed)
        self.claims.subscribe(self._claim_changed)
        self.data_volumes.subscribe(self._claim_changed)
        self.vms.subscribe(self._vm_changed)
        self.migrations.subscribe(self._migration_changed)

    async def run(self) -> None:
        await self.controller.run()

    # What wakes a VMI

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        owner = pod.metadata.controller if pod else None
        if pod is None or owner is None or owner.kind != "VirtualMachineInstance":
            return
        key = ObjectKey(pod.metadata.namespace, owner.name)
        self.expectations.seen_creation(key, pod.metadata.uid)
        if new is None or new.metadata.deletion_timestamp:
            self.expectations.seen_deletion(key, pod.metadata.uid)
        self.controller.queue.add(key)

    def _claim_changed(self, old: Resource | None, new: Resource | None) -> None:
        obj = new or old
        assert obj is not None
        for vmi in self.vmis.store.by_index(indices.CLAIM, str(obj.key)):
            self.controller.queue.add(vmi.key)
        if isinstance(obj, PersistentVolumeClaim) and (name := obj.metadata.labels.get("persistent-state-for")):
            key = ObjectKey(obj.metadata.namespace, name)
            self.expectations.seen_creation(key, obj.metadata.uid)
            self.controller.queue.add(key)

    def _vm_changed(self, old: VirtualMachine | None, new: VirtualMachine | None) -> None:
        if new is None and old is not None:
            self.controller.queue.add(old.key)

    def _migration_changed(
        self, old: VirtualMachineInstanceMigration | None, new: VirtualMachineInstanceMigration | None
    ) -> None:
        migration = new or old
        if migration is not None and migration.spec.vmi_name:
            self.controller.queue.add(ObjectKey(migration.metadata.namespace, migration.spec.vmi_name))

    # Reconciling

    async def reconcile(self, key: ObjectKey) -> Result:
        vmi, about = self.vmis.get(key), {"namespace": key.namespace, "name": key.name}
        if vmi is None:
            self.expectations.forget(key)
            self.syncs.forget(controller="virt-controller", **about)
            return DONE
        self.syncs.add(controller="virt-controller", **about)
        if any(vmi.metadata.annotations.get(k) != v for k, v in names.API_VERSIONS.items()):
            annotated = {**vmi.metadata.annotations, **names.API_VERSIONS}
            await write_changes(
                self.context.client, vmi, evolve(vmi, metadata=evolve(vmi.metadata, annotations=annotated))
            )
            return DONE
        try:
            at = self._situation(vmi)
        except topology.NoFrequency as problem:
            self.recorder.warning(vmi, "FailedGatherhingClusterTopologyHints", str(problem))
            raise Retry(str(problem)) from problem
        error, retry = None, False
        if self.expectations.satisfied(key):
            planned = plan(at)
            error = planned.error
            for step in planned.steps:
                failed = await self._apply(key, at, step)
                if failed is not None:
                    error, retry = failed, True
                    break
            if not retry and any(isinstance(s, DeletePod) and pods.is_final(s.pod) for s in planned.steps):
                return DONE  # the end of a launcher wakes the VMI, and is written then
        else:
            error = _present_error(vmi)
        if at.launcher is None and at.phase in ("Scheduled", "Running") and await self._has_launcher(vmi):
            return Result(requeue_after=1.0)
        await self._write(at, error)
        if retry and error is not None:
            raise Retry(error.message)
        return Result(requeue_after=hotplug.wake_in(vmi, at.now))

    async def _has_launcher(self, vmi: VirtualMachineInstance) -> bool:
        """Asks the server before a running VMI is given up: the cache may lag behind a migration."""
        found = await self.context.client.list(
            Pod, vmi.metadata.namespace, label_selector=f"{names.CREATED_BY}={vmi.metadata.uid}"
        )
        return pods.current(vmi, [p for p in found.items if vmi.metadata.uid in indices.controller_uid(p)]) is not None

    def _situation(self, vmi: VirtualMachineInstance) -> Situation:
        namespace = vmi.metadata.namespace
        claim_names = {name for v in vmi.spec.volumes if (name := claim_of(v)) is not None}
        known_dvs = {n: dv for n in claim_names if (dv := self.data_volumes.get((namespace, n))) is not None}
        owner = vmi.metadata.controller
        vm = self.vms.get(vmi.key) if owner is not None and owner.kind == "VirtualMachine" else None
        migrations = self.migrations.store.by_index(indices.VMI, str(vmi.key))
        return Situation(
            vmi=vmi,
            now=self.context.clock(),
            pods=self.pods.store.by_index(indices.CONTROLLER, vmi.metadata.uid),
            claims={n: self.claims.get((namespace, n)) for n in claim_names},
            data_volumes=known_dvs,
            state_claims=self.claims.store.by_index(indices.STATE, str(vmi.key)),
            storage_classes=list(self.classes.all()),
            owner_exists=vm is not None and owner is not None and vm.metadata.uid == owner.uid,
            migrating=any((m.status.phase or "") in ACTIVE_MIGRATION for m in migrations),
            around=self.surroundings.of(vmi),
            hints=self._hints(vmi),
        )

    def _hints(self, vmi: VirtualMachineInstance) -> TopologyHints | None:
        if vmi.status.topology_hints is not None or (vmi.status.phase or "") not in UNPROCESSED:
            return None
        try:
            return topology.hints(vmi, self.nodes.all(), self.context.config.now)
        except topology.NoFrequency:
            if topology.needs_frequency_to_boot(vmi):
                raise
            return None

    async def _write(self, at: Situation, error: SyncError | None) -> None:
        old = at.vmi
        new = next_version(at, error, used_cids=self._cids(old))
        if error is not None and error != _present_error(old) and error.reason == "FailedPvcNotFound":
            self.recorder.normal(old, error.reason, error.message)
        unfit = _present_error(new)
        if unfit is not None and unfit != _present_error(old) and unfit.reason == "FailedGuaranteeResources":
            self.recorder.warning(old, unfit.reason, unfit.message)
        broken = at.readiness is Readiness.FAILED and (old.status.phase or "Pending") == "Pending"
        if broken and new.status.phase == "Failed":
            self.recorder.warning(old, "FailedDataVolumeImport", "DataVolume failed to import disk image")
        if new == old:
            return
        try:
            await write_changes(self.context.client, old, new)
        except NotFound:
            return

    def _cids(self, vmi: VirtualMachineInstance) -> Iterable[int]:
        if not vmi.spec.domain.devices.autoattach_vsock or vmi.status.vsockcid is not None:
            return ()
        return {v.status.vsockcid for v in self.vmis.all() if v.status.vsockcid is not None}

    # Steps

    async def _apply(self, key: ObjectKey, at: Situation, step: Step) -> SyncError | None:
        match step:
            case CreatePod(pod):
                return await self._create_pod(key, at.vmi, pod)
            case DeletePod(pod, grace):
                return await self._delete_pod(key, at.vmi, pod, grace)
            case CreateClaim(claim):
                return await self._create_claim(key, at.vmi, claim)
            case PlaceClaim(claim, node):
                body = {"metadata": {"annotations": {names.SELECTED_NODE: node}}}
                await self._ignore_gone(PersistentVolumeClaim, claim.key, body)
            case OpenGate(pod, condition):
                await self._open_gate(pod, condition)
            case AnnotatePod(pod, annotations):
                await self._ignore_gone(Pod, pod.key, {"metadata": {"annotations": dict(annotations)}})
            case LabelPod(pod, labels):
                await self._ignore_gone(Pod, pod.key, {"metadata": {"labels": dict(labels)}})
        return None

    async def _ignore_gone(self, type_: type[Resource], key: ObjectKey, body: object) -> None:
        try:
            await self.context.client.patch(type_, key, body)
        except NotFound:
            return

    async def _open_gate(self, pod: Pod, condition: Mapping[str, str]) -> None:
        # Conditions merge by type, so those of the agent stay.
        body = {"status": {"conditions": [dict(condition)]}}
        try:
            await self.context.client.patch(Pod, pod.key, body, how=Patch.STRATEGIC, subresource="status")
        except NotFound:
            return

    async def _create_pod(self, key: ObjectKey, vmi: VirtualMachineInstance, pod: Pod) -> SyncError | None:
        try:
            if problem := problem_of(pod):
                raise Invalid(problem, code=422, reason="Invalid")
            created = await self.context.client.create(pod)
        except ApiError as error:
            if isinstance(error, Forbidden) and "violates PodSecurity" in str(error):
                why = f"failed to create pod for vmi {vmi.key}, it needs a privileged namespace to run: {error}"
                self.recorder.warning(vmi, "FailedCreate", f"failed to render launch manifest: {why}")
                return SyncError("FailedCreate", why)
            self.recorder.warning(vmi, "FailedCreate", f"Error creating pod: {error}")
            return SyncError("FailedCreate", f"failed to create virtual machine pod: {error}")
        if self.pods.get(created.key) is None:
            self.expectations.expect_creation(key, created.metadata.uid)
        self.recorder.normal(vmi, "SuccessfulCreate", f"Created virtual machine pod {created.metadata.name}")
        return None

    async def _delete_pod(
        self, key: ObjectKey, vmi: VirtualMachineInstance, pod: Pod, grace: int | None
    ) -> SyncError | None:
        self.expectations.expect_deletion(key, pod.metadata.uid)
        try:
            await self.context.client.delete(Pod, pod.key, grace=grace, uid=pod.metadata.uid)
        except (NotFound, Conflict):
            self.expectations.seen_deletion(key, pod.metadata.uid)
            return None
        except ApiError as error:
            self.expectations.seen_deletion(key, pod.metadata.uid)
            self.recorder.warning(vmi, "FailedDelete", f"Failed to delete virtual machine pod {pod.metadata.name}")
            return SyncError("FailedDelete", f"failed to delete pod: {error}")
        if self.pods.get(pod.key) is None or pod.metadata.deletion_timestamp:
            self.expectations.seen_deletion(key, pod.metadata.uid)
        if not pods.is_temporary(pod):
            self.recorder.normal(vmi, "SuccessfulDelete", f"Deleted virtual machine pod {pod.metadata.name}")
        return None

    async def _create_claim(
        self, key: ObjectKey, vmi: VirtualMachineInstance, claim: PersistentVolumeClaim
    ) -> SyncError | None:
        try:
            created = await self.context.client.create(claim)
        except ApiError as error:
            self.recorder.warning(vmi, "FailedBackendStorageCreate", str(error))
            return SyncError("FailedBackendStorageCreate", str(error))
        if self.claims.get(created.key) is None:
            self.expectations.expect_creation(key, created.metadata.uid)
        return None


def _key(old: Resource | None, new: Resource | None) -> ObjectKey:
    obj = new or old
    assert obj is not None
    return obj.key


def _present_error(vmi: VirtualMachineInstance) -> SyncError | None:
    """The error of the last pass, for passes that only refresh the status."""
    present = conditions.find(vmi.status.conditions, "Synchronized")
    if present is None or (vmi.status.phase or "") in FINAL:
        return None
    return SyncError(present.reason or "", present.message or "")
