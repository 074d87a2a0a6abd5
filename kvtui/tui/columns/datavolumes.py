"""DataVolumes, and claims without one, as rows."""

from __future__ import annotations

from kvtui.api.core.parts import PersistentVolumeClaimSpec
from kvtui.api.quantity import value as quantity_value
from kvtui.errors import InvalidQuantity
from kvtui.tui.columns.cell import NONE, Cell, Column, Sight, Tone, clock_time, newest_first, since, size, state
from kvtui.tui.model.rows import DataVolumeRow

TONES = {
    "Succeeded": Tone.OK,
    "Bound": Tone.OK,
    "Failed": Tone.FAIL,
    "Lost": Tone.FAIL,
    "Paused": Tone.HOLD,
    "WaitForFirstConsumer": Tone.HOLD,
    "PendingPopulation": Tone.HOLD,
    "Unknown": Tone.UNKNOWN,
}
STEPS = {
    "WaitForFirstConsumer": "waiting for first consumer",
    "PendingPopulation": "waiting for first consumer",
    "Pending": "waiting for a volume",
    "PVCBound": "waiting for the importer",
    "ImportScheduled": "waiting for the importer",
    "UploadScheduled": "waiting for the upload",
    "UploadReady": "waiting for data",
    "CloneScheduled": "waiting for the clone",
    "ExpansionInProgress": "resizing",
    "Unknown": "unknown",
}
"""What is said where the server has no number."""


def phase_tone(row: DataVolumeRow) -> Tone:
    if row.phase in TONES:
        return TONES[row.phase]
    return Tone.FAIL if reason(row) and restarts(row) else Tone.BUSY


def restarts(row: DataVolumeRow) -> int:
    return (row.volume.status.restart_count or 0) if row.volume is not None and row.volume.status else 0


def reason(row: DataVolumeRow) -> str:
    """The last error of the worker, in the server's words."""
    if row.volume is None or row.volume.status is None:
        return ""
    for condition in row.volume.status.conditions:
        if condition.type == "Running" and condition.status != "True" and condition.reason in ("Error", "Failed"):
            return condition.message or condition.reason or ""
    return next((c.message or "" for c in row.volume.status.conditions if c.reason == "Error"), "")


def source_of(row: DataVolumeRow) -> str:
    """Where the bytes come from, as one word and a place."""
    if row.volume is None:
        return "(pvc)"
    source = row.volume.spec.source
    if source is None:
        reference = row.volume.spec.source_ref
        return f"{reference.kind} {reference.name}" if reference else ""
    if source.http:
        return source.http.url
    if source.registry:
        return source.registry.url or source.registry.image_stream or "registry"
    if source.pvc:
        return f"pvc {source.pvc.namespace}/{source.pvc.name}"
    if source.snapshot:
        return f"snapshot {source.snapshot.namespace}/{source.snapshot.name}"
    if source.s3:
        return source.s3.url
    names = {"blank": source.blank, "upload": source.upload, "gcs": source.gcs, "imageio": source.imageio}
    return next((name for name, value in names.items() if value is not None), "vddk" if source.vddk else "")


def _spec(row: DataVolumeRow) -> PersistentVolumeClaimSpec | None:
    if row.volume is not None and row.volume.spec.pvc is not None:
        return row.volume.spec.pvc
    return row.claim.spec if row.claim is not None else None


def bytes_of(row: DataVolumeRow) -> int | None:
    """What was asked for, or what there is."""
    wanted = None
    if row.claim is not None:
        wanted = row.claim.status.capacity.get("storage")
    if wanted is None and row.volume is not None:
        storage = row.volume.spec.storage
        resources = storage.resources if storage else (row.volume.spec.pvc.resources if row.volume.spec.pvc else None)
        wanted = resources.requests.get("storage") if resources else None
    if wanted is None and row.claim is not None and row.claim.spec.resources is not None:
        wanted = row.claim.spec.resources.requests.get("storage")
    try:
        return quantity_value(wanted) if wanted is not None else None
    except InvalidQuantity:
        return None


