"""Who may copy a claim or snapshot of another namespace into a DataVolume.

Source: CDI facts 2.4, rule 38, and 5.1. A missing source namespace or DataSource is not refused here: the volume waits.

What a DataSource stands for is seen again when the clone begins, and may be something else by then. So an annotation
keeps the foreign namespace from which the volume may be cloned, as upstream's token does. Only admission writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kvtui.api.cdi.datavolume import DataVolumeSource
from kvtui.api.cdi.sources import DataSource
from kvtui.api.wire import evolve
from kvtui.virtapi.admission.causes import invalid
from kvtui.virtapi.admission.view import Right

if TYPE_CHECKING:
    from kvtui.api.admission import UserInfo
    from kvtui.api.cdi.datavolume import DataVolume, DataVolumeSourcePVC, DataVolumeSourceSnapshot
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.view import ClusterView

CLONES_FROM = "kvtui.io/clones-from"


class Origin(NamedTuple):
    """What is cloned, and where the volume says so."""

    namespace: str
    field: str
    source: DataVolumeSource

    @property
    def is_snapshot(self) -> bool:
        return self.source.snapshot is not None


def origin(volume: DataVolume, namespace: str, view: ClusterView) -> Origin | None:
    """None for a volume that is no clone, or whose DataSource leads nowhere yet."""
    source, ref = volume.spec.source, volume.spec.source_ref
    if source is not None:
        return _origin(source.pvc, source.snapshot, namespace)
    if ref is None or ref.kind != "DataSource":
        return None
    found = view.find(DataSource, ref.namespace or namespace, ref.name)
    if found is not None and found.spec.source.data_source is not None:
        further = found.spec.source.data_source
        found = view.find(DataSource, further.namespace or found.metadata.namespace, further.name)
    if found is None:
        return None
    return _origin(found.spec.source.pvc, found.spec.source.snapshot, found.metadata.namespace)


def _origin(
    claim: DataVolumeSourcePVC | None, snapshot: DataVolumeSourceSnapshot | None, namespace: str
) -> Origin | None:
    if claim is not None:
        claim = evolve(claim, namespace=claim.namespace or namespace)
        return Origin(claim.namespace or "", "spec.source.PVC.namespace", DataVolumeSource(pvc=claim))
    if snapshot is not None:
        snapshot = evolve(snapshot, namespace=snapshot.namespace or namespace)
        return Origin(snapshot.namespace or "", "spec.source.Snapshot.namespace", DataVolumeSource(snapshot=snapshot))
    return None


def validate_rights(volume: DataVolume, namespace: str, user: UserInfo, view: ClusterView) -> list[Cause]:
    cloned = origin(volume, namespace, view)
    if cloned is None or cloned.namespace == namespace or may_clone(user, cloned, view):
        return []
    message = f"User {user.username} has insufficient permissions in clone source namespace {cloned.namespace}"
    return [invalid(message, cloned.field)]


def with_permission(data: dict[str, Any], volume: DataVolume, namespace: str, view: ClusterView) -> dict[str, Any]:
    """A volume whose rights have been looked at, with the foreign namespace that it may be cloned from.

    A source that the volume names itself stays what it is.
    """
    cloned = origin(volume, namespace, view) if volume.spec.source_ref is not None else None
    wanted = {CLONES_FROM: cloned.namespace} if cloned is not None and cloned.namespace != namespace else {}
    given = data["metadata"].get("annotations") or {}
    annotations = {**{k: v for k, v in given.items() if k != CLONES_FROM}, **wanted}
    if annotations == given:
        return data
    return {**data, "metadata": {**data["metadata"], "annotations": annotations}}


def validate_permission(volume: DataVolume, old: DataVolume) -> list[Cause]:
    if volume.metadata.annotations.get(CLONES_FROM) == old.metadata.annotations.get(CLONES_FROM):
        return []
    return [invalid(f"annotation {CLONES_FROM} may not be changed", "metadata.annotations")]


def may_clone(user: UserInfo, cloned: Origin, view: ClusterView) -> bool:
    """The right made for it, or rights that come to the same."""

    def may(group: str, resource: str, subresource: str = "") -> bool:
        return view.may(Right(user.username, user.groups, "create", group, resource, subresource, cloned.namespace))

    if may("cdi.kubevirt.io", "datavolumes", "source"):
        return True
    if cloned.is_snapshot:
        return may("", "pods") and may("", "persistentvolumeclaims")
    return may("", "pods")
