"""What to do for a VMI now: make its launcher, remove Pods, or wait and say why.

Source: kubevirt pkg/virt-controller/watch/vmi/vmi.go (sync); control plane facts 3.3, 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.kubevirt.vmi import TopologyHints, VirtualMachineInstance
from kvtui.api.times import to_time
from kvtui.api.wire import evolve
from kvtui.controllers import conditions, names
from kvtui.controllers.launcher.render import Surroundings, Unrenderable, render
from kvtui.controllers.virtualmachineinstance import backendstorage, pods, topology, volumes
from kvtui.controllers.virtualmachineinstance.volumes import Claims, DataVolumes, Readiness

UNPROCESSED = ("", "Pending")
FINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class SyncError:
    """Why the VMI is not as it should be; becomes condition Synchronized False."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything a decision about one VMI depends on."""

    vmi: VirtualMachineInstance
    now: datetime
    pods: Sequence[Pod] = ()
    """All that the VMI controls, migration targets included."""
    claims: Claims = field(default_factory=dict)
    data_volumes: DataVolumes = field(default_factory=dict)
    state_claims: Sequence[PersistentVolumeClaim] = ()
    storage_classes: Sequence[StorageClass] = ()
    owner_exists: bool = False
    """Whether the VM that owns it is still there."""
    migrating: bool = False
    """Whether a migration of this VMI is between Scheduling and Running."""
    around: Surroundings = field(default_factory=Surroundings)
    hints: TopologyHints | None = None
    """What the cluster offers a VMI that asks for a clock of its own."""

    @property
    def phase(self) -> str:
        return self.vmi.status.phase or ""

    @property
    def launcher(self) -> Pod | None:
        return pods.current(self.vmi, self.pods)

    @property
    def readiness(self) -> Readiness:
        return volumes.data_volumes_readiness(self.vmi, self.data_volumes)


@dataclass(frozen=True, slots=True)
class CreatePod:
    pod: Pod


@dataclass(frozen=True, slots=True)
class DeletePod:
    pod: Pod
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class CreateClaim:
    claim: PersistentVolumeClaim


@dataclass(frozen=True, slots=True)
class PlaceClaim:
    """Tells the provisioner on which node a claim is first used."""

    claim: PersistentVolumeClaim
    node: str


@dataclass(frozen=True, slots=True)
class AnnotatePod:
    pod: Pod
    annotations: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class LabelPod:
    pod: Pod
    labels: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class OpenGate:
    """Sets the readiness gate of a launcher: True unless the guest is paused."""

    pod: Pod
    condition: Mapping[str, str]


Step = CreatePod | DeletePod | CreateClaim | PlaceClaim | AnnotatePod | LabelPod | OpenGate


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...] = ()
    error: SyncError | None = None


def plan(at: Situation) -> Plan:
    """Steps to take now; at most one Pod is made at a time."""
    vmi = at.vmi
    if vmi.metadata.deletion_timestamp:
        # One that has ended is gone at once, however long it was given before.
        return Plan(tuple(DeletePod(p) for p in at.pods if not p.metadata.deletion_timestamp or pods.is_final(p)))
    if at.phase in FINAL:
        return Plan(_drop_temporary(at))
    launcher = at.launcher
    if launcher is None:
        return _before_launcher(at)
    return Plan((*_drop_temporary(at), *_keep_launcher(at, launcher)))


def _drop_temporary(at: Situation) -> tuple[Step, ...]:
    # Nothing runs in them, so nobody has to shut anything down.
    return tuple(DeletePod(p, grace=0) for p in at.pods if pods.is_temporary(p))


def _before_launcher(at: Situation) -> Plan:
    vmi = at.vmi
    if at.phase not in UNPROCESSED or _waits_for_source(vmi):
        return Plan()
    if topology.needs_frequency(vmi) and vmi.status.topology_hints is None:
        return Plan()
    if at.migrating:
        return Plan(error=SyncError("FailedCreate", "active migration exists"))
    if message := volumes.missing_claim(vmi, at.claims):
        return Plan(error=SyncError("FailedPvcNotFound", message))
    readiness = at.readiness
    if readiness in (Readiness.WAITING, Readiness.FAILED):
        return Plan(_drop_temporary(at))
    state, error = _state_claim(at)
    if error is not None or isinstance(state, CreateClaim):
        return Plan((state,) if isinstance(state, CreateClaim) else (), error)
    try:
        pod = render(vmi, at.around)
    except Unrenderable as problem:
        return Plan(error=SyncError("FailedCreate", f"failed to render launch manifest: {problem}"))
    if state is not None:
        pod = backendstorage.mounted(pod, state)
    if readiness is Readiness.FIRST_CONSUMER:
        if any(pods.is_temporary(p) for p in at.pods):
            return Plan()
        return Plan((CreatePod(_temporary(pod)),))
    return Plan((*_drop_temporary(at), CreatePod(pod)))


