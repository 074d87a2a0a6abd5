"""Brings running VMIs up to date by migrating them, or by evicting them where that is allowed.

Source: kubevirt pkg/virt-controller/watch/workload-updater; control plane facts 8.7.
"""

from __future__ import annotations

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.config import KubeVirt, KubeVirtWorkloadUpdateStrategy
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration, VirtualMachineInstanceMigrationSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import kind_of
from kvtui.api.wire import ObjectKey, evolve, to_json
from kvtui.controllers import conditions, indices, names
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.durations import seconds_of
from kvtui.controllers.migration.policy import defaults
from kvtui.controllers.migration.view import WITH_POD, is_final, phase_of
from kvtui.controllers.patches import write_changes
from kvtui.controllers.virtualmachineinstance import pods
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import ApiError, Conflict, NotFound, Transient

COMPONENT = "workload-update-controller"
STALE = "needs update"
PAUSE = 5.0
"""Seconds between passes while there is work."""
BATCH_SIZE, BATCH_INTERVAL = 10, 60.0


def is_outdated(vmi: VirtualMachineInstance) -> bool:
    return names.OUTDATED in vmi.metadata.labels


def has_change(vmi: VirtualMachineInstance) -> bool:
    """Whether something plugged in takes effect with a migration."""
    found = vmi.status.conditions
    return any(
        conditions.is_true(found, type_)
        for type_ in ("HotVCPUChange", "HotMemoryChange", "MigrationRequired", "VolumesChange")
    )


def stale(vmi: VirtualMachineInstance) -> list[str]:
    """Index: running VMIs that wait for an update."""
    waits = vmi.status.phase == "Running" and (is_outdated(vmi) or has_change(vmi))
    return [STALE] if waits and not vmi.metadata.deletion_timestamp else []


def can_migrate(vmi: VirtualMachineInstance) -> bool:
    found = vmi.status.conditions
    return conditions.is_true(found, "LiveMigratable") or conditions.is_true(found, "VolumesChange")


def migration_of(vmi: VirtualMachineInstance) -> VirtualMachineInstanceMigration:
    volumes = conditions.is_true(vmi.status.conditions, "VolumesChange")
    return VirtualMachineInstanceMigration(
        metadata=ObjectMeta(
            generate_name="kubevirt-workload-update-",
            namespace=vmi.metadata.namespace,
            annotations={names.WORKLOAD_UPDATE_MIGRATION: ""},
            labels={names.VOLUME_UPDATE_MIGRATION: vmi.metadata.name} if volumes else {},
        ),
        spec=VirtualMachineInstanceMigrationSpec(
            vmi_name=vmi.metadata.name, priority="user-triggered" if has_change(vmi) else "system-critical"
        ),
    )


