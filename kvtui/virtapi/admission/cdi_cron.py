"""DataImportCrons, and the sources that volume populators read.

Source: CDI facts 2.4, rules 28 and 30 to 34.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kvtui.api.cdi.datavolume import DataVolumeCheckpoint, DataVolumeSource
from kvtui.api.meta import Resource
from kvtui.api.wire import Wire, evolve
from kvtui.virtapi.admission import cdi_sources
from kvtui.virtapi.admission.causes import Path, duplicate, invalid
from kvtui.virtapi.admission.cdi_datavolume import name_too_long, validate_spec
from kvtui.virtapi.admission.same import same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.cdi.sources import DataImportCron, DataImportCronSpec
    from kvtui.errors import Cause

LONGEST_NAME = 63
COLLECT = ("Outdated", "Never")
MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES = (
    (),
    (),
    (),
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
)
_DURATION = re.compile(r"@every (?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)


class VolumeImportSourceSpec(Wire, frozen=True):
    """What a populator imports."""

    checkpoints: list[DataVolumeCheckpoint] = []
    content_type: str | None = None
    final_checkpoint: bool | None = None
    preallocation: bool | None = None
    source: DataVolumeSource | None = None
    target_claim: str | None = None


class VolumeImportSource(Resource, frozen=True):
    """A source that claims may name as dataSourceRef."""

    spec: VolumeImportSourceSpec = VolumeImportSourceSpec()


class VolumeUploadSourceSpec(Wire, frozen=True):
    """How uploaded bytes are taken."""

    content_type: str | None = None
    preallocation: bool | None = None


class VolumeUploadSource(Resource, frozen=True):
    """An upload that claims may name as dataSourceRef."""

    spec: VolumeUploadSourceSpec = VolumeUploadSourceSpec()


def validate_cron(cron: DataImportCron, old: DataImportCron | None) -> list[Cause]:
    """`old` is None on create."""
    if old is not None:
        return _immutable("DataImportCron", same(cron.spec, old.spec))
    found = name_too_long(cron.metadata.name, LONGEST_NAME) or list(_template(cron.spec))[:1]
    found = found or validate_spec(cron.spec.template.spec, Path("Template"))
    return found or list(_cron(cron.spec))[:1]


def _immutable(kind: str, unchanged: bool) -> list[Cause]:
    return [] if unchanged else [duplicate(f"Cannot update {kind} Spec", f"{kind}.Spec")]


def _template(spec: DataImportCronSpec) -> Iterator[Cause]:
    template = spec.template.spec
    source = template.source
    if source is None or (source.registry is None and source.pvc is None):
        yield invalid("Missing source", "spec.Template")
    if template.source_ref is not None or template.content_type or template.checkpoints or template.final_checkpoint:
        message = "Unsettable fields: SourceRef, ContentType, Checkpoints, FinalCheckpoint"
        yield invalid(message, "spec.Template")


def _cron(spec: DataImportCronSpec) -> Iterator[Cause]:
    if spec.schedule and not is_schedule(spec.schedule):
        yield invalid("Illegal cron schedule", "spec.Schedule")
    if spec.imports_to_keep is not None and spec.imports_to_keep < 0:
        yield invalid("Illegal ImportsToKeep value", "spec.ImportsToKeep")
    if spec.garbage_collect is not None and spec.garbage_collect not in COLLECT:
        yield invalid("Illegal GarbageCollect value", "spec.GarbageCollect")
    if not spec.managed_data_source:
        yield invalid("Illegal ManagedDataSource value", "spec.ManagedDataSource")
    yield from name_too_long(spec.managed_data_source, LONGEST_NAME)


def is_schedule(text: str) -> bool:
    """Five fields, a macro such as @daily, or @every with a duration. A time zone may come first."""
    if text.startswith(("TZ=", "CRON_TZ=")):
        _, _, text = text.partition(" ")
    if text.startswith("@"):
        return text in MACROS or bool(_DURATION.fullmatch(text))
    fields = text.split()
    return len(fields) == len(_RANGES) and all(
        all(_is_term(term.lower(), position) for term in field.split(",")) for position, field in enumerate(fields)
    )


def _is_term(term: str, position: int) -> bool:
    low, high = _RANGES[position]
    span, slash, step = term.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    bounds = [_number(bound, position) for bound in span.split("-")]
    if not 1 <= len(bounds) <= 2 or any(bound is None or not low <= bound <= high for bound in bounds):
        return False
    first, last = bounds[0], bounds[-1]
    return first is not None and last is not None and first <= last


def _number(text: str, position: int) -> int | None:
    names = _NAMES[position]
    if text in names:
        return names.index(text) + _RANGES[position][0]
    return int(text) if text.isdecimal() else None


def validate_import_source(new: VolumeImportSource, old: VolumeImportSource | None) -> list[Cause]:
    """`old` is None on create."""
    if old is not None:
        return _immutable("VolumeImportSource", _same_but_checkpoints(new.spec, old.spec))
    return list(_import_source(new))[:1]


def _same_but_checkpoints(new: VolumeImportSourceSpec, old: VolumeImportSourceSpec) -> bool:
    if _comes_in_stages(new):
        new = evolve(new, checkpoints=[], final_checkpoint=None)
        old = evolve(old, checkpoints=[], final_checkpoint=None)
    return same(new, old)


def _comes_in_stages(spec: VolumeImportSourceSpec) -> bool:
    """Other sources have no use for checkpoints, and are not asked about them."""
    source = spec.source
    return source is not None and bool(spec.checkpoints) and (source.vddk is not None or source.imageio is not None)


def _import_source(new: VolumeImportSource) -> Iterator[Cause]:
    spec, field = new.spec, Path("spec")
    yield from name_too_long(new.metadata.name, LONGEST_NAME)
    yield from cdi_sources.validate_content_type(spec.content_type, field)
    yield from cdi_sources.validate_count(spec.source, "VolumeImport", field)
    if _comes_in_stages(spec) and not spec.target_claim:
        message = "Unable to do multi-stage import without specifying a target claim"
        yield invalid(message, field.child("targetClaim"))
    if spec.source is not None:
        yield from cdi_sources.validate_source(spec.source, spec.content_type or "", field)


def validate_upload_source(new: VolumeUploadSource, old: VolumeUploadSource | None) -> list[Cause]:
    """`old` is None on create."""
    if old is not None:
        return _immutable("VolumeUploadSource", same(new.spec, old.spec))
    return name_too_long(new.metadata.name, LONGEST_NAME) or list(
        cdi_sources.validate_content_type(new.spec.content_type, Path("spec"))
    )
