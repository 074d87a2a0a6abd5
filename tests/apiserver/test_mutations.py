"""MutatingAdmissionPolicies: what they change, of what, in which order, and what they may not make."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.apiserver.schema.cel_objects import as_maps
from tests.apiserver.api import CONFIG_MAPS, Answer, Api, Object, config_map

GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{GROUP}/mutatingadmissionpolicies", f"{GROUP}/mutatingadmissionpolicybindings"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
RULE: Object = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


def applied(expression: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> Object:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


async def put_in_force(api: Api, *mutations: Object, name: str = "p", rule: Object = RULE, **spec: Any) -> None:
    policy = {"matchConstraints": {"resourceRules": [rule]}, "mutations": list(mutations), **spec}
    for path, obj in (
        (POLICIES, {"metadata": {"name": name}, "spec": policy}),
        (BINDINGS, {"metadata": {"name": name}, "spec": {"policyName": name}}),
    ):
        answer = await api.post(path, obj)
        assert answer.code == 201, answer.body


async def create(api: Api, name: str = "a", **data: str) -> Answer:
    return await api.post(CONFIG_MAPS, config_map(name, None, **data))


async def test_a_configuration_is_laid_over_the_object(api: Api) -> None:
    await put_in_force(
        api,
        applied('Object{metadata: Object.metadata{labels: {"by": "policy"}}, data: Object.data{size: "small"}}'),
        applied('object.data.size == "small" ? Object{data: {"seen": request.userInfo.username}} : Object{}'),
    )
    made = (await create(api, x="y")).body
    assert made["data"] == {"x": "y", "size": "small", "seen": "kubernetes-admin"}
    assert made["metadata"]["labels"] == {"by": "policy"}
    assert (await api.post(f"{CONFIG_MAPS.replace('configmaps', 'secrets')}", {"metadata": {"name": "s"}})).code == 201


async def test_keyed_lists_are_merged_by_their_keys(api: Api) -> None:
    rule = {**RULE, "apiGroups": ["apps"], "resources": ["deployments"]}
    sidecar = """
        Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
            containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{
                name: c.name, imagePullPolicy: "Always"  // Object{name: "x"}
            }) + [Object.spec.template.spec.containers{name: "mesh", image: "proxy"}]
        }}}}"""
    await put_in_force(api, applied(sidecar), rule=rule)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "web", "image": "w"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = await api.post(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})
    assert made.code == 201, made.body
    containers = made.body["spec"]["template"]["spec"]["containers"]
    shown = [(c["name"], c["image"], c["imagePullPolicy"]) for c in containers]
    assert shown == [("web", "w", "Always"), ("mesh", "proxy", "Always")]


async def test_a_patch_is_made_of_operations(api: Api) -> None:
    expression = """
        (has(object.metadata.labels) ? [] : [JSONPatch{op: "add", path: "/metadata/labels", value: {}}]) + [
            JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/env"), value: "test"},
            JSONPatch{op: "remove", path: "/data/secret"}]"""
    await put_in_force(api, patched(expression))
    made = (await create(api, secret="x", kept="y")).body
    assert made["metadata"]["labels"] == {"example.com/env": "test"}
    assert made["data"] == {"kept": "y"}


async def test_custom_objects_are_defaulted_and_checked_after_a_change(widgets: Api) -> None:
    rule = {**RULE, "apiGroups": ["example.com"], "resources": ["widgets"]}
    await put_in_force(widgets, applied("Object{spec: Object.spec{replicas: 3}}"), rule=rule)
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}}
    made = await widgets.post("/apis/example.com/v1/namespaces/default/widgets", body)
    assert made.code == 201, made.body
    assert made.body["spec"]["replicas"] == 3


async def test_policies_follow_their_names_and_come_again_where_they_want(api: Api) -> None:
    keys = 'Object{data: {"keys": object.data.map(k, k).join(",")}}'
    await put_in_force(api, applied(keys), name="a", reinvocationPolicy="IfNeeded")
    await put_in_force(api, applied('Object{data: {"later": "yes"}}'), name="b")
    assert "later" in (await create(api, x="y")).body["data"]["keys"]
    await api.merge(f"{POLICIES}/a", {"spec": {"reinvocationPolicy": "Never"}})
    assert (await create(api, "b", x="y")).body["data"]["keys"] == "x"


@pytest.mark.parametrize(
    ("spec", "data"),
    [
        ({"matchConditions": [{"name": "c", "expression": "object.metadata.name == 'other'"}]}, {"x": "y"}),
        ({"variables": [{"name": "v", "expression": "object.data.x + '!'"}],
          "mutations": [applied('Object{data: {"x": variables.v}}')]}, {"x": "y!"}),
        ({"failurePolicy": "Ignore", "mutations": [applied('Object{data: {"x": object.data.nothing}}')]}, {"x": "y"}),
        ({"matchConstraints": {"resourceRules": [{**RULE, "operations": ["UPDATE"]}]}}, {"x": "y"}),
    ],
)  # fmt: skip
async def test_conditions_variables_and_failures(api: Api, spec: Object, data: Object) -> None:
    changed = {"mutations": [applied('Object{data: {"x": "changed"}}')], **spec}
    await put_in_force(api, *changed.pop("mutations"), **{"name": "p", **changed})
    made = await create(api, x="y")
    assert (made.code, made.body.get("data")) == (201, data), made.body


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (applied('Object{data: {"x": object.data.nothing}}'), "no such key"),
        (applied('Object{metadata: Object.metadata{name: "other"}}'), "makes another object of it"),
        (applied("Object{data: [1]}"), "the configuration does not fit"),
        (applied('"text"'), "must evaluate to an Object"),
        (patched('[JSONPatch{op: "remove", path: "/data/none"}]'), "the server rejected our request"),
    ],
)
async def test_a_change_that_cannot_be_made_refuses(api: Api, mutation: Object, words: str) -> None:
    await put_in_force(api, mutation)
    refused = await create(api, x="y")
    assert (refused.code, refused.reason) == (422, "Invalid")
    assert "MutatingAdmissionPolicy 'p' with binding 'p' denied request: " in refused.message
    assert words in refused.message


async def test_parameters_come_with_the_binding(api: Api) -> None:
    await create(api, "settings", size="large")
    expression = 'Object{data: {"size": params.data.size}}'
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    await put_in_force(api, applied(expression), paramKind=kind)
    reference = {"name": "settings", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await api.merge(f"{BINDINGS}/p", {"spec": {"paramRef": reference}})
    assert (await create(api)).body["data"] == {"size": "large"}


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"mutations": []}, "spec.mutations", "must be non-empty"),
        ({"mutations": [{"patchType": "Merge"}]}, "spec.mutations[0].patchType", "Unsupported value"),
        ({"mutations": [applied("Object{")]}, "spec.mutations[0].applyConfiguration.expression", "compilation failed"),
        ({"mutations": [{"patchType": "JSONPatch"}]}, "spec.mutations[0].jsonPatch.expression", "Required value"),
        ({"mutations": [{**patched("[]"), "applyConfiguration": {"expression": "Object{}"}}]},
         "spec.mutations[0].applyConfiguration", "not allowed when patchType is JSONPatch"),
        ({"matchConstraints": {}}, "spec.matchConstraints.resourceRules", "Required value"),
        ({"reinvocationPolicy": "Often"}, "spec.reinvocationPolicy", "Unsupported value"),
    ],
)  # fmt: skip
async def test_a_wrong_policy_is_refused(api: Api, spec: Object, field: str, words: str) -> None:
    base = {"matchConstraints": {"resourceRules": [RULE]}, "mutations": [applied("Object{}")]}
    refused = await api.post(POLICIES, {"metadata": {"name": "p"}, "spec": {**base, **spec}})
    assert (refused.code, refused.reason) == (422, "Invalid")
    causes = refused.body["details"]["causes"]
    assert [cause["field"] for cause in causes] == [field]
    assert words in causes[0]["message"]


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
async def test_older_versions_are_the_same_objects(api: Api, version: str) -> None:
    await put_in_force(api, applied("Object{}"))
    shown = (await api.get(f"{POLICIES.replace('/v1/', f'/{version}/')}/p")).body
    assert shown["apiVersion"] == f"admissionregistration.k8s.io/{version}"
    assert shown["spec"]["reinvocationPolicy"] == "Never"


@pytest.mark.parametrize(
    ("expression", "read"),
    [
        ("Object{a: 1}", '{"a": 1}'),
        ("Object.spec { a : b ? c : d, ?e: f }", '{ "a" : b ? c : d, ?"e": f }'),
        ("x.Object{a: 1}", "x.Object{a: 1}"),
        ("'Object{a: 1}' + r\"\\Object{\"", "'Object{a: 1}' + r\"\\Object{\""),
        ("Object{__namespace__: 1, my__dash__key: {a: 1}, `x.y`: [Object{}]}",
         '{"namespace": 1, "my-key": {a: 1}, "x.y": [{}]}'),
        ("objects.map(Object, Object)", "objects.map(Object, Object)"),
        ("Object{a: f(Object.b{c: g[d]})} // Object{", '{"a": f({"c": g[d]})} // Object{'),
    ],
)  # fmt: skip
def test_constructions_are_read_as_maps(expression: str, read: str) -> None:
    assert as_maps(expression) == read
