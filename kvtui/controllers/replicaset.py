"""VirtualMachineInstanceReplicaSets: N like instances.

Source: kubevirt pkg/virt-controller/watch/replicaset; control plane facts 7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kvtui.api import selectors
from kvtui.api.kubevirt.replicaset import (
    VirtualMachineInstanceReplicaSet,
    VirtualMachineInstanceReplicaSetCondition,
    VirtualMachineInstanceReplicaSetStatus,
)
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.meta import ObjectMeta, OwnerReference
from kvtui.api.registry import owner_reference
from kvtui.api.wire import ObjectKey, evolve
from kvtui.controllers import conditions, indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.patches import write_changes
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.controlloop.expectations import Expectations
from kvtui.errors import ApiError, Conflict, InvalidSelector, NotFound, Transient

COMPONENT = "virtualmachinereplicaset-controller"
BURST = 250
"""Instances made or deleted in one pass."""
NAMESPACE = "namespace"
ORPHANS = "orphans"

Condition = VirtualMachineInstanceReplicaSetCondition
VMI = VirtualMachineInstance


@dataclass(frozen=True, slots=True)
class Sorted:
    """The set's instances."""

    active: list[VMI]
    finished: list[VMI]
    ready: int


@dataclass(frozen=True, slots=True)
class Scale:
    """How many to make, which to delete, which finished ones to clear away."""

    create: int = 0
    delete: tuple[VMI, ...] = ()
    clear: tuple[VMI, ...] = ()


def sort_out(vmis: Sequence[VMI]) -> Sorted:
    active, finished, ready = [], [], 0
    for vmi in vmis:
        phase = vmi.status.phase or ""
        if vmi.metadata.deletion_timestamp:
            continue
        if phase in ("Succeeded", "Failed", "Unknown"):
            finished.append(vmi)
            continue
        found = conditions.find(vmi.status.conditions, "Ready")
        if found is not None and found.status == "False" and found.reason == "PodTerminating":
            continue
        active.append(vmi)
        ready += found is not None and found.status == "True"
    return Sorted(active, finished, ready)


def plan(replica_set: VirtualMachineInstanceReplicaSet, sorted_: Sorted) -> Scale:
    if replica_set.spec.paused or replica_set.metadata.deletion_timestamp:
        return Scale()
    wanted = 1 if replica_set.spec.replicas is None else replica_set.spec.replicas
    surplus = len(sorted_.active) - wanted
    clear = tuple(sorted_.finished[:BURST])
    if surplus < 0:
        return Scale(create=min(-surplus, BURST), clear=clear)
    return Scale(delete=tuple(sorted_.active[: min(surplus, BURST)]), clear=clear)


def instance_of(replica_set: VirtualMachineInstanceReplicaSet) -> VMI:
    template = replica_set.spec.template
    metadata = (template.metadata if template else None) or ObjectMeta()
    return VMI(
        metadata=ObjectMeta(
            generate_name=metadata.name or metadata.generate_name or replica_set.metadata.name,
            namespace=replica_set.metadata.namespace,
            labels=metadata.labels,
            annotations=metadata.annotations,
            owner_references=[owner_reference(replica_set)],
        ),
        spec=(template.spec if template else None) or VirtualMachineInstanceSpec(),
    )


def next_status(
    replica_set: VirtualMachineInstanceReplicaSet, sorted_: Sorted, error: str | None, now: datetime
) -> VirtualMachineInstanceReplicaSetStatus:
    found = list(replica_set.status.conditions)
    if replica_set.spec.paused:
        paused = conditions.make(Condition, "ReplicaPaused", "True", "Paused", "Controller got paused", now=now)
        found = conditions.put(found, paused)
    else:
        found = conditions.without(found, "ReplicaPaused")
    if error is None:
        found = conditions.without(found, "ReplicaFailure")
    else:
        wanted = 1 if replica_set.spec.replicas is None else replica_set.spec.replicas
        reason = "FailedCreate" if len(sorted_.active) < wanted else "FailedDelete"
        found = conditions.put(found, conditions.make(Condition, "ReplicaFailure", "True", reason, error, now=now))
    return evolve(
        replica_set.status,
        replicas=len(sorted_.active) or None,
        ready_replicas=sorted_.ready or None,
        label_selector=str(selectors.from_object(replica_set.spec.selector)),
        conditions=found,
    )


def valid_selector(replica_set: VirtualMachineInstanceReplicaSet) -> selectors.LabelSelector | None:
    """None when the set cannot be worked on as it is."""
    spec = replica_set.spec
    labels = spec.template.metadata.labels if spec.template and spec.template.metadata else {}
    if spec.selector is None or not labels:
        return None
    try:
        selector = selectors.from_object(spec.selector)
    except InvalidSelector:
        return None
    return selector if not selector.empty and selector.matches(labels) else None


