"""The instancetype or preference that a boot volume's labels name.

Source: life-cycle facts 8.5; kubevirt pkg/instancetype/infer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kvtui.api.cdi.datavolume import DataVolume, DataVolumeSpec
from kvtui.api.cdi.sources import DataSource
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachineSpec
from kvtui.errors import NotFound, Unsupported
from kvtui.virtapi.admission.view import ClusterView

SNAPSHOT_API = "snapshot.storage.k8s.io/v1"
NOT_SUPPORTED_SOURCE = "unable to infer defaults from DataVolumeSpec as DataVolumeSource is not supported"
NOT_SUPPORTED_DATA_SOURCE = "unable to infer defaults from DataSource that doesn't provide DataVolumeSourcePVC"


class NothingToInfer(Unsupported):
    """No label, or a volume that carries none; the failure policy Ignore lets it pass."""


class Labels(NamedTuple):
    """Label keys for a name and for its kind."""

    name: str
    kind: str


INSTANCETYPE = Labels(
    "instancetype.kubevirt.io/default-instancetype", "instancetype.kubevirt.io/default-instancetype-kind"
)
PREFERENCE = Labels("instancetype.kubevirt.io/default-preference", "instancetype.kubevirt.io/default-preference-kind")


class Inferred(NamedTuple):
    """What the matcher becomes. An empty kind is the cluster-wide one."""

    name: str
    kind: str


def infer(spec: VirtualMachineSpec, volume: str, keys: Labels, namespace: str, view: ClusterView) -> Inferred:
    """Raises NothingToInfer, NotFound."""
    for candidate in spec.template.spec.volumes:
        if candidate.name != volume:
            continue
        if candidate.persistent_volume_claim is not None:
            return _from_claim(candidate.persistent_volume_claim.claim_name, namespace, keys, view)
        if candidate.data_volume is not None:
            return _from_data_volume(spec, candidate.data_volume.name, keys, namespace, view)
        raise NothingToInfer(f"unable to infer defaults from volume {volume} as type is not supported")
    raise NotFound(f"unable to find volume {volume} to infer defaults")


def _from_labels(labels: Mapping[str, str], keys: Labels) -> Inferred:
    if keys.name not in labels:
        raise NothingToInfer(f"unable to find required {keys.name} label on the volume")
    return Inferred(labels[keys.name], labels.get(keys.kind, ""))


def _from_claim(name: str, namespace: str, keys: Labels, view: ClusterView) -> Inferred:
    claim = view.find(PersistentVolumeClaim, namespace, name)
    if claim is None:
        raise NotFound(f'persistentvolumeclaims "{name}" not found')
    return _from_labels(claim.metadata.labels, keys)


def _from_snapshot(name: str, namespace: str, keys: Labels, view: ClusterView) -> Inferred:
    snapshot = view.find_other(SNAPSHOT_API, "VolumeSnapshot", namespace, name)
    if snapshot is None:
        raise NotFound(f'volumesnapshots.snapshot.storage.k8s.io "{name}" not found')
    return _from_labels((snapshot.get("metadata") or {}).get("labels") or {}, keys)


def _from_data_volume(spec: VirtualMachineSpec, name: str, keys: Labels, namespace: str, view: ClusterView) -> Inferred:
    for template in spec.data_volume_templates:
        if template.metadata is not None and template.metadata.name == name:
            return _from_source(template.spec, keys, namespace, view)
    data_volume = view.find(DataVolume, namespace, name)
    if data_volume is None:
        return _from_claim(name, namespace, keys, view)
    try:
        return _from_labels(data_volume.metadata.labels, keys)
    except NothingToInfer:
        return _from_source(data_volume.spec, keys, namespace, view)


def _from_source(spec: DataVolumeSpec, keys: Labels, namespace: str, view: ClusterView) -> Inferred:
    source = spec.source
    if source is not None and source.pvc is not None:
        return _from_claim(source.pvc.name, source.pvc.namespace or namespace, keys, view)
    if source is not None and source.snapshot is not None:
        return _from_snapshot(source.snapshot.name, source.snapshot.namespace or namespace, keys, view)
    if spec.source_ref is None:
        raise NothingToInfer(NOT_SUPPORTED_SOURCE)
    if spec.source_ref.kind != "DataSource":
        kind = spec.source_ref.kind
        raise NothingToInfer(f"unable to infer defaults from DataVolumeSourceRef as Kind {kind} is not supported")
    return _from_data_source(spec.source_ref.name, spec.source_ref.namespace or namespace, keys, view)


def _from_data_source(name: str, namespace: str, keys: Labels, view: ClusterView) -> Inferred:
    found = view.find(DataSource, namespace, name)
    if found is None:
        raise NotFound(f'datasources.cdi.kubevirt.io "{name}" not found')
    try:
        return _from_labels(found.metadata.labels, keys)
    except NothingToInfer:
        source = found.spec.source
        if source.pvc is not None:
            return _from_claim(source.pvc.name, source.pvc.namespace, keys, view)
        if source.snapshot is not None:
            return _from_snapshot(source.snapshot.name, source.snapshot.namespace, keys, view)
        raise NothingToInfer(NOT_SUPPORTED_DATA_SOURCE) from None
