"""Instancetype and preference of a VM: found, frozen into revisions, applied to its template.

Source: kubevirt pkg/instancetype/{controller/vm,revision,upgrade}; life-cycle facts 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from kvtui.api.core.config import ControllerRevision
from kvtui.api.kubevirt.instancetype import (
    DevicePreferences,
    VirtualMachineClusterInstancetype,
    VirtualMachineClusterPreference,
    VirtualMachineInstancetype,
    VirtualMachineInstancetypeSpec,
    VirtualMachinePreference,
    VirtualMachinePreferenceSpec,
)
from kvtui.api.kubevirt.vm import (
    ControllerRevisionRef,
    InstancetypeMatcher,
    InstancetypeStatusRef,
    PreferenceMatcher,
    VirtualMachine,
    VirtualMachineSpec,
)
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, VirtualMachineInstanceTemplateSpec
from kvtui.api.meta import ObjectMeta, Resource
from kvtui.api.registry import kind_of, owner_reference
from kvtui.api.wire import evolve, to_wire
from kvtui.controllers.context import ControllerContext, Informers
from kvtui.controllers.virtualmachine.status import SyncError
from kvtui.controllers.virtualmachine.view import View
from kvtui.controlloop.informer import Informer
from kvtui.errors import AlreadyExists, ApiError, Conflict, KvtuiError, NotFound, Permanent, Transient
from kvtui.virtapi.admission.config import ClusterConfig
from kvtui.virtapi.admission.defaults import network_interface
from kvtui.virtapi.admission.view import Right
from kvtui.virtapi.instancetype import instancetype as types
from kvtui.virtapi.instancetype import lookup, preference

LABEL = "instancetype.kubevirt.io/object-"
FIND_INSTANCETYPE, FIND_PREFERENCE = "FailedFindInstancetype", "FailedFindPreference"
STORING = "error encountered while storing instancetype.kubevirt.io controllerRevisions: {}"
UPGRADING = "error encountered while upgrading instancetype.kubevirt.io controllerRevisions: {}"
LATEST = "v1beta1"
"""The version in which revisions keep instancetypes and preferences."""
R = TypeVar("R", bound=Resource)
Matcher = InstancetypeMatcher | PreferenceMatcher
Template = VirtualMachineInstanceTemplateSpec


class NotUpgraded(Permanent):
    """A revision of an older version that cannot be brought into the latest one."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """A VM's template as the guest gets it."""

    vm: VirtualMachine
    """With references to revisions in its status."""
    spec: VirtualMachineInstanceSpec
    annotations: dict[str, str] = field(default_factory=dict)
    preferred: DevicePreferences | None = None
    """For devices that the instance gets beyond its template."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a VM's matchers lead to."""

    instancetype: VirtualMachineInstancetypeSpec | None = None
    preference: VirtualMachinePreferenceSpec | None = None


