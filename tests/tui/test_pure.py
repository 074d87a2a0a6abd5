"""Pure parts: verdicts of migrations, new objects, pre-flight, columns, themes, glyphs."""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.quantity import value as quantity_value
from kvtui.api.wire import from_wire
from kvtui.commands.create import create_vm
from kvtui.errors import InvalidObject
from kvtui.tui.columns.cell import Sight, clean, clock_time, duration, fit, size, width_of, widths
from kvtui.tui.columns.datavolumes import COLUMNS as VOLUME_COLUMNS
from kvtui.tui.columns.vms import COLUMNS as VM_COLUMNS
from kvtui.tui.columns.vms import status_cell
from kvtui.tui.glyphs import ASCII, UNICODE, chosen
from kvtui.tui.model.create import (
    Surroundings,
    VmDraft,
    VolumeDraft,
    as_yaml,
    build_vm,
    build_volume,
    suggestion,
    vm_problems,
    volume_problems,
)
from kvtui.tui.model.create_command import command, in_lines
from kvtui.tui.model.metrics import parse_metrics
from kvtui.tui.model.preflight import Finding, of_targets, of_vm, targets
from kvtui.tui.model.rows import DataVolumeRow, VmRow
from kvtui.tui.model.transfer import Sample, Transfer, Verdict, sample_of
from kvtui.tui.theme import directories, load, load_all, to_textual
from kvtui.tui.widgets.lines import changed_span
from tests.tui import canned

SIGHT = Sight(canned.NOW, ASCII)
MIB, GIB = 2**20, 2**30

# Transfers


def watched(*remaining: float, rate: float = 100 * MIB, dirty: float = 10 * MIB, mode: str = "PreCopy") -> Transfer:
    transfer = Transfer()
    for second, left in enumerate(remaining):
        transfer = transfer.seen(Sample(1000.0 + second, 0, 4 * GIB, left * GIB, 0, rate, dirty, 1, None, mode))
    return transfer


def test_without_samples_nothing_is_claimed() -> None:
    assert Transfer().verdict is Verdict.NONE
    assert Transfer().share is None
    assert Transfer().seconds_left is None


@pytest.mark.parametrize(
    ("transfer", "verdict"),
    [
        (watched(4, 3, 2), Verdict.CONVERGING),
        (watched(4, 3, 2, dirty=80 * MIB), Verdict.SLOW),
        (watched(*(2.0 for _ in range(12)), dirty=120 * MIB), Verdict.NOT_CONVERGING),
        (watched(2, 2, 2, dirty=120 * MIB), Verdict.SLOW),
        (watched(1, *(2.0 for _ in range(32))), Verdict.STALLED),
        (watched(1, 0), Verdict.SWITCHING),
        (watched(1, 0.5, mode="PostCopy"), Verdict.POST_COPY),
    ],
)
def test_verdicts(transfer: Transfer, verdict: Verdict) -> None:
    assert transfer.verdict is verdict


def test_the_best_point_never_moves_back() -> None:
    transfer = watched(4, 1, 2)
    assert transfer.share == 0.5
    assert transfer.best_share == 0.75
    assert UNICODE.bar(0.5, 8, 0.75) == "████▒▒░░"
    assert ASCII.bar(0.5, 8, 0.75) == "####==.."


def test_time_left_follows_from_the_rates() -> None:
    assert watched(2, 1, rate=110 * MIB, dirty=10 * MIB).seconds_left == pytest.approx(10.24)
    assert watched(2, 1, rate=10 * MIB, dirty=10 * MIB).seconds_left is None


def test_an_older_sample_changes_nothing() -> None:
    transfer = watched(4, 3)
    assert transfer.seen(Sample(1000.0, 0, 4 * GIB, 1, 0, 1, 1, 1, None, "")) is transfer


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"timestamp": "soon"}', '{"timestamp": {}}', "{}"])
def test_numbers_that_make_no_sense_are_ignored(text: str) -> None:
    assert sample_of(canned.migration("m", "vm", numbers=text)) is None


