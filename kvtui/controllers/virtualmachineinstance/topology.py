"""The TSC frequency that a guest is to have: one that every node can give it; pure.

Source: kubevirt pkg/virt-controller/watch/topology (hinter, tsc); control plane facts 3.4, 3.6.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.vmi import TopologyHints, VirtualMachineInstance
from kvtui.controllers.clusterconfig import Configuration
from kvtui.controllers.launcher.placement import TSC_FREQUENCY
from kvtui.errors import KvtuiError


class NoFrequency(KvtuiError):
    """The configuration names a frequency that no clock can have."""


def needs_frequency_to_boot(vmi: VirtualMachineInstance) -> bool:
    cpu = vmi.spec.domain.cpu
    features = cpu.features if cpu is not None else []
    return any(f.name == "invtsc" and f.policy in ("require", "force") for f in features)


def needs_frequency(vmi: VirtualMachineInstance) -> bool:
    """To boot, or to migrate with its own idea of time."""
    if vmi.spec.architecture != "amd64":
        return False
    hyperv = vmi.spec.domain.features.hyperv if vmi.spec.domain.features else None
    told = hyperv.reenlightenment if hyperv is not None else None
    return needs_frequency_to_boot(vmi) or (told is not None and told.enabled is not False)


def hints(vmi: VirtualMachineInstance, nodes: Iterable[Node], config: Configuration) -> TopologyHints | None:
    """What a new VMI should be told; None when it does not ask. Raises NoFrequency."""
    if not needs_frequency(vmi):
        return None
    configured = config.developer.minimum_cluster_tsc_frequency
    if configured is not None and configured <= 0:
        why = f"the configured minimumClusterTSCFrequency must be greater 0, but got {configured}"
        raise NoFrequency(f"failed to determine the lowest tsc frequency on the cluster: {why}")
    labels = (node.metadata.labels.get(TSC_FREQUENCY, "") for node in nodes)
    offered = [int(text) for text in labels if text.isdigit()]
    return TopologyHints(tsc_frequency=configured or min(offered, default=0))
