"""Claims that take an upload without a DataVolume. Pure.

They are worked on as if there were one: it would say nothing that the claim does not say.

Source: containerized-data-importer pkg/controller/upload-controller.go.
"""

from __future__ import annotations

from kvtui.api.cdi.datavolume import DataVolume, DataVolumeSource, DataVolumeSourceUpload, DataVolumeSpec
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.meta import ObjectMeta
from kvtui.controllers.datavolume import names


def is_bare(claim: PersistentVolumeClaim) -> bool:
    """Whether a claim asks for an upload itself."""
    return names.UPLOAD_TARGET in claim.metadata.annotations and claim.metadata.controller is None


def stand_in(claim: PersistentVolumeClaim) -> DataVolume:
    """The DataVolume that would have made this claim; it has the claim's own uid."""
    notes = claim.metadata.annotations
    wanted = notes.get(names.PREALLOCATION_REQUESTED)
    return DataVolume(
        metadata=ObjectMeta(name=claim.metadata.name, namespace=claim.metadata.namespace, uid=claim.metadata.uid),
        spec=DataVolumeSpec(
            source=DataVolumeSource(upload=DataVolumeSourceUpload()),
            content_type=notes.get(names.CONTENT_TYPE) or "kubevirt",
            preallocation=wanted == "true" if wanted else None,
        ),
    )
