"""Keys, filters, collections, command line: the models under the screen."""

from __future__ import annotations

import asyncio

import pytest

from kvtui.api.wire import ObjectKey
from kvtui.errors import Usage
from kvtui.tui.columns.cell import Cell, Column, Sight
from kvtui.tui.commands import GLOBAL, LATER
from kvtui.tui.keymap import Command, Continue, Keymap, clashes, press_of
from kvtui.tui.model.collection import Change, Collection, Sorting
from kvtui.tui.model.command_line import Instruction, complete, parse
from kvtui.tui.model.filtering import Subject, number
from kvtui.tui.model.filtering import parse as parse_filter
from kvtui.tui.model.rights import Right, Rule, parse_review
from kvtui.tui.model.rows import VmRow
from tests.tui import canned
from tests.tui.apps import canned_session

# Keys


@pytest.mark.parametrize(
    ("key", "character", "press"),
    [
        ("question_mark", "?", "?"),
        ("D", "D", "D"),
        ("space", " ", "space"),
        ("pagedown", None, "pgdn"),
        ("escape", "\x1b", "esc"),
        ("ctrl+r", "\x12", "ctrl+r"),
        ("enter", "\r", "enter"),
    ],
)
def test_key_events_have_names_that_people_use(key: str, character: str | None, press: str) -> None:
    assert press_of(key, character) == press


VIEW = (Command("vm.stop", "x", "stop"), Command("vm.pause", "p p", "pause"), Command("vm.start", "p s", "start"))


def test_the_first_layer_wins() -> None:
    keymap = Keymap((VIEW, (Command("other", "x", "other"), Command("quit", "ctrl+q", "quit"))))
    found = keymap.resolve(("x",))
    assert isinstance(found, Command)
    assert found.id == "vm.stop"
    assert keymap.resolve(("ctrl+q",)) is not None
    assert keymap.resolve(("j",)) is None


def test_the_first_press_of_a_chord_lists_its_continuations() -> None:
    found = Keymap((VIEW,)).resolve(("p",))
    assert isinstance(found, Continue)
    assert [(press, command.id) for press, command in found.options] == [("p", "vm.pause"), ("s", "vm.start")]
    assert Keymap((VIEW,)).resolve(("p", "z")) is None


def test_users_replace_keys_by_id() -> None:
    keymap = Keymap((VIEW,), {"vm.stop": "f9"})
    assert keymap.resolve(("x",)) is None
    assert keymap.resolve(("f9",)) is not None


def test_clashing_keys_are_reported() -> None:
    assert clashes((VIEW,), {"vm.stop": "p p", "nothing": "a"}) == [
        "no command is called nothing",
        "p p means both vm.stop and vm.pause",
    ]
    assert clashes((VIEW,), {"vm.stop": "esc"}) == ["vm.stop: esc cannot be given away"]


async def test_the_built_in_keys_do_not_clash() -> None:
    session = canned_session()
    for view in session.views.all:
        keymap = session.keymap(view)
        assert clashes(keymap.layers[:1], {}) == []
    assert clashes((GLOBAL,), {}) == []
    assert clashes((LATER,), {}) == []


# Filter

FIELDS = {"name": "name", "status": "status", "cpu": "cpu", "mem": "mem", "age": "age", "ip": "ip"}


def subject(name: str = "web-01", status: str = "running", cpu: float | None = 96, age: float = 30) -> Subject:
    texts = {"name": name, "status": status, "": "10.0.1.31 fd00::1"}
    values = {"cpu": cpu, "mem": 2.0**30, "age": age}
    return Subject(texts, values, {"app": "web", "tier": "front"})


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", True),
        ("web", True),
        ("WEB run", True),
        ("db", False),
        ("!db", True),
        ("!web", False),
        ("name:web", True),
        ("name:run", False),
        ("status:stopped|running", True),
        ("!status:stopped", True),
        ("10.0.1.31", True),
        ("fd00::1", True),
        ("~^web-\\d+$", True),
        ("~^eb", False),
        ("cpu>80", True),
        ("cpu<80", False),
        ("cpu>=96 cpu<=96", True),
        ("mem<2Gi", True),
        ("mem>2Gi", False),
        ("age<1m", True),
        ("age>1h", False),
        ("label:app=web", True),
        ("label:app=db|web", True),
        ("label:app=db", False),
        ("label:tier", True),
        ("!label:zone", True),
        ("db|web", True),
    ],
)
def test_filters(text: str, passes: bool) -> None:
    assert parse_filter(text, FIELDS)(subject()) is passes


