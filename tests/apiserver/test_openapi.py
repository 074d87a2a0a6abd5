from __future__ import annotations

import json
from typing import Any

import pytest

from kvtui.api.crds import definitions
from kvtui.apiserver import crd
from kvtui.apiserver.builtin import BUILTIN
from kvtui.apiserver.customs import resources_of
from kvtui.apiserver.resources import Resources
from kvtui.apiserver.schema import openapi


@pytest.fixture(scope="module")
def resources() -> Resources:
    registry = Resources(BUILTIN)
    for made in definitions():
        crd.default(made)
        made = crd.with_status(made, [], "2026-01-01T00:00:00Z")
        registry.serve(made["metadata"]["name"], resources_of(made))
    return registry


def document(resources: Resources, group: str, version: str) -> dict[str, Any]:
    served = next(gv for gv in resources.groups()[group] if gv.version == version)
    found: dict[str, Any] = json.loads(openapi.document(group, version, served.resources.values()))
    return found


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own | {r for child in value.values() for r in references(child)}
    if isinstance(value, list):
        return {r for child in value for r in references(child)}
    return set()


def test_every_reference_of_every_document_leads_somewhere(resources: Resources) -> None:
    for group, versions in resources.groups().items():
        for served in versions:
            made = document(resources, group, served.version)
            schemas = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
            assert references(made) <= schemas, (group, served.version)


def test_a_custom_kind_is_found_by_its_collection_and_its_patch_says_that_fields_are_validated(
    resources: Resources,
) -> None:
    made = document(resources, "kubevirt.io", "v1")
    kind = {"group": "kubevirt.io", "version": "v1", "kind": "VirtualMachine"}
    collection = "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines"
    assert made["paths"][collection]["get"]["x-kubernetes-action"] == "list"
    assert made["paths"][collection]["get"]["x-kubernetes-group-version-kind"] == kind
    patch = made["paths"][f"{collection}/{{name}}"]["patch"]
    assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= {p["name"] for p in patch["parameters"]}
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    schema = made["components"]["schemas"]["io.kubevirt.v1.VirtualMachine"]
    assert schema["x-kubernetes-group-version-kind"] == [kind]
    assert schema["properties"]["spec"]["properties"]["template"]["type"] == "object"
    assert f"{collection}/{{name}}/status" in made["paths"]


def test_builtin_lists_say_how_they_are_merged(resources: Resources) -> None:
    schemas = document(resources, "", "v1")["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    ports = schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"]
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert "x-kubernetes-patch-strategy" not in schemas["io.k8s.api.core.v1.NodeSpec"]["properties"]["taints"]


def test_a_changed_definition_changes_the_hash(resources: Resources) -> None:
    served = next(iter(resources.groups()["kubevirt.io"]))
    infos = list(served.resources.values())
    whole = openapi.digest(openapi.document("kubevirt.io", "v1", infos))
    assert whole == openapi.digest(openapi.document("kubevirt.io", "v1", infos))
    assert whole != openapi.digest(openapi.document("kubevirt.io", "v1", infos[1:]))


def test_the_index_points_to_the_documents_by_hash() -> None:
    made = openapi.index({"api/v1": "A", "apis/kubevirt.io/v1": "B"})
    assert made["paths"]["apis/kubevirt.io/v1"] == {
        "serverRelativeURL": "/openapi/v3/apis/kubevirt.io/v1?hash=B",
    }


def test_version_two_has_the_kinds_in_definitions_and_nothing_that_only_version_three_knows(
    resources: Resources,
) -> None:
    made = json.loads(openapi.swagger(resources.all))
    assert made["swagger"] == "2.0"
    machine = made["definitions"]["io.kubevirt.v1.VirtualMachine"]
    assert machine["x-kubernetes-group-version-kind"][0]["kind"] == "VirtualMachine"
    assert {r.rpartition("/")[0] for r in references(made)} == {"#/definitions"}
    assert {r.rpartition("/")[2] for r in references(made)} <= set(made["definitions"])
    properties = made["definitions"]["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"]
    assert {"nullable", "not", "anyOf"} <= set(properties["properties"])


def test_the_stub_is_sixteen_bytes() -> None:
    assert len(openapi.V2_STUB) == 16
    assert "@" not in openapi.V2_PROTOBUF
