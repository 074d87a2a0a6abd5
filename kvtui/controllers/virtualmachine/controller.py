"""Reconciles VirtualMachines in upstream's order: own marks, instance, run strategy, live updates, status.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go; control plane facts 2.3.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import ControllerRevision
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachine, VirtualMachineStateChangeRequest
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceTemplateSpec
from kvtui.api.meta import Resource
from kvtui.api.registry import owner_reference
from kvtui.api.wire import ObjectKey, evolve
from kvtui.controllers import conditions, indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.launcher.volumes import claim_of
from kvtui.controllers.patches import write_changes
from kvtui.controllers.virtualmachine import cloning, datavolumes, liveupdate, memorydump, revisions, upkeep
from kvtui.controllers.virtualmachine.instance import instance_of
from kvtui.controllers.virtualmachine.instancetypes import Expanded, Instancetypes
from kvtui.controllers.virtualmachine.status import Backoff, SyncError, next_status
from kvtui.controllers.virtualmachine.strategy import SetStrategy, Start, Stop, Wait, decide
from kvtui.controllers.virtualmachine.view import View, is_final
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.controlloop.expectations import Expectations
from kvtui.errors import AlreadyExists, ApiError, Forbidden, NotFound, Transient

COMPONENT = "virtualmachine-controller"
START_FAILED = "Failure while starting VMI: {}"
STOP_FAILED = "Failure while stopping VMI: {}"


class Retry(Transient):
    """What the last pass could not do is tried again with back-off."""


@dataclass(slots=True)
class Pass:
    """What one pass has found out so far."""

    origin: VirtualMachine
    """As it is stored."""
    vm: VirtualMachine
    """As it should be stored; its status is computed last."""
    error: SyncError | None = None
    restart: str | None = None
    wake: float | None = None

    def fail(self, reason: str, message: str) -> None:
        self.error = self.error or SyncError(reason, message)


class VirtualMachineController:
    """Keeps every VM's instance as its run strategy wants it."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.vms = informers.of(VirtualMachine)
        self.vmis = indices.vmis(informers)
        self.claims = indices.claims(informers)
        self.data_volumes = indices.data_volumes(informers)
        self.revisions = informers.index(ControllerRevision, indices.CONTROLLER, indices.controller_uid)
        self.vms_by_claim = informers.index(VirtualMachine, indices.CLAIM, _vm_claims)
        self.instancetypes = Instancetypes(context)
        self.recorder = context.recorders.of(COMPONENT)
        self.expectations: Expectations[ObjectKey] = Expectations(lambda: asyncio.get_running_loop().time())
        settings = context.settings
        self.backoff = Backoff(
            settings.start_backoff_step,
            settings.start_backoff_max,
            lambda most: random.uniform(0, most),  # noqa: S311  # spreads load
        )
        self.controller: Controller[ObjectKey] = Controller(
            "virtualmachine",
            self.reconcile,
            informers=[
                self.vms,
                self.vmis,
                self.claims,
                self.data_volumes,
                self.revisions,
                *self.instancetypes.informers,
            ],
            settings=settings.loop,
        )
        queue = self.controller.queue
        self.vms.subscribe(lambda old, new: queue.add_change(_key(old, new), new=old is None))
        self.vmis.subscribe(self._vmi_changed)
        self.claims.subscribe(self._claim_changed)
        self.data_volumes.subscribe(self._claim_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _vmi_changed(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        vmi = new or old
        assert vmi is not None
        if new is None or new.metadata.deletion_timestamp:
            self.expectations.seen_deletion(vmi.key, vmi.metadata.uid)
        self.expectations.seen_creation(vmi.key, vmi.metadata.uid)
        self.controller.queue.add(vmi.key)

    def _claim_changed(self, old: Resource | None, new: Resource | None) -> None:
        for vm in self.vms.store.by_index(indices.CLAIM, str(_key(old, new))):
            self.controller.queue.add(vm.key)

    # One pass

    async def reconcile(self, key: ObjectKey) -> Result:
        vm = self.vms.get(key)
        if vm is None:
            self.expectations.forget(key)
            return DONE
        marked = upkeep.marked(vm)
        if marked is not vm:
            vm = await write_changes(self.context.client, vm, marked)
        view = await self._view(vm)
        if vm.metadata.deletion_timestamp and (
            (view.vmi is None and not view.creating) or names.ORPHAN_FINALIZER in vm.metadata.finalizers
        ):
            await self._let_go(vm)
            return DONE
        state = Pass(vm, vm, restart=_present_restart(vm))
        if self.expectations.satisfied(key):
            if vm.metadata.deletion_timestamp:
                await self._stop(view, state)
            else:
                view = await self._sync(view, state)
        await self._write(view, state)
        if state.error is not None:
            raise Retry(state.error.message)
        return Result(requeue_after=state.wake)

    async def _view(self, vm: VirtualMachine) -> View:
        namespace = vm.metadata.namespace
        vmi = self.vmis.get(vm.key)
        foreign = False
        if vmi is not None:
            vmi = await self._claimed(vm, vmi)
            foreign = vmi is None
        wanted = [t.metadata.name for t in vm.spec.data_volume_templates if t.metadata and t.metadata.name]
        volumes = {}
        for dv_name in wanted:
            found = self.data_volumes.get((namespace, dv_name))
            if found is not None and not found.metadata.deletion_timestamp:
                volumes[dv_name] = await self._adopted(vm, found)
        template = vm.spec.template.spec.volumes if vm.spec.template and vm.spec.template.spec else []
        claim_names = {*wanted, *(c for v in template if (c := claim_of(v)) is not None)}
        return View(
            vm=vm,
            now=self.context.clock(),
            vmi=vmi,
            foreign=foreign,
            data_volumes=volumes,
            claims={n: claim for n in claim_names if (claim := self.claims.get((namespace, n))) is not None},
            revisions=self.revisions.store.by_index(indices.CONTROLLER, vm.metadata.uid),
            creating=self.expectations.creating(vm.key),
            deleting=self.expectations.deleting(vm.key),
            config=self.context.config.now,
        )

    async def _claimed(self, vm: VirtualMachine, vmi: VirtualMachineInstance) -> VirtualMachineInstance | None:
        """The VMI if it is this VM's, or has no owner and can be adopted."""
        owner = vmi.metadata.controller
        if owner is not None:
            return vmi if owner.uid == vm.metadata.uid else None
        if vm.metadata.deletion_timestamp or vmi.metadata.deletion_timestamp:
            return None
        owners = [*vmi.metadata.owner_references, owner_reference(vm)]
        adopted = evolve(vmi, metadata=evolve(vmi.metadata, owner_references=owners))
        return await write_changes(self.context.client, vmi, adopted)

    async def _adopted(self, vm: VirtualMachine, volume: DataVolume) -> DataVolume:
        if volume.metadata.controller is not None or vm.metadata.deletion_timestamp:
            return volume
        owners = [*volume.metadata.owner_references, owner_reference(vm)]
        return await write_changes(
            self.context.client, volume, evolve(volume, metadata=evolve(volume.metadata, owner_references=owners))
        )

    async def _let_go(self, vm: VirtualMachine) -> None:
        finalizers = [f for f in vm.metadata.finalizers if f != names.VM_FINALIZER]
        if finalizers != vm.metadata.finalizers:
            try:
                await write_changes(
                    self.context.client, vm, evolve(vm, metadata=evolve(vm.metadata, finalizers=finalizers))
                )
            except NotFound:
                return

    async def _sync(self, view: View, state: Pass) -> View:
        expanded = await self.instancetypes.resolve(view, state.vm)
        if isinstance(expanded, SyncError):
            state.error = expanded
            return view
        state.vm = expanded.vm
        view = replace(view, vm=state.vm)
        view = await self._bump_generation(view)
        if datavolumes.made_at_once(view) and not await self._create_data_volumes(view, state):
            return view
        if view.data_volumes and not view.data_volumes_ready and view.strategy != "Halted":
            self._report_failed(view)
            return view
        match decide(view):
            case Start():
                await self._start(view, state, expanded)
            case Stop(rerun=rerun):
                await self._stop(view, state)
                if rerun and state.error is None:
                    _append_start(state)
            case SetStrategy(strategy):
                state.vm = upkeep.with_strategy(state.vm, strategy)
            case Wait(seconds=seconds):
                state.wake = seconds
                if view.vmi is None:
                    state.restart = None
                else:
                    await self._update_running(view, state, expanded)
        state.vm = upkeep.kept_up(state.vm, view)
        return view

    async def _bump_generation(self, view: View) -> View:
        """An edit that did not touch the template does not leave the instance behind."""
        vmi = view.vmi
        generation = str(view.vm.metadata.generation)
        if vmi is None or vmi.metadata.annotations.get(names.VM_GENERATION) == generation:
            return view
        started = revisions.started_spec(vmi, view.revisions)
        if started is None or started.template != view.vm.spec.template:
            return view
        annotations = {**vmi.metadata.annotations, names.VM_GENERATION: generation}
        bumped = evolve(vmi, metadata=evolve(vmi.metadata, annotations=annotations))
        return replace(view, vmi=await write_changes(self.context.client, vmi, bumped))

    async def _create_data_volumes(self, view: View, state: Pass) -> bool:
        for volume in datavolumes.missing(view):
            try:
                volume, refusal = await cloning.cleared(self.context.client, volume, view.template)
                if refusal:
                    raise Forbidden(refusal)
                await self.context.client.create(volume)
            except AlreadyExists:
                continue
            except ApiError as error:
                reason, words = "FailedDataVolumeCreate", "Error creating DataVolume"
                if isinstance(error, Forbidden):
                    reason, words = "UnauthorizedDataVolumeCreate", "Not authorized to create DataVolume"
                self.recorder.warning(view.vm, reason, f"{words} {volume.metadata.name}: {error}")
                state.fail("FailedCreate", f"Error encountered while creating DataVolumes: {error}")
                return False
            message = f"Created DataVolume {volume.metadata.name}"
            self.recorder.normal(view.vm, "SuccessfulDataVolumeCreate", message)
        return True

    def _report_failed(self, view: View) -> None:
        for name, volume in view.data_volumes.items():
            if volume.status.phase == "Failed":
                message = f"DataVolume {name} failed to import disk image"
                self.recorder.warning(view.vm, "FailedDataVolumeImport", message)

    async def _start(self, view: View, state: Pass, expanded: Expanded) -> None:
        vm, client = view.vm, self.context.client
        if view.foreign:
            state.fail(
                "FailedCreate", START_FAILED.format(f'virtualmachineinstances "{vm.metadata.name}" already exists')
            )
            return
        if not datavolumes.made_at_once(view) and not await self._create_data_volumes(view, state):
            return
        if not view.data_volumes_ready or conditions.is_true(vm.status.conditions, "ManualRecoveryRequired"):
            return
        state.restart = None
        try:
            revision = await self._store_revision(view)
            vmi = instance_of(
                view,
                spec=expanded.spec,
                annotations=expanded.annotations,
                revision=revision,
                preferred=expanded.preferred,
            )
            created = await client.create(vmi)
        except ApiError as problem:
            self.recorder.warning(vm, "FailedCreate", f"Error creating virtual machine instance: {problem}")
            state.fail("FailedCreate", START_FAILED.format(problem))
            return
        if self.vmis.get(created.key) is None:
            self.expectations.expect_creation(vm.key, created.metadata.uid)
        message = f"Started the virtual machine by creating the new virtual machine instance {vm.metadata.name}"
        self.recorder.normal(vm, "SuccessfulCreate", message)

    async def _store_revision(self, view: View) -> str:
        client, revision = self.context.client, revisions.revision_of(view.vm)
        for old in revisions.outdated(view.vm, view.revisions):
            try:
                await client.delete(ControllerRevision, old.key, uid=old.metadata.uid)
            except NotFound:
                continue
        try:
            await client.create(revision)
        except AlreadyExists:
            return revision.metadata.name
        return revision.metadata.name

    async def _stop(self, view: View, state: Pass) -> None:
        vmi = view.vmi
        if vmi is None or vmi.metadata.deletion_timestamp:
            return
        state.restart = None
        self.expectations.expect_deletion(view.vm.key, vmi.metadata.uid)
        try:
            await self.context.client.delete(VirtualMachineInstance, vmi.key, uid=vmi.metadata.uid)
        except NotFound:
            self.expectations.seen_deletion(view.vm.key, vmi.metadata.uid)
            return
        except ApiError as error:
            self.expectations.seen_deletion(view.vm.key, vmi.metadata.uid)
            message = f"Error deleting virtual machine instance {vmi.metadata.name}: {error}"
            self.recorder.warning(view.vm, "FailedDelete", message)
            state.fail("FailedDelete", STOP_FAILED.format(error))
            return
        seen = self.vmis.get(vmi.key)
        if seen is None or seen.metadata.uid != vmi.metadata.uid or seen.metadata.deletion_timestamp:
            self.expectations.seen_deletion(view.vm.key, vmi.metadata.uid)
        message = f"Stopped the virtual machine by deleting the virtual machine instance {vmi.metadata.uid}"
        self.recorder.normal(view.vm, "SuccessfulDelete", message)

    async def _update_running(self, view: View, state: Pass, expanded: Expanded) -> None:
        vmi = view.vmi
        assert vmi is not None
        if vmi.metadata.deletion_timestamp or is_final(vmi):
            return
        started = revisions.started_spec(vmi, view.revisions)
        before = self.instancetypes.started_template(view, started)
        outcome = liveupdate.evaluate(view, before, expanded.spec)
        state.restart = outcome.restart
        if outcome.error is not None:
            state.error = outcome.error
        updated = upkeep.with_dynamic_annotations(outcome.vmi, view)
        step = memorydump.next_step(view, updated)
        if step is not None:
            updated = step.vmi or updated
            await self._apply_dump(state, step)
        if updated != vmi:
            try:
                await write_changes(self.context.client, vmi, updated)
            except NotFound:
                return
            except ApiError as error:
                if isinstance(error, Transient):
                    raise
                state.fail("HotPlugVolumeError", str(error))

    async def _apply_dump(self, state: Pass, step: memorydump.Step) -> None:
        request = state.vm.status.memory_dump_request
        state.vm = upkeep.with_volumes(state.vm, step.template_volumes)
        state.vm = evolve(state.vm, status=evolve(state.vm.status, memory_dump_request=step.request))
        if step.claim_note is not None and request is not None:
            body = {"metadata": {"annotations": {memorydump.ANNOTATION: step.claim_note}}}
            try:
                await self.context.client.patch(
                    PersistentVolumeClaim, ObjectKey(state.vm.metadata.namespace, request.claim_name), body
                )
            except NotFound:
                return

    async def _write(self, view: View, state: Pass) -> None:
        view = replace(
            view,
            vm=state.vm,
            creating=self.expectations.creating(state.vm.key),
            deleting=self.expectations.deleting(state.vm.key),
        )
        status = next_status(view, state.error, state.restart, self.backoff)
        try:
            await write_changes(self.context.client, state.origin, evolve(state.vm, status=status))
        except NotFound:
            return
        await self._release(view.vmi)

    async def _release(self, vmi: VirtualMachineInstance | None) -> None:
        """The VM has taken note of how its instance ended."""
        if vmi is None or names.VM_FINALIZER not in vmi.metadata.finalizers:
            return
        if not is_final(vmi) and not (vmi.status.phase == "WaitingForSync" and vmi.metadata.deletion_timestamp):
            return
        finalizers = [f for f in vmi.metadata.finalizers if f != names.VM_FINALIZER]
        try:
            await write_changes(
                self.context.client, vmi, evolve(vmi, metadata=evolve(vmi.metadata, finalizers=finalizers))
            )
        except NotFound:
            return


def _key(old: Resource | None, new: Resource | None) -> ObjectKey:
    obj = new or old
    assert obj is not None
    return obj.key


def _vm_claims(vm: VirtualMachine) -> list[str]:
    template = vm.spec.template or VirtualMachineInstanceTemplateSpec()
    found = {c for v in (template.spec.volumes if template.spec else ()) if (c := claim_of(v)) is not None}
    found |= {t.metadata.name for t in vm.spec.data_volume_templates if t.metadata and t.metadata.name}
    return [f"{vm.metadata.namespace}/{name}" for name in found]


def _present_restart(vm: VirtualMachine) -> str | None:
    found = conditions.find(vm.status.conditions, "RestartRequired")
    return (found.message or "") if found is not None else None


def _append_start(state: Pass) -> None:
    requests = state.vm.status.state_change_requests
    if any(r.action == "Start" for r in requests):
        return
    requests = [*requests, VirtualMachineStateChangeRequest(action="Start")]
    state.vm = evolve(state.vm, status=evolve(state.vm.status, state_change_requests=requests))