def test_an_unknown_number_passes_no_comparison() -> None:
    assert not parse_filter("cpu>0", FIELDS)(subject(cpu=None))
    assert not parse_filter("cpu<1000", FIELDS)(subject(cpu=None))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("~(", "not a regular expression"), ("size>3", "no column is called size"), ("cpu>lots", "not a number")],
)
def test_filters_that_make_no_sense_say_why(text: str, reason: str) -> None:
    with pytest.raises(Usage, match=reason):
        parse_filter(text, FIELDS)


@pytest.mark.parametrize(("text", "value"), [("80", 80), ("80%", 80), ("1Gi", 2**30), ("90s", 90), ("2h", 7200)])
def test_numbers_sizes_and_ages(text: str, value: float) -> None:
    assert number(text) == value


# Collections

COLUMNS: tuple[Column[VmRow], ...] = (
    Column("name", "NAME", 10, lambda row, sight: Cell(row.key.name), lambda row: row.key.name, core=True),
    Column("status", "STATUS", 10, lambda row, sight: Cell(row.status), lambda row: row.status, core=True),
    Column("ip", "IP", 10, lambda row, sight: Cell(""), lambda row: next(iter(row.addresses), None)),
)


class Source:
    """Rows by key, as caches would give them."""

    def __init__(self) -> None:
        self.rows: dict[ObjectKey, VmRow] = {}
        self.changes: list[Change] = []
        self.collection: Collection[VmRow] = Collection(
            COLUMNS, self.rows.get, sort=Sorting("name"), sight=lambda: Sight(canned.NOW)
        )
        self.collection.subscribe(self.changes.append)

    def put(self, *names: str, status: str = "Running", namespace: str = "default") -> None:
        for name in names:
            vm = canned.vm(name, status, namespace=namespace)
            self.rows[vm.key] = VmRow(vm.key, vm, None)
            self.collection.touch(vm.key)

    def drop(self, name: str) -> None:
        key = ObjectKey("default", name)
        del self.rows[key]
        self.collection.touch(key)

    def names(self) -> list[str]:
        return [self.collection.key_at(i).name for i in range(len(self.collection))]


async def settled() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_burst_is_one_change() -> None:
    source = Source()
    source.put(*(f"vm-{n}" for n in range(1000)))
    await settled()
    assert len(source.changes) == 1
    assert len(source.collection) == source.collection.total == 1000


async def test_rows_come_move_and_go_in_order() -> None:
    source = Source()
    source.put("b", "d", "a")
    await settled()
    assert source.names() == ["a", "b", "d"]
    source.put("c")
    await settled()
    assert source.names() == ["a", "b", "c", "d"]
    source.drop("b")
    await settled()
    assert source.names() == ["a", "c", "d"]
    source.collection.set_sort("status")
    source.put("d", status="Aborted")
    await settled()
    assert source.names() == ["d", "a", "c"]
    source.collection.reverse()
    assert source.names() == ["c", "a", "d"]
    assert source.collection.index_of(ObjectKey("default", "a")) == 1


async def test_an_equal_row_is_no_change() -> None:
    source = Source()
    source.put("a")
    await settled()
    source.put("a")
    await settled()
    assert len(source.changes) == 1


async def test_a_change_in_place_moves_nothing() -> None:
    source = Source()
    source.put("a", "b")
    await settled()
    source.put("a", status="Stopped")
    await settled()
    assert source.changes[-1] == Change(frozenset({ObjectKey("default", "a")}), order=False)


