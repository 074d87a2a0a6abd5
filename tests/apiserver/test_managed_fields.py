from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtui.apiserver.patch import field_set
from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.patch.managed_fields import ApplyConflict, apply, decode, track_update
from kvtui.apiserver.schema import builtin
from kvtui.apiserver.schema.node import compile_schema

NOW = datetime(2026, 1, 1, tzinfo=UTC)
V1 = "example.com/v1"
TEXT = {"type": "string"}
SCHEMA = compile_schema(
    {
        "type": "object",
        "properties": {
            "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "properties": {
                    "replicas": {"type": "integer"},
                    "host": TEXT,
                    "args": {"type": "array", "items": TEXT},
                    "users": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
                    "ports": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "port": {"type": "integer"},
                                "protocol": {"type": "string", "default": "TCP"},
                                "name": TEXT,
                            },
                        },
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port", "protocol"],
                    },
                    "labels": {"type": "object", "additionalProperties": TEXT},
                    "whole": {"type": "object", "additionalProperties": TEXT, "x-kubernetes-map-type": "atomic"},
                    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            },
            "status": {"type": "object", "properties": {"phase": TEXT}},
        },
    }
)

Object = dict[str, Any]


def widget(**spec: Any) -> Object:
    return {"apiVersion": V1, "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


def applied(live: Object | None, manager: str, force: bool = False, **spec: Any) -> Object:
    return apply(live, widget(**spec), manager, force, SCHEMA, V1, NOW)


def updated(old: Object | None, manager: str, **spec: Any) -> Object:
    new = deepcopy(old) if old else widget()
    new.setdefault("spec", {}).update(spec)
    return track_update(old, new, manager, "Update", SCHEMA, V1, NOW)


def fields(obj: Object, manager: str) -> Any:
    return next((e["fieldsV1"] for e in obj["metadata"].get("managedFields") or () if e["manager"] == manager), None)


def test_an_applier_owns_what_it_names_and_nothing_of_the_identity() -> None:
    obj = applied(None, "a", replicas=1, ports=[{"port": 80}], users=["x"], labels={"k": "v"}, whole={"k": "v"})
    assert fields(obj, "a") == {
        "f:spec": {
            "f:replicas": {},
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}},
            "f:users": {'v:"x"': {}},
            "f:labels": {"f:k": {}},
            "f:whole": {},
        }
    }
    entry = obj["metadata"]["managedFields"][0]
    assert entry["operation"] == "Apply"
    assert entry["fieldsType"] == "FieldsV1"
    assert entry["time"] == "2026-01-01T00:00:00Z"


def test_another_value_is_a_conflict_that_names_manager_and_field() -> None:
    obj = applied(None, "a", replicas=1)
    with pytest.raises(ApplyConflict) as conflict:
        applied(obj, "b", replicas=2)
    assert conflict.value.message == 'Apply failed with 1 conflict: conflict with "a": .spec.replicas'
    assert [(c.reason, c.field, c.message) for c in conflict.value.causes] == [
        ("FieldManagerConflict", ".spec.replicas", 'conflict with "a"')
    ]


def test_several_conflicts_are_listed_by_manager() -> None:
    obj = updated(applied(None, "a", host="x"), "cli", replicas=1)
    with pytest.raises(ApplyConflict) as conflict:
        applied(obj, "b", replicas=2, host="y")
    assert conflict.value.message == (
        'Apply failed with 2 conflicts: conflicts with "a":\n- .spec.host\n'
        f'conflicts with "cli" using {V1}:\n- .spec.replicas'
    )


def test_a_subresource_is_named_in_a_conflict() -> None:
    obj = widget(replicas=1)
    scaled = deepcopy(obj)
    scaled["spec"]["replicas"] = 3
    first = track_update(None, obj, "a", "Update", SCHEMA, V1, NOW)
    scaled["metadata"] = first["metadata"]
    tracked = track_update(first, scaled, "scaler", "Update", SCHEMA, V1, NOW, "scale")
    with pytest.raises(ApplyConflict, match=r'conflict with "scaler" with subresource "scale" using example\.com/v1'):
        applied(tracked, "b", replicas=2)


def test_the_same_value_is_shared() -> None:
    obj = applied(applied(None, "a", replicas=1), "b", replicas=1)
    assert fields(obj, "a") == fields(obj, "b") == {"f:spec": {"f:replicas": {}}}


def test_force_takes_the_field() -> None:
    obj = applied(applied(None, "a", replicas=1, host="x"), "b", force=True, replicas=2)
    assert obj["spec"] == {"replicas": 2, "host": "x"}
    assert fields(obj, "a") == {"f:spec": {"f:host": {}}}


