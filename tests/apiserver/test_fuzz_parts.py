"""Parsers, patches and server-side apply alone: a result or the client's fault, and never too much memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvtui.apiserver import bodies, selectors, status
from kvtui.apiserver.patch import json_patch, managed_fields, merge_patch, strategic
from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.schema import builtin, protobuf
from kvtui.errors import InvalidSelector
from tests.apiserver.test_fuzz import json_values, must_blame_the_client
from tests.apiserver.test_protobuf import ENCODED

LAX = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def must_be_refused(error: PatchError) -> None:
    assert 400 <= error.code < 500


NOW = datetime(2026, 1, 1, tzinfo=UTC)
PIECES = st.sampled_from(
    [
        "a",
        "b/c",
        "=",
        "==",
        "!=",
        "!",
        " in ",
        " notin ",
        "(",
        ")",
        ",",
        ">",
        "<",
        "1",
        "\\",
        " ",
        "metadata.name",
        "\u00e9",
    ]
)


@LAX
@given(st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=40))
def test_selectors_select_or_are_refused(text: str) -> None:
    parsers: tuple[Callable[[], bool], ...] = (
        lambda: selectors.parse_label_selector(text).matches({"a": "1", "b/c": ""}),
        lambda: selectors.matches_fields(selectors.parse_fields(text, "", "pods"), {"metadata": {"name": "a"}}),
    )
    for parse in parsers:
        try:
            assert parse() in (True, False)
        except InvalidSelector:
            continue


@LAX
@given(
    st.sampled_from([bytes.fromhex(encoded) for _, encoded in ENCODED]),
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 255), st.sampled_from(["set", "cut", "put", "end"])), max_size=6
    ),
)
def test_altered_protobuf_is_an_object_or_refused(body: bytes, changes: list[tuple[int, int, str]]) -> None:
    data = bytearray(body)
    for where, value, how in changes:
        at = 4 + where % max(1, len(data) - 4)
        if how == "set" and at < len(data):
            data[at] = value
        elif how == "cut":
            del data[at : at + 1 + value % 4]
        elif how == "put":
            data[at:at] = bytes([value])
        elif how == "end":
            del data[at:]
    try:
        assert isinstance(protobuf.decode(bytes(data)), dict)
    except status.Failure as failure:
        must_blame_the_client(failure)


POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "d", "labels": {"a": "b"}, "finalizers": ["x/y"]},
    "spec": {
        "containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
        "tolerations": [{"key": "k"}],
    },
}
WORDS = st.sampled_from(
    ["metadata", "labels", "spec", "containers", "name", "image", "ports", "containerPort", "protocol", "finalizers",
     "$patch", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "$retainKeys", "tolerations", "a"]
)  # fmt: skip
LEAVES = st.sampled_from(["c", "x", "delete", "replace", "merge", "TCP", 80, None, True, ""])
CHANGES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=14
)
POINTERS = st.lists(
    st.sampled_from(["metadata", "labels", "spec", "containers", "0", "-", "name", "~0", "~1", "", "99999999999"])
).map(lambda parts: "".join(f"/{p}" for p in parts))


@LAX
@given(
    st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": POINTERS},
            optional={"value": json_values, "from": POINTERS},
        ),
        max_size=6,
    )
)
def test_json_patches_apply_or_are_refused(operations: list[dict[str, Any]]) -> None:
    before = json.dumps(POD)
    try:
        json_patch.apply(POD, operations)
    except PatchError as refused:
        must_be_refused(refused)
    assert json.dumps(POD) == before


@LAX
@given(CHANGES)
def test_merges_apply_or_are_refused(change: Any) -> None:
    before, node = json.dumps(POD), builtin.node("v1", "Pod")
    assert node is not None
    merges: tuple[Callable[[], Any], ...] = (
        lambda: merge_patch.merge(POD, change),
        lambda: strategic.merge(POD, change, node),
    )
    for merge in merges:
        try:
            merge()
        except PatchError as refused:
            must_be_refused(refused)
    assert json.dumps(POD) == before


@LAX
@given(st.lists(st.tuples(st.sampled_from(["ann", "bob"]), CHANGES, st.booleans()), min_size=1, max_size=5))
def test_applies_take_effect_or_are_refused(applies: list[tuple[str, Any, bool]]) -> None:
    node = builtin.node("v1", "Pod")
    assert node is not None
    live: dict[str, Any] | None = None
    for manager, change, force in applies:
        config = {**(change if isinstance(change, dict) else {"spec": change}), "apiVersion": "v1", "kind": "Pod"}
        try:
            live = managed_fields.apply(live, config, manager, force, node, "v1", NOW)
        except PatchError as refused:
            must_be_refused(refused)
    if live is not None:
        entries = live["metadata"].get("managedFields") or []
        assert {e["manager"] for e in entries} <= {"ann", "bob"}


MEGABYTE = 2**20
DOUBLING = [{"op": "copy", "from": "/spec", "path": f"/spec/k{n}"} for n in range(60)]
DEEP = b"[" * 200_000
ALIASES = b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b]\n"
LONG = protobuf.MAGIC + b"\x12\xff\xff\xff\xff\x07"


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: json_patch.apply(POD, DOUBLING),
        lambda: bodies.decode_json(DEEP),
        lambda: bodies.decode_json(b'{"a":' * 50_000),
        lambda: bodies.decode_yaml(ALIASES),
        lambda: bodies.decode_yaml(b"- " * 20_000),
        lambda: bodies.decode(LONG, bodies.PROTOBUF),
        lambda: bodies.decode(protobuf.MAGIC + b"\x0a\x02\x0a\x00" * 50_000, bodies.PROTOBUF),
        lambda: selectors.parse_label_selector("a in (" + "b," * 50_000 + ")"),
        lambda: selectors.parse_fields("metadata.name=" + "\\\\" * 50_000, "", "pods"),
    ],
    ids=["doubling", "deep", "deeper", "aliases", "deep YAML", "long", "many", "wide", "escapes"],
)
def test_a_small_request_does_not_take_much_memory(attempt: Callable[[], object]) -> None:
    tracemalloc.start()
    try:
        attempt()
    except (status.Failure, PatchError, InvalidSelector):
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 48 * MEGABYTE