async def test_unknown_values_sort_last() -> None:
    source = Source()
    source.put("b", "a")
    key = ObjectKey("default", "z")
    source.rows[key] = VmRow(key, canned.vm("z"), canned.vmi("z"))
    source.collection.touch(key)
    await settled()
    source.collection.set_sort("ip")
    assert source.names() == ["z", "a", "b"]


async def test_filter_and_namespaces_hide_rows_and_marks_stay() -> None:
    source = Source()
    source.put("web-1", "web-2", "db-1")
    source.put("web-3", namespace="team-a")
    await settled()
    source.collection.mark_all()
    source.collection.set_namespaces({"default"})
    source.collection.set_filter("web")
    assert source.names() == ["web-1", "web-2"]
    assert source.collection.total == 3
    assert len(source.collection.marks) == 4
    assert source.collection.hidden_marks() == 2
    source.put("web-0")
    source.put("db-9")
    await settled()
    assert source.names() == ["web-0", "web-1", "web-2"]
    source.drop("web-1")
    await settled()
    assert len(source.collection.marks) == 3


async def test_a_wrong_filter_leaves_the_one_before() -> None:
    source = Source()
    source.put("a", "b")
    await settled()
    source.collection.set_filter("a")
    with pytest.raises(Usage):
        source.collection.set_filter("~(")
    assert source.names() == ["a"]


# Command line


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        ("vm", Instruction("view", "vms")),
        (":dv team-a", Instruction("view", "dvs", namespace="team-a")),
        ("vmim", Instruction("view", "migrations")),
        ("vm /web", Instruction("view", "vms", filter="web")),
        ("vm -l app=web", Instruction("view", "vms", filter="label:app=web")),
        ("node -A", Instruction("view", "nodes", namespace="")),
        ("migrate web-01 node-b", Instruction("act", "vm.migrate", ("web-01", "node-b"))),
        ("console web-01", Instruction("act", "vm.console", ("web-01",))),
        ("ns a,b", Instruction("ns", "a,b", ("a,b",))),
        ("q", Instruction("q")),
        ("quit", Instruction("q")),
    ],
)
def test_command_lines(text: str, instruction: Instruction) -> None:
    assert parse(text) == instruction


@pytest.mark.parametrize(
    ("text", "reason"),
    [("migrat", 'No command "migrat". Did you mean "migrate"?'), ("stop", "stop needs a name"), ("", "Type a command")],
)
def test_command_lines_that_are_wrong(text: str, reason: str) -> None:
    with pytest.raises(Usage) as caught:
        parse(text)
    assert str(caught.value).startswith(reason)


def test_completion_goes_as_far_as_it_is_certain() -> None:
    assert complete("cons", []) == "console "
    assert complete("console we", ["web-01", "web-02", "db"]) == "console web-0"
    assert complete("console x", ["web-01"]) == "console x"


# Rights


VMS = Right("create", "kubevirt.io", "virtualmachines")


@pytest.mark.parametrize(
    ("rule", "right", "covered"),
    [
        (Rule(("*",), ("*",), ("*",)), VMS, True),
        (
            Rule(("get",), ("kubevirt.io",), ("virtualmachines",)),
            Right("create", "kubevirt.io", "virtualmachines"),
            False,
        ),
        (Rule(("update",), ("x",), ("vms/start",)), Right("update", "x", "vms/start"), True),
        (Rule(("update",), ("x",), ("vms",)), Right("update", "x", "vms/start"), False),
        (Rule(("update",), ("x",), ("*/start",)), Right("update", "x", "vms/start"), True),
    ],
)
def test_rules_cover_rights(rule: Rule, right: Right, covered: bool) -> None:
    assert rule.covers(right) is covered


def test_an_incomplete_review_allows_everything() -> None:
    assert parse_review({"status": {"incomplete": True, "resourceRules": []}}) is None
    assert parse_review({"status": {"resourceRules": []}}) == ()
