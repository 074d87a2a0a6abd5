"""Deletion, finalizers, owners, namespaces, definitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.apiserver.api import CONFIG_MAPS, WIDGETS, Answer, Api, config_map, widget, widget_definition
from tests.apiserver.conftest import DEFINITIONS

Object = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"


async def until(api: Api, path: str, holds: Callable[[Answer], bool]) -> Answer:
    """The first answer that holds; woken by the watch of the object's collection."""
    collection, _, name = path.rpartition("/")
    async with (
        asyncio.timeout(10),
        api.watch(collection, fieldSelector=f"metadata.name={name}", timeoutSeconds=10) as w,
    ):
        while not holds(answer := await api.get(path)):
            await w.next()
    return answer


def gone(answer: Answer) -> bool:
    return answer.code == 404


def owned(name: str, owner: Answer, *, block: bool = False) -> Object:
    body = config_map(name)
    meta = owner.body["metadata"]
    body["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": meta["name"], "uid": meta["uid"], "blockOwnerDeletion": block}
    ]
    return body


async def test_a_deletion_answers_with_a_status_that_names_the_uid(api: Api) -> None:
    created = await api.post(CONFIG_MAPS, config_map("a"))
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"propagationPolicy": "Background"})
    assert answer.code == 200
    assert answer.body["status"] == "Success"
    assert answer.body["details"] == {"name": "a", "kind": "configmaps", "uid": created.body["metadata"]["uid"]}


async def test_finalizers_hold_an_object_until_they_are_removed(api: Api) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await api.post(CONFIG_MAPS, body)
    waiting = await api.delete(f"{CONFIG_MAPS}/a")
    assert waiting.body["metadata"]["deletionTimestamp"]
    assert waiting.body["metadata"]["deletionGracePeriodSeconds"] == 0
    again = await api.delete(f"{CONFIG_MAPS}/a")
    assert (again.code, again.rv) == (200, waiting.rv)
    added = await api.merge(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}})
    assert (added.code, added.reason) == (422, "Invalid")
    released = await api.merge(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": None}})
    assert released.code == 200
    assert (await api.get(f"{CONFIG_MAPS}/a")).code == 404


async def test_preconditions_must_hold(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"preconditions": {"uid": "other"}})
    assert (answer.code, answer.reason) == (409, "Conflict")
    assert "the UID in the precondition (other) does not match the UID in record (" in answer.message
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"preconditions": {"resourceVersion": "1"}})
    assert answer.code == 409


async def test_options_come_from_the_query_when_there_is_no_body(api: Api) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    assert (await api.delete(f"{CONFIG_MAPS}/a", dryRun="All")).code == 200
    assert (await api.get(f"{CONFIG_MAPS}/a")).code == 200
    assert (await api.delete(f"{CONFIG_MAPS}/a", propagationPolicy="Sideways")).code == 422


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    for name in ("a", "b"):
        await api.post(CONFIG_MAPS, config_map(name, labels={"n": name}))
    answer = await api.delete(CONFIG_MAPS, labelSelector="n=a")
    assert answer.names == ["a"]
    assert (await api.get(f"{CONFIG_MAPS}/b")).code == 200


async def test_dependants_go_with_their_owner(api: Api) -> None:
    owner = await api.post(CONFIG_MAPS, config_map("owner"))
    await api.post(CONFIG_MAPS, owned("child", owner))
    await api.delete(f"{CONFIG_MAPS}/owner")
    await until(api, f"{CONFIG_MAPS}/child", gone)