def _name(row: DataVolumeRow, sight: Sight) -> Cell:
    return Cell(row.key.name if row.volume is not None else f"{row.key.name} (pvc)")


def _progress(row: DataVolumeRow, sight: Sight) -> Cell:
    share = row.progress
    if row.volume is None:
        return NONE
    if row.phase == "Succeeded":
        return Cell("done", Tone.DIM)
    if share is None or (share == 0 and row.phase in STEPS):
        return Cell(STEPS.get(row.phase, row.phase), Tone.DIM)
    return Cell(f"{sight.glyphs.bar(share / 100, 12)} {share:3.0f} %", Tone.BUSY)


def _size(row: DataVolumeRow, sight: Sight) -> Cell:
    count = bytes_of(row)
    return NONE if count is None else Cell(size(count))


def _eta(row: DataVolumeRow, sight: Sight) -> Cell:
    if row.progress is None or not row.rate or row.phase == "Succeeded":
        return NONE
    return Cell(clock_time((100 - row.progress) / row.rate))


def _class(row: DataVolumeRow, sight: Sight) -> Cell:
    spec = _spec(row)
    name = (spec.storage_class_name if spec else None) or (
        row.volume.spec.storage.storage_class_name if row.volume and row.volume.spec.storage else None
    )
    return Cell(name) if name else NONE


_MODES = {"ReadWriteOnce": "RWO", "ReadWriteMany": "RWX", "ReadOnlyMany": "ROX", "ReadWriteOncePod": "RWOP"}


def _mode(row: DataVolumeRow, sight: Sight) -> Cell:
    spec = _spec(row)
    modes = spec.access_modes if spec else []
    if not modes and row.volume and row.volume.spec.storage:
        modes = row.volume.spec.storage.access_modes
    words = ",".join(_MODES.get(m, m) for m in modes)
    return Cell(f"{words} {(spec.volume_mode if spec else None) or 'Filesystem'}") if words else NONE


def _restarts(row: DataVolumeRow, sight: Sight) -> Cell:
    count = restarts(row)
    return Cell(str(count), Tone.WARN) if count else NONE


def _used(row: DataVolumeRow, sight: Sight) -> Cell:
    return Cell(", ".join(row.used_by)) if row.used_by else NONE


def _reason(row: DataVolumeRow, sight: Sight) -> Cell:
    text = reason(row)
    if not text:
        return NONE
    count = restarts(row)
    return Cell(f"import failed {count} times: {text}" if count > 1 else text, Tone.FAIL)


COLUMNS: tuple[Column[DataVolumeRow], ...] = (
    Column("namespace", "NAMESPACE", 12, lambda row, sight: Cell(row.key.namespace), core=True),
    Column("name", "NAME", 16, _name, lambda row: row.key.name, core=True, grows=2),
    Column("phase", "PHASE", 16, lambda row, sight: state(row.phase, phase_tone(row), sight), lambda row: row.phase,
           core=True),
    Column("progress", "PROGRESS", 19, _progress, lambda row: row.progress, core=True),
    Column("size", "SIZE", 8, _size, bytes_of, right=True, core=True),
    Column("source", "SOURCE", 11, lambda row, sight: Cell(source_of(row) or "-"), source_of, core=True, grows=3),
    Column("eta", "ETA", 6, _eta, right=True),
    Column("restarts", "RESTARTS", 8, _restarts, restarts, right=True),
    Column("class", "CLASS", 12, _class),
    Column("mode", "MODE", 14, _mode),
    Column("used", "USED BY", 12, _used, grows=1),
    Column("age", "AGE", 4, lambda row, sight: since(row.object.metadata.creation_timestamp, sight),
           lambda row: newest_first(row.object.metadata.creation_timestamp), right=True),
    Column("reason", "REASON", 20, _reason, grows=4),
)  # fmt: skip
