"""Which instancetype or preference a VM means: a stored revision first, then the live object.

Source: life-cycle facts 8.6; kubevirt pkg/instancetype/find.
"""

from __future__ import annotations

from typing import Any, TypeVar

from kvtui.api.core.config import ControllerRevision
from kvtui.api.kubevirt.instancetype import (
    VirtualMachineClusterInstancetype,
    VirtualMachineClusterPreference,
    VirtualMachineInstancetype,
    VirtualMachineInstancetypeSpec,
    VirtualMachinePreference,
    VirtualMachinePreferenceSpec,
)
from kvtui.api.kubevirt.vm import InstancetypeMatcher, InstancetypeStatusRef, PreferenceMatcher, VirtualMachine
from kvtui.api.meta import Resource
from kvtui.api.wire import from_wire
from kvtui.errors import NotFound, Unsupported
from kvtui.virtapi.admission.view import ClusterView

Matcher = InstancetypeMatcher | PreferenceMatcher
R = TypeVar("R", bound=Resource)

OBJECT_NAME = "instancetype.kubevirt.io/object-name"
INSTANCETYPE_KINDS: dict[str, type[Resource]] = {
    "": VirtualMachineClusterInstancetype,
    "virtualmachineclusterinstancetype": VirtualMachineClusterInstancetype,
    "virtualmachineclusterinstancetypes": VirtualMachineClusterInstancetype,
    "virtualmachineinstancetype": VirtualMachineInstancetype,
    "virtualmachineinstancetypes": VirtualMachineInstancetype,
}
PREFERENCE_KINDS: dict[str, type[Resource]] = {
    "": VirtualMachineClusterPreference,
    "virtualmachineclusterpreference": VirtualMachineClusterPreference,
    "virtualmachineclusterpreferences": VirtualMachineClusterPreference,
    "virtualmachinepreference": VirtualMachinePreference,
    "virtualmachinepreferences": VirtualMachinePreference,
}


class UnknownKind(Unsupported):
    """A matcher names a kind that is none of instancetypes or preferences."""


def instancetype_of(vm: VirtualMachine, namespace: str, view: ClusterView) -> VirtualMachineInstancetypeSpec | None:
    """None when the VM names none. Raises NotFound, UnknownKind."""
    matcher = vm.spec.instancetype
    if matcher is None:
        return None
    found = _find(matcher, vm.status.instancetype_ref, namespace, view, INSTANCETYPE_KINDS, "InstancetypeMatcher")
    if not isinstance(found, VirtualMachineClusterInstancetype | VirtualMachineInstancetype):
        raise UnknownKind(f"unexpected kind {found.kind}")
    return found.spec


def preference_of(vm: VirtualMachine, namespace: str, view: ClusterView) -> VirtualMachinePreferenceSpec | None:
    """None when the VM names none. Raises NotFound, UnknownKind."""
    matcher = vm.spec.preference
    if matcher is None:
        return None
    found = _find(matcher, vm.status.preference_ref, namespace, view, PREFERENCE_KINDS, "PreferenceMatcher")
    if not isinstance(found, VirtualMachineClusterPreference | VirtualMachinePreference):
        raise UnknownKind(f"unexpected kind {found.kind}")
    return found.spec


def _find(
    matcher: Matcher,
    ref: InstancetypeStatusRef | None,
    namespace: str,
    view: ClusterView,
    kinds: dict[str, type[Resource]],
    owner: str,
) -> Resource:
    if matcher.revision_name:
        revision = view.find(ControllerRevision, namespace, matcher.revision_name)
        if revision is None:
            raise NotFound(f'controllerrevisions.apps "{matcher.revision_name}" not found')
        return stored(revision, kinds)
    kept = ref.controller_revision_ref.name if ref is not None and ref.controller_revision_ref is not None else None
    if kept:
        revision = view.find(ControllerRevision, namespace, kept)
        if revision is not None and revision.metadata.labels.get(OBJECT_NAME) == matcher.name:
            return stored(revision, kinds)
    type_ = kinds.get((matcher.kind or "").lower())
    if type_ is None:
        raise UnknownKind(f"got unexpected kind in {owner}: {matcher.kind}")
    clustered = type_ in (VirtualMachineClusterInstancetype, VirtualMachineClusterPreference)
    live = view.find(type_, "" if clustered else namespace, matcher.name or "")
    if live is None:
        plural = type_.__name__.lower() + "s"
        raise NotFound(f'{plural}.instancetype.kubevirt.io "{matcher.name or ""}" not found')
    return live


def stored(revision: ControllerRevision, kinds: dict[str, type[Resource]]) -> Resource:
    """The object inside a revision. Raises UnknownKind, InvalidObject."""
    data: dict[str, Any] = revision.data if isinstance(revision.data, dict) else {}
    type_ = kinds.get(str(data.get("kind") or "").lower())
    if type_ is None:
        raise UnknownKind(f"unexpected kind {data.get('kind')} in ControllerRevision {revision.metadata.name}")
    return from_wire(data, type_)
