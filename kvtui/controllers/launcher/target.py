"""The launcher to which a VMI migrates: as the source, on another node, where its CPU is understood.

Source: kubevirt pkg/virt-controller/watch/migration (createTargetPod), services/template.go; control plane facts 4.4.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvtui.api.core.node import Node
from kvtui.api.core.parts import Affinity, PodAffinityTerm, PodAntiAffinity
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import LabelSelector
from kvtui.api.wire import evolve
from kvtui.controllers import names
from kvtui.controllers.launcher.render import Surroundings, render
from kvtui.errors import Transient

HOST_MODEL_CPU = "host-model-cpu.node.kubevirt.io/"
HOST_MODEL_FEATURE = "host-model-required-features.node.kubevirt.io/"
CPU_MODEL_MIGRATION = "cpu-model-migration.node.kubevirt.io/"
CPU_VENDOR = "cpu-vendor.node.kubevirt.io/"
CPU_FEATURE = "cpu-feature.node.kubevirt.io/"


class Unlabelled(Transient):
    """The source's node does not say yet what its CPU is."""


def host_model_selector(source_node: Node, source_pod: Pod | None) -> dict[str, str]:
    """Labels of nodes that understand a CPU started as host-model on the source.

    A VMI that has migrated before keeps what its Pod's selector already says, since that is the CPU it really has.
    Raises Unlabelled.
    """
    kept = {
        key: value
        for key, value in (source_pod.spec.node_selector if source_pod else {}).items()
        if key.startswith((CPU_MODEL_MIGRATION, CPU_VENDOR))
    }
    if kept:
        features = {
            key: value
            for key, value in (source_pod.spec.node_selector if source_pod else {}).items()
            if key.startswith(CPU_FEATURE)
        }
        return kept | features
    wanted: dict[str, str] = {}
    for label in sorted(source_node.metadata.labels):
        if label.startswith(HOST_MODEL_CPU):
            wanted[CPU_MODEL_MIGRATION + label.removeprefix(HOST_MODEL_CPU)] = "true"
        elif label.startswith(HOST_MODEL_FEATURE):
            wanted[CPU_FEATURE + label.removeprefix(HOST_MODEL_FEATURE)] = "true"
        elif label.startswith(CPU_VENDOR):
            wanted[label] = "true"
    if not any(key.startswith(CPU_MODEL_MIGRATION) for key in wanted):
        raise Unlabelled(f"node {source_node.metadata.name} does not say which CPU model it has ({HOST_MODEL_CPU})")
    return wanted


def missing_cpu(vmi: VirtualMachineInstance, target: Pod | None, nodes: Iterable[Node]) -> str | None:
    """Why a guest with its source's CPU finds no node; None when the CPU is not what is missing."""
    cpu = vmi.spec.domain.cpu
    if target is None or cpu is None or cpu.model != "host-model":
        return None
    wanted = {k: v for k, v in target.spec.node_selector.items() if k.startswith((CPU_MODEL_MIGRATION, CPU_FEATURE))}
    others = (n for n in nodes if n.metadata.name != vmi.status.node_name)
    if any(wanted.items() <= n.metadata.labels.items() for n in others):
        return None
    listed = " ".join(f"{key}:{value}" for key, value in sorted(wanted.items()))
    why = "no node is suitable to run the required CPU model / required features"
    return f"Migration cannot proceed since {why}: map[{listed}]"


def render_target(
    vmi: VirtualMachineInstance,
    migration: VirtualMachineInstanceMigration,
    around: Surroundings,
    *,
    source_node: Node | None,
    source_pod: Pod | None,
) -> Pod:
    """The target Pod of a migration. Raises Unrenderable, and Unlabelled."""
    pod = render(vmi, around)
    selector = dict(pod.spec.node_selector)
    cpu = vmi.spec.domain.cpu
    model = (cpu.model if cpu else None) or "host-model"
    if model == "host-model" and source_node is not None and vmi.spec.architecture != "arm64":
        selector |= host_model_selector(source_node, source_pod)
    selector = {**migration.spec.added_node_selector, **selector}
    metadata = evolve(
        pod.metadata,
        labels={**pod.metadata.labels, names.MIGRATION_JOB_UID: migration.metadata.uid},
        annotations={**pod.metadata.annotations, names.MIGRATION_JOB_NAME: migration.metadata.name},
    )
    spec = evolve(pod.spec, node_selector=selector, affinity=_away_from_source(pod.spec.affinity, vmi.metadata.uid))
    return evolve(pod, metadata=metadata, spec=spec)


def _away_from_source(affinity: Affinity | None, uid: str) -> Affinity:
    base = affinity or Affinity()
    anti = base.pod_anti_affinity or PodAntiAffinity()
    term = PodAffinityTerm(
        label_selector=LabelSelector(match_labels={names.CREATED_BY: uid}), topology_key=names.HOSTNAME
    )
    required = [*anti.required_during_scheduling_ignored_during_execution, term]
    return evolve(base, pod_anti_affinity=evolve(anti, required_during_scheduling_ignored_during_execution=required))
