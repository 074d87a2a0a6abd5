"""Sources that a claim's dataSourceRef may name: import, clone, upload, and the two for other clouds' disks.

Source: containerized-data-importer-api/core/v1beta1 and forklift/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.cdi.datavolume import (
    DataVolumeBlankImage,
    DataVolumeCheckpoint,
    DataVolumeSourceGCS,
    DataVolumeSourceHTTP,
    DataVolumeSourceImageIO,
    DataVolumeSourceRegistry,
    DataVolumeSourceS3,
    DataVolumeSourceVDDK,
)
from kvtui.api.core.parts import TypedLocalObjectReference
from kvtui.api.meta import Resource
from kvtui.api.wire import REQUIRED, Wire, named


class ImportSourceType(Wire, frozen=True):
    """Exactly one of the places where an image may come from."""

    blank: DataVolumeBlankImage | None = None
    gcs: DataVolumeSourceGCS | None = None
    http: DataVolumeSourceHTTP | None = None
    imageio: DataVolumeSourceImageIO | None = None
    registry: DataVolumeSourceRegistry | None = None
    s3: DataVolumeSourceS3 | None = None
    vddk: DataVolumeSourceVDDK | None = None


class VolumeImportSourceSpec(Wire, frozen=True):
    """What to import, and how."""

    checkpoints: list[DataVolumeCheckpoint] = []
    content_type: str | None = None
    final_checkpoint: bool | None = None
    preallocation: bool | None = None
    source: ImportSourceType | None = None
    target_claim: str | None = None


class VolumeImportSourceStatus(Wire, frozen=True):
    """Nothing is reported here."""


class VolumeImportSource(Resource, frozen=True):
    """Fills a claim with an imported image."""

    spec: Annotated[VolumeImportSourceSpec, REQUIRED] = VolumeImportSourceSpec()
    status: VolumeImportSourceStatus | None = None


class VolumeUploadSourceSpec(Wire, frozen=True):
    """How an upload is taken."""

    content_type: str | None = None
    preallocation: bool | None = None


class VolumeUploadSourceStatus(Wire, frozen=True):
    """Nothing is reported here."""


class VolumeUploadSource(Resource, frozen=True):
    """Fills a claim with an uploaded image."""

    spec: Annotated[VolumeUploadSourceSpec, REQUIRED] = VolumeUploadSourceSpec()
    status: VolumeUploadSourceStatus | None = None


class VolumeCloneSourceSpec(Wire, frozen=True):
    """What to clone, and how."""

    preallocation: bool | None = None
    priority_class_name: str | None = None
    source: Annotated[TypedLocalObjectReference, REQUIRED] = TypedLocalObjectReference()


class VolumeCloneSource(Resource, frozen=True):
    """Fills a claim with a copy of another claim or of a snapshot."""

    spec: Annotated[VolumeCloneSourceSpec, REQUIRED] = VolumeCloneSourceSpec()


class PopulatorStatus(Wire, frozen=True):
    """How far the transfer is."""

    progress: str | None = None


class OvirtVolumePopulatorSpec(Wire, frozen=True):
    """A disk of an oVirt engine."""

    disk_id: Annotated[str, REQUIRED] = ""
    engine_url: Annotated[str, REQUIRED] = ""
    secret_ref: Annotated[str, REQUIRED] = ""
    transfer_network: str | None = None


class OvirtVolumePopulator(Resource, frozen=True):
    """Fills a claim with a disk of oVirt."""

    spec: Annotated[OvirtVolumePopulatorSpec, REQUIRED] = OvirtVolumePopulatorSpec()
    status: PopulatorStatus | None = None


class OpenstackVolumePopulatorSpec(Wire, frozen=True):
    """An image of an OpenStack cloud."""

    identity_url: Annotated[str, REQUIRED] = ""
    image_id: Annotated[str, REQUIRED] = named("imageId", "")
    secret_ref: Annotated[str, REQUIRED] = ""
    transfer_network: str | None = None


class OpenstackVolumePopulator(Resource, frozen=True):
    """Fills a claim with an image of OpenStack."""

    spec: Annotated[OpenstackVolumePopulatorSpec, REQUIRED] = OpenstackVolumePopulatorSpec()
    status: PopulatorStatus | None = None
