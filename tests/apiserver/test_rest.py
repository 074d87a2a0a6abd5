"""The REST verbs: metadata, preconditions, errors in the words that clients know."""

from __future__ import annotations

import re

import pytest

from tests.apiserver.api import CONFIG_MAPS, WIDGETS, Api, config_map, widget


async def test_a_created_object_gets_its_identity_from_the_server(api: Api) -> None:
    body = config_map("a", x="1")
    body["metadata"].update(uid="mine", creationTimestamp="2001-01-01T00:00:00Z", selfLink="/x")
    answer = await api.post(CONFIG_MAPS, body)
    meta = answer.body["metadata"]
    assert answer.code == 201
    assert re.fullmatch(r"[0-9a-f-]{36}", meta["uid"])
    assert meta["namespace"] == "default"
    assert meta["creationTimestamp"] != "2001-01-01T00:00:00Z"
    assert meta["resourceVersion"].isdigit()
    assert "selfLink" not in meta
    assert "generation" not in meta
    assert (await api.get(f"{CONFIG_MAPS}/a")).body == answer.body


async def test_generate_name_appends_five_characters_to_a_cut_base(api: Api) -> None:
    body = config_map("")
    body["metadata"] = {"generateName": "x" * 70}
    answer = await api.post(CONFIG_MAPS, body)
    assert re.fullmatch(r"x{58}[bcdfghjklmnpqrstvwxz2456789]{5}", answer.body["metadata"]["name"])


async def test_creating_twice_is_already_exists(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    answer = await api.post(CONFIG_MAPS, config_map("a"))
    assert (answer.code, answer.reason) == (409, "AlreadyExists")
    assert answer.message == 'configmaps "a" already exists'
    assert answer.body["details"] == {"name": "a", "kind": "configmaps"}


async def test_a_missing_object_is_not_found(api: Api) -> None:
    answer = await api.get(f"{CONFIG_MAPS}/nope")
    assert (answer.code, answer.reason, answer.message) == (404, "NotFound", 'configmaps "nope" not found')


async def test_an_unknown_namespace_refuses_creates_and_lists_nothing(api: Api) -> None:
    path = "/api/v1/namespaces/nowhere/configmaps"
    answer = await api.post(path, config_map("a"))
    assert (answer.code, answer.message) == (404, 'namespaces "nowhere" not found')
    assert (await api.get(path)).body["items"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"apiVersion": "v2"}, "the API version in the data (v2) does not match the expected API version (v1)"),
        ({"kind": "Secret"}, "the kind in the data (Secret) does not match the expected kind (ConfigMap)"),
        (
            {"metadata": {"name": "a", "namespace": "other"}},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            {"metadata": {"name": "a", "resourceVersion": "5"}},
            "resourceVersion should not be set on objects to be created",
        ),
    ],
)
async def test_objects_that_lie_about_themselves_are_refused(api: Api, change: dict[str, object], message: str) -> None:
    answer = await api.post(CONFIG_MAPS, {**config_map("a"), **change})
    assert (answer.code, answer.message) == (400, message)


async def test_built_in_kinds_may_leave_out_their_kind(api: Api) -> None:
    answer = await api.post(CONFIG_MAPS, {"metadata": {"name": "a"}})
    assert answer.code == 201
    assert answer.body["kind"] == "ConfigMap"


async def test_custom_kinds_may_not(widgets: Api) -> None:
    answer = await widgets.post(WIDGETS, {"metadata": {"name": "a"}})
    assert answer.code == 400
    assert answer.message.startswith("Object 'Kind' is missing in ")


@pytest.mark.parametrize("name", ["UPPER", "a/b", "-a", "a..b", pytest.param("x" * 254, id="long"), "a_b", "é"])
async def test_bad_names_are_invalid(api: Api, name: str) -> None:
    answer = await api.post(CONFIG_MAPS, config_map(name))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.body["details"]["causes"][0]["field"] == "metadata.name"
    assert answer.body["details"]["kind"] == "ConfigMap"