class WorkloadUpdateController:
    """One pass looks at all VMIs that wait for an update."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.vmis = indices.vmis(context.informers)
        context.informers.index(VirtualMachineInstance, STALE, stale)
        self.migrations = indices.migrations(context.informers)
        context.informers.index(VirtualMachineInstanceMigration, COMPONENT, _unfinished)
        self.pods = indices.pods(context.informers)
        self.kubevirts = context.informers.of(KubeVirt)
        self.recorder = context.recorders.of(COMPONENT)
        self._last_eviction = 0.0
        self._created: dict[ObjectKey, str] = {}
        self.controller: Controller[str] = Controller(
            "workloadupdate",
            self.reconcile,
            informers=[self.vmis, self.migrations, self.pods, self.kubevirts],
            settings=context.settings.loop,
            workers=1,
        )
        self.vmis.subscribe(self._vmi_changed)
        self.migrations.subscribe(self._migration_changed)
        self.kubevirts.subscribe(lambda old, new: self.controller.queue.add(COMPONENT))

    async def run(self) -> None:
        await self.controller.run()

    def _vmi_changed(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        if (old is not None and stale(old)) or (new is not None and stale(new)):
            self.controller.queue.add(COMPONENT)

    def _migration_changed(
        self, old: VirtualMachineInstanceMigration | None, new: VirtualMachineInstanceMigration | None
    ) -> None:
        migration = new or old
        assert migration is not None
        self._created.pop(migration.key, None)
        if new is None or is_final(new):
            self.controller.queue.add(COMPONENT)

    async def reconcile(self, _: str) -> Result:
        kubevirt = self.context.config.kubevirt
        if kubevirt is None or kubevirt.status.phase != "Deployed":
            return DONE
        await self._drop_needless()
        waiting = self.vmis.store.by_index(STALE, STALE)
        await self._count(kubevirt, sum(is_outdated(v) for v in waiting))
        strategy = kubevirt.spec.workload_update_strategy or KubeVirtWorkloadUpdateStrategy()
        methods = strategy.workload_update_methods
        unfinished = self.migrations.store.by_index(COMPONENT, COMPONENT)
        busy = {ObjectKey(m.metadata.namespace, m.spec.vmi_name or "") for m in unfinished}
        free = (defaults(self.context.config.now.migrations).parallel_migrations_per_cluster or 1) - len(
            [m for m in unfinished if phase_of(m) in ("", "Pending", *WITH_POD)]
        )
        free -= len(self._created)
        left = False
        for vmi in waiting:
            if vmi.key in busy:
                continue
            if "LiveMigrate" in methods and can_migrate(vmi):
                if free <= 0:
                    left = True
                    continue
                free -= 1
                await self._migrate(vmi)
            elif "Evict" in methods:
                left = True
        if "Evict" in methods:
            await self._evict_batch(
                [v for v in waiting if v.key not in busy and not ("LiveMigrate" in methods and can_migrate(v))],
                strategy,
            )
        return Result(requeue_after=PAUSE) if left else DONE

    async def _migrate(self, vmi: VirtualMachineInstance) -> None:
        try:
            created = await self.context.client.create(migration_of(vmi))
        except ApiError as error:
            self.recorder.warning(
                vmi, "FailedCreate", f"Error creating a Migration for automated workload update: {error}"
            )
            if isinstance(error, Transient):
                raise
            return
        if self.migrations.get(created.key) is None:
            self._created[created.key] = created.metadata.uid
        message = f"Created Migration {created.metadata.name} for automated workload update"
        self.recorder.normal(vmi, "SuccessfulCreate", message)

    async def _drop_needless(self) -> None:
        """A migration whose reason has vanished is called off."""
        for migration in self.migrations.store.by_index(COMPONENT, COMPONENT):
            if names.WORKLOAD_UPDATE_MIGRATION not in migration.metadata.annotations:
                continue
            if migration.metadata.deletion_timestamp:
                continue
            vmi = self.vmis.get((migration.metadata.namespace, migration.spec.vmi_name or ""))
            if vmi is None or stale(vmi):
                continue
            try:
                await self.context.client.delete(
                    VirtualMachineInstanceMigration, migration.key, uid=migration.metadata.uid
                )
            except (NotFound, Conflict):
                continue
            except ApiError as error:
                message = f"Failed to abort change for vmi: {vmi.metadata.name}: {error}"
                self.recorder.normal(vmi, "FailedChangeAbortion", message)
                raise
            self.recorder.normal(vmi, "SuccessfulChangeAbortion", f"Aborted change for vmi: {vmi.metadata.name}")

    async def _evict_batch(
        self, candidates: list[VirtualMachineInstance], strategy: KubeVirtWorkloadUpdateStrategy
    ) -> None:
        moment = self.context.clock().timestamp()
        interval = seconds_of(strategy.batch_eviction_interval, BATCH_INTERVAL)
        if not candidates or moment - self._last_eviction < interval:
            return
        self._last_eviction = moment
        size = BATCH_SIZE if strategy.batch_eviction_size is None else strategy.batch_eviction_size
        for vmi in candidates[:size]:
            pod = pods.current(vmi, self.pods.store.by_index(indices.CONTROLLER, vmi.metadata.uid))
            if pod is not None and not pod.metadata.deletion_timestamp:
                await self._evict(vmi, pod)

    async def _evict(self, vmi: VirtualMachineInstance, pod: Pod) -> None:
        namespace, name = pod.key
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
        }
        try:
            await self.context.client.raw(
                "POST", kind_of(Pod).path(namespace, name, "eviction"), body=to_json(eviction)
            )
        except NotFound:
            return
        except ApiError as error:
            self.recorder.warning(vmi, "FailedEvict", f"Error deleting VMI during automated workload update: {error}")
            return
        message = "Initiated eviction of VMI as part of automated workload update"
        self.recorder.normal(vmi, "SuccessfulEvict", message)

    async def _count(self, kubevirt: KubeVirt, outdated: int) -> None:
        if (kubevirt.status.outdated_virtual_machine_instance_workloads or 0) == outdated:
            return
        status = evolve(kubevirt.status, outdated_virtual_machine_instance_workloads=outdated)
        await write_changes(self.context.client, kubevirt, evolve(kubevirt, status=status))


def _unfinished(migration: VirtualMachineInstanceMigration) -> list[str]:
    return [] if is_final(migration) else [COMPONENT]
