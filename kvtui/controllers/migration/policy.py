"""The configuration of one migration: the cluster's, overridden by the policy that fits best.

Source: kubevirt pkg/util/migrations (MatchPolicy), pkg/virt-config defaults; control plane facts 8.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kvtui.api import selectors
from kvtui.api.kubevirt.config import MigrationConfiguration
from kvtui.api.kubevirt.migration import MigrationPolicy
from kvtui.api.kubevirt.vmi import VMIMConfigurationOptions
from kvtui.api.wire import evolve

PARALLEL_PER_CLUSTER = 5
PARALLEL_OUTBOUND = 2
UTILITY_VOLUMES_TIMEOUT = 150
OVERRIDES = (
    "allow_auto_converge",
    "allow_post_copy",
    "allow_workload_disruption",
    "bandwidth_per_migration",
    "completion_timeout_per_gi_b",
    "max_downtime_ms",
    "experimental",
)


def defaults(configured: MigrationConfiguration) -> VMIMConfigurationOptions:
    """The cluster's configuration with every default filled in."""
    post_copy = configured.allow_post_copy or False
    disruption = configured.allow_workload_disruption
    return VMIMConfigurationOptions(
        node_drain_taint_key=configured.node_drain_taint_key or "kubevirt.io/drain",
        parallel_migrations_per_cluster=configured.parallel_migrations_per_cluster or PARALLEL_PER_CLUSTER,
        parallel_outbound_migrations_per_node=configured.parallel_outbound_migrations_per_node or PARALLEL_OUTBOUND,
        allow_auto_converge=configured.allow_auto_converge or False,
        bandwidth_per_migration=configured.bandwidth_per_migration or "0",
        completion_timeout_per_gi_b=_or(configured.completion_timeout_per_gi_b, 150),
        max_downtime_ms=configured.max_downtime_ms,
        progress_timeout=_or(configured.progress_timeout, 150),
        utility_volumes_timeout=_or(configured.utility_volumes_timeout, UTILITY_VOLUMES_TIMEOUT),
        unsafe_migration_override=configured.unsafe_migration_override or False,
        allow_post_copy=post_copy,
        allow_workload_disruption=post_copy if disruption is None else disruption,
        disable_tls=configured.disable_tls or False,
        network=configured.network,
        match_se_linux_level_on_migration=configured.match_se_linux_level_on_migration,
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _pairs(selector: Mapping[str, Any]) -> int:
    """How many conditions a selector has."""
    return len(selectors.from_flexible(selector).requirements)


def choose(
    policies: Iterable[MigrationPolicy], namespace_labels: Mapping[str, str], vmi_labels: Mapping[str, str]
) -> MigrationPolicy | None:
    """The matching policy with the most conditions; of equals the one about the VMI, then by name."""
    best: tuple[tuple[int, int, str], MigrationPolicy] | None = None
    for policy in policies:
        chosen = policy.spec.selectors
        if chosen is None:
            continue
        about_namespace, about_vmi = chosen.namespace_selector, chosen.virtual_machine_instance_selector
        if vmi_labels:
            if not selectors.from_flexible(about_namespace).matches(namespace_labels):
                continue
            if not selectors.from_flexible(about_vmi).matches(vmi_labels):
                continue
            counts = _pairs(about_namespace), _pairs(about_vmi)
        else:
            counts = 0, 0
        rank = (-(counts[0] + counts[1]), -counts[1], policy.metadata.name)
        if best is None or rank < best[0]:
            best = rank, policy
    return best[1] if best is not None else None


def effective(configured: MigrationConfiguration, policy: MigrationPolicy | None) -> VMIMConfigurationOptions:
    """What a migration is handed off with."""
    options = defaults(configured)
    if policy is None:
        return options
    given = {name: value for name in OVERRIDES if (value := getattr(policy.spec, name)) is not None}
    options = evolve(options, **given)
    if policy.spec.allow_post_copy is not None and policy.spec.allow_workload_disruption is None:
        options = evolve(options, allow_workload_disruption=policy.spec.allow_post_copy)
    return options
