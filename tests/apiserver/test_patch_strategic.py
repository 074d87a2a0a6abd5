from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.patch.strategic import merge
from kvtui.apiserver.schema import builtin
from kvtui.apiserver.schema.node import UNTYPED, Node


def node(api_version: str, kind: str) -> Node:
    found = builtin.node(api_version, kind)
    assert found is not None
    return found


POD, NODE, DEPLOYMENT = node("v1", "Pod"), node("v1", "Node"), node("apps/v1", "Deployment")


def containers(*items: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(items)}}


def names(pod: dict[str, Any]) -> list[str]:
    return [c["name"] for c in pod["spec"]["containers"]]


TWO = containers({"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "2"})


def test_containers_are_merged_by_name() -> None:
    patched = merge(TWO, containers({"name": "a", "image": "3"}), POD)
    assert patched["spec"]["containers"][0] == {
        "name": "a",
        "image": "3",
        "env": [{"name": "X", "value": "1"}],
    }
    assert names(patched) == ["a", "b"]


def test_an_unknown_name_is_added_and_a_directive_deletes() -> None:
    assert sorted(names(merge(TWO, containers({"name": "c"}), POD))) == ["a", "b", "c"]
    assert names(merge(TWO, containers({"name": "a", "$patch": "delete"}), POD)) == ["b"]
    assert names(merge(TWO, containers({"name": "z"}, {"$patch": "replace"}), POD)) == ["z"]


def test_the_order_of_the_elements_follows_the_directive() -> None:
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}]}}
    patch["spec"]["containers"] = [{"name": "c"}]
    assert names(merge(TWO, patch, POD)) == ["b", "c", "a"]


def test_an_order_that_contradicts_the_list_is_refused() -> None:
    patch = containers({"name": "b"}, {"name": "a"})
    patch["spec"]["$setElementOrder/containers"] = [{"name": "a"}, {"name": "b"}]
    with pytest.raises(PatchError):
        merge(TWO, patch, POD)


def test_finalizers_are_a_set_and_can_be_taken_out() -> None:
    pod = {"metadata": {"finalizers": ["a/1", "a/2"]}}
    assert merge(pod, {"metadata": {"finalizers": ["a/3"]}}, POD)["metadata"]["finalizers"] == ["a/3", "a/1", "a/2"]
    taken = merge(pod, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/1"]}}, POD)
    assert taken["metadata"]["finalizers"] == ["a/2"]


def test_taints_and_arguments_are_replaced_as_a_whole() -> None:
    tainted = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    assert merge(tainted, {"spec": {"taints": []}}, NODE)["spec"]["taints"] == []
    pod = containers({"name": "a", "args": ["x", "y"]})
    assert merge(pod, containers({"name": "a", "args": ["z"]}), POD)["spec"]["containers"][0]["args"] == ["z"]


def test_retained_keys_clear_the_others() -> None:
    deployment = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert merge(deployment, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}
    with pytest.raises(PatchError):
        merge(deployment, {"spec": {"strategy": {"$retainKeys": [], "type": "Recreate"}}}, DEPLOYMENT)


def test_conditions_of_a_node_are_merged_by_type() -> None:
    old = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "Disk"}]}}
    patched = merge(old, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, NODE)
    assert patched["status"]["conditions"][0] == {"type": "Ready", "status": "True", "reason": "x"}
    assert len(patched["status"]["conditions"]) == 2


def test_null_deletes_and_is_not_kept() -> None:
    assert merge({"metadata": {"labels": {"a": "b"}}}, {"metadata": {"labels": {"a": None}}}, POD) == {
        "metadata": {"labels": {}}
    }
    assert merge({}, {"spec": {"nodeName": None, "hostname": "h"}}, POD) == {"spec": {"hostname": "h"}}


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"$patch": "shuffle"},
        containers({"image": "no name"}),
        containers({"name": "a", "$patch": "merge"}),
        {"spec": {"$setElementOrder/containers": 3}},
        {"spec": {"$deleteFromPrimitiveList/containers": "x"}},
    ],
)
def test_a_patch_that_makes_no_sense_is_refused(patch: Any) -> None:
    with pytest.raises(PatchError) as refused:
        merge(TWO, patch, POD)
    assert refused.value.code == 400


VALUES = st.recursive(
    st.none() | st.integers(0, 2) | st.sampled_from(["a", "delete", "replace"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "spec", "containers", "$patch", "$retainKeys", "$setElementOrder/containers"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["spec", "metadata", "$patch"]), VALUES, max_size=2))
def test_any_patch_is_applied_or_refused(patch: dict[str, Any]) -> None:
    for schema in (POD, UNTYPED):
        with suppress(PatchError):
            merge(TWO, patch, schema)