class CacheView:
    """Look-ups in the informers, as the rules of instancetypes ask for them."""

    def __init__(self, informers: Informers) -> None:
        self._informers = informers
        self._upgraded: dict[tuple[str, str], ControllerRevision] = {}
        """Made, and perhaps not seen yet."""

    def find(self, type_: type[R], namespace: str, name: str) -> R | None:
        key = (namespace, name)
        found = self._informers.of(type_).get(key)
        if type_ is not ControllerRevision or key not in self._upgraded:
            return found
        if found is not None:
            del self._upgraded[key]
            return found
        return cast("R", self._upgraded[key])

    def expect(self, revision: ControllerRevision) -> None:
        """Makes an upgraded revision known before the cache shows it: the live object may be another by now."""
        self._upgraded[revision.metadata.namespace, revision.metadata.name] = revision

    def all(self, type_: type[R], namespace: str) -> Sequence[R]:
        return list(self._informers.of(type_).all(namespace))

    def find_other(self, api_version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return None

    def may(self, right: Right) -> bool:
        return False


def apply(template: Template, found: Found, config: ClusterConfig) -> tuple[Template, list[str]]:
    """The template with everything applied, and the fields in which it conflicts with its instancetype."""
    if found.instancetype is None and found.preference is None:
        return template, []
    if found.preference is not None:
        template = preference.autoattach(template, found.preference)
    template = evolve(template, spec=network_interface(template.spec, config))
    if found.instancetype is not None:
        if clashes := types.conflicts(template, found.instancetype):
            return template, clashes
        template = types.apply(template, found.instancetype, found.preference)
    if found.preference is not None:
        template = preference.apply(template, found.preference)
    return template, []


def names_of(spec: VirtualMachineSpec) -> dict[str, str]:
    """Annotations of the instance that say what was applied."""
    annotations = {}
    for matcher, word in ((spec.instancetype, "instancetype"), (spec.preference, "preference")):
        if matcher is None or not matcher.name:
            continue
        namespaced = (matcher.kind or "").lower().rstrip("s") in (
            "virtualmachineinstancetype",
            "virtualmachinepreference",
        )
        annotations[f"kubevirt.io/{'' if namespaced else 'cluster-'}{word}-name"] = matcher.name
    return annotations


def is_outdated(revision: ControllerRevision) -> bool:
    """Whether a revision holds an instancetype or preference in a version of before."""
    labels = revision.metadata.labels
    return f"{LABEL}name" in labels and labels.get(f"{LABEL}version") != LATEST


def replaced(view: View, vm: VirtualMachine) -> list[ControllerRevision]:
    """Outdated revisions that a VM owns and does not refer to any more, neither as it is stored nor as it will be."""
    used = {ref for v in (view.vm, vm) for ref in _referred(v)}
    return [r for r in view.revisions if is_outdated(r) and r.metadata.name not in used]


def _referred(vm: VirtualMachine) -> list[str | None]:
    refs = (vm.status.instancetype_ref, vm.status.preference_ref)
    matchers = (vm.spec.instancetype, vm.spec.preference)
    kept = [r.controller_revision_ref.name for r in refs if r is not None and r.controller_revision_ref is not None]
    return [*kept, *(m.revision_name for m in matchers if m is not None)]


def revision_of(vm: VirtualMachine, obj: Resource) -> ControllerRevision:
    """A frozen copy of an instancetype or preference."""
    kind = kind_of(type(obj))
    meta = obj.metadata
    bare = evolve(
        obj,
        api_version=kind.api_version,
        kind=kind.kind,
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            generation=meta.generation,
            resource_version=meta.resource_version,
            creation_timestamp=meta.creation_timestamp,
        ),
    )
    return ControllerRevision(
        metadata=ObjectMeta(
            name=f"{vm.metadata.name}-{meta.name}-{kind.version}-{meta.uid}-{meta.generation}",
            namespace=vm.metadata.namespace,
            labels={
                f"{LABEL}name": meta.name,
                f"{LABEL}kind": kind.kind,
                f"{LABEL}uid": meta.uid,
                f"{LABEL}generation": str(meta.generation),
                f"{LABEL}version": kind.version,
            },
            owner_references=[owner_reference(vm)],
        ),
        data=to_wire(bare),
    )