def _waits_for_source(vmi: VirtualMachineInstance) -> bool:
    """A receiver has no launcher before the source of its migration has connected."""
    receiver = names.CREATE_MIGRATION_TARGET in vmi.metadata.annotations
    return receiver and names.MIGRATION_TARGET_NODE not in vmi.metadata.labels


def _state_claim(at: Situation) -> tuple[PersistentVolumeClaim | CreateClaim | None, SyncError | None]:
    if not backendstorage.is_needed(at.vmi.spec):
        return None, None
    claim = backendstorage.claim_for(at.vmi, at.state_claims)
    if claim is None:
        name = backendstorage.storage_class(at.storage_classes, at.around.config)
        if name is None:
            return None, SyncError("FailedBackendStorageCreate", "no default storage class found")
        return CreateClaim(backendstorage.new_claim(at.vmi, name)), None
    if not backendstorage.is_usable(claim, at.storage_classes):
        return None, SyncError("BackendStorageNotReady", "PVC pending")
    return claim, None


def _temporary(pod: Pod) -> Pod:
    metadata = evolve(pod.metadata, annotations={**pod.metadata.annotations, names.EPHEMERAL_PROVISIONING: "true"})
    return evolve(pod, metadata=metadata, spec=evolve(pod.spec, readiness_gates=[]))


def _keep_launcher(at: Situation, launcher: Pod) -> tuple[Step, ...]:
    steps: list[Step] = []
    node = at.vmi.status.node_name or launcher.spec.node_name
    if node:
        steps += [
            PlaceClaim(claim, node)
            for claim in volumes.claims_to_place(at.vmi, at.claims)
            if names.SELECTED_NODE not in claim.metadata.annotations
        ]
    if wanted := dynamic_annotations(at.vmi, launcher):
        steps.append(AnnotatePod(launcher, wanted))
    if labels := dynamic_labels(at.vmi, launcher):
        steps.append(LabelPod(launcher, labels))
    steps += [OpenGate(pod, gate) for pod in at.pods if (gate := unpaused_gate(at.vmi, pod, at.now)) is not None]
    return tuple(steps)


def unpaused_gate(vmi: VirtualMachineInstance, pod: Pod, now: datetime) -> dict[str, str] | None:
    """The condition that the launcher's readiness gate should get; None when it is right or there is no gate.

    Source: kubevirt pkg/virt-controller/watch/vmi (syncReadyConditionFromPod, pod readiness gate); facts 4.1.
    """
    if all(gate.condition_type != names.UNPAUSED_GATE for gate in pod.spec.readiness_gates):
        return None
    paused = conditions.is_true(vmi.status.conditions, "Paused")
    present = conditions.status_of(pod.status.conditions, names.UNPAUSED_GATE)
    if present == ("False" if paused else "True"):
        return None
    moment = to_time(now)
    return {
        "type": names.UNPAUSED_GATE,
        "status": "False" if paused else "True",
        "reason": "Paused" if paused else "NotPaused",
        "message": f"the virtual machine is {'' if paused else 'not '}paused",
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
    }


def dynamic_labels(vmi: VirtualMachineInstance, launcher: Pod) -> dict[str, str | None]:
    """Labels of the launcher that follow the VMI; None removes one."""
    keys = (names.NODE_NAME, names.OUTDATED)
    given, present = vmi.metadata.labels, launcher.metadata.labels
    return {key: given.get(key) for key in keys if given.get(key) != present.get(key)}


def dynamic_annotations(vmi: VirtualMachineInstance, launcher: Pod) -> dict[str, str | None]:
    """Annotations of the launcher that follow the VMI while it runs; None removes one."""
    followed = {
        key: vmi.metadata.annotations.get(key)
        for key in (names.DESCHEDULER_EVICT, names.DESCHEDULER_PREFER_NO_EVICTION)
    }
    followed[names.EVICTION_IN_PROGRESS] = "kubevirt" if vmi.status.evacuation_node_name else None
    present = launcher.metadata.annotations
    return {key: value for key, value in followed.items() if present.get(key) != value}
