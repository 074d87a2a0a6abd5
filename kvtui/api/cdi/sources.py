"""DataSource, DataImportCron and upload tokens.

Source: containerized-data-importer-api/core/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.cdi.datavolume import DataVolume, DataVolumeSourcePVC, DataVolumeSourceSnapshot
from kvtui.api.meta import Resource
from kvtui.api.wire import INT32, REQUIRED, Time, Wire, named


class DataSourceRefSourceDataSource(Wire, frozen=True):
    """Data source ref source data source."""

    name: Annotated[str, REQUIRED] = ""
    namespace: Annotated[str, REQUIRED] = ""


class DataSourceSource(Wire, frozen=True):
    """Data source source."""

    data_source: DataSourceRefSourceDataSource | None = None
    pvc: DataVolumeSourcePVC | None = None
    snapshot: DataVolumeSourceSnapshot | None = None


class DataSourceSpec(Wire, frozen=True):
    """Data source spec."""

    source: Annotated[DataSourceSource, REQUIRED] = DataSourceSource()


class DataSourceCondition(Wire, frozen=True):
    """Data source condition."""

    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class DataSourceStatus(Wire, frozen=True):
    """Data source status."""

    conditions: list[DataSourceCondition] = []
    source: DataSourceSource | None = None


class DataSource(Resource, frozen=True):
    """Data source."""

    spec: Annotated[DataSourceSpec, REQUIRED] = DataSourceSpec()
    status: DataSourceStatus = DataSourceStatus()


class DataImportCronSpec(Wire, frozen=True):
    """Data import cron spec."""

    garbage_collect: str | None = None
    imports_to_keep: Annotated[int | None, INT32] = None
    managed_data_source: Annotated[str, REQUIRED] = ""
    retention_policy: str | None = None
    schedule: Annotated[str, REQUIRED] = ""
    service_account_name: str | None = None
    template: Annotated[DataVolume, REQUIRED] = DataVolume()


class DataImportCronCondition(Wire, frozen=True):
    """Data import cron condition."""

    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class ImportStatus(Wire, frozen=True):
    """Import status."""

    data_volume_name: Annotated[str, REQUIRED] = named("DataVolumeName", "")
    digest: Annotated[str, REQUIRED] = named("Digest", "")


class DataImportCronStatus(Wire, frozen=True):
    """Data import cron status."""

    conditions: list[DataImportCronCondition] = []
    current_imports: list[ImportStatus] = []
    last_execution_timestamp: Time | None = None
    last_import_timestamp: Time | None = None
    last_imported_pvc: DataVolumeSourcePVC | None = named("lastImportedPVC", None)
    source_format: str | None = None


class DataImportCron(Resource, frozen=True):
    """Data import cron."""

    spec: Annotated[DataImportCronSpec, REQUIRED] = DataImportCronSpec()
    status: DataImportCronStatus = DataImportCronStatus()


class UploadTokenRequestSpec(Wire, frozen=True):
    """Upload token request spec."""

    pvc_name: Annotated[str, REQUIRED] = ""


class UploadTokenRequestStatus(Wire, frozen=True):
    """Upload token request status."""

    token: str | None = None


class UploadTokenRequest(Resource, frozen=True):
    """Upload token request."""

    spec: Annotated[UploadTokenRequestSpec, REQUIRED] = UploadTokenRequestSpec()
    status: Annotated[UploadTokenRequestStatus, REQUIRED] = UploadTokenRequestStatus()
