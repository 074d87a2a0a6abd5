"""Schemas of the kinds of Kubernetes itself, from the table of field facts in kinds.txt.

Each line of the table is one field: name, type, protobuf number, then `required`, `empty` (an empty value is the same
as none), `list=` and `keys=` (server-side apply), `patch=` and `mergekey=` (strategic merge), `atomic`, `default=`,
`enum=`. A line `~` embeds another type.
Types: string, int32, int64, bool, float64, bytes, Time, MicroTime, Duration, Quantity, IntOrString, any,
[]T, {}T, group/version.T.

Source: field names, numbers and markers of k8s.io/api, apimachinery, apiextensions-apiserver, kube-aggregator, metrics.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from kvtui.api.schemas import QUANTITY_PATTERN
from kvtui.apiserver.schema.described import descriptions
from kvtui.apiserver.schema.node import Node, Openapi, compile_schema


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a type."""

    name: str
    type: str
    number: int
    """Protobuf field number; 0 if it has none."""
    required: bool = False
    empty: bool = False
    """Zero, false and "" are the same as leaving it out."""
    extensions: Openapi = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Type:
    """One message type. `embedded` are (protobuf number, type) of types whose fields stand inline in JSON."""

    name: str
    kind: bool
    atomic: bool
    fields: tuple[Field, ...]
    embedded: tuple[tuple[int, str], ...] = ()


