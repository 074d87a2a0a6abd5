"""Admission webhooks, served by a real HTTPS server: whom they are asked about, what they change, how they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.apiserver.api import CONFIG_MAPS, Answer, Api, Object, config_map
from tests.fakes.cluster import RunningServer
from tests.fakes.webhook import FakeWebhooks, patch, running_webhooks

GROUP = "/apis/admissionregistration.k8s.io/v1"
MUTATING, VALIDATING = f"{GROUP}/mutatingwebhookconfigurations", f"{GROUP}/validatingwebhookconfigurations"
RULE: Object = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
PREFIX = 'admission webhook "a.hooks.example.com" denied the request'


@pytest.fixture
async def hooks(server: RunningServer) -> AsyncIterator[FakeWebhooks]:
    async with running_webhooks(server.pki) as running:
        yield running


def hook(client: Object, *rules: Object, name: str = "a.hooks.example.com", **more: Any) -> Object:
    return {
        "name": name,
        "clientConfig": client,
        "rules": list(rules or (RULE,)),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        **more,
    }


async def configure(api: Api, path: str, *webhooks: Object, name: str = "ours") -> None:
    answer = await api.post(path, {"metadata": {"name": name}, "webhooks": list(webhooks)})
    assert answer.code == 201, answer.body


async def create(api: Api, name: str = "a", **data: str) -> Answer:
    return await api.post(CONFIG_MAPS, config_map(name, None, **data))


async def test_a_webhook_is_asked_the_whole_question(api: Api, hooks: FakeWebhooks) -> None:
    await configure(api, VALIDATING, hook(hooks.url("/check")))
    assert (await create(api, size="small")).code == 201
    asked = hooks.asked[0][1]
    assert (asked["apiVersion"], asked["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    request = hooks.request()
    assert request.pop("uid")
    assert request["object"]["data"] == {"size": "small"}
    assert request["object"]["apiVersion"] == "v1"
    assert request["object"]["metadata"]["uid"]
    del request["object"]
    kind, resource = {"group": "", "version": "v1"}, {"group": "", "version": "v1", "resource": "configmaps"}
    assert request == {
        "kind": {**kind, "kind": "ConfigMap"},
        "resource": resource,
        "requestKind": {**kind, "kind": "ConfigMap"},
        "requestResource": resource,
        "name": "a",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    await api.merge(f"{CONFIG_MAPS}/a", {"data": {"size": "large"}}, dryRun="All")
    assert (hooks.request()["operation"], hooks.request()["dryRun"]) == ("UPDATE", True)
    assert hooks.request()["options"]["dryRun"] == ["All"]
    assert hooks.request()["oldObject"]["data"] == {"size": "small"}
    await api.delete(f"{CONFIG_MAPS}/a")
    request = hooks.request()
    assert (request["operation"], request["object"], request["oldObject"]["data"]) == (
        "DELETE",
        None,
        {"size": "small"},
    )


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        ({"message": "too large", "code": 403, "reason": "Forbidden"}, 403, "Forbidden", f"{PREFIX}: too large"),
        ({"message": "too large"}, 403, "Forbidden", f"{PREFIX}: too large"),
        ({"message": "seen", "code": 409, "reason": "Conflict"}, 409, "Conflict", f"{PREFIX}: seen"),
        ({"message": "odd", "code": 200}, 403, "Forbidden", f"{PREFIX}: odd"),
        ({"reason": "Invalid", "code": 422}, 422, "Invalid", f"{PREFIX}: Invalid"),
        (None, 403, "Forbidden", f"{PREFIX} without explanation"),
    ],
)
async def test_a_refusal_has_the_webhooks_words_and_code(
    api: Api, hooks: FakeWebhooks, status: Object | None, code: int, reason: str, message: str
) -> None:
    hooks.answers["/check"] = {"allowed": False, "status": status}
    await configure(api, VALIDATING, hook(hooks.url("/check")))
    refused = await create(api)
    assert (refused.code, refused.reason, refused.message) == (code, reason, message)
    assert (await api.get(f"{CONFIG_MAPS}/a")).code == 404


async def test_causes_and_warnings_reach_the_client(api: Api, hooks: FakeWebhooks) -> None:
    causes = [{"reason": "FieldValueInvalid", "field": "data.size", "message": "too large"}]
    hooks.answers["/deny"] = {"allowed": False, "status": {"message": "no", "details": {"causes": causes}}}
    hooks.answers["/warn"] = {"allowed": True, "warnings": ["old ways", "old words"]}
    await configure(api, VALIDATING, hook(hooks.url("/warn")))
    assert (await create(api)).warnings == ["old ways", "old words"]
    await configure(api, VALIDATING, hook(hooks.url("/deny")), name="others")
    assert (await create(api, "b")).body["details"]["causes"] == causes


async def test_changes_follow_the_names_of_configurations_and_are_validated_after(
    api: Api, hooks: FakeWebhooks
) -> None:
    def append(letter: str) -> Any:
        def answer(request: Object) -> Object:
            before = request["object"].get("data", {}).get("seen", "")
            return patch({"op": "add", "path": "/data/seen", "value": before + letter})

        return answer

    hooks.answers |= {f"/{letter}": append(letter) for letter in "abc"}
    await configure(api, VALIDATING, hook(hooks.url("/check")))
    second = hook(hooks.url("/c"), name="c.hooks.example.com")
    await configure(api, MUTATING, hook(hooks.url("/b"), name="b.hooks.example.com"), second, name="late")
    await configure(api, MUTATING, hook(hooks.url("/a")), name="early")
    made = await create(api, x="y")
    assert made.body["data"] == {"x": "y", "seen": "abc"}
    assert hooks.paths() == ["/a", "/b", "/c", "/check"]
    assert hooks.request()["object"]["data"]["seen"] == "abc"


async def test_a_webhook_is_asked_again_when_others_have_changed_the_object_since(
    api: Api, hooks: FakeWebhooks
) -> None:
    hooks.answers["/label"] = lambda request: patch(
        {"op": "add", "path": "/data/keys", "value": ",".join(sorted(request["object"]["data"]))}
    )
    hooks.answers["/more"] = patch({"op": "add", "path": "/data/b", "value": "2"})
    again = hook(hooks.url("/label"), name="again.hooks.example.com", reinvocationPolicy="IfNeeded")
    once = hook(hooks.url("/label"), name="once.hooks.example.com")
    more = hook(hooks.url("/more"), name="more.hooks.example.com", reinvocationPolicy="IfNeeded")
    await configure(api, MUTATING, again, more)
    assert (await create(api, a="1")).body["data"]["keys"] == "a,b,keys"
    assert hooks.paths() == ["/label", "/more", "/label", "/more"]
    hooks.asked.clear()
    await api.delete(f"{MUTATING}/ours")
    await configure(api, MUTATING, once, hook(hooks.url("/more"), name="more.hooks.example.com"))
    assert (await create(api, "b", a="1")).body["data"]["keys"] == "a"
    assert hooks.paths() == ["/label", "/more"]


@pytest.mark.parametrize(
    ("more", "calls"),
    [
        ({}, 1),
        ({"rules": [{**RULE, "operations": ["UPDATE", "DELETE"]}]}, 0),
        ({"rules": [{**RULE, "resources": ["*"], "scope": "Cluster"}]}, 0),
        ({"rules": [{**RULE, "resources": ["*/*"], "apiGroups": ["*"], "apiVersions": ["*"]}]}, 1),
        ({"objectSelector": {"matchLabels": {"a": "b"}}}, 0),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, 1),
        ({"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn",
          "values": ["default"]}]}}, 0),
        ({"matchConditions": [{"name": "small", "expression": "object.data.size == 'small'"}]}, 1),
        ({"matchConditions": [{"name": "admins", "expression": "!('system:masters' in request.userInfo.groups)"}]}, 0),
        ({"rules": []}, 0),
    ],
)  # fmt: skip
async def test_only_what_concerns_it(api: Api, hooks: FakeWebhooks, more: Object, calls: int) -> None:
    await configure(api, VALIDATING, {**hook(hooks.url("/check")), **more})
    assert (await create(api, size="small")).code == 201
    assert len(hooks.asked) == calls


async def test_a_condition_that_fails_refuses_unless_failures_are_ignored(api: Api, hooks: FakeWebhooks) -> None:
    condition = [{"name": "deep", "expression": "object.data.nothing == 'x'"}]
    await configure(api, VALIDATING, hook(hooks.url("/check"), matchConditions=condition))
    refused = await create(api, size="small")
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert "match condition 'deep'" in refused.message
    await api.merge(f"{VALIDATING}/ours", {"webhooks": [{**hook(hooks.url("/check"), matchConditions=condition),
                                                       "failurePolicy": "Ignore"}]})  # fmt: skip
    assert (await create(api, size="small")).code == 201
    assert not hooks.asked


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"raw": "no JSON"}, "the answer is no AdmissionReview"),
        ({"raw": "{}"}, "webhook response was absent"),
        ({"raw": "", "code": 503}, "the server answered with 503"),
        ({"allowed": True, "uid": "other"}, "expected response.uid="),
        ({"hang": True}, "context deadline exceeded"),
        ({"allowed": True, "patch": "e30=", "patchType": "JSONPatch"}, "validating webhook may not return a patch"),
    ],
)
async def test_a_webhook_that_fails_is_told_or_ignored(
    api: Api, hooks: FakeWebhooks, answer: Object, words: str
) -> None:
    hooks.answers["/check"] = answer
    await configure(api, VALIDATING, hook(hooks.url("/check"), timeoutSeconds=1))
    failed = await create(api)
    assert (failed.code, failed.reason) == (500, "InternalError")
    assert failed.message.startswith('Internal error occurred: failed calling webhook "a.hooks.example.com": ')
    assert words in failed.message
    await api.delete(f"{VALIDATING}/ours")
    await configure(api, VALIDATING, hook(hooks.url("/check"), timeoutSeconds=1, failurePolicy="Ignore"))
    assert (await create(api)).code == 201


async def test_a_webhook_that_is_not_there_or_not_trusted(api: Api, hooks: FakeWebhooks) -> None:
    nowhere = {"url": "https://127.0.0.1:1/x", "caBundle": hooks.bundle}
    await configure(api, VALIDATING, hook(nowhere))
    assert 'Post "https://127.0.0.1:1/x?timeout=10s"' in (await create(api)).message
    await api.delete(f"{VALIDATING}/ours")
    await configure(api, VALIDATING, hook({"url": hooks.url("/check")["url"]}))
    assert "failed to verify certificate" in (await create(api)).message
    assert not hooks.asked


async def test_a_service_is_called_at_its_endpoints_by_its_name(api: Api, hooks: FakeWebhooks) -> None:
    service = {"namespace": "default", "name": "hook", "path": "/check", "port": 8443}
    await configure(api, VALIDATING, hook({"service": service, "caBundle": hooks.bundle}))
    assert 'service "hook" not found' in (await create(api)).message
    ports = [{"name": "https", "port": 8443, "targetPort": 1}]
    made = await api.post(
        "/api/v1/namespaces/default/services", {"metadata": {"name": "hook"}, "spec": {"ports": ports}}
    )
    assert made.code == 201
    assert 'no endpoints available for service "hook"' in (await create(api)).message
    slice_ = {
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}, {"addresses": ["127.9.9.9"], "conditions": {"ready": False}}],
        "ports": [{"name": "https", "port": hooks.port, "protocol": "TCP"}],
    }
    made = await api.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_)
    assert made.code == 201, made.body
    assert (await create(api)).code == 201
    assert hooks.paths() == ["/check"]


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"op": "replace", "path": "/metadata/name", "value": "b"}, "makes another object of it"),
        ({"op": "remove", "path": "/data/none"}, "cannot be applied"),
        ({"op": "add", "path": "/data", "value": [1]}, "makes no valid object"),
        ({"op": "add", "path": "/metadata/labels", "value": "x"}, "makes no valid object"),
    ],
)
async def test_a_patch_that_makes_nonsense_is_refused(
    api: Api, hooks: FakeWebhooks, operation: Object, words: str
) -> None:
    hooks.answers["/change"] = patch(operation)
    await configure(api, MUTATING, hook(hooks.url("/change"), failurePolicy="Ignore"))
    failed = await create(api, x="y")
    assert (failed.code, words in failed.message) == (500, True), failed.message


async def test_what_the_server_decides_stays_and_unknown_fields_go(api: Api, hooks: FakeWebhooks) -> None:
    hooks.answers["/change"] = patch(
        {"op": "add", "path": "/nonsense", "value": 1},
        {"op": "add", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/metadata/creationTimestamp", "value": "1999-01-01T00:00:00Z"},
        {"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}},
    )
    await configure(api, MUTATING, hook(hooks.url("/change")))
    made = (await create(api)).body
    assert "nonsense" not in made
    assert made["metadata"]["labels"] == {"by": "hook"}
    assert made["metadata"]["resourceVersion"] != "7"
    assert not made["metadata"]["creationTimestamp"].startswith("1999")


async def test_custom_objects_are_pruned_defaulted_and_checked_after_a_change(
    widgets: Api, hooks: FakeWebhooks
) -> None:
    rule = {"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["widgets"]}
    path = "/apis/example.com/v1/namespaces/default/widgets"
    hooks.answers["/change"] = patch(
        {"op": "add", "path": "/spec/replicas", "value": 3}, {"op": "add", "path": "/spec/nonsense", "value": 1}
    )
    await configure(widgets, MUTATING, hook(hooks.url("/change"), rule))
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}}
    made = await widgets.post(path, body)
    assert made.code == 201, made.body
    assert made.body["spec"]["replicas"] == 3
    assert "nonsense" not in made.body["spec"]
    hooks.answers["/change"] = patch({"op": "add", "path": "/spec/replicas", "value": "many"})
    refused = await widgets.post(path, {**body, "metadata": {"name": "v"}})
    assert (refused.code, refused.reason) == (422, "Invalid")


async def test_other_versions_are_asked_about_in_the_version_that_is_wanted(api: Api, hooks: FakeWebhooks) -> None:
    rule = {**RULE, "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}
    await configure(api, VALIDATING, hook(hooks.url("/check"), rule))
    scaler = {
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}},
    }
    made = await api.post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", scaler)
    assert made.code == 201, made.body
    request = hooks.request()
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")
    assert request["object"]["apiVersion"] == "autoscaling/v1"
    assert request["object"]["spec"]["targetCPUUtilizationPercentage"] == 80
    await api.json_patch(f"{VALIDATING}/ours", [{"op": "add", "path": "/webhooks/0/matchPolicy", "value": "Exact"}])
    await api.delete("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h")
    assert len(hooks.asked) == 1


async def test_configurations_are_never_asked_about_so_that_a_broken_one_can_be_removed(
    api: Api, hooks: FakeWebhooks
) -> None:
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    hooks.answers["/no"] = {"allowed": False}
    await configure(api, VALIDATING, hook(hooks.url("/no"), everything))
    await configure(api, MUTATING, hook(hooks.url("/no"), everything))
    assert (await create(api)).code == 403
    assert (await api.delete(f"{CONFIG_MAPS}/kube-root-ca.crt")).code == 403
    assert (await api.delete(f"{VALIDATING}/ours")).code == 200
    assert (await api.delete(f"{MUTATING}/ours")).code == 200
    assert (await create(api)).code == 201


def without(key: str) -> Object:
    return {k: v for k, v in hook({"url": "https://x.example.com/y"}).items() if k != key}


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"name": "short"}, "webhooks[0].name", "at least three segments"),
        ({"sideEffects": "Some"}, "webhooks[0].sideEffects", 'supported values: "None", "NoneOnDryRun"'),
        ({"timeoutSeconds": 31}, "webhooks[0].timeoutSeconds", "between 1 and 30 seconds"),
        ({"admissionReviewVersions": ["v9"]}, "webhooks[0].admissionReviewVersions", "must include at least one of"),
        ({"clientConfig": {}}, "webhooks[0].clientConfig", "exactly one of url or service is required"),
        ({"clientConfig": {"url": "http://x.y/z"}}, "webhooks[0].clientConfig.url", "'https' is the only allowed"),
        ({"clientConfig": {"url": "https://x.y/z?a=b"}}, "webhooks[0].clientConfig.url", "query parameters"),
        ({"clientConfig": {"service": {"name": "x", "namespace": "y", "path": "z"}}},
         "webhooks[0].clientConfig.service.path", "must start with a '/'"),
        ({"rules": [{**RULE, "operations": ["READ"]}]}, "webhooks[0].rules[0].operations[0]", "Unsupported value"),
        ({"rules": [{**RULE, "operations": []}]}, "webhooks[0].rules[0].operations", "Required value"),
        ({"rules": [{**RULE, "apiGroups": ["*", "apps"]}]}, "webhooks[0].rules[0].apiGroups", "if '*' is present"),
        ({"matchConditions": [{"name": "x", "expression": "object."}]},
         "webhooks[0].matchConditions[0].expression", "compilation failed"),
        ({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
         "webhooks[0].objectSelector", "Is"),
        ({"reinvocationPolicy": "Often"}, "webhooks[0].reinvocationPolicy", "Unsupported value"),
    ],
)  # fmt: skip
async def test_a_wrong_configuration_is_refused(api: Api, changed: Object, field: str, words: str) -> None:
    obj = {"metadata": {"name": "ours"}, "webhooks": [{**hook({"url": "https://x.example.com/y"}), **changed}]}
    refused = await api.post(MUTATING, obj)
    assert (refused.code, refused.reason) == (422, "Invalid")
    causes = refused.body["details"]["causes"]
    assert [cause["field"] for cause in causes] == [field]
    assert words in causes[0]["message"]


@pytest.mark.parametrize("key", ["sideEffects", "admissionReviewVersions", "name"])
async def test_what_a_configuration_must_say(api: Api, key: str) -> None:
    refused = await api.post(VALIDATING, {"metadata": {"name": "ours"}, "webhooks": [without(key)]})
    assert (refused.code, refused.body["details"]["causes"][0]["field"]) == (422, f"webhooks[0].{key}")


async def test_a_configuration_is_filled_in(api: Api) -> None:
    service = {"namespace": "default", "name": "hook"}
    made = await api.post(MUTATING, {"metadata": {"name": "ours"}, "webhooks": [hook({"service": service})]})
    shown = made.body["webhooks"][0]
    assert {k: shown[k] for k in ("failurePolicy", "matchPolicy", "timeoutSeconds", "reinvocationPolicy")} == {
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": 10,
        "reinvocationPolicy": "Never",
    }
    assert (shown["clientConfig"]["service"]["port"], shown["rules"][0]["scope"]) == (443, "*")
