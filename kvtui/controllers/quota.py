"""Limits that launchers get because their namespace demands limits.

Source: kubevirt pkg/virt-controller/services/renderresources.go (doesVMIRequireAutoResourceLimits), namespace labels;
control plane facts 4.3.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from kvtui.api import selectors
from kvtui.api.core.config import Namespace, ResourceQuota
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.launcher.resources import AUTO_MEMORY_RATIO, AutoLimits, is_dedicated

MEMORY_RATIO_LABEL = "alpha.kubevirt.io/auto-memory-limits-ratio"


class QuotaLimits:
    """Answers for one VMI at a time from the caches of namespaces and quotas."""

    def __init__(self, context: ControllerContext) -> None:
        self._config = context.config
        self._namespaces = context.informers.of(Namespace)
        context.informers.of(ResourceQuota, optional=True)
        self._quotas = context.informers.index(ResourceQuota, "namespace", lambda q: [q.metadata.namespace])

    def limits(self, vmi: VirtualMachineInstance) -> AutoLimits:
        namespace = self._namespaces.get(("", vmi.metadata.namespace))
        labels = namespace.metadata.labels if namespace is not None else {}
        hard = {
            name
            for quota in self._quotas.store.by_index("namespace", vmi.metadata.namespace)
            for name in quota.spec.hard
        }
        return auto_limits(vmi, labels, hard, selected=self._selected(labels))

    def _selected(self, labels: dict[str, str]) -> bool:
        chosen = self._config.configuration.auto_cpu_limit_namespace_label_selector
        return chosen is not None and selectors.from_object(chosen).matches(labels)


def auto_limits(vmi: VirtualMachineInstance, labels: dict[str, str], hard: set[str], *, selected: bool) -> AutoLimits:
    """`labels` of the namespace; `hard`: what its quotas limit; `selected`: the cluster wants CPU limits there."""
    given = vmi.spec.domain.resources
    limits = given.limits if given else {}
    cpu = "cpu" not in limits and not is_dedicated(vmi.spec) and (selected or "limits.cpu" in hard)
    if "memory" in limits or "limits.memory" not in hard:
        return AutoLimits(cpu=cpu)
    try:
        ratio = Decimal(labels.get(MEMORY_RATIO_LABEL, ""))
    except InvalidOperation:
        ratio = AUTO_MEMORY_RATIO
    return AutoLimits(cpu=cpu, memory_ratio=ratio if ratio >= 1 else AUTO_MEMORY_RATIO)
