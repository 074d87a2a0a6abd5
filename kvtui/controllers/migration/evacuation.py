"""Empties nodes: one migration for every VMI that is to leave.

Source: kubevirt pkg/virt-controller/watch/drain/evacuation; control plane facts 8.9.
"""

from __future__ import annotations

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration, VirtualMachineInstanceMigrationSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import ObjectKey
from kvtui.controllers import conditions, indices, names
from kvtui.controllers.clusterconfig import Configuration
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.migration.policy import defaults
from kvtui.controllers.migration.view import is_final
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import ApiError, Invalid, Transient

COMPONENT = "evacuation-controller"
DESCHEDULER = "descheduler"
RECHECK = 5.0


def drained(node: Node, config: Configuration) -> bool:
    """The deprecated way: a taint on the node."""
    key = defaults(config.migrations).node_drain_taint_key
    return any(t.key == key and t.effect == "NoSchedule" for t in node.spec.taints)


def wants_to_leave(vmi: VirtualMachineInstance, node: str, config: Configuration, *, whole_node: bool) -> bool:
    """Whether this VMI needs a migration off the node, apart from those under way."""
    status = vmi.status
    if (status.phase or "") in ("Succeeded", "Failed") or vmi.metadata.deletion_timestamp:
        return False
    if not whole_node and status.evacuation_node_name != node:
        return False
    if status.node_name != node or len(status.active_pods) > 1:
        return False
    strategy = vmi.spec.eviction_strategy or config.eviction_strategy
    return strategy in ("LiveMigrate", "LiveMigrateIfPossible") and conditions.is_true(
        status.conditions, "LiveMigratable"
    )


def migration_of(vmi: VirtualMachineInstance, node: str) -> VirtualMachineInstanceMigration:
    source = vmi.metadata.annotations.get(names.EVICTION_SOURCE)
    return VirtualMachineInstanceMigration(
        metadata=ObjectMeta(
            generate_name="kubevirt-evacuation-",
            namespace=vmi.metadata.namespace,
            annotations={names.EVACUATION_MIGRATION: node},
        ),
        spec=VirtualMachineInstanceMigrationSpec(
            vmi_name=vmi.metadata.name,
            priority="system-maintenance" if source == DESCHEDULER else "system-critical",
        ),
    )


class EvacuationController:
    """One pass looks at the VMIs of one node."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.nodes = context.informers.of(Node)
        self.vmis = indices.vmis(context.informers)
        self.migrations = indices.migrations(context.informers)
        self.recorder = context.recorders.of(COMPONENT)
        self._created: dict[str, str] = {}
        """VMI (ns/name) -> uid of the migration that the cache does not show yet."""
        self.controller: Controller[str] = Controller(
            "evacuation",
            self.reconcile,
            informers=[self.nodes, self.vmis, self.migrations],
            settings=context.settings.loop,
            workers=2,
        )
        self.nodes.subscribe(self._node_changed)
        self.vmis.subscribe(self._vmi_changed)
        self.migrations.subscribe(self._migration_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and (old is None or old.spec.taints != new.spec.taints):
            self.controller.queue.add(new.metadata.name)

    def _vmi_changed(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        if new is not None and new.status.node_name and self._concerns(new):
            self.controller.queue.add(new.status.node_name)

    def _concerns(self, vmi: VirtualMachineInstance) -> bool:
        if vmi.status.evacuation_node_name:
            return True
        node = self.nodes.get(("", vmi.status.node_name or ""))
        return node is not None and drained(node, self.context.config.now)

    def _migration_changed(
        self, old: VirtualMachineInstanceMigration | None, new: VirtualMachineInstanceMigration | None
    ) -> None:
        migration = new or old
        assert migration is not None
        name = f"{migration.metadata.namespace}/{migration.spec.vmi_name}"
        if self._created.get(name) == migration.metadata.uid:
            del self._created[name]
        if new is None or is_final(new):
            vmi = self.vmis.get(ObjectKey.parse(name))
            if vmi is not None:
                self._vmi_changed(None, vmi)

    async def reconcile(self, name: str) -> Result:
        node = self.nodes.get(("", name))
        config = self.context.config.now
        whole = node is not None and drained(node, config)
        for vmi in self.vmis.store.by_index(indices.NODE, name):
            if wants_to_leave(vmi, name, config, whole_node=whole) and not self._under_way(vmi):
                await self._create(vmi, name)
        return DONE

    def _under_way(self, vmi: VirtualMachineInstance) -> bool:
        if str(vmi.key) in self._created:
            return True
        return any(not is_final(m) for m in self.migrations.store.by_index(indices.VMI, str(vmi.key)))

    async def _create(self, vmi: VirtualMachineInstance, node: str) -> None:
        try:
            created = await self.context.client.create(migration_of(vmi, node))
        except ApiError as error:
            self.recorder.warning(vmi, "FailedCreate", f"Error creating a Migration: {error}")
            if isinstance(error, Invalid):
                # Not migratable after all; the next change of the VMI asks again.
                return
            if isinstance(error, Transient):
                raise
            return
        if self.migrations.get(created.key) is None:
            self._created[str(vmi.key)] = created.metadata.uid
        self.recorder.normal(vmi, "SuccessfulCreate", f"Created Migration {created.metadata.name}")