class ReplicaSetController:
    """Keeps the number of instances of every set."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.sets = context.informers.index(
            VirtualMachineInstanceReplicaSet, NAMESPACE, lambda s: [s.metadata.namespace]
        )
        self.vmis = indices.vmis(context.informers)
        context.informers.index(VMI, ORPHANS, lambda v: [v.metadata.namespace] if v.metadata.controller is None else [])
        self.recorder = context.recorders.of(COMPONENT)
        self.expectations: Expectations[ObjectKey] = Expectations(lambda: asyncio.get_running_loop().time())
        self.controller: Controller[ObjectKey] = Controller(
            "replicaset", self.reconcile, informers=[self.sets, self.vmis], settings=context.settings.loop
        )
        queue = self.controller.queue
        self.sets.subscribe(lambda old, new: queue.add_change((new or old or _NONE).key, new=old is None))
        self.vmis.subscribe(self._vmi_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _vmi_changed(self, old: VMI | None, new: VMI | None) -> None:
        vmi = new or old
        assert vmi is not None
        for version in (old, new):
            owner = version.metadata.controller if version is not None else None
            if owner is not None and owner.kind == "VirtualMachineInstanceReplicaSet":
                key = ObjectKey(vmi.metadata.namespace, owner.name)
                self.expectations.seen_creation(key, vmi.metadata.uid)
                if new is None or new.metadata.deletion_timestamp:
                    self.expectations.seen_deletion(key, vmi.metadata.uid)
                self.controller.queue.add(key)
        if new is not None and new.metadata.controller is None:
            # An orphan may be somebody's.
            for candidate in self.sets.store.by_index(NAMESPACE, vmi.metadata.namespace):
                self.controller.queue.add(candidate.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        found = self.sets.get(key)
        if found is None:
            self.expectations.forget(key)
            return DONE
        if any(found.metadata.annotations.get(k) != v for k, v in names.API_VERSIONS.items()):
            annotations = {**found.metadata.annotations, **names.API_VERSIONS}
            await write_changes(
                self.context.client, found, evolve(found, metadata=evolve(found.metadata, annotations=annotations))
            )
            return DONE
        selector = valid_selector(found)
        if selector is None:
            return DONE
        sorted_ = sort_out(await self._claim(found, selector))
        error: str | None = None
        if self.expectations.satisfied(key):
            error = await self._scale(found, plan(found, sorted_))
        status = next_status(found, sorted_, error, self.context.clock())
        was, is_now = (conditions.is_true(s.conditions, "ReplicaPaused") for s in (found.status, status))
        if is_now and not was:
            self.recorder.normal(found, "SuccessfulPaused", "Paused")
        elif was and not is_now:
            self.recorder.normal(found, "SuccessfulResumed", "Resumed")
        try:
            await write_changes(self.context.client, found, evolve(found, status=status))
        except NotFound:
            return DONE
        if error is not None:
            raise Transient(error)
        return DONE

    async def _claim(self, owner: VirtualMachineInstanceReplicaSet, selector: selectors.LabelSelector) -> list[VMI]:
        """The set's own, adopted ones included; those that no longer match are released."""
        own = []
        deleting = bool(owner.metadata.deletion_timestamp)
        for vmi in self.vmis.store.by_index(indices.CONTROLLER, owner.metadata.uid):
            if selector.matches(vmi.metadata.labels):
                own.append(vmi)
            elif not deleting:
                await self._own(vmi, [o for o in vmi.metadata.owner_references if o.uid != owner.metadata.uid])
        for vmi in self.vmis.store.by_index(ORPHANS, owner.metadata.namespace):
            matches = selector.matches(vmi.metadata.labels)
            if matches and not deleting and not vmi.metadata.deletion_timestamp:
                adopted = await self._own(vmi, [*vmi.metadata.owner_references, owner_reference(owner)])
                if adopted is not None:
                    own.append(adopted)
        return own

    async def _own(self, vmi: VMI, owners: list[OwnerReference]) -> VMI | None:
        try:
            return await write_changes(
                self.context.client, vmi, evolve(vmi, metadata=evolve(vmi.metadata, owner_references=owners))
            )
        except (NotFound, Conflict):
            return None

    async def _scale(self, owner: VirtualMachineInstanceReplicaSet, scale: Scale) -> str | None:
        error = await _first_error([self._create(owner) for _ in range(scale.create)])
        error = error or await _first_error([self._delete(owner, v) for v in scale.delete])
        return error or await _first_error([self._delete(owner, v) for v in scale.clear])

    async def _create(self, owner: VirtualMachineInstanceReplicaSet) -> str | None:
        try:
            created = await self.context.client.create(instance_of(owner))
        except ApiError as error:
            self.recorder.warning(owner, "FailedCreate", f"Error creating virtual machine instance: {error}")
            return str(error)
        if self.vmis.get(created.key) is None:
            self.expectations.expect_creation(owner.key, created.metadata.uid)
        message = f"Started the virtual machine by creating the new virtual machine instance {created.metadata.name}"
        self.recorder.normal(owner, "SuccessfulCreate", message)
        return None

    async def _delete(self, owner: VirtualMachineInstanceReplicaSet, vmi: VMI) -> str | None:
        self.expectations.expect_deletion(owner.key, vmi.metadata.uid)
        try:
            await self.context.client.delete(VMI, vmi.key, uid=vmi.metadata.uid)
        except ApiError as error:
            self.expectations.seen_deletion(owner.key, vmi.metadata.uid)
            if isinstance(error, NotFound | Conflict):
                return None
            message = f"Error deleting virtual machine instance {vmi.metadata.name}: {error}"
            self.recorder.warning(owner, "FailedDelete", message)
            return str(error)
        seen = self.vmis.get(vmi.key)
        if seen is None or seen.metadata.deletion_timestamp:
            self.expectations.seen_deletion(owner.key, vmi.metadata.uid)
        message = f"Stopped the virtual machine by deleting the virtual machine instance {vmi.metadata.uid}"
        self.recorder.normal(owner, "SuccessfulDelete", message)
        return None


_NONE = VirtualMachineInstanceReplicaSet()


async def _first_error(calls: list[Coroutine[Any, Any, str | None]]) -> str | None:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(call, name="replica set step") for call in calls]
    return next((error for t in running if (error := t.result()) is not None), None)
