"""The VMs of a pool: their names, their specs, and which of them are outdated or sick; pure.

Source: kubevirt pkg/virt-controller/watch/pool/pool.go; life-cycle facts 7.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

from kvtui.api import selectors
from kvtui.api.core.config import ControllerRevision
from kvtui.api.kubevirt.pool import VirtualMachinePool, VirtualMachinePoolSelectionPolicy, VirtualMachinePoolSpec
from kvtui.api.kubevirt.vm import DataVolumeTemplateSpec, VirtualMachine, VirtualMachineSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, Volume
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import owner_reference
from kvtui.api.times import from_time
from kvtui.api.wire import IntOrString, evolve, from_wire, to_wire
from kvtui.controllers import conditions, names
from kvtui.controllers.durations import seconds_of
from kvtui.controllers.nodematch import requirement_holds
from kvtui.errors import InvalidObject

SICK = (
    "CrashLoopBackOff",
    "ErrorUnschedulable",
    "DataVolumeError",
    "ErrorPvcNotFound",
    "ErrImagePull",
    "ImagePullBackOff",
)
FAILURE_THRESHOLD = 3
FAILING_FOR = 300.0


def revision_name(pool: VirtualMachinePool) -> str:
    return f"{pool.metadata.name}-{pool.metadata.generation}"


def revision_of(pool: VirtualMachinePool) -> ControllerRevision:
    return ControllerRevision(
        metadata=ObjectMeta(
            name=revision_name(pool), namespace=pool.metadata.namespace, owner_references=[owner_reference(pool)]
        ),
        data=to_wire(pool.spec),
        revision=pool.metadata.generation,
    )


def spec_of(revision: ControllerRevision | None) -> VirtualMachinePoolSpec | None:
    if revision is None or not isinstance(revision.data, dict):
        return None
    try:
        return from_wire(revision.data, VirtualMachinePoolSpec)
    except InvalidObject:
        return None


def index_of(pool: VirtualMachinePool, vm: VirtualMachine) -> int | None:
    prefix = f"{pool.metadata.name}-"
    text = vm.metadata.name.removeprefix(prefix)
    return int(text) if vm.metadata.name.startswith(prefix) and text.isdigit() else None


def free_indices(pool: VirtualMachinePool, exists: Callable[[str], bool], count: int) -> list[int]:
    """The lowest ones whose names nobody in the namespace has."""
    found: list[int] = []
    index = 0
    while len(found) < count:
        if not exists(f"{pool.metadata.name}-{index}"):
            found.append(index)
        index += 1
    return found


def _template(pool: VirtualMachinePool) -> tuple[ObjectMeta, VirtualMachineSpec]:
    template = pool.spec.virtual_machine_template
    metadata = (template.metadata if template else None) or ObjectMeta()
    return metadata, (template.spec if template else None) or VirtualMachineSpec()


def member(pool: VirtualMachinePool, index: int) -> VirtualMachine:
    """The VM with this index."""
    metadata, _ = _template(pool)
    return VirtualMachine(
        metadata=ObjectMeta(
            name=f"{pool.metadata.name}-{index}",
            namespace=pool.metadata.namespace,
            labels={**metadata.labels, names.POOL_REVISION: revision_name(pool)},
            annotations=metadata.annotations,
            finalizers=[names.POOL_FINALIZER],
            owner_references=[owner_reference(pool)],
        ),
        spec=member_spec(pool, index),
    )


def member_spec(pool: VirtualMachinePool, index: int) -> VirtualMachineSpec:
    """The template with this member's own volumes and, where wanted, its own secrets and config maps."""
    _, spec = _template(pool)
    own = {t.metadata.name for t in spec.data_volume_templates if t.metadata is not None}
    templates: list[DataVolumeTemplateSpec] = [
        evolve(t, metadata=evolve(t.metadata or ObjectMeta(), name=f"{t.metadata.name if t.metadata else ''}-{index}"))
        for t in spec.data_volume_templates
    ]
    inner = spec.template
    meta = inner.metadata or ObjectMeta()
    meta = evolve(meta, labels={**meta.labels, names.POOL_REVISION: revision_name(pool)})
    volumes = [_volume(v, own, pool, index) for v in inner.spec.volumes]
    inner = evolve(inner, metadata=meta, spec=evolve(inner.spec, volumes=volumes))
    return evolve(spec, data_volume_templates=templates, template=inner)


def _volume(volume: Volume, own: set[str], pool: VirtualMachinePool, index: int) -> Volume:
    claim, data = volume.persistent_volume_claim, volume.data_volume
    if claim is not None and claim.claim_name in own:
        volume = evolve(volume, persistent_volume_claim=evolve(claim, claim_name=f"{claim.claim_name}-{index}"))
    if data is not None and data.name in own:
        volume = evolve(volume, data_volume=evolve(data, name=f"{data.name}-{index}"))
    names_ = pool.spec.name_generation
    if names_ is None:
        return volume
    if names_.append_index_to_config_map_refs and volume.config_map is not None:
        volume = evolve(volume, config_map=evolve(volume.config_map, name=f"{volume.config_map.name}-{index}"))
    if names_.append_index_to_secret_refs:
        volume = _own_secrets(volume, index)
    return volume