async def test_a_dependant_of_an_owner_that_never_was_goes(api: Api) -> None:
    owner = await api.post(CONFIG_MAPS, config_map("owner"))
    owner.body["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    await api.post(CONFIG_MAPS, owned("child", owner))
    await until(api, f"{CONFIG_MAPS}/child", gone)


async def test_orphans_stay_without_the_reference(api: Api) -> None:
    owner = await api.post(CONFIG_MAPS, config_map("owner"))
    await api.post(CONFIG_MAPS, owned("child", owner))
    await api.delete(f"{CONFIG_MAPS}/owner", {"propagationPolicy": "Orphan"})
    await until(api, f"{CONFIG_MAPS}/owner", gone)
    child = await api.get(f"{CONFIG_MAPS}/child")
    assert "ownerReferences" not in child.body["metadata"]


async def test_in_foreground_the_owner_goes_last(api: Api) -> None:
    owner = await api.post(CONFIG_MAPS, config_map("owner"))
    child = owned("child", owner, block=True)
    child["metadata"]["finalizers"] = ["example.com/hold"]
    await api.post(CONFIG_MAPS, child)
    answer = await api.delete(f"{CONFIG_MAPS}/owner", {"propagationPolicy": "Foreground"})
    assert answer.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    await until(api, f"{CONFIG_MAPS}/child", lambda a: "deletionTimestamp" in a.body["metadata"])
    assert (await api.get(f"{CONFIG_MAPS}/owner")).code == 200
    await api.merge(f"{CONFIG_MAPS}/child", {"metadata": {"finalizers": None}})
    await until(api, f"{CONFIG_MAPS}/owner", gone)


async def test_a_circle_of_owners_does_not_hold_itself(api: Api) -> None:
    names = ("a", "b", "c")
    made = {name: await api.post(CONFIG_MAPS, config_map(name)) for name in names}
    for name, owner in zip(names, ("b", "c", "a"), strict=True):
        refs = owned(name, made[owner], block=True)["metadata"]["ownerReferences"]
        await api.merge(f"{CONFIG_MAPS}/{name}", {"metadata": {"ownerReferences": refs}})
    await api.delete(f"{CONFIG_MAPS}/a", {"propagationPolicy": "Foreground"})
    for name in names:
        await until(api, f"{CONFIG_MAPS}/{name}", gone)


async def test_a_dependant_with_another_living_owner_only_loses_the_reference(api: Api) -> None:
    first = await api.post(CONFIG_MAPS, config_map("first"))
    second = await api.post(CONFIG_MAPS, config_map("second"))
    body = owned("child", first)
    body["metadata"]["ownerReferences"] += owned("child", second)["metadata"]["ownerReferences"]
    await api.post(CONFIG_MAPS, body)
    await api.delete(f"{CONFIG_MAPS}/first")
    child = await until(api, f"{CONFIG_MAPS}/child", lambda a: len(a.body["metadata"]["ownerReferences"]) == 1)
    assert child.body["metadata"]["ownerReferences"][0]["name"] == "second"


async def test_a_namespace_is_filled_emptied_and_gone(api: Api) -> None:
    created = await api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    assert created.body["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}
    assert created.body["spec"] == {"finalizers": ["kubernetes"]}
    assert created.body["status"] == {"phase": "Active"}
    path = "/api/v1/namespaces/n/configmaps"
    await until(api, f"{path}/kube-root-ca.crt", lambda a: a.code == 200)
    await until(api, "/api/v1/namespaces/n/serviceaccounts/default", lambda a: a.code == 200)
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.post(path, held)
    deleted = await api.delete("/api/v1/namespaces/n")
    assert deleted.body["status"]["phase"] == "Terminating"
    refused = await api.post(path, config_map("late"))
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    await until(api, f"{path}/held", lambda a: "deletionTimestamp" in a.body["metadata"])
    stuck = await until(api, "/api/v1/namespaces/n", lambda a: len(a.body["status"].get("conditions", ())) == 5)
    messages = {c["type"]: c["message"] for c in stuck.body["status"]["conditions"]}
    assert "example.com/hold in 1 resource instances" in messages["NamespaceFinalizersRemaining"]
    await api.merge(f"{path}/held", {"metadata": {"finalizers": None}})
    await until(api, "/api/v1/namespaces/n", gone)


async def test_what_pods_use_stays_in_a_namespace_until_they_are_gone(api: Api) -> None:
    await api.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    await until(api, "/api/v1/namespaces/n/serviceaccounts/default", lambda a: a.code == 200)
    pod = {
        "metadata": {"name": "p", "finalizers": ["example.com/hold"]},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    assert (await api.post("/api/v1/namespaces/n/pods", pod)).code == 201
    assert (await api.post("/api/v1/namespaces/n/configmaps", config_map("used"))).code == 201
    await api.delete("/api/v1/namespaces/n")
    told = await until(api, "/api/v1/namespaces/n", lambda a: len(a.body["status"].get("conditions", [])) > 0)
    by_type = {c["type"]: c for c in told.body["status"]["conditions"]}
    assert by_type["NamespaceContentRemaining"]["message"] == (
        "Some resources are remaining: pods. has 1 resource instances"
    )
    assert (await api.get("/api/v1/namespaces/n/configmaps/used")).code == 200
    await api.merge("/api/v1/namespaces/n/pods/p", {"metadata": {"finalizers": None}})
    await until(api, "/api/v1/namespaces/n", gone)


async def test_some_namespaces_may_not_be_deleted(api: Api) -> None:
    answer = await api.delete("/api/v1/namespaces/default")
    assert (answer.code, answer.message) == (
        403,
        'namespaces "default" is forbidden: this namespace may not be deleted',
    )


async def test_what_a_namespace_must_contain_comes_back(api: Api) -> None:
    path = f"{CONFIG_MAPS}/kube-root-ca.crt"
    old = await api.get(path)
    await api.delete(path)
    await until(api, path, lambda a: a.code == 200 and a.body["metadata"]["uid"] != old.body["metadata"]["uid"])


async def test_a_definition_takes_its_objects_with_it(widgets: Api) -> None:
    held = widget("a")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await widgets.post(WIDGETS, held)
    await widgets.delete(f"{DEFINITIONS}/widgets.example.com")
    assert (await widgets.post(WIDGETS, widget("b"))).code == 405
    await until(widgets, f"{WIDGETS}/a", lambda a: "deletionTimestamp" in a.body["metadata"])
    await widgets.merge(f"{WIDGETS}/a", {"metadata": {"finalizers": None}})
    await until(widgets, f"{DEFINITIONS}/widgets.example.com", gone)
    assert (await widgets.get(WIDGETS)).code == 404


async def test_a_new_definition_is_established_and_served_at_once(api: Api) -> None:
    answer = await api.post(DEFINITIONS, widget_definition())
    conditions = {c["type"]: (c["status"], c["reason"]) for c in answer.body["status"]["conditions"]}
    assert conditions == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("True", "InitialNamesAccepted"),
    }
    assert answer.body["status"]["storedVersions"] == ["v1"]
    assert (await api.post(WIDGETS, widget("a"))).code == 201


async def test_a_pod_that_runs_gets_its_grace(api: Api) -> None:
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    await api.post(PODS, body)
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await api.post(f"{PODS}/p/binding", binding)).code == 201
    assert (await api.post(f"{PODS}/p/binding", binding)).code == 409
    waiting = await api.delete(f"{PODS}/p")
    assert waiting.body["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 5})
    assert shorter.body["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 50})
    assert longer.body["metadata"]["deletionGracePeriodSeconds"] == 5
    assert (await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})).code == 200
    assert (await api.get(f"{PODS}/p")).code == 404


async def test_a_pod_that_is_nowhere_goes_at_once(api: Api) -> None:
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    await api.post(PODS, body)
    await api.delete(f"{PODS}/p")
    assert (await api.get(f"{PODS}/p")).code == 404
