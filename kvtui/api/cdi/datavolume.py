"""DataVolume: where an image comes from and what storage it fills.

Source: containerized-data-importer-api/core/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import (
    PersistentVolumeClaimSpec,
    TypedLocalObjectReference,
    TypedObjectReference,
    VolumeResourceRequirements,
)
from kvtui.api.meta import LabelSelector, Resource
from kvtui.api.wire import INT32, REQUIRED, Time, Wire, named, one_of, schema


class DataVolumeCheckpoint(Wire, frozen=True):
    """Data volume checkpoint."""

    current: Annotated[str, REQUIRED] = ""
    previous: Annotated[str, REQUIRED] = ""


class DataVolumeBlankImage(Wire, frozen=True):
    """An empty disk."""


class DataVolumeSourceGCS(Wire, frozen=True):
    """An image from Google Cloud Storage."""

    secret_ref: str | None = None
    url: Annotated[str, REQUIRED] = ""


class DataVolumeSourceHTTP(Wire, frozen=True):
    """An image from a web server."""

    cert_config_map: str | None = None
    checksum: str | None = None
    extra_headers: list[str] = []
    insecure_skip_verify: bool | None = None
    secret_extra_headers: list[str] = []
    secret_ref: str | None = None
    url: Annotated[str, REQUIRED] = ""


class DataVolumeSourceImageIO(Wire, frozen=True):
    """A disk from oVirt."""

    cert_config_map: str | None = None
    disk_id: Annotated[str, REQUIRED] = ""
    insecure_skip_verify: bool | None = None
    secret_ref: str | None = None
    url: Annotated[str, REQUIRED] = ""


class DataVolumeSourcePVC(Wire, frozen=True):
    """A copy of another claim."""

    name: Annotated[str, REQUIRED] = ""
    namespace: Annotated[str, REQUIRED] = ""


class PlatformOptions(Wire, frozen=True):
    """Platform options."""

    architecture: str | None = None


class DataVolumeSourceRegistry(Wire, frozen=True):
    """An image in a container image."""

    cert_config_map: str | None = None
    image_stream: str | None = None
    platform: PlatformOptions | None = None
    pull_method: str | None = None
    secret_ref: str | None = None
    url: str | None = None


class DataVolumeSourceS3(Wire, frozen=True):
    """An image from an S3 bucket."""

    cert_config_map: str | None = None
    secret_ref: str | None = None
    url: Annotated[str, REQUIRED] = ""


class DataVolumeSourceSnapshot(Wire, frozen=True):
    """A copy of a VolumeSnapshot."""

    name: Annotated[str, REQUIRED] = ""
    namespace: Annotated[str, REQUIRED] = ""


class DataVolumeSourceUpload(Wire, frozen=True):
    """An image that a client uploads."""


class DataVolumeSourceVDDK(Wire, frozen=True):
    """A disk from VMware."""

    backing_file: str | None = None
    cert_config_map: str | None = None
    extra_args: str | None = None
    init_image_url: str | None = named("initImageURL", None)
    secret_ref: str | None = None
    thumbprint: str | None = None
    url: str | None = None
    uuid: str | None = None


class DataVolumeSource(Wire, frozen=True):
    """Where the image comes from: exactly one of these."""

    blank: DataVolumeBlankImage | None = None
    gcs: DataVolumeSourceGCS | None = None
    http: DataVolumeSourceHTTP | None = None
    imageio: DataVolumeSourceImageIO | None = None
    pvc: DataVolumeSourcePVC | None = None
    registry: DataVolumeSourceRegistry | None = None
    s3: DataVolumeSourceS3 | None = None
    snapshot: DataVolumeSourceSnapshot | None = None
    upload: DataVolumeSourceUpload | None = None
    vddk: DataVolumeSourceVDDK | None = None


class DataVolumeSourceRef(Wire, frozen=True):
    """A DataSource that says where the image comes from."""

    kind: Annotated[str, REQUIRED] = ""
    name: Annotated[str, REQUIRED] = ""
    namespace: str | None = None


class StorageSpec(Wire, frozen=True):
    """The storage that the disk needs; what is left out is chosen by the storage class."""

    access_modes: list[str] = []
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements | None = None
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_mode: Annotated[str | None, one_of("Block", "Filesystem", "FromStorageProfile")] = None
    volume_name: str | None = None


class DataVolumeSpec(Wire, frozen=True):
    """Where an image comes from, and the storage it is put on."""

    checkpoints: list[DataVolumeCheckpoint] = []
    content_type: Annotated[str | None, schema(enum=["kubevirt", "archive"])] = None
    final_checkpoint: bool | None = None
    preallocation: bool | None = None
    priority_class_name: str | None = None
    pvc: PersistentVolumeClaimSpec | None = None
    service_account_name: str | None = None
    source: DataVolumeSource | None = None
    source_ref: DataVolumeSourceRef | None = None
    storage: StorageSpec | None = None


class DataVolumeCondition(Wire, frozen=True):
    """Data volume condition."""

    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class DataVolumeStatus(Wire, frozen=True):
    """How far the image is."""

    claim_name: str | None = None
    conditions: list[DataVolumeCondition] = []
    phase: str | None = None
    progress: str | None = None
    restart_count: Annotated[int | None, INT32] = None


class DataVolume(Resource, frozen=True):
    """A claim that is filled with an image."""

    spec: Annotated[DataVolumeSpec, REQUIRED] = DataVolumeSpec()
    status: DataVolumeStatus = DataVolumeStatus()