def test_numbers_are_read_from_the_annotation() -> None:
    sample = sample_of(canned.migration("m", "vm", numbers=canned.progress(GIB)))
    assert sample is not None
    assert (sample.at, sample.remaining, sample.downtime_ms) == (canned.NOW.timestamp(), GIB, 310)


# New objects


def draft(**changes: object) -> VmDraft:
    values = {"name": "app-01", "source": "containerDisk", "image": "quay.io/disks/fedora:42"} | changes
    return VmDraft(**values)  # type: ignore[arg-type]


AROUND = Surroundings(names=frozenset({"web-01"}), volumes=frozenset({"data"}), nodes=frozenset({"node-a"}))


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"name": ""}, "name", "a name is needed"),
        ({"name": "web-01"}, "name", "web-01 exists in default"),
        ({"name": "Web"}, "name", "lower case"),
        ({"name": "../etc"}, "name", "lower case"),
        ({"name": "a\x1b[31m"}, "name", "lower case"),
        ({"name": "x" * 64}, "name", "at most 63"),
        ({"image": ""}, "image", "an image such as"),
        ({"source": "http", "image": "ftp://x/y"}, "image", "http://"),
        ({"source": "http", "image": "https://host"}, "image", "http://"),
        ({"source": "dataVolume", "image": "gone"}, "image", "there is no volume gone"),
        ({"source": "lab"}, "image", "no lab image"),
        ({"source": "blank", "disk_size": "5 apples"}, "disk_size", "a size such as"),
        ({"cpu": "0"}, "cpu", "a number from 1"),
        ({"cpu": "two"}, "cpu", "a number from 1"),
        ({"memory": "1Ki"}, "memory", "at least 16Mi"),
        ({"ports": "22, http"}, "ports", "http is not a port"),
        ({"ports": "99999"}, "ports", "99999 is not a port"),
        ({"ssh_key": "rm -rf /"}, "ssh_key", "a public key"),
        ({"user": "Root!"}, "user", "not a user name"),
        ({"password": "x"}, "password", "a user is needed"),
        ({"user_data": "#cloud-config\n\tx: ]"}, "user_data", "not YAML"),
        ({"node": "node-z"}, "node", "there is no node"),
        ({"labels": "app=web broken"}, "labels", "broken is not key=value"),
        ({"attachments": "Blue Net"}, "attachments", "Blue is not a name"),
    ],
)
def test_problems_of_a_draft(changes: dict[str, object], field: str, text: str) -> None:
    problems = vm_problems(draft(**changes), AROUND)
    assert text in problems[field]


def test_a_good_draft_has_no_problems() -> None:
    assert vm_problems(draft(node="node-a", ports="22, 53/UDP", user="ops", password="x"), AROUND) == {}


def test_a_vm_from_a_container_disk() -> None:
    vm = build_vm(draft(cpu="2", memory="1Gi", ports="22, 53/udp", user="ops", ssh_key="ssh-ed25519 AAAA me"))
    spec = vm.spec.template.spec if vm.spec.template else None
    assert spec is not None
    assert [v.name for v in spec.volumes] == ["root", "cloudinit"]
    assert spec.volumes[0].container_disk is not None
    cloud_init = spec.volumes[1].cloud_init_no_cloud
    assert cloud_init is not None
    config = yaml.safe_load(cloud_init.user_data or "")
    assert config["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA me"]
    interface = spec.domain.devices.interfaces[0]
    assert interface.masquerade is not None
    assert [(p.port, p.protocol) for p in interface.ports] == [(22, None), (53, "UDP")]
    assert vm.spec.run_strategy == "Always"


@pytest.mark.parametrize(
    ("source", "image", "wire"),
    [
        ("http", "https://host/x.qcow2", {"http": {"url": "https://host/x.qcow2"}}),
        ("registry", "quay.io/x:1", {"registry": {"url": "docker://quay.io/x:1"}}),
        ("blank", "", {"blank": {}}),
        ("clone", "golden/fedora", {"pvc": {"namespace": "golden", "name": "fedora"}}),
        ("clone", "fedora", {"pvc": {"namespace": "default", "name": "fedora"}}),
    ],
)
def test_sources_that_make_a_volume(source: str, image: str, wire: dict[str, object]) -> None:
    manifest = yaml.safe_load(as_yaml(build_vm(draft(source=source, image=image, disk_size="3Gi"))))
    template = manifest["spec"]["dataVolumeTemplates"][0]
    assert template["metadata"]["name"] == "app-01-root"
    assert template["spec"]["source"] == wire
    assert template["spec"]["storage"]["resources"]["requests"]["storage"] == "3Gi"
    assert manifest["spec"]["template"]["spec"]["volumes"][0]["dataVolume"] == {"name": "app-01-root"}


