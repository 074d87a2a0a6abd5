"""Metrics about the parts of an engine and its nodes, with what upstream's recording rules sum up.

Source: kubevirt docs/observability/metrics.md, pkg/monitoring/rules/recordingrules
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator

from kvtui.api import quantity
from kvtui.api.core.node import Node
from kvtui.api.kubevirt import UPSTREAM_VERSION
from kvtui.controlloop.exposition import Family, gauge

SCHEDULABLE = "kubevirt.io/schedulable"
KVM = "devices.kubevirt.io/kvm"


def _one(name: str, help_: str, value: float) -> Family:
    return gauge(name, help_, [({}, value)])


def component_families(*, ready: float, emulation: bool) -> Iterator[Family]:
    """`ready`: 1 when all caches are filled. Only who leads is asked, and the same process does an operator's work."""
    yield _one("kubevirt_configuration_emulation_enabled", "Whether emulation is allowed.", emulation)
    for part in ("controller", "operator"):
        yield _one(f"kubevirt_virt_{part}_ready_status", f"Whether the virt-{part} is ready.", ready)
        yield _one(f"kubevirt_virt_{part}_leading_status", f"Whether this virt-{part} leads.", 1)
        for word, value in (("up", 1.0), ("ready", ready), ("leading", 1.0)):
            help_ = f"How many virt-{part} processes are {word}."
            yield _one(f"cluster:kubevirt_virt_{part}_{word}:sum", help_, value)
            if (part, word) != ("controller", "leading"):  # upstream never had that one
                yield _one(f"kubevirt_virt_{part}_{word}", help_, value)
        yield _one(f"cluster:kubevirt_virt_{part}_pods_running:count", f"How many virt-{part} processes run.", 1)
    # Without it nothing of this would be known.
    for name in ("cluster:kubevirt_virt_api_up:sum", "cluster:kubevirt_virt_api_ready:sum", "kubevirt_virt_api_up"):
        yield _one(name, "How many API servers answer.", 1)
    version = {"goversion": f"python{platform.python_version()}", "kubeversion": UPSTREAM_VERSION}
    yield gauge("kubevirt_info", "Version information.", [(version, 1)])


def node_families(nodes: Iterable[Node]) -> Iterator[Family]:
    known = list(nodes)
    ready = [n for n in known if any(c.type == "Ready" and c.status == "True" for c in n.status.conditions)]
    handlers = sum(SCHEDULABLE in n.metadata.labels for n in ready)
    for name in ("cluster:kubevirt_virt_handler_up:sum", "kubevirt_virt_handler_up"):
        yield _one(name, "How many nodes have an agent that reports.", handlers)
    yield _one(
        "cluster:kubevirt_virt_handler_ready:sum",
        "How many agents are ready for guests.",
        sum(n.metadata.labels.get(SCHEDULABLE) == "true" for n in ready),
    )
    for name in ("cluster:kubevirt_nodes_allocatable:count", "kubevirt_allocatable_nodes"):
        yield _one(name, "How many nodes can be given work.", sum("cpu" in n.status.allocatable for n in known))
    for name in ("cluster:kubevirt_nodes_with_kvm:count", "kubevirt_nodes_with_kvm"):
        with_kvm = sum(quantity.value(n.status.allocatable.get(KVM, 0)) > 0 for n in known)
        yield _one(name, "How many nodes run guests with KVM.", with_kvm)
    yield _one(
        "cluster:kubevirt_non_schedulable_nodes:sum",
        "How many nodes take no guests.",
        sum(n.metadata.labels.get(SCHEDULABLE) != "true" for n in known),
    )
