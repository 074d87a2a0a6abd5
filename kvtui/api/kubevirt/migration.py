"""Live migrations and the policies that govern them.

Source: kubevirt.io/api/core/v1 and migrations/v1alpha1.
"""

from __future__ import annotations

from typing import Annotated, Any

from kvtui.api.kubevirt.vmi import ExperimentalMigrationOptions, VirtualMachineInstanceMigrationState
from kvtui.api.meta import Resource
from kvtui.api.wire import ATOMIC, INT64, NULLABLE, REQUIRED, Quantity, Time, Wire, named, schema


class VirtualMachineInstanceMigrationTarget(Wire, frozen=True):
    """Virtual machine instance migration target."""

    migration_id: Annotated[str, REQUIRED] = named("migrationID", "")


class VirtualMachineInstanceMigrationSource(Wire, frozen=True):
    """Virtual machine instance migration source."""

    connect_url: Annotated[str, REQUIRED] = named("connectURL", "")
    migration_id: Annotated[str, REQUIRED] = named("migrationID", "")


class VirtualMachineInstanceMigrationSpec(Wire, frozen=True):
    """Which instance is to move, and where it may go."""

    added_node_selector: dict[str, str] = {}
    priority: str | None = None
    receive: VirtualMachineInstanceMigrationTarget | None = None
    send_to: VirtualMachineInstanceMigrationSource | None = None
    vmi_name: str | None = None


class VirtualMachineInstanceMigrationCondition(Wire, frozen=True):
    """Virtual machine instance migration condition."""

    last_probe_time: Annotated[Time | None, NULLABLE] = None
    last_transition_time: Annotated[Time | None, NULLABLE] = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class VirtualMachineInstanceMigrationPhaseTransitionTimestamp(Wire, frozen=True):
    """Virtual machine instance migration phase transition timestamp."""

    phase: str | None = None
    phase_transition_timestamp: Time | None = None


class VirtualMachineInstanceMigrationStatus(Wire, frozen=True):
    """How far the migration is."""

    conditions: list[VirtualMachineInstanceMigrationCondition] = []
    migration_state: VirtualMachineInstanceMigrationState | None = None
    phase: str | None = None
    phase_transition_timestamps: Annotated[list[VirtualMachineInstanceMigrationPhaseTransitionTimestamp], ATOMIC] = []
    synchronization_addresses: Annotated[list[str], ATOMIC] = []


class VirtualMachineInstanceMigration(Resource, frozen=True):
    """Moves a running instance to another node; deleting it cancels."""

    spec: Annotated[VirtualMachineInstanceMigrationSpec, REQUIRED] = VirtualMachineInstanceMigrationSpec()
    status: VirtualMachineInstanceMigrationStatus = VirtualMachineInstanceMigrationStatus()


class Selectors(Wire, frozen=True):
    """Whose migrations a policy governs: by labels of the instance and of its namespace."""

    namespace_selector: dict[str, Any] = {}
    virtual_machine_instance_selector: dict[str, Any] = {}


class MigrationPolicySpec(Wire, frozen=True):
    """Settings for the migrations of the instances that it selects."""

    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: Quantity | None = None
    completion_timeout_per_gi_b: Annotated[int | None, INT64] = None
    experimental: ExperimentalMigrationOptions | None = None
    max_downtime_ms: Annotated[int | None, INT64, schema(minimum=1, maximum=2000000)] = None
    selectors: Annotated[Selectors | None, REQUIRED] = None


class MigrationPolicyStatus(Wire, frozen=True):
    """Migration policy status."""


class MigrationPolicy(Resource, frozen=True):
    """Settings for migrations, by labels of instances and namespaces."""

    spec: Annotated[MigrationPolicySpec, REQUIRED] = MigrationPolicySpec()
    status: MigrationPolicyStatus = MigrationPolicyStatus()
