"""PATCH in its four kinds."""

from __future__ import annotations

import pytest

from tests.apiserver.api import CONFIG_MAPS, WIDGETS, Api, config_map, widget

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]},
    }


async def test_a_merge_patch_changes_and_deletes(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a", x="1", y="2"))
    answer = await api.merge(f"{CONFIG_MAPS}/a", {"data": {"x": None, "z": "3"}})
    assert answer.body["data"] == {"y": "2", "z": "3"}


async def test_a_json_patch_applies_in_order(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a", x="1"))
    operations = [
        {"op": "test", "path": "/data/x", "value": "1"},
        {"op": "add", "path": "/metadata/labels", "value": {"a/b": "c"}},
        {"op": "move", "from": "/data/x", "path": "/data/y"},
    ]
    answer = await api.json_patch(f"{CONFIG_MAPS}/a", operations)
    assert answer.body["data"] == {"y": "1"}
    assert answer.body["metadata"]["labels"] == {"a/b": "c"}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/data/x", "value": "2"},
        {"op": "remove", "path": "/data/nope"},
        {"op": "add", "path": "/no/such/parent", "value": 1},
    ],
)
async def test_a_json_patch_that_fails_tells_nothing_but_that(api: Api, operation: dict[str, object]) -> None:
    await api.post(CONFIG_MAPS, config_map("a", x="1"))
    answer = await api.json_patch(f"{CONFIG_MAPS}/a", [operation])
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.message == "the server rejected our request due to an error in our request"


async def test_a_json_patch_has_a_limit(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a", x="1"))
    operations = [{"op": "test", "path": "/data/x", "value": "1"}] * 10_001
    assert (await api.json_patch(f"{CONFIG_MAPS}/a", operations)).code == 413


async def test_a_strategic_patch_merges_containers_by_name(api: Api) -> None:
    await api.post(PODS, pod("p"))
    answer = await api.strategic(f"{PODS}/p", {"spec": {"containers": [{"name": "b", "image": "z"}]}})
    assert [(c["name"], c["image"]) for c in answer.body["spec"]["containers"]] == [("a", "x"), ("b", "z")]


async def test_custom_objects_take_no_strategic_patch(widgets: Api) -> None:
    await widgets.post(WIDGETS, widget("a"))
    answer = await widgets.strategic(f"{WIDGETS}/a", {"spec": {}})
    assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")
    assert "application/merge-patch+json" in answer.message


async def test_a_patch_with_an_old_revision_is_a_conflict(api: Api) -> None:
    first = await api.post(CONFIG_MAPS, config_map("a"))
    await api.merge(f"{CONFIG_MAPS}/a", {"data": {"x": "1"}})
    answer = await api.merge(f"{CONFIG_MAPS}/a", {"metadata": {"resourceVersion": first.rv}, "data": {"x": "2"}})
    assert (answer.code, answer.reason) == (409, "Conflict")


async def test_a_patch_cannot_rename(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    answer = await api.merge(f"{CONFIG_MAPS}/a", {"metadata": {"name": "b"}})
    assert (answer.code, answer.reason) == (400, "BadRequest")


async def test_a_patch_of_nothing_is_not_found_but_apply_creates(widgets: Api) -> None:
    assert (await widgets.merge(f"{WIDGETS}/a", {"spec": {}})).code == 404
    answer = await widgets.apply(f"{WIDGETS}/a", widget("a", size="small"))
    assert answer.code == 201
    entry = answer.body["metadata"]["managedFields"][0]
    assert (entry["manager"], entry["operation"]) == ("test", "Apply")
    assert "f:size" in entry["fieldsV1"]["f:spec"]


async def test_two_appliers_conflict_over_one_field_until_one_forces(widgets: Api) -> None:
    await widgets.apply(f"{WIDGETS}/a", widget("a", size="small"), manager="one")
    answer = await widgets.apply(f"{WIDGETS}/a", widget("a", size="large"), manager="two")
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .spec.size'
    assert answer.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.size"}
    ]
    forced = await widgets.apply(f"{WIDGETS}/a", widget("a", size="large"), manager="two", force="true")
    assert (forced.code, forced.body["spec"]["size"]) == (200, "large")


async def test_applying_less_removes_what_nobody_else_owns(widgets: Api) -> None:
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    await widgets.apply(f"{WIDGETS}/a", widget("a", size="small", ports=ports))
    answer = await widgets.apply(f"{WIDGETS}/a", widget("a", ports=ports[1:]))
    assert answer.body["spec"] == {"replicas": 1, "ports": [{"name": "b", "port": 2}]}


async def test_an_update_takes_fields_from_an_applier(widgets: Api) -> None:
    await widgets.apply(f"{WIDGETS}/a", widget("a", size="small"), manager="one")
    await widgets.merge(f"{WIDGETS}/a", {"spec": {"size": "large"}}, fieldManager="editor")
    answer = await widgets.apply(f"{WIDGETS}/a", widget("a", size="small"), manager="one")
    assert answer.code == 409
    assert answer.message.startswith('Apply failed with 1 conflict: conflict with "editor" using example.com/v1')


async def test_applying_the_same_again_changes_nothing(widgets: Api) -> None:
    first = await widgets.apply(f"{WIDGETS}/a", widget("a", size="small"))
    second = await widgets.apply(f"{WIDGETS}/a", widget("a", size="small"))
    assert second.rv == first.rv


async def test_apply_needs_a_manager_and_only_apply_may_force(widgets: Api) -> None:
    body = widget("a")
    answer = await widgets.request(
        "PATCH", f"{WIDGETS}/a", body, headers={"Content-Type": "application/apply-patch+yaml"}
    )
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert (await widgets.merge(f"{WIDGETS}/a", {}, force="true")).code == 422


async def test_an_unknown_field_in_an_apply_patch_is_not_in_the_schema(widgets: Api) -> None:
    answer = await widgets.apply(f"{WIDGETS}/a", widget("a", nope=1))
    assert ".spec.nope: field not declared in schema" in answer.message


async def test_a_key_that_comes_twice_in_an_apply_patch_is_told_by_its_line(widgets: Api) -> None:
    path = f"{WIDGETS}/w"
    text = b"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec:\n  replicas: 1\n  replicas: 2\n"
    strict = await widgets.apply(path, text, fieldValidation="Strict")
    assert (strict.code, strict.reason) == (400, "BadRequest")
    assert strict.message == (
        "error decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
        '  line 6: key "replicas" already set in map'
    )
    warned = await widgets.apply(path, text)
    assert (warned.code, warned.warnings) == (201, ['line 6: key "replicas" already set in map'])
    assert (await widgets.apply(path, text, fieldValidation="Ignore")).warnings == []


async def test_scale_is_three_numbers_of_an_object(widgets: Api) -> None:
    await widgets.post(WIDGETS, widget("a", replicas=2))
    await widgets.merge(f"{WIDGETS}/a/status", {"status": {"replicas": 1, "selector": "x=y"}})
    scale = (await widgets.get(f"{WIDGETS}/a/scale")).body
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "x=y"})
    answer = await widgets.merge(f"{WIDGETS}/a/scale", {"spec": {"replicas": 5}})
    assert answer.body["spec"] == {"replicas": 5}
    changed = (await widgets.get(f"{WIDGETS}/a")).body
    assert (changed["spec"]["replicas"], changed["metadata"]["generation"]) == (5, 2)
    assert (await widgets.merge(f"{WIDGETS}/a/scale", {"spec": {"replicas": -1}})).code == 422
