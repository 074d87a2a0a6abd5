"""Which migration policy applies, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.config import MigrationConfiguration
from kvtui.api.kubevirt.migration import MigrationPolicy
from kvtui.api.wire import from_wire
from kvtui.controllers.migration.policy import choose, effective

NAMESPACE = {"team": "red", "stage": "prod"}
VMI = {"size": "big", "app": "web"}


def policy(
    name: str, namespace: dict[str, Any] | None = None, vmi: dict[str, Any] | None = None, **spec: Any
) -> MigrationPolicy:
    selectors = {"namespaceSelector": namespace or {}, "virtualMachineInstanceSelector": vmi or {}}
    return from_wire({"metadata": {"name": name}, "spec": {"selectors": selectors, **spec}}, MigrationPolicy)


@pytest.mark.parametrize(
    ("policies", "chosen"),
    [
        ([], None),
        ([policy("all")], "all"),
        ([policy("other", {"team": "blue"})], None),
        ([policy("half", {"team": "red", "x": "y"})], None),
        ([policy("all"), policy("red", {"team": "red"})], "red"),
        ([policy("ns", {"team": "red"}), policy("vm", {}, {"app": "web"})], "vm"),
        ([policy("two", {"team": "red", "stage": "prod"}), policy("vm", {}, {"app": "web"})], "two"),
        ([policy("b"), policy("a")], "a"),
        ([policy("long", {"matchLabels": {"team": "red"}})], "long"),
        ([policy("long", {"matchLabels": {"team": "blue"}})], None),
    ],
)
def test_the_most_specific_policy_wins(policies: list[MigrationPolicy], chosen: str | None) -> None:
    found = choose(policies, NAMESPACE, VMI)
    assert (found.metadata.name if found else None) == chosen


def test_no_selectors_match_nothing() -> None:
    assert choose([from_wire({"metadata": {"name": "x"}, "spec": {}}, MigrationPolicy)], NAMESPACE, VMI) is None


def test_a_vmi_without_labels_matches_every_policy() -> None:
    found = choose([policy("blue", {"team": "blue"})], NAMESPACE, {})
    assert found is not None


def test_defaults() -> None:
    options = effective(MigrationConfiguration(), None)
    assert options.parallel_migrations_per_cluster == 5
    assert options.parallel_outbound_migrations_per_node == 2
    assert options.completion_timeout_per_gi_b == 150
    assert options.allow_post_copy is False
    assert options.allow_workload_disruption is False


def test_a_policy_overrides_field_by_field() -> None:
    configured = MigrationConfiguration(allow_auto_converge=True, completion_timeout_per_gi_b=10)
    options = effective(configured, policy("p", bandwidthPerMigration="64Mi", completionTimeoutPerGiB=0))
    assert options.allow_auto_converge is True
    assert options.bandwidth_per_migration == "64Mi"
    assert options.completion_timeout_per_gi_b == 0


def test_post_copy_implies_disruption() -> None:
    assert effective(MigrationConfiguration(), policy("p", allowPostCopy=True)).allow_workload_disruption is True
    assert effective(MigrationConfiguration(allow_post_copy=True), None).allow_workload_disruption is True
    both = policy("p", allowPostCopy=True, allowWorkloadDisruption=False)
    assert effective(MigrationConfiguration(), both).allow_workload_disruption is False
