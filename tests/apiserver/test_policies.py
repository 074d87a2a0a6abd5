"""ValidatingAdmissionPolicies: whom they concern, what they refuse, how they say it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.api import CONFIG_MAPS, Api, Object, config_map

GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/validatingadmissionpolicybindings"


def policy(*checks: Object, **spec: Any) -> Object:
    rule = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    return {
        "metadata": {"name": "sizes"},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [*checks], **spec},
    }


def binding(*actions: str, **spec: Any) -> Object:
    return {
        "metadata": {"name": "everywhere"},
        "spec": {"policyName": "sizes", "validationActions": list(actions or ("Deny",)), **spec},
    }


async def put_in_force(api: Api, what: Object, where: Object | None = None) -> None:
    for path, obj in ((POLICIES, what), (BINDINGS, where or binding())):
        answer = await api.post(path, obj)
        assert answer.code == 201, answer.body


SMALL = {"expression": "object.data.size == 'small'", "message": "only small ones"}


async def test_a_bound_policy_refuses_with_its_message(api: Api) -> None:
    await put_in_force(api, policy(SMALL))
    assert (await api.post(CONFIG_MAPS, config_map("a", size="small"))).code == 201
    refused = await api.post(CONFIG_MAPS, config_map("b", size="large"))
    text = "ValidatingAdmissionPolicy 'sizes' with binding 'everywhere' denied request: only small ones"
    assert (refused.code, refused.reason) == (422, "Invalid")
    assert refused.message == f'configmaps "b" is forbidden: {text}'
    assert refused.body["details"]["causes"] == [{"message": text}]
    changed = await api.merge(f"{CONFIG_MAPS}/a", {"data": {"size": "large"}})
    assert changed.code == 422


async def test_a_policy_without_a_binding_refuses_nothing(api: Api) -> None:
    assert (await api.post(POLICIES, policy(SMALL))).code == 201
    assert (await api.post(CONFIG_MAPS, config_map("a", size="large"))).code == 201


async def test_a_binding_may_only_warn(api: Api) -> None:
    await put_in_force(api, policy(SMALL), binding("Warn", "Audit"))
    warned = await api.post(CONFIG_MAPS, config_map("a", size="large"))
    assert warned.code == 201
    assert warned.warnings == [
        "Validation failed for ValidatingAdmissionPolicy 'sizes' with binding 'everywhere': only small ones"
    ]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({}, 422),
        ({"matchResources": {"objectSelector": {"matchLabels": {"a": "b"}}}}, 201),
        ({"matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}}, 422),
        ({"matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}}, 201),
        ({"matchResources": {"excludeResourceRules": [{"operations": ["CREATE"], "apiGroups": ["*"],
          "apiVersions": ["*"], "resources": ["*"]}]}}, 201),
    ],
)  # fmt: skip
async def test_selectors_narrow_a_binding(api: Api, spec: Object, code: int) -> None:
    await put_in_force(api, policy(SMALL), binding(**spec))
    assert (await api.post(CONFIG_MAPS, config_map("a", size="large"))).code == code


async def test_variables_conditions_and_the_namespace_can_be_used(api: Api) -> None:
    await put_in_force(
        api,
        policy(
            {
                "expression": "variables.large",
                "messageExpression": "'in ' + namespaceObject.metadata.name + ' by ' + request.userInfo.username",
                "reason": "Forbidden",
            },
            variables=[
                {"name": "size", "expression": "object.data.size"},
                {"name": "large", "expression": "variables.size == 'large'"},
            ],
            matchConditions=[{"name": "asked", "expression": "request.name != 'free'"}],
        ),
    )
    assert (await api.post(CONFIG_MAPS, config_map("free", size="small"))).code == 201
    assert (await api.post(CONFIG_MAPS, config_map("a", size="large"))).code == 201
    refused = await api.post(CONFIG_MAPS, config_map("b", size="small"))
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert refused.message.endswith("denied request: in default by kubernetes-admin")


@pytest.mark.parametrize(("failure_policy", "code"), [("Fail", 422), ("Ignore", 201)])
async def test_an_expression_that_cannot_be_computed_follows_the_failure_policy(
    api: Api, failure_policy: str, code: int
) -> None:
    await put_in_force(api, policy({"expression": "object.data.none.more == 1"}, failurePolicy=failure_policy))
    answer = await api.post(CONFIG_MAPS, config_map("a", size="large"))
    assert answer.code == code
    if code == 422:
        assert "expression 'object.data.none.more == 1' resulted in error: no such key: none" in answer.message


async def test_parameters_come_from_objects(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("limits", most="2"))
    rule = {"expression": "size(object.data) <= int(params.data.most)"}
    parametrised = policy(rule, paramKind={"apiVersion": "v1", "kind": "ConfigMap"})
    await put_in_force(
        api,
        parametrised,
        binding(paramRef={"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}),
    )
    assert (await api.post(CONFIG_MAPS, config_map("a", x="1", y="2"))).code == 201
    assert (await api.post(CONFIG_MAPS, config_map("b", x="1", y="2", z="3"))).code == 422
    await api.request("DELETE", f"{BINDINGS}/everywhere")
    await api.delete(f"{CONFIG_MAPS}/limits")
    await api.post(BINDINGS, binding(paramRef={"name": "limits", "parameterNotFoundAction": "Deny"}))
    assert "no params found" in (await api.post(CONFIG_MAPS, config_map("c"))).message


async def test_deletions_are_checked_too(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a", size="kept"))
    await put_in_force(api, policy({"expression": "request.operation != 'DELETE' || oldObject.data.size != 'kept'"}))
    refused = await api.delete(f"{CONFIG_MAPS}/a")
    assert refused.code == 422
    assert "failed expression: request.operation" in refused.message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"validations": [{"expression": "object.data.size =="}]}, "spec.validations[0].expression"),
        ({"validations": [{"expression": "authorizer.group('').check()"}]}, "spec.validations[0].expression"),
        ({"validations": []}, "spec.validations"),
        ({"matchConstraints": {}}, "spec.matchConstraints.resourceRules"),
        ({"failurePolicy": "Perhaps"}, "spec.failurePolicy"),
        (
            {
                "matchConstraints": {
                    "resourceRules": [
                        {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
                    ],
                    "objectSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]},
                }
            },
            "spec.matchConstraints.objectSelector",
        ),
    ],
)
async def test_a_policy_that_cannot_work_is_refused(api: Api, change: Object, field: str) -> None:
    obj = policy(SMALL)
    obj["spec"] |= change
    refused = await api.post(POLICIES, obj)
    assert refused.code == 422
    assert [cause["field"] for cause in refused.body["details"]["causes"]] == [field]


async def test_a_binding_does_not_deny_and_warn(api: Api) -> None:
    refused = await api.post(BINDINGS, binding("Deny", "Warn"))
    assert [c["field"] for c in refused.body["details"]["causes"]] == ["spec.validationActions"]