def test_what_an_applier_no_longer_names_goes_unless_another_owns_it() -> None:
    obj = applied(None, "a", replicas=1, host="x", ports=[{"port": 80}, {"port": 81}])
    obj = applied(obj, "b", host="x")
    obj = applied(obj, "a", ports=[{"port": 80}])
    assert obj["spec"] == {"host": "x", "ports": [{"port": 80}]}


def test_an_item_that_another_applier_has_fields_in_stays() -> None:
    obj = applied(None, "a", ports=[{"port": 80}])
    obj = applied(obj, "b", ports=[{"port": 80, "name": "web"}])
    obj = applied(obj, "a", host="x")
    assert obj["spec"]["ports"] == [{"port": 80, "name": "web"}]


def test_an_update_takes_what_it_changes_and_forgets_what_it_removes() -> None:
    obj = updated(applied(None, "a", replicas=1, host="x"), "cli", replicas=2)
    assert fields(obj, "a") == {"f:spec": {"f:host": {}}}
    assert fields(obj, "cli") == {"f:spec": {"f:replicas": {}}}
    removed = deepcopy(obj)
    del removed["spec"]["replicas"]
    removed = track_update(obj, removed, "cli", "Update", SCHEMA, V1, NOW)
    assert fields(removed, "cli") is None


def test_an_update_that_changes_nothing_keeps_the_entries() -> None:
    obj = updated(None, "cli", replicas=1)
    again = track_update(obj, deepcopy(obj), "other", "Update", SCHEMA, V1, NOW + timedelta(hours=1))
    assert again == obj


def test_an_object_without_entries_is_not_tracked_until_someone_applies() -> None:
    obj = widget(replicas=1)
    assert "managedFields" not in updated(obj, "cli", replicas=2)["metadata"]
    first = applied(obj, "a", host="x")
    assert fields(first, "before-first-apply") == {"f:spec": {".": {}, "f:replicas": {}}}


@pytest.mark.parametrize("cleared", [[], [{}]])
def test_a_client_can_clear_the_entries(cleared: list[Any]) -> None:
    obj = updated(None, "cli", replicas=1)
    new = deepcopy(obj)
    new["metadata"]["managedFields"] = cleared
    assert "managedFields" not in track_update(obj, new, "cli", "Update", SCHEMA, V1, NOW)["metadata"]


@pytest.mark.parametrize(
    "entries",
    [
        "x",
        [3],
        [{"manager": "m"}],
        [{"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"bad": {}}}],
        [{"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"k:x": {}}}],
    ],
)
def test_malformed_entries_of_a_client_are_ignored(entries: Any) -> None:
    obj = updated(None, "cli", replicas=1)
    new = deepcopy(obj)
    new["metadata"]["managedFields"] = entries
    assert track_update(obj, new, "cli", "Update", SCHEMA, V1, NOW) == obj
    assert decode(entries) is None


def test_at_most_ten_updaters_are_remembered() -> None:
    obj = updated(None, "m0", labels={})
    for n in range(1, 15):
        new = deepcopy(obj)
        new["spec"]["labels"][f"l{n}"] = "x"
        obj = track_update(obj, new, f"m{n}", "Update", SCHEMA, V1, NOW + timedelta(seconds=n))
    managers = [e["manager"] for e in obj["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert managers[0] == "ancient-changes" or "ancient-changes" in managers
    assert "f:l1" in fields(obj, "ancient-changes")["f:spec"]["f:labels"]


def test_the_main_endpoint_does_not_own_status() -> None:
    config = {**widget(replicas=1), "status": {"phase": "x"}}
    obj = apply(None, config, "a", False, SCHEMA, V1, NOW, reset=("status",))
    assert fields(obj, "a") == {"f:spec": {"f:replicas": {}}}


def test_kubectl_takes_over_what_its_own_client_side_apply_wrote() -> None:
    annotation = '{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"replicas":1}}'
    obj = widget(replicas=1)
    obj["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": annotation}
    live = track_update(None, obj, "kubectl-client-side-apply", "Update", SCHEMA, V1, NOW)
    assert apply(live, widget(replicas=2), "kubectl", False, SCHEMA, V1, NOW)["spec"]["replicas"] == 2
    with pytest.raises(ApplyConflict):
        apply(live, widget(replicas=2), "someone", False, SCHEMA, V1, NOW)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"metadata": {"managedFields": [{}]}}, "metadata.managedFields must be nil"),
        ({"spec": {"colour": "red"}}, ".spec.colour: field not declared in schema"),
        ({"spec": {"replicas": "x"}}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"spec": {"users": ["a", "a"]}}, '.spec.users: duplicate entries for key [="a"]'),
        ({"spec": {"ports": [{"port": 1}, {"port": 1}]}}, 'for key [port=1,protocol="TCP"]'),
        ({"spec": {"ports": ["x"]}}, "may not have non-map elements"),
        ({"spec": []}, ".spec: expected map, got &{[]}"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config: Object, text: str) -> None:
    with pytest.raises(PatchError) as refused:
        apply(None, {**widget(), **config}, "a", False, SCHEMA, V1, NOW)
    assert refused.value.code == 400
    assert text in refused.value.message


def test_a_pod_is_merged_by_the_keys_of_its_lists() -> None:
    pod = builtin.node("v1", "Pod")
    assert pod is not None
    config = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "finalizers": ["a/b"]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
    }
    obj = apply(None, config, "a", False, pod, "v1", NOW)
    assert obj["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:metadata": {"f:finalizers": {'v:"a/b"': {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"c"}': {
                    ".": {},
                    "f:name": {},
                    "f:image": {},
                    "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                }
            }
        },
    }


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 2),
        "host": st.sampled_from("xy"),
        "args": st.lists(st.sampled_from("xy"), max_size=2),
        "users": st.lists(st.sampled_from("xyz"), max_size=3, unique=True),
        "ports": st.lists(
            st.fixed_dictionaries({"port": st.integers(1, 3)}, optional={"name": st.sampled_from("ab")}),
            max_size=3,
            unique_by=lambda port: port["port"],
        ),
        "labels": st.dictionaries(st.sampled_from("kl"), st.sampled_from("vw"), max_size=2),
        "open": st.dictionaries(st.sampled_from("kl"), st.sampled_from(["v", 1, {"m": "n"}, [1]]), max_size=2),
    },
)
STEPS = st.lists(st.tuples(st.sampled_from(["apply", "force", "update"]), st.sampled_from("abc"), SPECS), max_size=6)


