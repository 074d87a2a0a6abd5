"""Evictions ask the disruption budget that covers the Pod."""

from __future__ import annotations

from typing import Any

from tests.apiserver.api import Api

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


async def pod(api: Api, name: str, *, ready: bool = True) -> None:
    body = {
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "a", "image": "x"}]},
    }
    assert (await api.post(PODS, body)).code == 201
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    answer = await api.merge(f"{PODS}/{name}/status", {"status": {"phase": "Running", "conditions": [condition]}})
    assert answer.code == 200


async def budget(api: Api, name: str = "b", **spec: Any) -> None:
    body = {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}
    assert (await api.post(BUDGETS, body)).code == 201


async def evict(api: Api, name: str, **query: Any) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
    return await api.post(f"{PODS}/{name}/eviction", body, **query)


async def test_a_pod_without_a_budget_goes(api: Api) -> None:
    await pod(api, "a")
    assert (await evict(api, "a")).code == 201
    assert (await api.get(f"{PODS}/a")).code == 404


async def test_a_budget_lets_go_as_many_as_it_can_spare(api: Api) -> None:
    for name in ("a", "b"):
        await pod(api, name)
    await budget(api, minAvailable=1)
    assert (await evict(api, "a")).code == 201
    refused = await evict(api, "b")
    assert (refused.code, refused.reason) == (429, "TooManyRequests")
    assert refused.message == "Cannot evict pod as it would violate the pod's disruption budget."
    assert refused.body["details"]["causes"][0]["reason"] == "DisruptionBudget"
    assert (await api.get(f"{PODS}/b")).code == 200


async def test_a_rehearsed_eviction_spends_nothing(api: Api) -> None:
    for name in ("a", "b"):
        await pod(api, name)
    await budget(api, maxUnavailable=1)
    assert (await evict(api, "a", dryRun="All")).code == 201
    assert (await api.get(f"{PODS}/a")).code == 200
    assert (await evict(api, "b")).code == 201


async def test_percentages_count_the_pods_there_are(api: Api) -> None:
    for name in ("a", "b", "c"):
        await pod(api, name)
    await budget(api, minAvailable="100%")
    assert (await evict(api, "a")).code == 429


async def test_two_budgets_over_one_pod_are_an_error(api: Api) -> None:
    await pod(api, "a")
    await budget(api, "b1", minAvailable=0)
    await budget(api, "b2", minAvailable=0)
    answer = await evict(api, "a")
    assert (answer.code, answer.reason) == (500, "InternalError")


async def test_a_pod_that_is_not_there_cannot_be_evicted(api: Api) -> None:
    assert (await evict(api, "none")).code == 404