def test_a_manifest_is_complete_and_begins_with_its_kind() -> None:
    text = as_yaml(build_vm(draft(after="create", extra_disk="1Gi", attachments="blue")))
    assert text.startswith("apiVersion: kubevirt.io/v1\nkind: VirtualMachine\n")
    manifest = yaml.safe_load(text)
    assert manifest["spec"]["runStrategy"] == "Halted"
    assert manifest["spec"]["template"]["spec"]["networks"][1]["multus"] == {"networkName": "blue"}
    assert manifest["spec"]["dataVolumeTemplates"][0]["spec"]["source"] == {"blank": {}}


def test_a_data_volume_may_bind_at_once() -> None:
    volume = build_volume(VolumeDraft(name="dv", source="http", image="https://h/x"))
    assert volume.metadata.annotations == {"cdi.kubevirt.io/storage.bind.immediate.requested": "true"}
    assert volume_problems(VolumeDraft(name="dv", source="http", image="x"), AROUND)["image"]


def test_the_command_has_no_password() -> None:
    text = command(draft(user="ops", password="secret word", ssh_key="ssh-ed25519 AAAA me"))
    assert "secret" not in text
    assert "--ssh-key 'ssh-ed25519 AAAA me'" in text


LAB = "http://host/guest.qcow2"


@pytest.mark.parametrize(
    "drafted",
    [
        draft(),
        draft(source="lab", image=""),
        draft(source="http", image="https://h/x.qcow2", checksum="sha256:ab", storage_class="fast", access=""),
        draft(source="registry", image="h/x:1", extra_disk="2Gi"),
        draft(source="blank", image="", after="create"),
        draft(source="clone", image="other/disk", run_strategy="Manual"),
        draft(source="pvc", image="disk", ports="80, 443/tcp", user="ops", ssh_key="ssh-ed25519 AAAA me"),
        draft(instancetype="small", user_data="#cloud-config\nhostname: x\n"),
    ],
)
def test_the_command_makes_what_was_drafted(drafted: VmDraft) -> None:
    words = shlex.split(command(drafted, LAB))
    assert words[:3] == ["kvtui", "create", "vm"]
    assert words[-1] == "--apply"
    answer = CliRunner().invoke(create_vm, words[3:-1])
    assert answer.exit_code == 0, answer.output
    made = from_wire(yaml.safe_load(answer.stdout), VirtualMachine)
    wanted = build_vm(drafted, LAB)
    assert made.key == wanted.key
    assert made.spec.run_strategy == wanted.spec.run_strategy
    assert made.spec.data_volume_templates == wanted.spec.data_volume_templates
    mine, its = made.spec.template.spec, wanted.spec.template.spec
    assert [v.container_disk for v in mine.volumes] == [v.container_disk for v in its.volumes]
    assert [v.data_volume for v in mine.volumes] == [v.data_volume for v in its.volumes]
    assert mine.domain.memory == its.domain.memory
    assert mine.domain.cpu == its.domain.cpu
    assert [p.port for p in mine.domain.devices.interfaces[0].ports] == [
        p.port for p in its.domain.devices.interfaces[0].ports
    ]


@given(st.integers(20, 120))
def test_a_command_over_several_lines_is_the_same_command(width: int) -> None:
    text = command(draft(source="http", image="https://h/x.qcow2", ssh_key="ssh-ed25519 AAAA 'me'", ports="80"))
    lines = in_lines(text, width)
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(text)
    assert all(len(line) <= width or line.count(" --") <= 1 for line in lines)


