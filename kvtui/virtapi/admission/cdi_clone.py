"""Who may copy a claim or snapshot of another namespace into a DataVolume.

Source: CDI facts 2.4, rule 38, and 5.1. A missing source namespace or DataSource is not refused here: the volume waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kvtui.api.cdi.sources import DataSource
from kvtui.virtapi.admission.causes import invalid
from kvtui.virtapi.admission.view import Right

if TYPE_CHECKING:
    from kvtui.api.admission import UserInfo
    from kvtui.api.cdi.datavolume import DataVolume
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.view import ClusterView


class Origin(NamedTuple):
    """What is cloned, and where the volume says so."""

    namespace: str
    field: str
    is_snapshot: bool


def origin(volume: DataVolume, namespace: str, view: ClusterView) -> Origin | None:
    """None for a volume that is no clone, or whose DataSource leads nowhere yet."""
    source, ref = volume.spec.source, volume.spec.source_ref
    if source is not None and source.pvc is not None:
        return Origin(source.pvc.namespace or namespace, "spec.source.PVC.namespace", False)
    if source is not None and source.snapshot is not None:
        return Origin(source.snapshot.namespace or namespace, "spec.source.Snapshot.namespace", True)
    if ref is None or ref.kind != "DataSource":
        return None
    found = view.find(DataSource, ref.namespace or namespace, ref.name)
    if found is not None and found.spec.source.data_source is not None:
        further = found.spec.source.data_source
        found = view.find(DataSource, further.namespace, further.name)
    if found is None:
        return None
    if found.spec.source.pvc is not None:
        return Origin(found.spec.source.pvc.namespace, "spec.source.PVC.namespace", False)
    if found.spec.source.snapshot is not None:
        return Origin(found.spec.source.snapshot.namespace, "spec.source.Snapshot.namespace", True)
    return None


def validate_rights(volume: DataVolume, namespace: str, user: UserInfo, view: ClusterView) -> list[Cause]:
    cloned = origin(volume, namespace, view)
    if cloned is None or cloned.namespace == namespace or may_clone(user, cloned, view):
        return []
    message = f"User {user.username} has insufficient permissions in clone source namespace {cloned.namespace}"
    return [invalid(message, cloned.field)]


def may_clone(user: UserInfo, cloned: Origin, view: ClusterView) -> bool:
    """The right made for it, or rights that come to the same."""

    def may(group: str, resource: str, subresource: str = "") -> bool:
        return view.may(Right(user.username, user.groups, "create", group, resource, subresource, cloned.namespace))

    if may("cdi.kubevirt.io", "datavolumes", "source"):
        return True
    if cloned.is_snapshot:
        return may("", "pods") and may("", "persistentvolumeclaims")
    return may("", "pods")
