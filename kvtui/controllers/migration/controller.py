"""Reconciles migrations: applies the next step, keeps the limits, cleans up afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kvtui.api.core.config import Namespace, ResourceQuota
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.migration import (
    MigrationPolicy,
    VirtualMachineInstanceMigration,
    VirtualMachineInstanceMigrationCondition,
    VirtualMachineInstanceMigrationPhaseTransitionTimestamp,
)
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceMigrationState
from kvtui.api.times import to_time
from kvtui.api.wire import ObjectKey, evolve
from kvtui.controllers import conditions, indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.launcher.render import Unrenderable
from kvtui.controllers.launcher.target import missing_cpu, render_target
from kvtui.controllers.migration import policy
from kvtui.controllers.migration.carriedstate import CarriedState
from kvtui.controllers.migration.plan import NEEDLESS, SUCCEEDED, Next, handed_off, plan, with_failed_state
from kvtui.controllers.migration.view import WITH_POD, View, age_key, is_final, phase_of, priority_of
from kvtui.controllers.patches import write_changes
from kvtui.controllers.surroundings import SurroundingsOf
from kvtui.controllers.virtualmachineinstance import backendstorage, pods
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import ApiError, Conflict, Forbidden, NotFound

COMPONENT = "virtualmachine-controller"
KEPT = 5
"""Finished migrations that are kept per VMI."""
QUOTA_RECHECK = 10.0
REFUSED = "migrationRejectedByResourceQuota"


@dataclass(frozen=True, slots=True)
class Slot:
    """A migration that counts against the limits, or that waits for its turn."""

    vmi: ObjectKey
    priority: int
    age: tuple[str, str]


class MigrationController:
    """Drives every VirtualMachineInstanceMigration to its end."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.migrations = indices.migrations(informers)
        self.vmis = indices.vmis(informers)
        self.pods = indices.pods(informers)
        self.claims = indices.claims(informers)
        self.nodes = informers.of(Node)
        self.namespaces = informers.of(Namespace)
        self.policies = informers.of(MigrationPolicy)
        self.quotas = informers.of(ResourceQuota, optional=True)
        self.surroundings = SurroundingsOf(context)
        self.state = CarriedState(context.client, self.claims)
        self.recorder = context.recorders.of(COMPONENT)
        self._unseen: dict[str, Pod] = {}
        """Target Pods that were made and that the cache does not show yet, by uid."""
        self._active: dict[ObjectKey, Slot] = {}
        self._pending: dict[ObjectKey, Slot] = {}
        self.controller: Controller[ObjectKey] = Controller(
            "migration",
            self.reconcile,
            informers=[
                self.migrations,
                self.vmis,
                self.pods,
                self.claims,
                self.nodes,
                self.namespaces,
                self.policies,
                self.quotas,
            ],
            settings=context.settings.loop,
            # One at a time: the limits are checked and taken in one go.
            workers=1,
        )
        self.migrations.subscribe(self._migration_changed)
        self.vmis.subscribe(self._vmi_changed)
        self.pods.subscribe(self._pod_changed)
        self.quotas.subscribe(self._quota_changed)

    async def run(self) -> None:
        await self.controller.run()

    # What wakes a migration

    def _quota_changed(self, old: ResourceQuota | None, new: ResourceQuota | None) -> None:
        quota = new or old
        assert quota is not None
        for migration in self.migrations.all():
            refused = conditions.is_true(migration.status.conditions, REFUSED)
            if refused and migration.metadata.namespace == quota.metadata.namespace:
                self.controller.queue.add(migration.key)

    def _migration_changed(
        self, old: VirtualMachineInstanceMigration | None, new: VirtualMachineInstanceMigration | None
    ) -> None:
        migration = new or old
        assert migration is not None
        key = migration.key
        slot = Slot(ObjectKey(key.namespace, migration.spec.vmi_name or ""), priority_of(migration), age_key(migration))
        freed = key in self._active
        pending = new is not None and phase_of(new) == "Pending"
        if new is None or is_final(new) or (not pending and phase_of(new) not in WITH_POD):
            self._active.pop(key, None)
            self._pending.pop(key, None)
        elif pending and key not in self._active:
            self._pending[key] = slot
        elif not pending:
            self._active[key] = slot
            self._pending.pop(key, None)
        if freed and key not in self._active:
            self._wake_pending()
        self.controller.queue.add(key)

    def _wake_pending(self) -> None:
        for key in self._pending:
            self.controller.queue.add(key)

    def _enqueue_of(self, vmi: ObjectKey) -> None:
        for migration in self.migrations.store.by_index(indices.VMI, str(vmi)):
            self.controller.queue.add(migration.key)

    def _vmi_changed(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        vmi = new or old
        assert vmi is not None
        self._enqueue_of(vmi.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        owner = pod.metadata.controller if pod is not None else None
        if pod is not None and owner is not None and owner.kind == "VirtualMachineInstance":
            self._unseen.pop(pod.metadata.uid, None)
            self._enqueue_of(ObjectKey(pod.metadata.namespace, owner.name))

    # One pass

    async def reconcile(self, key: ObjectKey) -> Result:
        migration = self.migrations.get(key)
        if migration is None:
            return DONE
        if is_final(migration):
            return await self._finish(migration)
        marked = _marked(migration)
        if marked != migration:
            await write_changes(self.context.client, migration, marked)
            return DONE
        view = self._view(migration)
        step = plan(view)
        return await self._apply(view, step)

    def _view(self, migration: VirtualMachineInstanceMigration) -> View:
        key = ObjectKey(migration.metadata.namespace, migration.spec.vmi_name or "")
        vmi = self.vmis.get(key)
        own = self.pods.store.by_index(indices.CONTROLLER, vmi.metadata.uid) if vmi is not None else []
        own += [p for p in self._unseen.values() if vmi is not None and vmi.metadata.uid in indices.controller_uid(p)]
        others = [
            m for m in self.migrations.store.by_index(indices.VMI, str(key)) if m.metadata.uid != migration.metadata.uid
        ]
        chosen = self._policy(vmi) if vmi is not None else None
        return View(
            migration=migration,
            now=self.context.clock(),
            vmi=vmi,
            pods=own,
            others=others,
            may_start=self._may_start(migration),
            options=policy.effective(self.context.config.now.migrations, chosen),
            policy=chosen.metadata.name if chosen is not None else None,
        )

    def _policy(self, vmi: VirtualMachineInstance) -> MigrationPolicy | None:
        namespace = self.namespaces.get(("", vmi.metadata.namespace))
        labels = namespace.metadata.labels if namespace is not None else {}
        return policy.choose(self.policies.all(), labels, vmi.metadata.labels)

    def _may_start(self, migration: VirtualMachineInstanceMigration) -> bool:
        """Whether the limits leave room once everybody who comes first has been served."""
        if phase_of(migration) != "Pending" or migration.key in self._active:
            return True
        options = policy.defaults(self.context.config.now.migrations)
        free = (options.parallel_migrations_per_cluster or 1) - len(self._active)
        outbound = self._outbound(self._active.values())
        limit = options.parallel_outbound_migrations_per_node or 1
        for key, slot in sorted(self._pending.items(), key=lambda item: (-item[1].priority, item[1].age)):
            if free <= 0:
                return False
            node = self._node_of(slot.vmi)
            if node and outbound.get(node, 0) >= limit:
                if key == migration.key:
                    return False
                continue
            if key == migration.key:
                return True
            # Those that cannot start for other reasons do not hold up the rest.
            if self._is_runnable(slot.vmi):
                free -= 1
                outbound[node] = outbound.get(node, 0) + 1
        return free > 0

    def _is_runnable(self, vmi: ObjectKey) -> bool:
        found = self.vmis.get(vmi)
        return found is not None and found.status.phase == "Running"

    def _node_of(self, vmi: ObjectKey) -> str:
        found = self.vmis.get(vmi)
        return (found.status.node_name or "") if found is not None else ""

    def _outbound(self, slots: Iterable[Slot]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for slot in slots:
            vmi = self.vmis.get(slot.vmi)
            if vmi is None:
                continue
            state = vmi.status.migration_state
            nodes = {vmi.status.node_name or "", (state.source_node or "") if state is not None else ""}
            for node in nodes - {""}:
                counts[node] = counts.get(node, 0) + 1
        return counts

    async def _apply(self, view: View, step: Next) -> Result:
        migration = view.migration
        marks = list(step.set_conditions)
        drops = set(step.drop_conditions)
        if step.unschedulable:
            about = f"{migration.metadata.namespace}/{migration.spec.vmi_name}"
            message = f"Migration target pod for VMI [{about}] is currently unschedulable."
            self.recorder.warning(migration, "migrationTargetPodUnschedulable", message)
            if view.vmi is not None and (missing := missing_cpu(view.vmi, view.target, self.nodes.all())):
                self.recorder.warning(view.vmi, "NoSuitableNodesForHostModelMigration", missing)
        for _, reason, message in step.set_conditions:
            if reason == "UtilityVolumesPresent":
                self.recorder.warning(migration, "UtilityVolumeMigrationPending", message)
        if step.backoff and view.vmi is not None and step.wake is not None:
            message = f"backoff migrating vmi {migration.metadata.namespace}/{migration.spec.vmi_name}"
            self.recorder.warning(view.vmi, "MigrationBackoff", message)
        wake = step.wake
        if step.create_target:
            rejected = await self._create_target(view)
            if rejected is not None:
                marks.append((REFUSED, "", rejected))
                wake = QUOTA_RECHECK
        if step.hand_off and not await self._hand_off(view):
            return DONE
        if step.abort:
            await self._abort(view)
        if step.mark_ready and view.target is not None:
            stamp = view.state.target_node_domain_ready_timestamp if view.state is not None else None
            await self._annotate(view.target, {names.MIGRATION_TARGET_READY: stamp or to_time(view.now)})
        if step.tell_vmi is not None:
            await self._tell_vmi(view, step.tell_vmi)
        if step.delete_target is not None:
            await self._delete_pod(view.migration, view.target, step.delete_target)
        if step.phase is None and not view.may_start and view.phase == "Pending":
            wake = min(wake or 5.0, _turn_recheck(priority_of(migration)))
        if step.phase == "Succeeded":
            # Before anybody can think that it is over, and start the VM anew.
            await self.state.settle(view)
        await self._write(view, step.phase, marks, drops)
        if step.phase == "Failed":
            self.recorder.warning(migration, "FailedMigration", step.failure or "")
        elif step.phase == "Succeeded":
            self.recorder.normal(migration, "SuccessfulMigration", SUCCEEDED)
        return Result(requeue_after=wake)

    async def _write(self, view: View, phase: str | None, marks: list[tuple[str, str, str]], drops: set[str]) -> None:
        migration = view.migration
        status = migration.status
        found = [c for c in status.conditions if c.type not in drops or c.type in {m[0] for m in marks}]
        for type_, reason, message in marks:
            made = conditions.make(
                VirtualMachineInstanceMigrationCondition, type_, "True", reason, message, now=view.now
            )
            found = conditions.put(found, made)
        status = evolve(status, conditions=found)
        if (phase or view.phase) == "Pending" and view.source is not None:
            state = status.migration_state or VirtualMachineInstanceMigrationState()
            status = evolve(status, migration_state=evolve(state, source_pod=view.source.metadata.name))
        if phase is not None and phase != view.phase:
            stamp = VirtualMachineInstanceMigrationPhaseTransitionTimestamp(
                phase=phase, phase_transition_timestamp=to_time(view.now)
            )
            status = evolve(
                status, phase=phase, phase_transition_timestamps=[*status.phase_transition_timestamps, stamp]
            )
        try:
            await write_changes(self.context.client, migration, evolve(migration, status=status))
        except NotFound:
            return

    async def _create_target(self, view: View) -> str | None:
        """Makes the target Pod; returns why a quota refused it."""
        migration, vmi = view.migration, view.vmi
        assert vmi is not None
        node = self.nodes.get(("", vmi.status.node_name or ""))
        try:
            pod = render_target(vmi, migration, self.surroundings.of(vmi), source_node=node, source_pod=view.source)
            claim = await self.state.claim_target(view)
            pod = backendstorage.mounted(pod, claim) if claim is not None else pod
            created = await self.context.client.create(pod)
        except Forbidden as error:
            self.recorder.warning(migration, "FailedCreate", f"Error creating pod: {error}")
            if "exceeded quota" in str(error):
                return str(error)
            raise
        except (ApiError, Unrenderable) as error:
            self.recorder.warning(migration, "FailedCreate", f"Error creating pod: {error}")
            raise
        self._active[migration.key] = self._pending.pop(
            migration.key, Slot(vmi.key, priority_of(migration), age_key(migration))
        )
        self.recorder.normal(migration, "SuccessfulCreate", f"Created migration target pod {created.metadata.name}")
        if self.pods.get(created.key) is None:
            self._unseen[created.metadata.uid] = created
        self.controller.queue.add(migration.key)
        return None

    async def _hand_off(self, view: View) -> bool:
        vmi = view.vmi
        assert vmi is not None
        try:
            await write_changes(self.context.client, vmi, handed_off(view, self.state.names(view)))
        except ApiError as error:
            self.recorder.warning(
                view.migration, "FailedHandOver", f"Failed to set MigrationStat in VMI status. :{error}"
            )
            raise
        self.recorder.normal(
            view.migration, "SuccessfulHandOver", "Migration target pod is ready for preparation by virt-handler."
        )
        return True

    async def _abort(self, view: View) -> None:
        vmi, state = view.vmi, view.state
        assert vmi is not None
        assert state is not None
        asked = evolve(vmi, status=evolve(vmi.status, migration_state=evolve(state, abort_requested=True)))
        try:
            await write_changes(self.context.client, vmi, asked)
        except ApiError as error:
            message = f"failed to set MigrationState in VMI status. :{error}"
            self.recorder.warning(view.migration, "FailedAbortMigration", message)
            raise
        message = "Migration is ready to be canceled by virt-handler."
        self.recorder.normal(view.migration, "SuccessfulAbortMigration", message)

    async def _tell_vmi(self, view: View, reason: str) -> None:
        told = with_failed_state(view, reason)
        if told is None or view.vmi is None:
            return
        await write_changes(self.context.client, view.vmi, told)
        message = f"VirtualMachineInstance migration uid {view.uid} failed. reason: {reason}"
        self.recorder.warning(view.vmi, "FailedMigration", message)

    async def _annotate(self, pod: Pod, annotations: dict[str, str]) -> None:
        try:
            await self.context.client.patch(Pod, pod.key, {"metadata": {"annotations": annotations}})
        except NotFound:
            return

    async def _delete_pod(self, about: VirtualMachineInstanceMigration, pod: Pod | None, why: str) -> None:
        if pod is None or pod.metadata.deletion_timestamp:
            return
        try:
            await self.context.client.delete(Pod, pod.key, uid=pod.metadata.uid)
        except (NotFound, Conflict):
            return
        except ApiError as error:
            message = f"Error deleting canceled migration target pod: {error}"
            self.recorder.warning(about, "FailedDelete", message)
            raise
        self.recorder.normal(about, "SuccessfulDelete", why)

    # Afterwards

    async def _finish(self, migration: VirtualMachineInstanceMigration) -> Result:
        view = self._view(migration)
        if phase_of(migration) == "Failed":
            await self._tell_vmi(view, "Target pod is down")
            target = view.target
            arrived = view.vmi is not None and target is not None and target is pods.current(view.vmi, view.pods)
            if target is not None and not pods.is_final(target) and not arrived:
                await self._delete_pod(migration, target, NEEDLESS)
            await self.state.settle(view)
        status = migration.status
        if view.state is not None:
            status = evolve(status, migration_state=view.state)
        finalizers = [f for f in migration.metadata.finalizers if f != names.MIGRATION_FINALIZER]
        finished = evolve(migration, metadata=evolve(migration.metadata, finalizers=finalizers), status=status)
        try:
            if status != migration.status:
                await write_changes(self.context.client, migration, evolve(migration, status=status))
                return DONE
            await write_changes(self.context.client, migration, finished)
        except NotFound:
            return DONE
        if view.vmi is None:
            await self._delete(migration)
            return DONE
        await self._collect(view)
        return DONE

    async def _collect(self, view: View) -> None:
        """Forgets the oldest finished migrations, together with their dead Pods."""
        finished = sorted((m for m in (view.migration, *view.others) if is_final(m)), key=age_key, reverse=True)
        for old in finished[KEPT:]:
            state = old.status.migration_state
            name = None
            if state is not None:
                name = state.target_pod if phase_of(old) == "Failed" else state.source_pod
            pod = next((p for p in view.pods if p.metadata.name == name), None)
            if pod is not None and pods.is_final(pod):
                await self._delete_pod(old, pod, NEEDLESS)
            await self._delete(old)

    async def _delete(self, migration: VirtualMachineInstanceMigration) -> None:
        if migration.metadata.deletion_timestamp:
            return
        try:
            await self.context.client.delete(VirtualMachineInstanceMigration, migration.key, uid=migration.metadata.uid)
        except (NotFound, Conflict):
            return


def _turn_recheck(priority: int) -> float:
    """Seconds until a migration that waits for its turn looks again."""
    return 1.0 if priority >= 100 else 3.0 if priority >= 50 else 5.0


def _marked(migration: VirtualMachineInstanceMigration) -> VirtualMachineInstanceMigration:
    """With what admission would have given it."""
    metadata = migration.metadata
    labels = {**metadata.labels, names.MIGRATION_SELECTOR: migration.spec.vmi_name or ""}
    annotations = {**metadata.annotations, **names.API_VERSIONS}
    finalizers = list(metadata.finalizers)
    if names.MIGRATION_FINALIZER not in finalizers and not metadata.deletion_timestamp:
        finalizers.append(names.MIGRATION_FINALIZER)
    return evolve(migration, metadata=evolve(metadata, labels=labels, annotations=annotations, finalizers=finalizers))
