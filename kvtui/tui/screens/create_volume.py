"""The form that makes a DataVolume."""

from __future__ import annotations

from collections.abc import Sequence

from textual import work

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.storage import StorageClass
from kvtui.api.wire import ObjectKey
from kvtui.errors import KvtuiError
from kvtui.tui.columns.cell import Cell, Line, Tone, line
from kvtui.tui.details.common import heading, yaml_line
from kvtui.tui.model.create import Surroundings, VolumeDraft, as_yaml, build_volume, suggestion, volume_problems
from kvtui.tui.model.session import Session
from kvtui.tui.screens.form import FormScreen
from kvtui.tui.widgets.form import FieldSpec

_SOURCES = (
    ("http", "image from a URL"),
    ("registry", "image from a registry"),
    ("blank", "blank disk"),
    ("clone", "clone of a claim"),
)
_ACCESS = (("ReadWriteOnce", "RWO: one node"), ("ReadWriteMany", "RWX: shared, can live-migrate"))


class CreateVolume(FormScreen[ObjectKey | None]):
    """Two steps."""

    heading = "New DataVolume"
    steps = ("Image", "Review")

    def __init__(self, session: Session, draft: VolumeDraft) -> None:
        super().__init__(session, draft)
        draft.name = draft.name or suggestion(self._names(), "dv")
        self.draft: VolumeDraft = draft

    def _names(self) -> frozenset[str]:
        volumes = self.session.cluster.informer(DataVolume)
        return frozenset(v.metadata.name for v in volumes.all(self.draft.namespace))

    def fields(self) -> Sequence[FieldSpec]:
        return (
            FieldSpec("name", 1, "Name", "metadata.name"),
            FieldSpec("source", 1, "Source", "spec.source", lambda: _SOURCES),
            FieldSpec("image", 1, "Image", "spec.source.http.url, spec.source.registry.url or the claim",
                      visible=lambda d: d.source != "blank", placeholder="https://..."),
            FieldSpec("checksum", 1, "Checksum", "spec.source.http.checksum", visible=lambda d: d.source == "http",
                      placeholder="sha256:..."),
            FieldSpec("disk_size", 1, "Size", "spec.storage.resources.requests.storage"),
            FieldSpec("access", 1, "Access mode", "spec.storage.accessModes", lambda: _ACCESS),
            FieldSpec("storage_class", 1, "Storage class", "spec.storage.storageClassName", self.class_choices),
            FieldSpec("bind_now", 1, "Bind now", "import at once instead of waiting for the first VM that uses it",
                      lambda: (("yes", "yes"), ("no", "no"))),
        )  # fmt: skip

    def class_choices(self) -> Sequence[tuple[str, str]]:
        found = sorted(s.metadata.name for s in self.session.cluster.informer(StorageClass).all())
        return [("", "the default class"), *((name, name) for name in found)]

    def check(self) -> dict[str, str]:
        return volume_problems(self.draft, Surroundings(names=self._names()))

    def review(self) -> list[Line]:
        if self.problems:
            return [heading("Problems"), *self.problem_lines()]
        volume = build_volume(self.draft)
        return [line(Cell("ctrl+s creates this:", Tone.DIM)), *(yaml_line(raw) for raw in as_yaml(volume).splitlines())]

    def submit(self) -> None:
        if self.session.preferences.read_only:
            self.note = Cell("READ-ONLY: nothing is created", Tone.WARN)
            self.paint()
        else:
            self.create()

    @work(exclusive=True, group="create")
    async def create(self) -> None:
        self.note = Cell("creating...", Tone.BUSY)
        self.paint()
        try:
            made = await self.session.client.create(build_volume(self.draft), field_manager="kvtui", strict=True)
        except KvtuiError as error:
            self.note = Cell(str(error)[:100], Tone.FAIL)
            self.paint()
        else:
            self.dismiss(made.key)
