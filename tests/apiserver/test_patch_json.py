from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.patch.json_patch import apply, same

DOCUMENT: dict[str, Any] = {"a": {"b": [1, 2, 3]}, "c": "x", "d/e": 1, "f~g": 2, "n": None}


@pytest.mark.parametrize(
    ("operations", "path", "expected"),
    [
        ([{"op": "add", "path": "/a/b/-", "value": 4}], ("a", "b"), [1, 2, 3, 4]),
        ([{"op": "add", "path": "/a/b/0", "value": 0}], ("a", "b"), [0, 1, 2, 3]),
        ([{"op": "add", "path": "/a/b/3", "value": 4}], ("a", "b"), [1, 2, 3, 4]),
        ([{"op": "remove", "path": "/a/b/1"}], ("a", "b"), [1, 3]),
        ([{"op": "replace", "path": "/c", "value": {"y": 1}}], ("c",), {"y": 1}),
        ([{"op": "add", "path": "/d~1e", "value": 9}], ("d/e",), 9),
        ([{"op": "replace", "path": "/f~0g", "value": 9}], ("f~g",), 9),
        ([{"op": "move", "from": "/c", "path": "/a/c"}], ("a", "c"), "x"),
        ([{"op": "copy", "from": "/a", "path": "/z"}], ("z",), {"b": [1, 2, 3]}),
        ([{"op": "test", "path": "/a/b", "value": [1, 2.0, 3]}], ("c",), "x"),
        ([{"op": "test", "path": "/missing", "value": None}], ("c",), "x"),
        ([{"op": "add", "path": "", "value": {"c": 1}}], ("c",), 1),
    ],
)
def test_an_operation_changes_its_place(operations: list[Any], path: tuple[str, ...], expected: Any) -> None:
    before = deepcopy(DOCUMENT)
    result = apply(DOCUMENT, operations)
    for step in path:
        result = result[step]
    assert result == expected
    assert before == DOCUMENT


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "remove", "path": "/a/b/3"},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "add", "path": "/missing/x", "value": 1},
        {"op": "add", "path": "/a/b/4", "value": 1},
        {"op": "add", "path": "/a/b/01", "value": 1},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/x"},
        {"op": "test", "path": "/c", "value": "y"},
        {"op": "test", "path": "/n", "value": False},
        {"op": "move", "from": "/a", "path": "/a/b/0"},
        {"op": "copy", "path": "/x"},
        {"op": "jump", "path": "/x"},
        {"path": "/x"},
    ],
)
def test_an_operation_that_cannot_be_done_refuses_the_whole_patch(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError) as refused:
        apply(DOCUMENT, [{"op": "add", "path": "/ok", "value": 1}, operation])
    assert refused.value.code == 422


def test_a_patch_must_be_a_list_of_at_most_ten_thousand_operations() -> None:
    patches: tuple[Any, ...] = ({}, "x", [1])
    for patch in patches:
        with pytest.raises(PatchError) as refused:
            apply(DOCUMENT, patch)
        assert refused.value.code == 400
    with pytest.raises(PatchError) as refused:
        apply(DOCUMENT, [{"op": "test", "path": "/c", "value": "x"}] * 10_001)
    assert refused.value.code == 413


def test_copies_cannot_blow_up_an_object() -> None:
    document = {"a": ["x" * 1024] * 1024}
    with pytest.raises(PatchError):
        apply(document, [{"op": "copy", "from": "/a", "path": f"/b{n}"} for n in range(4)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_replaced_document_is_the_new_one_and_the_old_one_stays(old: Any, new: Any) -> None:
    document = {"a": old}
    assert apply(document, [{"op": "replace", "path": "/a", "value": new}]) == {"a": new}
    assert document == {"a": old}


@given(JSON)
def test_equality_is_reflexive(value: Any) -> None:
    assert same(value, deepcopy(value))


def test_true_is_not_one_and_one_is_one_point_zero() -> None:
    assert not same(True, 1)
    assert same(1, 1.0)
    assert not same({"a": False}, {"a": 0})
