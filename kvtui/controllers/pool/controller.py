"""Reconciles pools: heal, scale, update, prune, one concern per pass until all is as wanted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from kvtui.api import selectors
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import ControllerRevision
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.pool import (
    VirtualMachinePool,
    VirtualMachinePoolCondition,
    VirtualMachinePoolStatus,
)
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.api.wire import ObjectKey, evolve
from kvtui.client.rest import Propagation
from kvtui.controllers import conditions, indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.patches import write_changes
from kvtui.controllers.pool import members
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.controlloop.expectations import Expectations
from kvtui.errors import AlreadyExists, ApiError, Conflict, NotFound, Transient

COMPONENT = "virtualmachinepool-controller"
BURST = 250
BUSY = 3.0
Condition = VirtualMachinePoolCondition


@dataclass(slots=True)
class Pass:
    """What went wrong in one pass, and when to look again."""

    reason: str | None = None
    message: str = ""
    wake: float | None = None
    stable: bool = True

    def fail(self, reason: str, message: str) -> None:
        if self.reason is None:
            self.reason, self.message = reason, message


@dataclass(frozen=True, slots=True)
class Members:
    """A pool's VMs."""

    all: list[VirtualMachine] = field(default_factory=list)

    @property
    def alive(self) -> list[VirtualMachine]:
        return [v for v in self.all if not v.metadata.deletion_timestamp]

    @property
    def ready(self) -> int:
        return sum(conditions.is_true(v.status.conditions, "Ready") for v in self.all)


def next_status(pool: VirtualMachinePool, found: Members, state: Pass, now: datetime) -> VirtualMachinePoolStatus:
    kept = list(pool.status.conditions)
    if pool.spec.paused:
        message = "Pool controller is paused"
        made = conditions.make(Condition, "ReplicaPaused", "True", "SuccessfulPaused", message, now=now)
        kept = conditions.put(kept, made)
    else:
        kept = conditions.without(kept, "ReplicaPaused")
    if state.reason is None:
        kept = conditions.without(kept, "ReplicaFailure")
    elif not conditions.is_true(kept, "ReplicaFailure"):
        made = conditions.make(Condition, "ReplicaFailure", "True", state.reason, state.message, now=now)
        kept = conditions.put(kept, made)
    return evolve(
        pool.status,
        replicas=len(found.all),
        ready_replicas=found.ready,
        label_selector=str(selectors.from_object(pool.spec.selector)),
        conditions=kept,
    )


