"""Wire class -> OpenAPI v3 schema: structural and inlined for CustomResourceDefinitions, with $ref for documents.

What annotations cannot say comes from the marks of `kvtui.api.wire` (REQUIRED, schema(), list_map(), ...) on fields
and from `schema_marks` on classes. Docstrings and explain.txt become descriptions. A field typed `Any` keeps whatever
it holds.

The dicts are shared between the schemas that contain them: treat them as read-only.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from kvtui.api.meta import ObjectMeta, Resource
from kvtui.api.wire import Wire

Schema = dict[str, Any]

QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_INT_OR_STRING: Schema = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}
_QUANTITY: Schema = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": QUANTITY_PATTERN,
    "x-kubernetes-int-or-string": True,
}
_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
}
_API_VERSION: Schema = {
    "description": "The version of the schema in which this object is written, such as kubevirt.io/v1.",
    "type": "string",
}
_KIND: Schema = {"description": "The kind of the object.", "type": "string"}
_OPEN_METADATA: Schema = {"nullable": True, "type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""Metadata below the root, such as that of a template."""

_RULES = "x-kubernetes-validations"

Nested = Callable[[type[Wire]], Schema]


def structural(type_: type[Resource]) -> Schema:
    """The schema of a custom kind, as a CustomResourceDefinition carries it: no references, metadata left open."""
    return _custom(type_)


def inlined(type_: type[Wire]) -> Schema:
    """The whole schema without references. A class that contains itself is left open at the second level."""
    return _inlined(type_)


def referenced(type_: type[Wire], reference: Callable[[type[Wire]], str]) -> Schema:
    """The schema of one class; nested classes stand as `allOf: [{$ref}]`, `reference` gives the address of each."""

    def nested(inner: type[Wire]) -> Schema:
        return {"allOf": [{"$ref": reference(inner)}]}

    return _object(type_, nested, metadata=None)


def nested_types(type_: type[Wire]) -> set[type[Wire]]:
    """The class and every class that its fields contain."""
    found: set[type[Wire]] = set()

    def nested(inner: type[Wire]) -> Schema:
        if inner not in found:
            found.add(inner)
            _object(inner, nested, metadata=None)
        return {}

    nested(type_)
    return found


@cache
def _custom(type_: type[Wire]) -> Schema:
    return _object(type_, _custom_nested, metadata={"type": "object"})


def _custom_nested(type_: type[Wire]) -> Schema:
    if type_ is ObjectMeta:
        return {"description": first_words(type_), **_OPEN_METADATA}
    if issubclass(type_, Resource):
        return _object(type_, _custom_nested, metadata=_OPEN_METADATA)
    return _custom(type_)


_open: list[type[Wire]] = []


@cache
def _inlined(type_: type[Wire]) -> Schema:
    _open.append(type_)
    try:
        return _object(type_, _inlined_nested, metadata=None)
    finally:
        _open.pop()


def _inlined_nested(type_: type[Wire]) -> Schema:
    if type_ in _open:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return _inlined(type_)


def first_words(type_: type[Wire]) -> str:
    """The docstring without the line that names its source."""
    lines = (line.strip() for line in (type_.__doc__ or "").strip().splitlines())
    return " ".join(line for line in lines if line and not line.startswith("Source:")).split(" Source: ")[0]


@cache
def explanations() -> dict[str, dict[str, str]]:
    """The texts of explain.txt by class, such as kubevirt.vm.VirtualMachineSpec, and field."""
    found: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for line in files("kvtui.api").joinpath("explain.txt").read_text("utf-8").splitlines():
        if line.startswith("\t"):
            name, _, words = line[1:].partition(" ")
            fields[name] = words
        elif not line.startswith("#"):
            fields = found.setdefault(line, {})
    return found


def field_texts(type_: type[Wire]) -> dict[str, str]:
    """What the fields of a class are for, by their wire names."""
    module = type_.__module__.removeprefix("kvtui.api.")
    return explanations().get(f"{module}.{type_.__name__}", {})


def _object(type_: type[Wire], nested: Nested, metadata: Schema | None) -> Schema:
    properties: dict[str, Schema] = {}
    required: list[str] = []
    is_resource = issubclass(type_, Resource)
    texts, common = field_texts(type_), explanations()["*"]
    for info in msgspec.structs.fields(type_):
        name = info.encode_name
        if is_resource and name == "apiVersion":
            properties[name] = _API_VERSION
        elif is_resource and name == "kind":
            properties[name] = _KIND
        elif is_resource and name == "metadata" and metadata is not None:
            properties[name] = metadata
        else:
            field, demanded = _field(info.type, nested)
            text = texts.get(name) or (common.get(name) if "description" not in field else None)
            properties[name] = {**field, "description": text} if text else field
            if demanded:
                required.append(name)
    schema: Schema = {"description": first_words(type_), "type": "object"}
    if properties:
        schema["properties"] = dict(sorted(properties.items()))
    if required:
        schema["required"] = sorted(required)
    schema.update(type_.schema_marks)
    return schema


def _field(annotation: Any, nested: Nested) -> tuple[Schema, bool]:
    """Schema of a field and whether it is required."""
    inner, marks = _split(annotation)
    schema = dict(_value(inner, nested))
    required = False
    for mark in marks:
        extra = mark.extra or {}
        required = required or bool(extra.get("required"))
        added = extra.get("schema", {})
        if _RULES in added and _RULES in schema:
            added = {**added, _RULES: schema[_RULES] + added[_RULES]}
        schema.update(added)
        if "values" in extra:
            schema["description"] = _listed(schema.get("description", ""), extra["values"])
    return dict(sorted(schema.items())), required


def _listed(description: str, values: list[str]) -> str:
    return f"{description} One of {', '.join(values)}.".lstrip()


def _split(annotation: Any) -> tuple[Any, list[msgspec.Meta]]:
    """The bare type, and its marks in reading order."""
    marks: list[msgspec.Meta] = []
    while get_origin(annotation) is Annotated:
        annotation, *added = get_args(annotation)
        marks = [mark for mark in added if isinstance(mark, msgspec.Meta)] + marks
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        if len(members) == 1:
            inner, more = _split(members[0])
            return inner, more + marks
        return frozenset(members), marks
    return annotation, marks


def _value(annotation: Any, nested: Nested) -> Schema:
    if isinstance(annotation, frozenset):
        return _QUANTITY if float in annotation else _INT_OR_STRING
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if annotation is Any:
        return {"x-kubernetes-preserve-unknown-fields": True}
    origin = get_origin(annotation)
    if origin is list:
        return {"type": "array", "items": _field(get_args(annotation)[0], nested)[0]}
    if origin is dict:
        value = get_args(annotation)[1]
        if value is Any:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {"type": "object", "additionalProperties": _field(value, nested)[0]}
    if isinstance(annotation, type) and issubclass(annotation, Wire):
        return nested(annotation)
    raise TypeError(f"no schema for {annotation!r}")
