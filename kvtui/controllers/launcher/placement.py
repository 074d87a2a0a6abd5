"""Where a launcher may run: node selector and affinity.

Source: kubevirt pkg/virt-controller/services/nodeselectorrenderer.go, template.go; control plane facts 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from kvtui.api.core.parts import Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from kvtui.api.kubevirt.domain import FeatureHyperv
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, VirtualMachineInstanceStatus
from kvtui.api.wire import evolve
from kvtui.controllers import names
from kvtui.controllers.clusterconfig import Configuration

CPU_MODEL = "cpu-model.node.kubevirt.io/"
CPU_FEATURE = "cpu-feature.node.kubevirt.io/"
MACHINE_TYPE = "machine-type.node.kubevirt.io/"
HYPERV = "hyperv.node.kubevirt.io/"
TSC_FREQUENCY = "cpu-timer.node.kubevirt.io/tsc-frequency"
OBSOLETE_HOST_MODEL = "node-labeller.kubevirt.io/obsolete-host-model"
HOST_MODELS = ("host-model", "host-passthrough")

_HYPERV_LABELS = {
    "vpindex": "vpindex",
    "runtime": "runtime",
    "reset": "reset",
    "synic": "synic",
    "frequencies": "frequencies",
    "reenlightenment": "reenlightenment",
    "tlbflush": "tlbflush",
    "ipi": "ipi",
    "synictimer": "synictimer",
}


def node_selector(
    spec: VirtualMachineInstanceSpec, status: VirtualMachineInstanceStatus, config: Configuration
) -> dict[str, str]:
    """All labels that a node must have; what a domain needs wins over the VMI's own selector."""
    selector = {names.SCHEDULABLE: "true", "kubernetes.io/arch": spec.architecture or config.architecture}
    selector |= config.developer.node_selectors
    selector |= spec.node_selector
    selector |= dict.fromkeys(_wanted(spec, config), "true")
    hints = status.topology_hints
    if hints is not None and hints.tsc_frequency:
        selector[TSC_FREQUENCY] = str(hints.tsc_frequency)
    return selector


def _wanted(spec: VirtualMachineInstanceSpec, config: Configuration) -> Iterator[str]:
    domain = spec.domain
    cpu = domain.cpu
    if cpu is not None:
        if cpu.dedicated_cpu_placement:
            yield "kubevirt.io/cpumanager"
        if cpu.realtime is not None:
            yield "kubevirt.io/realtime"
        if cpu.model and cpu.model not in HOST_MODELS:
            yield CPU_MODEL + cpu.model
        for feature in cpu.features:
            if (feature.policy or "require") == "require":
                yield CPU_FEATURE + feature.name
    if domain.machine is not None and domain.machine.type:
        yield MACHINE_TYPE + domain.machine.type
    hyperv = domain.features.hyperv if domain.features else None
    if hyperv is not None and config.gate("HypervStrictCheck"):
        yield from _hyperv(hyperv)
    security = domain.launch_security
    if security is not None and spec.architecture == "s390x":
        yield "kubevirt.io/s390-pv"
    elif security is not None:
        if security.sev is not None or security.snp is not None:
            yield "kubevirt.io/sev"
        if security.sev is not None and security.sev.policy is not None and security.sev.policy.encrypted_state:
            yield "kubevirt.io/sev-es"
        if security.snp is not None:
            yield "kubevirt.io/sev-snp"
        if security.tdx is not None:
            yield "kubevirt.io/tdx"


def _hyperv(features: FeatureHyperv) -> Iterator[str]:
    for attribute, label in _HYPERV_LABELS.items():
        state = getattr(features, attribute)
        if state is not None and state.enabled is not False:
            yield HYPERV + label
    if features.evmcs is not None and features.evmcs.enabled is not False:
        yield "cpu-vendor.node.kubevirt.io/Intel"


def affinity(spec: VirtualMachineInstanceSpec) -> Affinity | None:
    """The VMI's affinity, with what its CPU forbids added to every node term."""
    model = spec.domain.cpu.model if spec.domain.cpu else None
    forbidden = [OBSOLETE_HOST_MODEL] if (model or "host-model") == "host-model" else []
    forbidden += [
        CPU_FEATURE + f.name for f in (spec.domain.cpu.features if spec.domain.cpu else ()) if f.policy == "forbid"
    ]
    return with_node_requirements(
        spec.affinity, [NodeSelectorRequirement(key=key, operator="DoesNotExist") for key in forbidden]
    )


def with_node_requirements(given: Affinity | None, requirements: list[NodeSelectorRequirement]) -> Affinity | None:
    """Adds requirements to every required node term, since terms are alternatives."""
    if not requirements:
        return given
    base = given or Affinity()
    node = base.node_affinity or NodeAffinity()
    required = node.required_during_scheduling_ignored_during_execution
    terms = list(required.node_selector_terms) if required else []
    terms = terms or [NodeSelectorTerm()]
    terms = [evolve(t, match_expressions=[*t.match_expressions, *requirements]) for t in terms]
    node = evolve(node, required_during_scheduling_ignored_during_execution=NodeSelector(node_selector_terms=terms))
    return evolve(base, node_affinity=node)
