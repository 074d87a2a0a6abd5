"""Claims, volumes and storage classes.

Source: k8s.io/api/core/v1, k8s.io/api/storage/v1.
"""

from __future__ import annotations

from typing import Annotated, Any

from kvtui.api.core.parts import NodeSelector, PersistentVolumeClaimSpec
from kvtui.api.meta import Condition, Resource
from kvtui.api.wire import REQUIRED, Quantity, Time, Wire, list_map


class PersistentVolumeClaimStatus(Wire, frozen=True):
    """Bound to what, and how big it really is."""

    phase: str = ""
    access_modes: list[str] = []
    capacity: dict[str, Quantity] = {}
    allocated_resources: dict[str, Quantity] = {}
    conditions: Annotated[list[Condition], list_map("type")] = []


class PersistentVolumeClaim(Resource, frozen=True):
    """A request for storage."""

    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class ObjectReference(Wire, frozen=True):
    """Names another object."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class LocalVolumeSource(Wire, frozen=True):
    """A directory or device of one node."""

    path: Annotated[str, REQUIRED] = ""
    fs_type: str | None = None


class HostPathVolumeSource(Wire, frozen=True):
    """A path that every node has."""

    path: Annotated[str, REQUIRED] = ""
    type: str | None = None


class VolumeNodeAffinity(Wire, frozen=True):
    """From which nodes the volume can be reached."""

    required: NodeSelector | None = None


class PersistentVolumeSpec(Wire, frozen=True):
    """Where the bytes are."""

    capacity: dict[str, Quantity] = {}
    access_modes: list[str] = []
    claim_ref: ObjectReference | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str = ""
    volume_mode: str | None = None
    mount_options: list[str] = []
    local: LocalVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    nfs: dict[str, Any] | None = None
    csi: dict[str, Any] | None = None
    node_affinity: VolumeNodeAffinity | None = None


class PersistentVolumeStatus(Wire, frozen=True):
    """Available, Bound, Released or Failed."""

    phase: str = ""
    message: str = ""
    reason: str = ""
    last_phase_transition_time: Time | None = None


class PersistentVolume(Resource, frozen=True):
    """A piece of storage."""

    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class StorageClass(Resource, frozen=True):
    """A sort of storage and who provides it."""

    provisioner: Annotated[str, REQUIRED] = ""
    parameters: dict[str, str] = {}
    reclaim_policy: str | None = None
    volume_binding_mode: str | None = None
    allow_volume_expansion: bool | None = None
    mount_options: list[str] = []
