"""Workloads, autoscalers and priorities as data: defaults that controllers rely on, what may not change."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.api import Api, Object

APPS = "/apis/apps/v1/namespaces/default"
BATCH = "/apis/batch/v1/namespaces/default"
SCALERS = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def template(**spec: Any) -> Object:
    return {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


def workload(name: str = "w", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"a": "b"}}, **spec}}


@pytest.mark.parametrize(
    ("plural", "expected"),
    [
        ("deployments", {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
         "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}}),
        ("replicasets", {"replicas": 1}),
        ("statefulsets", {"replicas": 1, "podManagementPolicy": "OrderedReady"}),
        ("daemonsets", {"updateStrategy": {"type": "RollingUpdate",
         "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}),
    ],
)  # fmt: skip
async def test_what_a_workload_leaves_out_is_filled_in(api: Api, plural: str, expected: Object) -> None:
    made = await api.post(f"{APPS}/{plural}", workload(template=template()))
    assert made.code == 201, made.body
    assert expected.items() <= made.body["spec"].items()
    container = made.body["spec"]["template"]["spec"]["containers"][0]
    assert (container["imagePullPolicy"], container["terminationMessagePolicy"]) == ("Always", "File")
    assert made.body["status"] == {}


async def test_another_strategy_does_not_get_the_numbers_of_the_default(api: Api) -> None:
    made = await api.post(f"{APPS}/deployments", workload(template=template(), strategy={"type": "Recreate"}))
    assert made.body["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"template": template(), "selector": {"matchLabels": {"a": "c"}}}, "spec.template.metadata.labels"),
        ({"template": template(), "selector": None}, "spec.selector"),
        ({"template": template(containers=[])}, "spec.template.spec.containers"),
        ({"template": template(restartPolicy="Never")}, "spec.template.spec.restartPolicy"),
        ({"template": template(), "replicas": -1}, "spec.replicas"),
    ],
)
async def test_a_workload_that_cannot_work_is_refused(api: Api, spec: Object, field: str) -> None:
    refused = await api.post(f"{APPS}/deployments", workload(**spec))
    assert refused.code == 422
    assert [c["field"] for c in refused.body["details"]["causes"]] == [field]


async def test_a_selector_never_changes(api: Api) -> None:
    await api.post(f"{APPS}/deployments", workload(template=template()))
    changed = await api.merge(
        f"{APPS}/deployments/w",
        {"spec": {"selector": {"matchLabels": {"a": "b", "c": "d"}},
                  "template": {"metadata": {"labels": {"c": "d"}}}}},
    )  # fmt: skip
    assert changed.message == (
        'Deployment.apps "w" is invalid: spec.selector: Invalid value: '
        '{"matchLabels":{"a":"b","c":"d"}}: field is immutable'
    )


async def test_a_job_finds_its_pods_by_its_own_uid(api: Api) -> None:
    spec = {"template": template(restartPolicy="Never")}
    made = (await api.post(f"{BATCH}/jobs", {"metadata": {"name": "j"}, "spec": spec})).body
    labels = {"batch.kubernetes.io/controller-uid": made["metadata"]["uid"]}
    assert made["spec"]["selector"] == {"matchLabels": labels}
    assert labels.items() <= made["spec"]["template"]["metadata"]["labels"].items()
    assert (made["spec"]["completions"], made["spec"]["backoffLimit"], made["spec"]["suspend"]) == (1, 6, False)
    other = await api.json_patch(
        f"{BATCH}/jobs/j", [{"op": "replace", "path": "/spec/template/spec/restartPolicy", "value": "OnFailure"}]
    )
    assert other.code == 422


async def test_a_replication_controller_takes_its_selector_from_its_template(api: Api) -> None:
    body = {"metadata": {"name": "rc"}, "spec": {"template": template()}}
    made = (await api.post("/api/v1/namespaces/default/replicationcontrollers", body)).body
    assert (made["spec"]["selector"], made["metadata"]["labels"]) == ({"a": "b"}, {"a": "b"})


MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 70}},
}
PROCESSOR = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}


async def test_an_autoscaler_is_the_same_in_both_versions(api: Api) -> None:
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 3, "metrics": [PROCESSOR, MEMORY]}
    made = await api.post(SCALERS.format("v2"), {"metadata": {"name": "h"}, "spec": spec})
    assert made.code == 201, made.body
    old = (await api.get(f"{SCALERS.format('v1')}/h")).body
    assert old["apiVersion"] == "autoscaling/v1"
    assert old["spec"] == {
        "scaleTargetRef": TARGET, "maxReplicas": 3, "minReplicas": 1, "targetCPUUtilizationPercentage": 50
    }  # fmt: skip
    old["spec"]["targetCPUUtilizationPercentage"] = 60
    assert (await api.put(f"{SCALERS.format('v1')}/h", old)).code == 200
    new = (await api.get(f"{SCALERS.format('v2')}/h")).body
    assert new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    assert new["spec"]["metrics"][1] == MEMORY
    assert "annotations" not in new["metadata"]


@pytest.mark.parametrize("annotations", [[], {"autoscaling.alpha.kubernetes.io/metrics": "{"}, "x"])
async def test_odd_annotations_of_an_autoscaler_do_no_harm(api: Api, annotations: Any) -> None:
    body = {
        "metadata": {"name": "h", "annotations": annotations},
        "spec": {"scaleTargetRef": TARGET, "maxReplicas": 3},
    }
    assert (await api.post(SCALERS.format("v1"), body)).code in (201, 400)


async def test_a_priority_stays_what_it_was(api: Api) -> None:
    made = await api.post(PRIORITIES, {"metadata": {"name": "high"}, "value": 5})
    assert made.body["preemptionPolicy"] == "PreemptLowerPriority"
    refused = await api.merge(f"{PRIORITIES}/high", {"value": 6})
    assert "value: Forbidden: may not be changed in an update." in refused.message
    assert (await api.merge(f"{PRIORITIES}/high", {"description": "words"})).code == 200
    assert (await api.post(PRIORITIES, {"metadata": {"name": "system-mine"}, "value": 5})).code == 422


async def test_an_autoscaler_without_its_greatest_number_is_refused(api: Api) -> None:
    body = {
        "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "w"}, "maxReplicas": None},
    }
    answer = await api.post(SCALERS.format("v2"), body)
    assert answer.code == 422
    assert answer.body["details"]["causes"][0]["field"] == "spec.maxReplicas"