@pytest.mark.parametrize("change", [{"labels": "a=b"}, {"node": "n"}, {"ports": "53/udp"}, {"image": "h/x,y"}])
def test_there_is_no_command_for_what_has_no_flag(change: dict[str, str]) -> None:
    assert command(draft(**change)) == ""


def test_suggested_names_are_free() -> None:
    assert suggestion({"vm-01", "vm-02"}) == "vm-03"


# Pre-flight


def running(**options: object) -> VmRow:
    vm, vmi = canned.running("web-01", **options)
    return VmRow(vm.key, vm, vmi)  # type: ignore[arg-type]


def test_a_vm_that_can_move() -> None:
    row = running()
    assert of_vm(row) == [Finding("ok", "the server says: LiveMigratable")]
    found = targets(row, [canned.node("node-a"), canned.node("node-b"), canned.node("node-c", cordoned=True)], {})
    assert [(t.name, t.blocked) for t in found] == [("node-b", False), ("node-c", True)]
    assert of_targets(found) == []


def test_everything_that_blocks_is_listed() -> None:
    row = running(migratable=False)
    assert [f.weight for f in of_vm(row)] == ["block"]
    assert of_targets(targets(row, [canned.node("node-a")], {})) == [Finding("block", "this machine is the only node")]
    full = targets(row, [canned.node("node-b")], {"node-b": 15.0 * GIB})
    assert full[0].findings == (Finding("block", "node-b has 1 Gi free, 2 Gi needed"),)
    stopped = VmRow(row.key, canned.vm("web-01"), None)
    assert of_vm(stopped)[0] == Finding("block", "web-01 is Stopped")


# Cells and columns


@pytest.mark.parametrize(
    ("text", "width", "out"),
    [
        ("web", 5, "web  "),
        ("web-server", 5, "web-~"),
        ("日本語", 4, "日~ "),
        ("日本", 4, "日本"),
        ("a\x1b[31m\n", 8, "a [31m  "),
        ("e\u0301x", 3, "e\u0301x "),
        ("x", 0, ""),
    ],
)
def test_texts_fit_their_columns(text: str, width: int, out: str) -> None:
    assert fit(text, width) == out
    assert width_of(fit(text, width)) == width


def test_no_control_character_survives() -> None:
    assert clean("a\x00\x1b\x9b\u202eb").isprintable()


@pytest.mark.parametrize(
    ("seconds", "short", "clock"),
    [(41, "41s", "0:41"), (300, "5m", "5:00"), (3 * 3600, "3h", "3:00:00"), (12 * 86400, "12d", "288:00:00")],
)
def test_durations(seconds: float, short: str, clock: str) -> None:
    assert duration(seconds) == short
    assert clock_time(seconds) == clock


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (512, "512"), (2 * GIB, "2 Gi"), (3.1 * GIB, "3.1 Gi"), (1536, "1.5 Ki")]
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


def test_core_columns_stay_at_80_and_name_is_never_lost() -> None:
    shown = widths([c for c in VM_COLUMNS if c.id != "namespace"], 77)
    assert [c.title for c, _ in shown] == ["NAME", "STATUS", "NODE", "CPU", "MEM", "IP", "AGE"]
    squeezed = widths(VM_COLUMNS, 57)
    assert sum(w + 1 for _, w in squeezed) <= 60
    assert squeezed[1][0].title == "NAME"


def test_every_column_of_every_vm_has_a_text() -> None:
    vmi = canned.vmi("lonely", "Scheduling", migratable=None)
    for row in (
        running(),
        running(status="Paused"),
        VmRow(vmi.key, None, vmi),
        VmRow(vmi.key, canned.vm("x", ""), None),
    ):
        for column in VM_COLUMNS:
            assert column.cell(row, SIGHT).text


def test_states_have_a_sign_a_word_and_a_tone() -> None:
    row = VmRow(running().key, canned.vm("w", "CrashLoopBackOff"), None)
    assert status_cell(row, SIGHT).text == "# CrashLoopBackOff"
    moving = VmRow(row.key, canned.vm("w", "Running"), canned.vmi("w"), canned.migration("m", "w"))
    assert status_cell(moving, SIGHT).text == "% Migrating"


