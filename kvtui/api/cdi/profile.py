"""StorageProfile: what CDI knows about a storage class. ObjectTransfer: moving claims between namespaces.

Source: containerized-data-importer-api/core/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.meta import Resource
from kvtui.api.wire import REQUIRED, Time, Wire, schema

_MODES = schema(
    maxItems=4,
    x_kubernetes_validations=[
        {
            "rule": "self.all(mode, mode in ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod'])",
            "message": "Illegal AccessMode",
        }
    ],
)
_VOLUME_MODE = schema(
    x_kubernetes_validations=[{"rule": "self in ['Block', 'Filesystem']", "message": "Illegal VolumeMode"}]
)


class ClaimPropertySet(Wire, frozen=True):
    """Access modes that go with a volume mode."""

    access_modes: Annotated[list[str], REQUIRED, _MODES] = []
    volume_mode: Annotated[str, REQUIRED, _VOLUME_MODE] = ""


class StorageProfileSpec(Wire, frozen=True):
    """What an administrator wants to be used for a storage class."""

    claim_property_sets: Annotated[list[ClaimPropertySet], schema(maxItems=8)] = []
    clone_strategy: str | None = None
    data_import_cron_source_format: str | None = None
    snapshot_class: str | None = None


class StorageProfileCondition(Wire, frozen=True):
    """Recognized: whether the provisioner is known."""

    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class StorageProfileStatus(Wire, frozen=True):
    """What is used: the wish, or what is known of the provisioner."""

    claim_property_sets: Annotated[list[ClaimPropertySet], schema(maxItems=8)] = []
    clone_strategy: str | None = None
    conditions: list[StorageProfileCondition] = []
    data_import_cron_source_format: str | None = None
    provisioner: str | None = None
    snapshot_class: str | None = None
    storage_class: str | None = None


class StorageProfile(Resource, frozen=True):
    """Recommended modes and cloning of a storage class of the same name."""

    spec: Annotated[StorageProfileSpec, REQUIRED] = StorageProfileSpec()
    status: StorageProfileStatus | None = None


class TransferSource(Wire, frozen=True):
    """The object to move."""

    api_version: str | None = None
    kind: Annotated[str, REQUIRED] = ""
    name: Annotated[str, REQUIRED] = ""
    namespace: Annotated[str, REQUIRED] = ""
    required_annotations: dict[str, str] = {}


class TransferTarget(Wire, frozen=True):
    """Where it goes, and under which name."""

    name: str | None = None
    namespace: str | None = None


class ObjectTransferSpec(Wire, frozen=True):
    """From where to where."""

    parent_name: str | None = None
    source: Annotated[TransferSource, REQUIRED] = TransferSource()
    target: Annotated[TransferTarget, REQUIRED] = TransferTarget()


class ObjectTransferCondition(Wire, frozen=True):
    """Complete."""

    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class ObjectTransferStatus(Wire, frozen=True):
    """How far it is."""

    conditions: list[ObjectTransferCondition] = []
    data: dict[str, str] = {}
    phase: str | None = None


class ObjectTransfer(Resource, frozen=True):
    """Moves a claim or DataVolume to another namespace or name. Deprecated."""

    spec: Annotated[ObjectTransferSpec, REQUIRED] = ObjectTransferSpec()
    status: ObjectTransferStatus | None = None