def run(steps: list[tuple[str, str, Object]]) -> Object | None:
    obj: Object | None = None
    for how, manager, spec in steps:
        if how == "update":
            obj = updated(obj, manager, **spec)
            continue
        try:
            obj = applied(obj, manager, how == "force", **spec)
        except ApplyConflict:
            continue
    return obj


@settings(max_examples=150)
@given(STEPS, SPECS)
def test_applying_twice_is_applying_once_and_keeps_every_value_of_the_configuration(
    steps: list[tuple[str, str, Object]], spec: Object
) -> None:
    spec = {"replicas": 1, **spec}
    once = applied(run(steps), "z", True, **spec)
    assert applied(once, "z", True, **spec) == once
    for key in ("replicas", "host", "args"):
        if key in spec:
            assert once["spec"][key] == spec[key]


@settings(max_examples=150)
@given(STEPS)
def test_nobody_owns_a_field_that_is_not_there(steps: list[tuple[str, str, Object]]) -> None:
    obj = run(steps)
    if obj is None:
        return
    scalars = {"replicas", "host", "args"}
    for entry in obj["metadata"].get("managedFields") or ():
        owned = {key[2:] for key in entry["fieldsV1"].get("f:spec", {}) if key[2:] in scalars}
        assert owned <= set(obj.get("spec", {}))


SETS = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(st.sampled_from(["f:a", "f:b", 'v:"x"', "."]), inner, max_size=3).map(
        lambda d: {k: ({} if k == "." else v) for k, v in d.items()}
    ),
    max_leaves=6,
).map(lambda d: {k: v for k, v in d.items() if k != "."})


def members(fields_: field_set.FieldSet) -> set[field_set.Path]:
    return set(field_set.paths(fields_))


@given(SETS, SETS)
def test_sets_of_fields_behave_like_sets_of_paths(left: field_set.FieldSet, right: field_set.FieldSet) -> None:
    a, b = members(left), members(right)
    assert members(field_set.union(left, right)) == a | b
    assert members(field_set.difference(left, right)) == a - b
    assert members(field_set.intersection(left, right)) == a & b


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["x", "y"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["spec", "ports", "port", "users", "labels", "open", "managedFields", "name"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(st.lists(st.tuples(st.booleans(), ANYTHING, ANYTHING), max_size=3))
def test_any_objects_are_tracked_and_applied_or_refused(steps: list[tuple[bool, Any, Any]]) -> None:
    obj: Object | None = None
    for apply_it, spec, labels in steps:
        new = {**widget(), "spec": spec, "metadata": {"name": "w", "labels": labels}}
        if not apply_it:
            obj = track_update(obj, new, "a", "Update", SCHEMA, V1, NOW)
            continue
        with suppress(PatchError):
            obj = apply(obj, new, "b", True, SCHEMA, V1, NOW)
