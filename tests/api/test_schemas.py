from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kvtui.api.crds import definition, definitions
from kvtui.api.kubevirt.migration import MigrationPolicy
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import LabelSelector
from kvtui.api.registry import BUILTIN, CUSTOM, Kind
from kvtui.api.schemas import explanations, inlined, nested_types, referenced, structural
from kvtui.apiserver import crd
from kvtui.apiserver.schema.structural import Schema

CASES = Path(os.environ.get("KVTUI_ADMISSION_CASES") or Path(__file__).parents[3] / "shared/data/admission-cases")


def at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of a field; `[]` steps into the items of a list."""
    for step in path.split("."):
        schema = schema["items"] if step == "[]" else schema["properties"][step]
    return schema


def version(crd_: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = crd_["spec"]["versions"][index]
    return found


@pytest.mark.parametrize("kind", CUSTOM, ids=lambda kind: kind.kind)
def test_every_definition_passes_the_rules_for_definitions(kind: Kind) -> None:
    made = definition(kind)
    crd.default(made)
    assert crd.validate(made) == []
    assert crd.warnings(made) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("spec.volumes", {"maxItems": 256}),
        ("spec.domain.devices.disks", {"maxItems": 256}),
        ("spec.accessCredentials", {"maxItems": 256, "x-kubernetes-list-type": "atomic"}),
        ("spec.utilityVolumes", {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        ("spec.resourceClaims", {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        ("spec.domain.clock", {"x-kubernetes-preserve-unknown-fields": True}),
        ("spec.domain.rebootPolicy", {"enum": ["Reboot", "Terminate"]}),
        ("spec.domain.memory.guest", {"x-kubernetes-int-or-string": True}),
        ("spec.domain.cpu.cores", {"type": "integer", "format": "int32"}),
        ("spec.terminationGracePeriodSeconds", {"type": "integer", "format": "int64"}),
        ("status.conditions.[].lastProbeTime", {"nullable": True, "format": "date-time"}),
        ("metadata", {"type": "object"}),
    ],
)
def test_a_field_of_an_instance_has_the_schema_that_upstream_gives_it(path: str, expected: dict[str, Any]) -> None:
    found = at(structural(VirtualMachineInstance), path)
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("path", "required"),
    [
        ("spec", ["domain"]),
        ("spec.domain", ["devices"]),
        ("spec.domain.devices.disks.[]", ["name"]),
        ("spec.domain.devices.filesystems.[]", ["name", "virtiofs"]),
        ("spec.domain.devices.inputs.[]", ["name", "type"]),
        ("spec.domain.devices.interfaces.[].ports.[]", ["port"]),
        ("spec.volumes.[].containerDisk", ["image"]),
        ("spec.volumes.[].hostDisk", ["path", "type"]),
        ("spec.volumes.[].emptyDisk", ["capacity"]),
        ("spec.networks.[].multus", ["networkName"]),
        ("spec.readinessProbe.tcpSocket", ["port"]),
        ("spec.accessCredentials.[].sshPublicKey", ["propagationMethod", "source"]),
    ],
)
def test_what_an_instance_must_have(path: str, required: list[str]) -> None:
    assert at(structural(VirtualMachineInstance), path)["required"] == required


def test_a_machine_keeps_what_its_template_says_about_metadata() -> None:
    schema = Schema(structural(VirtualMachine))
    vm = {
        "spec": {
            "colour": "red",
            "template": {"metadata": {"labels": {"a": "b"}, "anything": 1}, "spec": {"domain": {"devices": {}}}},
        },
        "status": {},
    }
    assert schema.prune(vm) == ["spec.colour"]
    schema.default(vm)
    assert vm["spec"]["template"]["metadata"] == {"labels": {"a": "b"}, "anything": 1}  # type: ignore[index]
    assert vm["status"] == {"printableStatus": "Stopped"}


@pytest.mark.parametrize("selector", [{"team": "a"}, {"matchLabels": {"team": "a"}}])
def test_a_migration_policy_takes_both_spellings_of_its_selectors(selector: dict[str, Any]) -> None:
    schema = Schema(structural(MigrationPolicy))
    policy = {"spec": {"selectors": {"namespaceSelector": selector}}}
    assert schema.prune(policy) == []
    assert schema.validate(policy) == []
    assert policy["spec"]["selectors"] == {"namespaceSelector": selector}


def test_both_versions_of_a_machine_are_served_and_the_old_one_warns() -> None:
    made = next(d for d in definitions() if d["metadata"]["name"] == "virtualmachines.kubevirt.io")
    assert [(v["name"], v["storage"]) for v in made["spec"]["versions"]] == [("v1", True), ("v1alpha3", False)]
    assert "kubevirt.io/v1alpha3 is deprecated and will be removed" in version(made, 1)["deprecationWarning"]
    assert made["metadata"]["labels"] == {"kubevirt.io": ""}
    assert made["spec"]["names"]["shortNames"] == ["vm", "vms"]
    assert "status" in version(made)["subresources"]


def test_an_instance_has_no_status_subresource_and_a_replica_set_scales() -> None:
    made = {d["spec"]["names"]["kind"]: d for d in definitions()}
    assert "subresources" not in version(made["VirtualMachineInstance"])
    assert version(made["VirtualMachineInstanceReplicaSet"])["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.labelSelector",
    }


def test_references_stand_in_allof_and_a_description_says_what_a_class_is_for() -> None:
    schema = referenced(VirtualMachine, lambda type_: f"#/x/{type_.__name__}")
    assert schema["properties"]["spec"]["allOf"] == [{"$ref": "#/x/VirtualMachineSpec"}]
    assert LabelSelector in nested_types(VirtualMachineInstance)
    assert all(inlined(kind.type)["description"] for kind in BUILTIN)


def cases() -> Iterator[Any]:
    kinds = {kind.kind: kind for kind in CUSTOM}
    for file in sorted(CASES.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            case = json.loads(line.replace("<now>", "2026-01-01T00:00:00Z"))
            if case.get("object") and case["kind"] in kinds and not case.get("offWire"):
                yield pytest.param(kinds[case["kind"]], case, id=case["name"])


@pytest.mark.skipif(not CASES.is_dir(), reason="no admission cases: set KVTUI_ADMISSION_CASES")
@pytest.mark.parametrize(("kind", "case"), list(cases()) if CASES.is_dir() else [])
def test_the_schema_refuses_what_a_real_server_refuses(kind: Kind, case: dict[str, Any]) -> None:
    schema = Schema(structural(kind.type))
    obj = case.get("mutated") or case["object"]
    schema.prune(obj)
    schema.default(obj)
    causes = schema.validate(obj, case.get("oldObject") if case["operation"] == "UPDATE" else None)
    if kind.scale:
        causes += crd.check_scale(obj, ("spec", "replicas"))
    wire = case.get("wire") or {"allowed": True}
    expected = {(c["field"], c["message"]) for c in wire.get("causes") or ()}
    if not expected and not case["expect"]["allowed"]:
        return  # an admission rule speaks before or instead of the schema
    assert {(c.field, c.message) for c in causes} == expected


def test_every_explained_class_and_field_exists() -> None:
    for name, texts in explanations().items():
        if name == "*":
            continue
        module, _, class_name = name.rpartition(".")
        type_ = getattr(importlib.import_module(f"kvtui.api.{module}"), class_name)
        assert set(texts) <= {info.encode_name for info in msgspec.structs.fields(type_)}, name


def test_a_field_is_explained_by_its_own_words_or_by_those_of_its_class() -> None:
    schema = structural(VirtualMachine)
    assert "Always, RerunOnFailure" in at(schema, "spec.runStrategy")["description"]
    assert at(schema, "spec.template.spec.domain.devices.rng")["description"] == "A source of random numbers."
    assert at(schema, "status.conditions.[].reason")["description"] == "One word that programs can act on."