_GROUPS = {
    "core/v1": ("", "v1", "io.k8s.api.core.v1"),
    "rbac/v1": ("rbac.authorization.k8s.io", "v1", "io.k8s.api.rbac.v1"),
    "storage/v1": ("storage.k8s.io", "v1", "io.k8s.api.storage.v1"),
    "coordination/v1": ("coordination.k8s.io", "v1", "io.k8s.api.coordination.v1"),
    "networking/v1": ("networking.k8s.io", "v1", "io.k8s.api.networking.v1"),
    "discovery/v1": ("discovery.k8s.io", "v1", "io.k8s.api.discovery.v1"),
    "node/v1": ("node.k8s.io", "v1", "io.k8s.api.node.v1"),
    "scheduling/v1": ("scheduling.k8s.io", "v1", "io.k8s.api.scheduling.v1"),
    "admissionregistration/v1": ("admissionregistration.k8s.io", "v1", "io.k8s.api.admissionregistration.v1"),
    "certificates/v1": ("certificates.k8s.io", "v1", "io.k8s.api.certificates.v1"),
    "authentication/v1": ("authentication.k8s.io", "v1", "io.k8s.api.authentication.v1"),
    "authorization/v1": ("authorization.k8s.io", "v1", "io.k8s.api.authorization.v1"),
    "events/v1": ("events.k8s.io", "v1", "io.k8s.api.events.v1"),
    "meta/v1": ("", "v1", "io.k8s.apimachinery.pkg.apis.meta.v1"),
    "apiextensions/v1": (
        "apiextensions.k8s.io",
        "v1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    ),
    "flowcontrol/v1": ("flowcontrol.apiserver.k8s.io", "v1", "io.k8s.api.flowcontrol.v1"),
    "storagemigration/v1": ("storagemigration.k8s.io", "v1", "io.k8s.api.storagemigration.v1"),
    "apiregistration/v1": ("apiregistration.k8s.io", "v1", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1"),
    "metrics/v1beta1": ("metrics.k8s.io", "v1beta1", "io.k8s.metrics.pkg.apis.metrics.v1beta1"),
}

_SCALARS: dict[str, Openapi] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string"},
    "Quantity": {"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN},
    "IntOrString": {"x-kubernetes-int-or-string": True, "format": "int-or-string"},
    "any": {"x-kubernetes-preserve-unknown-fields": True},
}


SHARED: dict[str, tuple[str, Openapi]] = {
    "Quantity": (
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        {"oneOf": [{"type": "string"}, {"type": "number"}]},
    ),
    "IntOrString": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    ),
}
"""Scalars that have a name of their own in documents, with their schema there."""


@cache
def types() -> dict[str, Type]:
    """Every type of the table by name, such as "core/v1.Pod"."""
    found: dict[str, Type] = {}
    text = files("kvtui.apiserver.schema").joinpath("kinds.txt").read_text("ascii")
    head: list[str] = []
    fields: list[Field] = []
    embedded: list[tuple[int, str]] = []

    def close() -> None:
        if head:
            found[head[0]] = Type(head[0], "kind" in head[1:], "atomic" in head[1:], tuple(fields), tuple(embedded))

    for line in text.splitlines():
        if not line.startswith("\t"):
            close()
            head, fields, embedded = line.split(" "), [], []
            continue
        name, type_, number, *marks = line[1:].split(" ")
        if name == "~":
            embedded.append((int(number), type_))
        else:
            required, empty = "required" in marks, "empty" in marks
            fields.append(Field(name, type_, int(number), required, empty, _extensions(marks)))
    close()
    return found


def _extensions(marks: list[str]) -> Openapi:
    extensions: Openapi = {}
    for mark in marks:
        name, _, value = mark.partition("=")
        if name == "list":
            extensions["x-kubernetes-list-type"] = value
        elif name == "keys":
            extensions["x-kubernetes-list-map-keys"] = value.split(",")
        elif name == "patch":
            extensions["x-kubernetes-patch-strategy"] = value
        elif name == "mergekey":
            extensions["x-kubernetes-patch-merge-key"] = value
        elif name == "atomic":
            extensions["x-kubernetes-map-type"] = "atomic"
        elif name == "default":
            extensions["default"] = json.loads(value)
        elif name == "enum":
            extensions["enum"] = [*value.split("|")]
    return extensions


def all_fields(type_: Type) -> list[Field]:
    """The fields as JSON has them, embedded ones included."""
    inner = [f for _, name in type_.embedded for f in all_fields(types()[name])]
    return sorted([*type_.fields, *inner], key=lambda f: f.name)


@cache
def _by_kind() -> dict[tuple[str, str], str]:
    return {(_group_version(name), name.rpartition(".")[2]): name for name, t in types().items() if t.kind}


def type_name(api_version: str, kind: str) -> str | None:
    """The name in the table of a kind, or None. The kinds of meta.k8s.io belong to every group."""
    return _by_kind().get((api_version, kind))


def _group_version(name: str) -> str:
    group, version, _ = _group(name)
    return f"{group}/{version}" if group else version


def _group(name: str) -> tuple[str, str, str]:
    prefix = name.rpartition(".")[0]
    if prefix in _GROUPS:
        return _GROUPS[prefix]
    group, _, version = prefix.partition("/")
    return group, version, f"io.k8s.api.{group}.{version}"


def component_name(name: str) -> str:
    """The name in OpenAPI documents: core/v1.Pod is io.k8s.api.core.v1.Pod."""
    return f"{_group(name)[2]}.{name.rpartition('.')[2]}"


@cache
def node(api_version: str, kind: str) -> Node | None:
    """The compiled schema of a kind, or None for a kind that is not in the table."""
    name = type_name(api_version, kind)
    return node_of(name) if name else None


@cache
def node_of(name: str) -> Node:
    """The compiled schema of a type by its name in the table."""
    return compile_schema(openapi(name))


_making: dict[str, Openapi] = {}
_made: dict[str, Openapi] = {}
_turn = threading.RLock()
"""Schemas are made by several threads; none may see what another has half made."""


def openapi(name: str) -> Openapi:
    """The inlined schema of a type. That of a type that contains itself does so too: it cannot be written as JSON."""
    with _turn:
        if name not in _made:
            _making[name] = made = {}
            type_ = types()[name]
            made.update(_object(type_, [(f, _value(f)) for f in all_fields(type_)]))
            _made[name] = _making.pop(name)
        return _made[name]


def _value(field_: Field) -> Openapi:
    inner = _inline(field_.type)
    return {**inner, **field_.extensions} if field_.extensions else inner


@cache
def _inline(type_: str) -> Openapi:
    if type_.startswith("[]"):
        return {"type": "array", "items": _inline(type_[2:])}
    if type_.startswith("{}"):
        return {"type": "object", "additionalProperties": _inline(type_[2:])}
    if type_ in _SCALARS:
        return _SCALARS[type_]
    return _making[type_] if type_ in _making else openapi(type_)


def _object(type_: Type, fields: list[tuple[Field, Openapi]]) -> Openapi:
    schema: Openapi = {"type": "object"}
    described = descriptions(type_.name.rpartition(".")[2])
    if described:
        schema["description"] = described.text
    properties: dict[str, Any] = {}
    for field_, value in fields:
        text = described.fields.get(field_.name) if described else None
        properties[field_.name] = {**value, "description": text} if text else value
    schema["properties"] = properties
    required = [f.name for f, _ in fields if f.required]
    if required:
        schema["required"] = required
    if type_.atomic:
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def component(name: str) -> Openapi:
    """The schema of a type for a document: nested types are references."""
    type_ = types()[name]
    schema = _object(type_, [(f, _referenced(f)) for f in all_fields(type_)])
    if type_.kind:
        schema["x-kubernetes-group-version-kind"] = [gvk(name)]
    return schema


def gvk(name: str) -> dict[str, str]:
    group, version, _ = _group(name)
    return {"group": group, "kind": name.rpartition(".")[2], "version": version}


def references(name: str) -> set[str]:
    """The types that this one and those below it mention, itself included."""
    found: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current in found:
            continue
        found.add(current)
        pending += [t for f in all_fields(types()[current]) if (t := f.type.lstrip("[]{}")) in types()]
    return found


def _referenced(field_: Field) -> Openapi:
    value = _reference(field_.type)
    if "$ref" in value:
        value = {"allOf": [value]}
    return {**value, **field_.extensions}


def _reference(type_: str) -> Openapi:
    if type_.startswith("[]"):
        return {"type": "array", "items": _reference(type_[2:])}
    if type_.startswith("{}"):
        return {"type": "object", "additionalProperties": _reference(type_[2:])}
    if type_ in SHARED:
        return {"$ref": f"#/components/schemas/{SHARED[type_][0]}"}
    if type_ == "any":
        return {"type": "object"}
    if type_ in _SCALARS:
        return _SCALARS[type_]
    return {"$ref": f"#/components/schemas/{component_name(type_)}"}
