"""Changing CustomResourceDefinitions under living objects."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from tests.apiserver.api import WIDGETS, Api, widget, widget_definition
from tests.apiserver.conftest import DEFINITIONS
from tests.fakes.cluster import running_server

Object = dict[str, Any]
PATH = f"{DEFINITIONS}/widgets.example.com"


async def redefine(api: Api, change: Any) -> Object:
    definition = (await api.get(PATH)).body
    change(definition["spec"])
    answer = await api.put(PATH, definition)
    assert answer.code == 200, answer.body
    body: Object = answer.body
    return body


def with_colour(spec: Object) -> None:
    properties = spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["colour"] = {"type": "string", "default": "red"}
    del properties["size"]
    del spec["versions"][0]["additionalPrinterColumns"]
    del spec["versions"][0]["selectableFields"]


async def test_new_defaults_show_on_old_objects_also_after_a_restart(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, server.session() as session:
        api = Api(session)
        await api.post(DEFINITIONS, widget_definition())
        created = await api.post(WIDGETS, widget("a", size="small"))
        await redefine(api, with_colour)
        shown = await api.get(f"{WIDGETS}/a")
        assert shown.body["spec"] == {"replicas": 1, "colour": "red"}
        assert shown.rv == created.rv
    async with running_server(tmp_path, crds=False) as server, server.session() as session:
        api = Api(session)
        assert (await api.get(WIDGETS)).body["items"][0]["spec"] == {"replicas": 1, "colour": "red"}


async def test_versions_without_conversion_differ_only_in_their_name(widgets: Api) -> None:
    await widgets.post(WIDGETS, widget("a", size="small"))

    def add(spec: Object) -> None:
        second = copy.deepcopy(spec["versions"][0])
        second.update(name="v2", storage=False, deprecated=True)
        spec["versions"].append(second)

    await redefine(widgets, add)
    path = WIDGETS.replace("v1", "v2")
    other = await widgets.get(f"{path}/a")
    assert other.body["apiVersion"] == "example.com/v2"
    assert other.warnings == ["example.com/v2 Widget is deprecated"]
    made = await widgets.post(path, {**widget("b"), "apiVersion": "example.com/v2"})
    assert made.body["apiVersion"] == "example.com/v2"
    assert (await widgets.get(f"{WIDGETS}/b")).body["apiVersion"] == "example.com/v1"
    group = (await widgets.get("/apis/example.com")).body
    assert [v["version"] for v in group["versions"]] == ["v2", "v1"]


async def test_a_version_that_is_no_longer_served_ends_its_watches(widgets: Api) -> None:
    def add(spec: Object) -> None:
        spec["versions"].append({**copy.deepcopy(spec["versions"][0]), "name": "v2", "storage": False})

    await redefine(widgets, add)
    path = WIDGETS.replace("v1", "v2")
    async with widgets.watch(path) as watch:
        await redefine(widgets, lambda spec: spec["versions"][1].update(served=False))
        assert await watch.rest() == []
    assert (await widgets.get(path)).code == 404


async def test_what_a_definition_is_cannot_change(widgets: Api) -> None:
    definition = (await widgets.get(PATH)).body
    definition["spec"]["scope"] = "Cluster"
    answer = await widgets.put(PATH, definition)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert "field is immutable" in answer.message


async def test_a_taken_kind_is_not_established(widgets: Api) -> None:
    other = widget_definition()
    other["metadata"]["name"] = "gadgets.example.com"
    other["spec"]["names"] = {"plural": "gadgets", "singular": "gadget", "kind": "Widget"}
    answer = await widgets.post(DEFINITIONS, other)
    conditions = {c["type"]: (c["status"], c["reason"]) for c in answer.body["status"]["conditions"]}
    assert conditions["NamesAccepted"] == ("False", "KindConflict")
    assert conditions["Established"][0] == "False"
    assert (await widgets.get("/apis/example.com/v1/gadgets")).code == 404


async def test_discovery_and_documents_follow_at_once(api: Api) -> None:
    before = await api.get("/apis")
    index = (await api.get("/openapi/v3")).body["paths"]
    await api.post(DEFINITIONS, widget_definition())
    after = await api.request("GET", "/apis", headers={"If-None-Match": before.headers["ETag"]})
    assert after.code == 200
    assert "example.com" in [g["name"] for g in after.body["groups"]]
    unchanged = await api.request("GET", "/apis", headers={"If-None-Match": after.headers["ETag"]})
    assert unchanged.code == 304
    new = (await api.get("/openapi/v3")).body["paths"]
    assert "apis/example.com/v1" in new
    assert index["api/v1"] == new["api/v1"]
    document = await api.get(new["apis/example.com/v1"]["serverRelativeURL"].partition("?")[0])
    first = new["apis/example.com/v1"]["serverRelativeURL"]
    assert "com.example.v1.Widget" in document.body["components"]["schemas"]
    await redefine(api, with_colour)
    assert (await api.get("/openapi/v3")).body["paths"]["apis/example.com/v1"]["serverRelativeURL"] != first


async def test_aggregated_discovery_in_one_document(widgets: Api) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    answer = await widgets.request("GET", "/apis", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    group = next(i for i in answer.body["items"] if i["metadata"].get("name") == "example.com")
    resource = group["versions"][0]["resources"][0]
    assert resource["resource"] == "widgets"
    assert resource["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert [s["subresource"] for s in resource["subresources"]] == ["status", "scale"]
    assert resource["shortNames"] == ["wd"]


async def test_a_broken_rule_is_refused_with_the_definition(api: Api) -> None:
    definition = widget_definition()
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.nope > 1"}]
    answer = await api.post(DEFINITIONS, definition)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert "undefined field 'nope'" in answer.message
