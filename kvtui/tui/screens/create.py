"""The form that makes a virtual machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import work

from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.wire import ObjectKey
from kvtui.errors import ApiError, KvtuiError
from kvtui.tui.columns.cell import Cell, Line, Tone, line
from kvtui.tui.details.common import heading, pair, wrapped, yaml_line
from kvtui.tui.model.create import IMPORTS, Surroundings, VmDraft, as_yaml, build_vm, suggestion, vm_problems
from kvtui.tui.model.create_command import command, in_lines
from kvtui.tui.model.session import Session
from kvtui.tui.screens.form import FormScreen
from kvtui.tui.widgets.form import FieldSpec

_SOURCES = (
    ("lab", "lab guest (no download)"),
    ("containerDisk", "container disk (changes are lost at stop)"),
    ("http", "image from a URL, into a new volume"),
    ("registry", "image from a registry, into a new volume"),
    ("blank", "blank disk"),
    ("dataVolume", "DataVolume that exists"),
    ("pvc", "claim that exists"),
    ("clone", "clone of a claim, into a new volume"),
)
_ACCESS = (("ReadWriteOnce", "RWO: one node"), ("ReadWriteMany", "RWX: shared, can live-migrate"))
_STRATEGIES = tuple((s, s) for s in ("Always", "Manual", "RerunOnFailure", "Halted", "Once"))
_AFTER = (("start", "create and start"), ("console", "create, start and open console"), ("create", "create"))
_TEMPLATE = "spec.template.spec"
_SHARED = "kvtui-shared"
"""The class on which a first VM can be moved between nodes."""


@dataclass(frozen=True, slots=True)
class Created:
    """What the form made."""

    key: ObjectKey
    open_console: bool


class CreateVm(FormScreen[Created | None]):
    """Steps 1 to 8; the last is the review."""

    heading = "New virtual machine"
    steps = ("Name", "Source", "Size", "Disks", "Network", "Access", "Placement", "Review")

    def __init__(self, session: Session, draft: VmDraft) -> None:
        super().__init__(session, draft)
        names = self._names()
        draft.name = draft.name or suggestion(names)
        if session.lab_image:
            draft.source = "lab"
            draft.memory = "256Mi"
            draft.disk_size = "1Gi"
            if any(value == _SHARED for value, _ in self.class_choices()):
                draft.access, draft.storage_class = "ReadWriteMany", _SHARED
        self.draft: VmDraft = draft
        self.server: Cell = Cell("not asked yet", Tone.DIM)
        self.server_ok = False

    def _names(self) -> frozenset[str]:
        vms = self.session.cluster.informer(VirtualMachine)
        return frozenset(vm.metadata.name for vm in vms.all(self.draft.namespace))

    def fields(self) -> Sequence[FieldSpec]:
        def imports(draft: VmDraft) -> bool:
            lab_by_url = draft.source == "lab" and "://" in self.session.lab_image
            return draft.source in IMPORTS or lab_by_url

        def volumes(draft: VmDraft) -> bool:
            return imports(draft) or bool(draft.extra_disk)

        return (
            FieldSpec("name", 1, "Name", "metadata.name"),
            FieldSpec("namespace", 1, "Namespace", "metadata.namespace", self.namespace_choices),
            FieldSpec("labels", 1, "Labels", "metadata.labels, such as app=web tier=front"),
            FieldSpec("source", 2, "Source", f"{_TEMPLATE}.volumes", self.source_choices),
            FieldSpec("image", 2, "Image", "URL, container image, or name of the volume or claim",
                      visible=lambda d: d.source not in ("lab", "blank")),
            FieldSpec("checksum", 2, "Checksum", "spec.dataVolumeTemplates[].spec.source.http.checksum",
                      visible=lambda d: d.source == "http", placeholder="sha256:..."),
            FieldSpec("cpu", 3, "CPU cores", f"{_TEMPLATE}.domain.cpu.cores"),
            FieldSpec("memory", 3, "Memory", f"{_TEMPLATE}.domain.memory.guest"),
            FieldSpec("disk_size", 4, "Root disk", "spec.dataVolumeTemplates[].spec.storage.resources",
                      visible=imports),
            FieldSpec("access", 4, "Access mode", "spec.dataVolumeTemplates[].spec.storage.accessModes",
                      lambda: _ACCESS, visible=volumes),
            FieldSpec("storage_class", 4, "Storage class", "spec.dataVolumeTemplates[].spec.storage.storageClassName",
                      self.class_choices, visible=volumes),
            FieldSpec("extra_disk", 4, "Further disk", "a blank volume beside the root disk; empty for none",
                      placeholder="such as 10Gi"),
            FieldSpec("network", 5, "Network", f"{_TEMPLATE}.networks",
                      lambda: (("pod", "pod network, masquerade"), ("none", "no pod network"))),
            FieldSpec("ports", 5, "Ports in", f"{_TEMPLATE}.domain.devices.interfaces[].ports; empty lets all in",
                      visible=lambda d: d.network == "pod", placeholder="such as 22, 80"),
            FieldSpec("attachments", 5, "Further networks", "NetworkAttachmentDefinitions, separated by commas"),
            FieldSpec("user", 6, "User", "cloud-init users[].name"),
            FieldSpec("password", 6, "Password", "cloud-init users[].plain_text_passwd", secret=True),
            FieldSpec("ssh_key", 6, "SSH public key", "cloud-init users[].ssh_authorized_keys",
                      placeholder="ssh-ed25519 AAAA..."),
            FieldSpec("run_strategy", 7, "Run strategy", "spec.runStrategy", lambda: _STRATEGIES),
            FieldSpec("node", 7, "Node", f"{_TEMPLATE}.nodeSelector", self.node_choices),
            FieldSpec("eviction", 7, "Eviction", f"{_TEMPLATE}.evictionStrategy",
                      lambda: (("", "the cluster's default"), ("LiveMigrate", "LiveMigrate"), ("None", "None"))),
            FieldSpec("after", 7, "Then", "what happens after creation", lambda: _AFTER),
        )  # fmt: skip

    def source_choices(self) -> Sequence[tuple[str, str]]:
        return _SOURCES if self.session.lab_image else _SOURCES[1:]

    def namespace_choices(self) -> Sequence[tuple[str, str]]:
        return [(name, name) for name in self.session.cluster.namespaces()]

    def class_choices(self) -> Sequence[tuple[str, str]]:
        found = sorted(s.metadata.name for s in self.session.cluster.informer(StorageClass).all())
        return [("", "the default class"), *((name, name) for name in found)]

    def node_choices(self) -> Sequence[tuple[str, str]]:
        return [("", "any"), *((n.metadata.name, n.metadata.name) for n in self.session.cluster.nodes)]

    def check(self) -> dict[str, str]:
        draft: VmDraft = self.draft
        cluster = self.session.cluster
        volumes = {c.metadata.name for c in cluster.informer(PersistentVolumeClaim).all(draft.namespace)}
        volumes |= {row.key.name for row in self.session.views.volumes.rows() if row.key.namespace == draft.namespace}
        around = Surroundings(
            names=self._names(),
            volumes=frozenset(volumes),
            nodes=frozenset(n.metadata.name for n in cluster.nodes),
            lab_image=self.session.lab_image,
        )
        return vm_problems(draft, around)

    # Review

    def review(self) -> list[Line]:
        draft: VmDraft = self.draft
        if self.problems:
            return [heading("Problems"), *self.problem_lines(), line(""), line("A digit goes to the step.")]
        vm = build_vm(draft, self.session.lab_image)
        same = command(draft, self.session.lab_image) or "no command has flags for all of this"
        source = dict(_SOURCES)[draft.source]
        lines = [
            pair("Server check", self.server),
            pair("Name", f"{draft.namespace}/{draft.name}"),
            pair("Source", f"{source} {draft.image}"),
            pair("Size", f"{draft.cpu} vCPU, {draft.memory}"),
            pair("Then", dict(_AFTER)[draft.after]),
            *(pair("Warning", Cell(text, Tone.WARN)) for text in self._warnings()),
            line(""),
            *(line(Cell(text, Tone.ACCENT)) for text in in_lines(same, self.size.width - 4)),
            line(""),
        ]
        return [*lines, *(yaml_line(raw) for raw in as_yaml(vm).splitlines())]

    def _warnings(self) -> list[str]:
        draft: VmDraft = self.draft
        found = []
        if draft.source in IMPORTS and draft.access != "ReadWriteMany":
            found.append("the root disk is on one node only: this VM cannot live-migrate without copying it")
        if draft.attachments:
            found.append("further networks may keep the VM from moving where they do not exist")
        if draft.password:
            found.append("the password is stored readable in the VirtualMachine")
        return found

    def reviewed(self) -> None:
        if not self.problems:
            self.ask_server()

    @work(exclusive=True, group="dry-run")
    async def ask_server(self) -> None:
        """A dry run: the server's own checks."""
        self.server, self.server_ok = Cell("asking...", Tone.DIM), False
        self.paint()
        vm = build_vm(self.draft, self.session.lab_image)
        try:
            await self.session.client.create(vm, dry_run=True, field_manager="kvtui", strict=True)
        except KvtuiError as error:
            self.server = Cell(str(error), Tone.FAIL)
        else:
            self.server, self.server_ok = Cell("ok", Tone.OK), True
        self.paint()

    def submit(self) -> None:
        if self.session.preferences.read_only:
            self.note = Cell("READ-ONLY: nothing is created", Tone.WARN)
            self.paint()
        else:
            self.create()

    @work(exclusive=True, group="create")
    async def create(self) -> None:
        draft: VmDraft = self.draft
        self.note = Cell("creating...", Tone.BUSY)
        self.paint()
        vm = build_vm(draft, self.session.lab_image)
        try:
            made = await self.session.client.create(vm, field_manager="kvtui", strict=True)
        except KvtuiError as error:
            self.server = Cell(str(error), Tone.FAIL)
            self.note = Cell(_short(error), Tone.FAIL)
            self.session.journal.say(f"create {draft.name}: {error}")
            self.go_step(len(self.steps))
        else:
            self.dismiss(Created(made.key, draft.after == "console"))


def _short(error: KvtuiError) -> str:
    causes = error.causes if isinstance(error, ApiError) else ()
    text = f"{causes[0].field}: {causes[0].message}" if causes else str(error)
    return (wrapped(text, 90) or [""])[0]