class PoolController:
    """Keeps the members of every pool."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.pools = informers.of(VirtualMachinePool)
        self.vms = informers.index(VirtualMachine, indices.CONTROLLER, indices.controller_uid)
        self.vmis = indices.vmis(informers)
        self.claims = indices.claims(informers)
        self.data_volumes = indices.data_volumes(informers)
        self.revisions = informers.index(ControllerRevision, indices.CONTROLLER, indices.controller_uid)
        self.recorder = context.recorders.of(COMPONENT)
        self.expectations: Expectations[ObjectKey] = Expectations(lambda: asyncio.get_running_loop().time())
        self.controller: Controller[ObjectKey] = Controller(
            "pool",
            self.reconcile,
            informers=[self.pools, self.vms, self.vmis, self.revisions, self.claims, self.data_volumes],
            settings=context.settings.loop,
        )
        queue = self.controller.queue
        self.pools.subscribe(
            lambda old, new: queue.add_change((new or old or VirtualMachinePool()).key, new=old is None)
        )
        self.vms.subscribe(self._vm_changed)
        self.vmis.subscribe(self._vmi_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _vm_changed(self, old: VirtualMachine | None, new: VirtualMachine | None) -> None:
        vm = new or old
        owner = vm.metadata.controller if vm is not None else None
        if vm is None or owner is None or owner.kind != "VirtualMachinePool":
            return
        key = ObjectKey(vm.metadata.namespace, owner.name)
        self.expectations.seen_creation(key, vm.metadata.uid)
        if new is None or new.metadata.deletion_timestamp:
            self.expectations.seen_deletion(key, vm.metadata.uid)
        self.controller.queue.add(key)

    def _vmi_changed(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        vmi = new or old
        assert vmi is not None
        vm = self.vms.get(vmi.key)
        if vm is not None:
            self._vm_changed(None, vm)

    async def reconcile(self, key: ObjectKey) -> Result:
        pool = self.pools.get(key)
        if pool is None:
            self.expectations.forget(key)
            return DONE
        found = Members(self.vms.store.by_index(indices.CONTROLLER, pool.metadata.uid))
        if pool.metadata.deletion_timestamp:
            await self._let_go(pool, found)
            return DONE
        if names.POOL_FINALIZER not in pool.metadata.finalizers:
            finalizers = [*pool.metadata.finalizers, names.POOL_FINALIZER]
            pool = await write_changes(
                self.context.client, pool, evolve(pool, metadata=evolve(pool.metadata, finalizers=finalizers))
            )
        found = Members(await self._release_strangers(pool, found.all))
        state = Pass()
        await self._finish_deletions(pool, found)
        if self.expectations.satisfied(key) and not pool.spec.paused:
            await self._heal(pool, found, state)
            await self._scale(pool, found, state)
            if state.stable and state.reason is None:
                await self._update(pool, found, state)
            if state.stable and state.reason is None:
                await self._prune(pool, found, state)
        await self._write(pool, found, state)
        if state.reason is not None:
            raise Transient(state.message)
        return Result(requeue_after=state.wake)

    async def _write(self, pool: VirtualMachinePool, found: Members, state: Pass) -> None:
        status = next_status(pool, found, state, self.context.clock())
        was, is_now = (conditions.is_true(s.conditions, "ReplicaPaused") for s in (pool.status, status))
        if is_now and not was:
            self.recorder.normal(pool, "SuccessfulPaused", "Pool is paused")
        elif was and not is_now:
            self.recorder.normal(pool, "SuccessfulResume", "Pool is unpaused")
        if state.reason is not None and not conditions.is_true(pool.status.conditions, "ReplicaFailure"):
            self.recorder.warning(pool, state.reason, state.message)
        try:
            await write_changes(self.context.client, pool, evolve(pool, status=status))
        except NotFound:
            return

    async def _release_strangers(self, pool: VirtualMachinePool, vms: list[VirtualMachine]) -> list[VirtualMachine]:
        selector = selectors.from_object(pool.spec.selector)
        own = []
        for vm in vms:
            if selector.matches((vm.spec.template.metadata or vm.metadata).labels) or selector.matches(
                vm.metadata.labels
            ):
                own.append(vm)
                continue
            owners = [o for o in vm.metadata.owner_references if o.uid != pool.metadata.uid]
            finalizers = [f for f in vm.metadata.finalizers if f != names.POOL_FINALIZER]
            metadata = evolve(vm.metadata, owner_references=owners, finalizers=finalizers)
            await self._quietly(vm, evolve(vm, metadata=metadata))
        return own

    async def _quietly(self, old: Resource, new: Resource) -> None:
        try:
            await write_changes(self.context.client, old, new)
        except NotFound:
            return

    async def _drop_finalizer(self, obj: Resource) -> None:
        if names.POOL_FINALIZER in obj.metadata.finalizers:
            finalizers = [f for f in obj.metadata.finalizers if f != names.POOL_FINALIZER]
            await self._quietly(obj, evolve(obj, metadata=evolve(obj.metadata, finalizers=finalizers)))

    async def _let_go(self, pool: VirtualMachinePool, found: Members) -> None:
        for vm in found.all:
            await self._drop_finalizer(vm)
        await self._drop_finalizer(pool)

    # Deleting members

    async def _finish_deletions(self, pool: VirtualMachinePool, found: Members) -> None:
        """Lets deleted members go, with their storage or without it."""
        strategy = pool.spec.scale_in_strategy
        if strategy is not None and strategy.unmanaged is not None:
            return
        replicas = 1 if pool.spec.replicas is None else pool.spec.replicas
        opportunistic = strategy.opportunistic if strategy is not None else None
        if opportunistic is not None and len(found.all) != replicas and len(found.alive) < replicas:
            return
        proactive = strategy.proactive if strategy is not None else None
        chosen = opportunistic or proactive
        kept = chosen.state_preservation if chosen is not None else None
        for vm in found.all:
            if vm.metadata.deletion_timestamp and names.POOL_FINALIZER in vm.metadata.finalizers:
                if kept and kept != "Disabled":
                    await self._keep_storage(vm)
                await self._drop_finalizer(vm)

    async def _keep_storage(self, vm: VirtualMachine) -> None:
        namespace = vm.metadata.namespace
        for template in vm.spec.data_volume_templates:
            name = template.metadata.name if template.metadata else ""
            for obj in (self.data_volumes.get((namespace, name)), self.claims.get((namespace, name))):
                if obj is not None:
                    await self._disown(obj, vm)

    async def _disown(self, obj: DataVolume | PersistentVolumeClaim, vm: VirtualMachine) -> None:
        owners = [o for o in obj.metadata.owner_references if o.uid != vm.metadata.uid]
        await self._quietly(obj, evolve(obj, metadata=evolve(obj.metadata, owner_references=owners)))

    async def _delete(
        self, pool: VirtualMachinePool, vm: VirtualMachine, propagation: Propagation | None = None
    ) -> None:
        self.expectations.expect_deletion(pool.key, vm.metadata.uid)
        try:
            await self.context.client.delete(VirtualMachine, vm.key, uid=vm.metadata.uid, propagation=propagation)
        except ApiError as error:
            self.expectations.seen_deletion(pool.key, vm.metadata.uid)
            if isinstance(error, NotFound | Conflict):
                return
            self.recorder.warning(pool, "FailedDelete", f"Error deleting virtual machine {vm.key}: {error}")
            raise
        seen = self.vms.get(vm.key)
        if seen is None or seen.metadata.deletion_timestamp:
            self.expectations.seen_deletion(pool.key, vm.metadata.uid)
        message = f"Deleted VM {vm.key} with uid {vm.metadata.uid} from pool"
        self.recorder.normal(pool, "SuccessfulDelete", message)

    async def _heal(self, pool: VirtualMachinePool, found: Members, state: Pass) -> None:
        for vm in found.alive:
            if members.is_sick(pool, vm, self.context.clock()):
                state.stable = False
                await self._delete(pool, vm)
        if pool.spec.autohealing is not None:
            state.wake = 30.0

    # Scaling

    async def _scale(self, pool: VirtualMachinePool, found: Members, state: Pass) -> None:
        replicas = 1 if pool.spec.replicas is None else pool.spec.replicas
        strategy = pool.spec.scale_in_strategy
        surplus = len(found.all) - replicas
        if surplus < 0:
            state.stable = False
            await self._scale_out(pool, min(-surplus, BURST), state)
            return
        by_hand = strategy is not None and (strategy.unmanaged is not None or strategy.opportunistic is not None)
        if surplus == 0 or by_hand:
            return
        state.stable = False
        surplus = max(0, len(found.alive) - replicas)
        proactive = strategy.proactive if strategy is not None else None
        order = members.chosen(found.alive, proactive.selection_policy if proactive else None, pool)
        for vm in order[: min(surplus, BURST)]:
            try:
                await self._delete(pool, vm)
            except ApiError as error:
                state.fail("FailedScaleIn", f"error during scale in: {error}")

    async def _scale_out(self, pool: VirtualMachinePool, count: int, state: Pass) -> None:
        await self._store_revision(pool)
        namespace = pool.metadata.namespace
        for index in members.free_indices(pool, lambda name: self.vms.get((namespace, name)) is not None, count):
            vm = members.member(pool, index)
            try:
                created = await self.context.client.create(vm)
            except ApiError as error:
                self.recorder.warning(pool, "FailedCreate", f"Error creating VM: {error}")
                state.fail("FailedScaleOut", f"error during scale out: {error}")
                return
            if self.vms.get(created.key) is None:
                self.expectations.expect_creation(pool.key, created.metadata.uid)
            self.recorder.normal(pool, "SuccessfulCreate", f"Created VM {created.key}")

    async def _store_revision(self, pool: VirtualMachinePool) -> None:
        try:
            await self.context.client.create(members.revision_of(pool))
        except AlreadyExists:
            return

    # Updating

    async def _update(self, pool: VirtualMachinePool, found: Members, state: Pass) -> None:
        strategy = pool.spec.update_strategy
        if strategy is not None and strategy.unmanaged is not None:
            return
        revisions = {r.metadata.name: r for r in self.revisions.store.by_index(indices.CONTROLLER, pool.metadata.uid)}
        outdated = [v for v in found.alive if members.is_outdated(pool, revisions, v)]
        if outdated:
            state.stable = False
            await self._store_revision(pool)
        for vm in outdated:
            await self._rewrite(pool, vm, state)
        if state.reason is None and (strategy is None or strategy.proactive is not None):
            current = [v for v in found.alive if v not in outdated]
            try:
                await self._renew(pool, current, revisions, state)
            except ApiError as error:
                state.fail("FailedUpdate", f"error during VMI update: {error}")

    async def _rewrite(self, pool: VirtualMachinePool, vm: VirtualMachine, state: Pass) -> None:
        index = members.index_of(pool, vm)
        if index is None:
            return
        try:
            await write_changes(self.context.client, vm, members.updated(pool, vm, index))
        except Conflict:
            raise
        except ApiError as error:
            about = f"{vm.metadata.name}/{vm.metadata.namespace}"
            self.recorder.warning(pool, "FailedUpdate", f"Error updating virtual machine {about}: {error}")
            state.fail("FailedUpdate", f"error during VM update: {error}")
            return
        self.recorder.normal(pool, "SuccessfulUpdate", f"Updated VM {vm.key}")

    async def _renew(
        self,
        pool: VirtualMachinePool,
        current: list[VirtualMachine],
        revisions: dict[str, ControllerRevision],
        state: Pass,
    ) -> None:
        """Restarts instances older than their VMs, a few at a time; those of VMs that are not ready at once."""
        replicas = 1 if pool.spec.replicas is None else pool.spec.replicas
        instances = {v.key: self.vmis.get(v.key) for v in current}
        down = sum(not members.is_available(i) for i in instances.values())
        left = members.budget(pool.spec.max_unavailable, replicas) - down
        strategy = pool.spec.update_strategy
        policy = strategy.proactive.selection_policy if strategy and strategy.proactive else None
        for vm in members.chosen(current, policy, pool):
            vmi = instances[vm.key]
            if vmi is None or vmi.metadata.deletion_timestamp:
                continue
            renewal = members.renewal(vm, vmi, revisions)
            if renewal is None:
                continue
            if conditions.is_true(vm.status.conditions, "Ready"):
                if left <= 0:
                    state.wake, state.stable = BUSY, False
                    continue
                left -= 1
            state.stable = False
            await self._renew_one(pool, vm, vmi, renewal)

    async def _renew_one(
        self, pool: VirtualMachinePool, vm: VirtualMachine, vmi: VirtualMachineInstance, renewal: members.Renewal
    ) -> None:
        try:
            match renewal:
                case members.Renewal.MACHINE:
                    uid = vm.metadata.uid
                    await self.context.client.delete(
                        VirtualMachine, vm.key, uid=uid, propagation=Propagation.FOREGROUND
                    )
                case members.Renewal.INSTANCE:
                    await self.context.client.delete(VirtualMachineInstance, vmi.key, uid=vmi.metadata.uid)
                case members.Renewal.LABEL:
                    labels = {**vmi.metadata.labels, names.POOL_REVISION: vm.metadata.labels[names.POOL_REVISION]}
                    fresh = evolve(vmi, metadata=evolve(vmi.metadata, labels=labels))
                    await write_changes(self.context.client, vmi, fresh)
        except (NotFound, Conflict):
            return
        except ApiError as error:
            self.recorder.warning(pool, "FailedUpdate", f"Error updating resource {vm.key}: {error}")
            raise
        self.recorder.normal(pool, "SuccessfulDelete", f"Successfully updated resource {vm.key}")

    async def _prune(self, pool: VirtualMachinePool, found: Members, state: Pass) -> None:
        used = {v.metadata.labels.get(names.POOL_REVISION) for v in found.all}
        instances = (self.vmis.get(v.key) for v in found.all)
        used |= {i.metadata.labels.get(names.POOL_REVISION) for i in instances if i is not None}
        for revision in self.revisions.store.by_index(indices.CONTROLLER, pool.metadata.uid):
            if revision.metadata.name in used:
                continue
            try:
                await self.context.client.delete(ControllerRevision, revision.key, uid=revision.metadata.uid)
            except (NotFound, Conflict):
                continue
            except ApiError as error:
                state.fail("FailedRevisionPruning", f"error while pruning vmpool revisions: {error}")
