"""What is written into a VirtualMachine when it is created or changed.

Source: control plane facts 3.2 (persisted into the VM) and 5.1; life-cycle facts 8.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kvtui.api.cdi.sources import DataSource
from kvtui.api.kubevirt.domain import Firmware, Machine, Memory
from kvtui.api.kubevirt.vm import (
    DataVolumeTemplateSpec,
    InstancetypeMatcher,
    PreferenceMatcher,
    VirtualMachine,
    VirtualMachineSpec,
)
from kvtui.api.wire import evolve
from kvtui.errors import InvalidObject, NotFound
from kvtui.virtapi.admission.causes import Path, bad_request, invalid, not_found, not_supported
from kvtui.virtapi.admission.vmi_mutate import PCI_TOPOLOGY, PCI_TOPOLOGY_VERSION, has_pci_topology
from kvtui.virtapi.instancetype import infer, lookup

if TYPE_CHECKING:
    from kvtui.api.kubevirt.instancetype import VirtualMachinePreferenceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig
    from kvtui.virtapi.admission.view import ClusterView

Spec = VirtualMachineSpec
M = TypeVar("M", InstancetypeMatcher, PreferenceMatcher)

ARCHITECTURE_LABEL = "template.kubevirt.io/architecture"
ARCHITECTURES = ("amd64", "arm64", "s390x")
IGNORE, REJECT = "Ignore", "Reject"


def validate_matchers(spec: Spec) -> list[Cause]:
    """Rules for the references to instancetype and preference."""
    return [
        *_matcher(spec.instancetype, Path("spec.instancetype"), "InstancetypeMatcher"),
        *_matcher(spec.preference, Path("spec.preference"), "PreferenceMatcher"),
    ]


def _matcher(matcher: InstancetypeMatcher | PreferenceMatcher | None, field: Path, owner: str) -> list[Cause]:
    if matcher is None:
        return []
    if not matcher.name and not matcher.infer_from_volume:
        return [not_found(f"Either Name or InferFromVolume should be provided within the {owner}", field)]
    found: list[Cause] = []
    if matcher.infer_from_volume:
        for member in ("Name", "Kind"):
            if getattr(matcher, member.lower()):
                message = f"{member} already set, should be cleared before setting inferFromVolume"
                found.append(not_supported(message, field.child(member.lower())))
    policy = matcher.infer_from_volume_failure_policy
    if policy is not None and policy not in (IGNORE, REJECT):
        own = field.child("inferFromVolumeFailurePolicy")
        found.append(invalid(f"Invalid value '{policy}' for InferFromVolumeFailurePolicy", own))
    return found


def validate_revisions(new: Spec, old: Spec) -> list[Cause]:
    """A matcher that gets another name must not keep its revision."""
    found: list[Cause] = []
    pairs = (("instancetype", new.instancetype, old.instancetype), ("preference", new.preference, old.preference))
    for name, matcher, before in pairs:
        if matcher is None or before is None or not matcher.revision_name:
            continue
        if matcher.name != before.name and matcher.revision_name == before.revision_name:
            message = "the Matcher Name has been updated without updating the RevisionName"
            found.append(invalid(message, f"spec.{name}.revisionName"))
    return found


def inferred(spec: Spec, namespace: str, view: ClusterView) -> Spec:
    """Matchers named by labels of a boot volume. Raises Denied (400)."""
    matcher = _inferred(spec.instancetype, spec, infer.INSTANCETYPE, namespace, view)
    if matcher is not spec.instancetype:
        ignoring = spec.instancetype is not None and spec.instancetype.infer_from_volume_failure_policy == IGNORE
        if matcher is not None and ignoring:
            template = spec.template
            domain = evolve(template.spec.domain, memory=None)
            spec = evolve(spec, template=evolve(template, spec=evolve(template.spec, domain=domain)))
        spec = evolve(spec, instancetype=matcher)
    return evolve(spec, preference=_inferred(spec.preference, spec, infer.PREFERENCE, namespace, view))


def _inferred(matcher: M | None, spec: Spec, keys: infer.Labels, namespace: str, view: ClusterView) -> M | None:
    if matcher is None or not matcher.infer_from_volume:
        return matcher
    try:
        name, kind = infer.infer(spec, matcher.infer_from_volume, keys, namespace, view)
    except infer.NothingToInfer as error:
        if matcher.infer_from_volume_failure_policy == IGNORE:
            return None
        raise bad_request(str(error)) from error
    except NotFound as error:
        raise bad_request(str(error)) from error
    return type(matcher)(name=name, kind=kind or None, revision_name=matcher.revision_name)


def mutated(
    vm: VirtualMachine, namespace: str, view: ClusterView, config: ClusterConfig, *, fresh: tuple[str, str] | None
) -> VirtualMachine:
    """The VM as stored; `fresh` are identity and serial number of a new machine. Raises Denied (400)."""
    spec = inferred(vm.spec, namespace, view)
    vm = evolve(vm, spec=spec)
    spec = _preferred(spec, _preference(vm, namespace, view))
    spec = _default_architecture(spec, namespace, view, config)
    domain = spec.template.spec.domain
    if domain.machine is None or not domain.machine.type:
        machine = config.machine_type(spec.template.spec.architecture or config.default_architecture)
        spec = _with_domain(spec, machine=Machine(type=machine))
    if fresh is not None:
        spec = _identified(spec, *fresh)
    return evolve(vm, spec=spec)


def _with_domain(spec: Spec, **changes: Machine | Firmware | Memory) -> Spec:
    template = spec.template
    domain = evolve(template.spec.domain, **changes)
    return evolve(spec, template=evolve(template, spec=evolve(template.spec, domain=domain)))


def _preference(vm: VirtualMachine, namespace: str, view: ClusterView) -> VirtualMachinePreferenceSpec | None:
    """One that is missing is reported by the VM later."""
    try:
        return lookup.preference_of(vm, namespace, view)
    except (NotFound, lookup.UnknownKind, InvalidObject):
        return None


def _preferred(spec: Spec, preference: VirtualMachinePreferenceSpec | None) -> Spec:
    if preference is None:
        return spec
    machine = preference.machine.preferred_machine_type if preference.machine is not None else None
    present = spec.template.spec.domain.machine
    if machine and (present is None or not present.type):
        spec = _with_domain(spec, machine=Machine(type=machine))
    if preference.preferred_architecture and not spec.template.spec.architecture:
        inner = evolve(spec.template.spec, architecture=preference.preferred_architecture)
        spec = evolve(spec, template=evolve(spec.template, spec=inner))
    storage_class = preference.volumes.preferred_storage_class_name if preference.volumes is not None else None
    if storage_class:
        templates = [_stored(template, storage_class) for template in spec.data_volume_templates]
        spec = evolve(spec, data_volume_templates=templates)
    return spec


def _stored(template: DataVolumeTemplateSpec, storage_class: str) -> DataVolumeTemplateSpec:
    disk = template.spec
    if disk.pvc is not None and disk.pvc.storage_class_name is None:
        disk = evolve(disk, pvc=evolve(disk.pvc, storage_class_name=storage_class))
    elif disk.storage is not None and disk.storage.storage_class_name is None:
        disk = evolve(disk, storage=evolve(disk.storage, storage_class_name=storage_class))
    return evolve(template, spec=disk)


def _default_architecture(spec: Spec, namespace: str, view: ClusterView, config: ClusterConfig) -> Spec:
    if spec.template.spec.architecture:
        return spec
    found = _architecture_of_sources(spec, namespace, view) or config.default_architecture
    return evolve(spec, template=evolve(spec.template, spec=evolve(spec.template.spec, architecture=found)))


def _architecture_of_sources(spec: Spec, namespace: str, view: ClusterView) -> str:
    """The architecture that a DataSource of a disk is labelled with; one step of indirection is followed."""
    for template in spec.data_volume_templates:
        ref = template.spec.source_ref
        if ref is None or ref.kind.lower() != "datasource":
            continue
        source = view.find(DataSource, ref.namespace or namespace, ref.name)
        if source is not None and source.spec.source.data_source is not None:
            further = source.spec.source.data_source
            source = view.find(DataSource, further.namespace, further.name)
        if source is not None and source.metadata.labels.get(ARCHITECTURE_LABEL) in ARCHITECTURES:
            return source.metadata.labels[ARCHITECTURE_LABEL]
    return ""


def _identified(spec: Spec, uuid: str, serial: str) -> Spec:
    """Identity that survives restarts, and the PCI layout that new guests get."""
    firmware = spec.template.spec.domain.firmware or Firmware()
    firmware = evolve(firmware, uuid=firmware.uuid or uuid, serial=firmware.serial or serial)
    spec = _with_domain(spec, firmware=firmware)
    if not has_pci_topology(spec.template.spec):
        return spec
    metadata = spec.template.metadata
    annotations = {PCI_TOPOLOGY: PCI_TOPOLOGY_VERSION, **metadata.annotations}
    return evolve(spec, template=evolve(spec.template, metadata=evolve(metadata, annotations=annotations)))