class Instancetypes:
    """Answers for one VM at a time from the caches; writes only revisions."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        for type_ in (
            VirtualMachineInstancetype,
            VirtualMachineClusterInstancetype,
            VirtualMachinePreference,
            VirtualMachineClusterPreference,
        ):
            context.informers.of(type_, optional=True)
        context.informers.of(ControllerRevision)
        self._view = CacheView(context.informers)

    @property
    def informers(self) -> list[Informer[Any]]:
        """To wait for before any VM is looked at."""
        kinds = (
            VirtualMachineInstancetype,
            VirtualMachineClusterInstancetype,
            VirtualMachinePreference,
            VirtualMachineClusterPreference,
        )
        return [self._context.informers.of(kind) for kind in kinds]

    async def resolve(self, view: View, vm: VirtualMachine) -> Expanded | SyncError:
        """The VM with its revisions noted, and its template with everything applied."""
        if vm.spec.instancetype is None and vm.spec.preference is None:
            return Expanded(vm, vm.spec.template.spec)
        found = self._find(vm)
        if isinstance(found, SyncError):
            return found
        config = ClusterConfig(self._context.config.configuration)
        template, clashes = apply(vm.spec.template, found, config)
        if clashes:
            fields = ", ".join(c if c.startswith("annotations.") else f"spec.{c}" for c in clashes)
            return SyncError("FailedCreate", f"VMI conflicts with instancetype spec in fields: [{fields}]")
        policy = self._policy()
        if policy != "reference" and (policy == "expandAll" or not _has_revision(vm)):
            spec = evolve(vm.spec, template=template, instancetype=None, preference=None)
            status = evolve(vm.status, instancetype_ref=None, preference_ref=None)
            return Expanded(evolve(vm, spec=spec, status=status), template.spec)
        try:
            vm = await self._noted(vm)
        except Transient:
            raise
        except NotUpgraded as error:
            return SyncError("FailedCreate", UPGRADING.format(error))
        except ApiError as error:
            return SyncError("FailedCreate", STORING.format(error))
        await self._drop(replaced(view, vm))
        devices = found.preference.devices if found.preference is not None else None
        return Expanded(vm, template.spec, {**template.metadata.annotations, **names_of(vm.spec)}, devices)

    async def _drop(self, outdated: Sequence[ControllerRevision]) -> None:
        for revision in outdated:
            try:
                await self._context.client.delete(ControllerRevision, revision.key, uid=revision.metadata.uid)
            except (NotFound, Conflict):
                continue  # gone already, or another one by now

    def started_template(self, view: View, started: VirtualMachineSpec | None) -> VirtualMachineInstanceSpec | None:
        """The template of the start with what was applied then."""
        if started is None:
            return None
        if started.instancetype is None and started.preference is None:
            return started.template.spec
        found = self._find(evolve(view.vm, spec=started))
        if isinstance(found, SyncError):
            return None
        template, clashes = apply(started.template, found, ClusterConfig(self._context.config.configuration))
        return None if clashes else template.spec

    def _policy(self) -> str:
        chosen = self._context.config.configuration.instancetype
        return (chosen.reference_policy if chosen else None) or "reference"

    def _find(self, vm: VirtualMachine) -> Found | SyncError:
        namespace = vm.metadata.namespace
        try:
            chosen = lookup.instancetype_of(vm, namespace, self._view)
        except (Permanent, ApiError) as error:
            return SyncError(FIND_INSTANCETYPE, str(error))
        try:
            return Found(chosen, lookup.preference_of(vm, namespace, self._view))
        except (Permanent, ApiError) as error:
            return SyncError(FIND_PREFERENCE, str(error))

    async def _noted(self, vm: VirtualMachine) -> VirtualMachine:
        status = vm.status
        kinds = (lookup.INSTANCETYPE_KINDS, lookup.PREFERENCE_KINDS)
        first = await self._reference(vm, vm.spec.instancetype, status.instancetype_ref, kinds[0])
        second = await self._reference(vm, vm.spec.preference, status.preference_ref, kinds[1])
        return evolve(vm, status=evolve(status, instancetype_ref=first, preference_ref=second))

    async def _reference(
        self,
        vm: VirtualMachine,
        matcher: Matcher | None,
        present: InstancetypeStatusRef | None,
        kinds: dict[str, type[Resource]],
    ) -> InstancetypeStatusRef | None:
        if matcher is None:
            return None
        kept = present.controller_revision_ref.name if present and present.controller_revision_ref else None
        revision = matcher.revision_name or None
        if revision is None and present is not None and (present.name, present.kind) == (matcher.name, matcher.kind):
            revision = await self._upgraded(vm, kept, kinds) if kept else None
        if revision is None:
            revision = await self._store(vm, matcher, kinds)
        return InstancetypeStatusRef(
            name=matcher.name,
            kind=matcher.kind,
            infer_from_volume=matcher.infer_from_volume,
            infer_from_volume_failure_policy=matcher.infer_from_volume_failure_policy,
            controller_revision_ref=ControllerRevisionRef(name=revision),
        )

    async def _upgraded(self, vm: VirtualMachine, name: str, kinds: dict[str, type[Resource]]) -> str:
        """The name of the revision, or of its copy in the latest version. Raises NotUpgraded.

        The older one is deleted when the VM's status names the copy.
        """
        present = self._view.find(ControllerRevision, vm.metadata.namespace, name)
        if present is None or not is_outdated(present):
            return name
        try:
            copy = revision_of(vm, lookup.stored(present, kinds))
            await self._create(copy)
        except Transient:
            raise
        except KvtuiError as error:
            raise NotUpgraded(str(error)) from error
        self._view.expect(copy)
        return copy.metadata.name

    async def _store(self, vm: VirtualMachine, matcher: Matcher, kinds: dict[str, type[Resource]]) -> str:
        type_ = kinds[(matcher.kind or "").lower()]
        namespace = vm.metadata.namespace if kind_of(type_).namespaced else ""
        obj = self._view.find(type_, namespace, matcher.name or "")
        if obj is None:
            raise NotFound(f'{kind_of(type_).plural}.instancetype.kubevirt.io "{matcher.name}" not found')
        revision = revision_of(vm, obj)
        await self._create(revision)
        return revision.metadata.name

    async def _create(self, revision: ControllerRevision) -> None:
        """Raises AlreadyExists when there is another of that name."""
        try:
            await self._context.client.create(revision)
        except AlreadyExists:
            stored = await self._context.client.get(ControllerRevision, revision.key)
            if stored.data.get("spec") != revision.data.get("spec"):
                name = revision.metadata.name
                raise AlreadyExists(f"found existing ControllerRevision with unexpected data: {name}") from None


def _has_revision(vm: VirtualMachine) -> bool:
    refs = (vm.status.instancetype_ref, vm.status.preference_ref)
    matchers = (vm.spec.instancetype, vm.spec.preference)
    return any(r is not None and r.controller_revision_ref is not None for r in refs) or any(
        m is not None and m.revision_name for m in matchers
    )