async def test_a_put_with_an_old_revision_is_a_conflict(api: Api) -> None:
    first = (await api.post(CONFIG_MAPS, config_map("a", x="1"))).body
    await api.put(f"{CONFIG_MAPS}/a", {**first, "data": {"x": "2"}})
    answer = await api.put(f"{CONFIG_MAPS}/a", {**first, "data": {"x": "3"}})
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert answer.message.startswith('Operation cannot be fulfilled on configmaps "a": the object has been modified')


async def test_a_put_without_revision_overwrites_a_config_map(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a", x="1"))
    answer = await api.put(f"{CONFIG_MAPS}/a", config_map("a", x="2"))
    assert (answer.code, answer.body["data"]) == (200, {"x": "2"})


async def test_a_put_without_revision_is_invalid_for_a_custom_object(widgets: Api) -> None:
    await widgets.post(WIDGETS, widget("a"))
    answer = await widgets.put(f"{WIDGETS}/a", widget("a"))
    assert answer.code == 422
    assert answer.message == (
        'widgets.example.com "a" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an '
        "update"
    )
    assert answer.body["details"]["kind"] == "widgets"


async def test_a_put_never_creates_a_custom_object_but_creates_a_lease(widgets: Api) -> None:
    assert (await widgets.put(f"{WIDGETS}/a", widget("a"))).code == 404
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
    assert (await widgets.put(path, lease)).code == 201


async def test_a_put_with_another_uid_is_a_conflict(api: Api) -> None:
    first = (await api.post(CONFIG_MAPS, config_map("a"))).body
    first["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    assert (await api.put(f"{CONFIG_MAPS}/a", first)).code == 409


async def test_a_put_that_changes_nothing_keeps_the_revision(api: Api) -> None:
    first = (await api.post(CONFIG_MAPS, config_map("a", x="1"))).body
    answer = await api.put(f"{CONFIG_MAPS}/a", first)
    assert answer.rv == first["metadata"]["resourceVersion"]


async def test_generation_counts_changes_of_the_specification_only(widgets: Api) -> None:
    await widgets.post(WIDGETS, widget("a", size="small"))
    labelled = await widgets.merge(f"{WIDGETS}/a", {"metadata": {"labels": {"x": "y"}}})
    assert labelled.body["metadata"]["generation"] == 1
    status = await widgets.merge(f"{WIDGETS}/a/status", {"status": {"replicas": 3}})
    assert status.body["metadata"]["generation"] == 1
    changed = await widgets.merge(f"{WIDGETS}/a", {"spec": {"size": "large"}})
    assert changed.body["metadata"]["generation"] == 2


async def test_status_is_written_only_through_its_subresource(widgets: Api) -> None:
    created = await widgets.post(WIDGETS, {**widget("a", size="small"), "status": {"replicas": 9}})
    assert "status" not in created.body
    main = await widgets.merge(f"{WIDGETS}/a", {"status": {"replicas": 9}})
    assert "status" not in main.body
    status = await widgets.merge(
        f"{WIDGETS}/a/status",
        {"status": {"replicas": 2}, "spec": {"size": "large"}, "metadata": {"labels": {"a": "b"}}},
    )
    assert status.body["status"] == {"replicas": 2}
    assert status.body["spec"]["size"] == "small"
    assert "labels" not in status.body["metadata"]


async def test_dry_run_answers_as_if_and_stores_nothing(api: Api) -> None:
    answer = await api.post(CONFIG_MAPS, config_map("a"), dryRun="All")
    assert answer.code == 201
    assert (await api.get(f"{CONFIG_MAPS}/a")).code == 404
    assert (await api.post(CONFIG_MAPS, config_map("a"), dryRun="Some")).code == 422


async def test_unknown_and_duplicate_fields_are_refused_strictly_and_warned_of_otherwise(widgets: Api) -> None:
    body = (
        b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},'
        b'"spec":{"nope":1,"size":"small","size":"small"}}'
    )
    strict = await widgets.post(WIDGETS, body, fieldValidation="Strict")
    assert strict.code == 400
    assert strict.message == 'strict decoding error: unknown field "spec.nope", duplicate field "spec.size"'
    warned = await widgets.post(WIDGETS, body)
    assert warned.code == 201
    assert warned.warnings == ['unknown field "spec.nope"', 'duplicate field "spec.size"']
    assert "nope" not in warned.body["spec"]
    ignored = await widgets.post(WIDGETS, body.replace(b'"a"', b'"b"'), fieldValidation="Ignore")
    assert (ignored.code, ignored.warnings) == (201, [])
    assert (await widgets.post(WIDGETS, body, fieldValidation="Perhaps")).code == 422


async def test_unknown_fields_of_metadata_are_found_too(widgets: Api) -> None:
    body = widget("a")
    body["metadata"]["colour"] = "red"
    answer = await widgets.post(WIDGETS, body, fieldValidation="Strict")
    assert answer.message == 'strict decoding error: unknown field "metadata.colour"'


async def test_defaults_and_validation_come_from_the_schema(widgets: Api) -> None:
    created = await widgets.post(WIDGETS, widget("a"))
    assert created.body["spec"] == {"replicas": 1}
    answer = await widgets.post(WIDGETS, widget("b", size="medium", replicas=-1))
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert {c["field"] for c in answer.body["details"]["causes"]} >= {"spec.size", "spec.replicas"}
    assert answer.message.startswith('Widget.example.com "b" is invalid: [')


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/nosuch", 404),
        ("GET", "/apis/no.such/v1/things", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/api/v1/configmaps", 404),
        ("DELETE", "/api/v1/configmaps", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("POST", "/api/v1/namespaces/default/configmaps/a/status", 404),
        ("DELETE", "/api/v1/namespaces", 405),
        ("GET", "/api/v1/namespaces/default/configmaps/..%2fa", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/a%00", 404),
        ("GET", "/api/v1//namespaces", 404),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
    ],
)
async def test_paths_that_are_not_served(api: Api, method: str, path: str, code: int) -> None:
    from yarl import URL

    answer = await api.request(method, URL(path, encoded=True), {} if method == "POST" else None)  # type: ignore[arg-type]
    assert answer.code == code, answer.body


async def test_a_body_of_an_unknown_type_is_415_and_one_that_is_too_large_413(api: Api) -> None:
    answer = await api.request("POST", CONFIG_MAPS, b"x", headers={"Content-Type": "text/csv"})
    assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")
    answer = await api.post(CONFIG_MAPS, b" " * (3 * 1024 * 1024 + 1))
    assert (answer.code, answer.message) == (413, "Request entity too large: limit is 3145728")


async def test_an_answer_that_cannot_be_given_is_406(api: Api) -> None:
    answer = await api.request("GET", CONFIG_MAPS, headers={"Accept": "text/html"})
    assert (answer.code, answer.reason) == (406, "NotAcceptable")


async def test_yaml_bodies_are_taken_and_aliases_are_not(api: Api) -> None:
    body = b"metadata:\n  name: a\ndata:\n  when: 2001-01-01\n"
    answer = await api.request("POST", CONFIG_MAPS, body, headers={"Content-Type": "application/yaml"})
    assert (answer.code, answer.body["data"]) == (201, {"when": "2001-01-01"})
    bomb = b"a: &a [1,1]\nb: [*a,*a]\n"
    answer = await api.request("POST", CONFIG_MAPS, bomb, headers={"Content-Type": "application/yaml"})
    assert answer.code == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"{" * 5000, b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b"\xff\xfe"],
    ids=["empty", "cut off", "list", "null", "string", "deep and cut off", "deep", "not UTF-8"],
)
async def test_broken_bodies_are_bad_requests(api: Api, body: bytes) -> None:
    answer = await api.post(CONFIG_MAPS, body)
    assert (answer.code, answer.reason) == (400, "BadRequest")


async def test_null_in_a_list_or_map_is_the_zero_of_its_type(api: Api) -> None:
    services = "/api/v1/namespaces/default/services"
    service = {"metadata": {"name": "s"}, "spec": {"selector": {"a": None}, "ports": [{"name": "a", "port": 80}]}}
    made = await api.post(services, service)
    assert (made.code, made.body["spec"]["selector"]) == (201, {"a": ""})
    refused = await api.post(services, {"metadata": {"name": "t"}, "spec": {"ports": [None]}})
    assert refused.message == (
        'Service "t" is invalid: spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive'
    )
