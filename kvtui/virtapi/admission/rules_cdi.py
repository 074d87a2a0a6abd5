"""Webhooks of CDI. Their refusals carry no reason, and every message begins with a blank.

Source: CDI facts 2.4; cdi pkg/apiserver/webhooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvtui.api.admission import Denied
from kvtui.api.cdi.config import CDI
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.sources import DataImportCron
from kvtui.virtapi.admission import cdi_clone, cdi_cron, cdi_datavolume
from kvtui.virtapi.admission.causes import bad_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvtui.errors import Cause
    from kvtui.virtapi.admission.call import Call
    from kvtui.virtapi.admission.view import ClusterView

KEEP_WORKLOADS = "BlockUninstallIfWorkloadsExist"
OF_CRON = "cdi.kubevirt.io/dataImportCron"


def _refuse(causes: Sequence[Cause]) -> None:
    if causes:
        message = "".join(f" {cause.message}" for cause in causes)
        raise Denied(message, code=422, reason="", causes=tuple(causes))


def mutate_data_volume(call: Call, view: ClusterView) -> tuple[dict[str, Any], list[str]]:
    """Clones from elsewhere need rights there."""
    volume, namespace = call.new(DataVolume), call.request.namespace
    _refuse(cdi_clone.validate_rights(volume, namespace, call.user, view))
    return cdi_clone.with_permission(call.data, volume, namespace, view), []


def validate_data_volume(call: Call, view: ClusterView) -> list[str]:
    old = None if call.creates else call.old(DataVolume)
    new = call.new(DataVolume)
    _refuse(cdi_clone.validate_permission(new, old) if old is not None else [])
    _refuse(cdi_datavolume.validate(new, old, call.request.namespace, view))
    return []


def validate_cron(call: Call, view: ClusterView) -> list[str]:
    old = None if call.creates else call.old(DataImportCron)
    _refuse(cdi_cron.validate_cron(call.new(DataImportCron), old))
    return []


def validate_import_source(call: Call, view: ClusterView) -> list[str]:
    old = None if call.creates else call.old(cdi_cron.VolumeImportSource)
    _refuse(cdi_cron.validate_import_source(call.new(cdi_cron.VolumeImportSource), old))
    return []


def validate_upload_source(call: Call, view: ClusterView) -> list[str]:
    old = None if call.creates else call.old(cdi_cron.VolumeUploadSource)
    _refuse(cdi_cron.validate_upload_source(call.new(cdi_cron.VolumeUploadSource), old))
    return []


def validate_cdi_delete(call: Call, view: ClusterView) -> list[str]:
    """CDI stays while it has work that nobody would finish."""
    if call.old(CDI).spec.uninstall_strategy != KEEP_WORKLOADS:
        return []
    volumes = view.all(DataVolume, "")
    if any(OF_CRON not in volume.metadata.labels for volume in volumes):
        raise bad_request("rejecting the uninstall request, since there are still DataVolumes present")
    return []