def _own_secrets(volume: Volume, index: int) -> Volume:
    if volume.secret is not None:
        return evolve(volume, secret=evolve(volume.secret, secret_name=f"{volume.secret.secret_name}-{index}"))
    for field in ("cloud_init_no_cloud", "cloud_init_config_drive"):
        source = getattr(volume, field)
        if source is None:
            continue
        for ref in ("secret_ref", "network_data_secret_ref"):
            named = getattr(source, ref)
            if named is not None:
                source = evolve(source, **{ref: evolve(named, name=f"{named.name}-{index}")})
        volume = evolve(volume, **{field: source})
    return volume


def is_outdated(pool: VirtualMachinePool, revisions: Mapping[str, ControllerRevision], vm: VirtualMachine) -> bool:
    """Whether the VM would look different if it were made today."""
    label = vm.metadata.labels.get(names.POOL_REVISION)
    if label == revision_name(pool):
        return False
    old = spec_of(revisions.get(label or ""))
    return old is None or old.virtual_machine_template != pool.spec.virtual_machine_template


class Renewal(Enum):
    """What makes an instance follow its VM."""

    LABEL = auto()
    INSTANCE = auto()
    MACHINE = auto()


def renewal(
    vm: VirtualMachine, vmi: VirtualMachineInstance, revisions: Mapping[str, ControllerRevision]
) -> Renewal | None:
    """What is to be done with an instance whose VM has been rewritten; nothing while the VM's revision is unknown."""
    wanted = vm.metadata.labels.get(names.POOL_REVISION)
    label = vmi.metadata.labels.get(names.POOL_REVISION)
    if wanted is None or label == wanted:
        return None
    if label is None:
        return Renewal.INSTANCE
    new, old = _machine(revisions.get(wanted)), _machine(revisions.get(label))
    if new is None:
        return None
    if old is None:
        return Renewal.INSTANCE
    if old.data_volume_templates != new.data_volume_templates:
        return Renewal.MACHINE
    return Renewal.LABEL if old.template == new.template else Renewal.INSTANCE


def _machine(revision: ControllerRevision | None) -> VirtualMachineSpec | None:
    spec = spec_of(revision)
    if spec is None:
        return None
    template = spec.virtual_machine_template
    return (template.spec if template is not None else None) or VirtualMachineSpec()


def is_available(vmi: VirtualMachineInstance | None) -> bool:
    if vmi is None or vmi.metadata.deletion_timestamp or vmi.status.phase != "Running":
        return False
    return conditions.is_true(vmi.status.conditions, "Ready")


def updated(pool: VirtualMachinePool, vm: VirtualMachine, index: int) -> VirtualMachine:
    """The VM rewritten to the current template; its firmware's identity stays."""
    fresh = member(pool, index)
    spec = fresh.spec
    old = vm.spec.template.spec.domain.firmware
    if old is not None:
        domain = spec.template.spec.domain
        firmware = domain.firmware or type(old)()
        firmware = evolve(firmware, uuid=old.uuid or firmware.uuid, serial=old.serial or firmware.serial)
        inner = evolve(spec.template.spec, domain=evolve(domain, firmware=firmware))
        spec = evolve(spec, template=evolve(spec.template, spec=inner))
    metadata = evolve(vm.metadata, labels=fresh.metadata.labels, annotations=fresh.metadata.annotations)
    return evolve(vm, metadata=metadata, spec=spec)


def chosen(
    vms: Sequence[VirtualMachine], policy: VirtualMachinePoolSelectionPolicy | None, pool: VirtualMachinePool
) -> list[VirtualMachine]:
    """In the order in which they are to be taken."""
    sort = (policy.sort_policy if policy else None) or "Random"
    result = list(vms)
    match sort:
        case "AscendingOrder" | "DescendingOrder":
            result.sort(key=lambda v: index_of(pool, v) or 0, reverse=sort == "DescendingOrder")
        case "Newest" | "Oldest":
            result.sort(key=lambda v: (v.metadata.creation_timestamp or "", v.metadata.name), reverse=sort == "Newest")
        case _:
            random.shuffle(result)
    if policy is None or policy.selectors is None:
        return result
    wanted = policy.selectors
    if wanted.label_selector is not None:
        selector = selectors.from_object(wanted.label_selector)
        result = [v for v in result if selector.matches((v.spec.template.metadata or ObjectMeta()).labels)]
    for requirement in wanted.node_selector_requirement_matcher:
        result = [v for v in result if requirement_holds(requirement, v.spec.template.spec.node_selector)]
    return result


def budget(maximum: IntOrString | None, replicas: int) -> int:
    """How many members may be unavailable; at least one."""
    if isinstance(maximum, int):
        return max(1, maximum)
    text = maximum or "100%"
    share = int(text[:-1]) if text.endswith("%") and text[:-1].isdigit() else 100
    return max(1, share * replicas // 100)


def is_sick(pool: VirtualMachinePool, vm: VirtualMachine, now: datetime) -> bool:
    """Whether autohealing replaces this VM."""
    healing = pool.spec.autohealing
    if healing is None or vm.metadata.deletion_timestamp:
        return False
    failure = vm.status.start_failure
    threshold = healing.start_up_failure_threshold or FAILURE_THRESHOLD
    if failure is not None and (failure.consecutive_fail_count or 0) >= threshold:
        return True
    ready = conditions.find(vm.status.conditions, "Ready")
    if (vm.status.printable_status or "") not in SICK or ready is None or ready.status != "False":
        return False
    since = ready.last_probe_time or ready.last_transition_time
    least = seconds_of(healing.min_failing_to_start_duration, FAILING_FOR)
    return since is not None and now - from_time(str(since)) >= timedelta(seconds=least)