def test_imports_say_what_they_wait_for_and_never_na() -> None:
    waiting = canned.data_volume("dv", "WaitForFirstConsumer", progress="N/A")
    cells = {c.id: c.cell(DataVolumeRow(waiting.key, waiting, None), SIGHT).text for c in VOLUME_COLUMNS}
    assert cells["progress"] == "waiting for first consumer"
    assert "N/A" not in cells.values()
    broken = canned.data_volume("dv", "ImportInProgress", progress="N/A", restarts=3, error="404 Not Found")
    cells = {c.id: c.cell(DataVolumeRow(broken.key, broken, None), SIGHT).text for c in VOLUME_COLUMNS}
    assert cells["reason"] == "import failed 3 times: 404 Not Found"


def test_usage_is_read_from_the_metrics_api() -> None:
    data = {
        "items": [
            {
                "metadata": {"namespace": "default", "labels": {"vm.kubevirt.io/name": "web-01"}},
                "timestamp": canned.ago(seconds=5),
                "containers": [{"name": "compute", "usage": {"cpu": "250m", "memory": "512Mi"}}],
            },
            {"metadata": {}, "containers": None},
        ]
    }
    ((key, usage),) = parse_metrics(data).items()
    assert key.name == "web-01"
    assert (usage.cpu, usage.memory) == (0.25, quantity_value("512Mi"))
    assert parse_metrics(None) == {}


# Repainting


@pytest.mark.parametrize(
    ("old", "new", "span"),
    [
        ((("abc", "text"),), (("abd", "text"),), (2, 3)),
        ((("abc", "text"),), (("abc", "ok"),), (0, 3)),
        ((), (("  x", "text"),), (2, 3)),
        ((("日本", "text"),), (("日木", "text"),), (2, 4)),
    ],
)
def test_only_the_cells_that_differ_are_repainted(
    old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...], span: tuple[int, int]
) -> None:
    assert changed_span(old, new, 10) == span


# Themes and glyphs


def test_the_themes_are_there_and_complete() -> None:
    themes = load_all(directories())
    assert {"dark", "light", "ansi", "mono"} <= set(themes)
    for theme in themes.values():
        assert to_textual(theme).variables["kv-state-fail"]


def _luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["dark", "light"])
def test_every_text_can_be_read(name: str) -> None:
    theme = load_all(directories())[name]
    backgrounds = [theme.tokens["background"], theme.tokens["pane"]]
    for token, value in theme.tokens.items():
        if token.startswith(("state.", "text", "accent")):
            for background in backgrounds:
                bright, dark = sorted((_luminance(value.split()[0]), _luminance(background)), reverse=True)
                assert (bright + 0.05) / (dark + 0.05) >= 4.3, (token, background)


@pytest.mark.parametrize("text", ["", "tokens: 3", "tokens: {}", "look: loud\ntokens: {}", "tokens: [", "x: \x00"])
def test_a_broken_theme_names_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InvalidObject, match=r"mine\.yaml"):
        load(path)


def test_ascii_is_chosen_where_signs_would_break() -> None:
    utf8 = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}
    assert chosen(ascii_only=False, environment=utf8) is UNICODE
    assert chosen(ascii_only=True, environment=utf8) is ASCII
    assert chosen(ascii_only=False, environment=utf8 | {"TERM": "vt220"}) is ASCII
    assert chosen(ascii_only=False, environment={"LANG": "C"}) is ASCII
    assert chosen(ascii_only=False, environment=utf8 | {"KVTUI_ASCII": "1"}) is ASCII
    assert all(c.isascii() for c in "".join(getattr(ASCII, f) for f in ASCII.__slots__))


def test_ages_count_from_the_moment_of_looking() -> None:
    later = Sight(canned.NOW + timedelta(hours=1), ASCII)
    row = VmRow(running().key, canned.vm("w", age=canned.ago(minutes=5)), None)
    column = next(c for c in VM_COLUMNS if c.id == "age")
    assert (column.cell(row, SIGHT).text, column.cell(row, later).text) == ("5m", "1h")
