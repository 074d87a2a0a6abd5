"""Whether a schema is structural: the rules that a CustomResourceDefinition's schema must keep.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from kvtui.apiserver.schema import builtin, cel, decoding, values
from kvtui.apiserver.schema.formats import compile_pattern
from kvtui.apiserver.schema.node import Openapi, compile_schema
from kvtui.apiserver.schema.structural import Schema
from kvtui.apiserver.status import duplicate, forbidden_field, invalid_value, not_supported, required
from kvtui.errors import Cause

Causes = list[Cause]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN_IN_LOGIC = (
    "type",
    "additionalProperties",
    "default",
    "description",
    "title",
    "nullable",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-validations",
)
_INT_OR_STRING = ([{"type": "integer"}, {"type": "string"}], [{"type": "string"}, {"type": "integer"}])
_UNSUPPORTED = ("$ref", "definitions", "dependencies", "patternProperties", "id", "additionalItems")


def normalized(schema: Any) -> Openapi:
    """The schema without nulls, which stand for absent keywords; what is not a schema becomes an empty one."""
    if not isinstance(schema, dict):
        return {}
    result: Openapi = {}
    for keyword, value in schema.items():
        if keyword in ("default", "example"):
            result[keyword] = value
        elif value is None:
            continue
        elif keyword in ("properties", "definitions", "patternProperties"):
            children = value if isinstance(value, dict) else {}
            result[keyword] = {name: normalized(child) for name, child in children.items()}
        elif keyword in ("allOf", "anyOf", "oneOf"):
            result[keyword] = [normalized(each) for each in value] if isinstance(value, list) else []
        elif keyword == "not" or (keyword in ("items", "additionalProperties") and not isinstance(value, bool)):
            result[keyword] = normalized(value)
        else:
            result[keyword] = value
    return result


def problems(schema: Openapi, path: str) -> Causes:
    """What is wrong with a version's openAPIV3Schema; CEL rules and defaults are looked at last."""
    causes: Causes = []
    if schema.get("type") != "object":
        if schema.get("type"):
            causes.append(invalid_value(f"{path}.type", schema["type"], "must be object at the root"))
        else:
            causes.append(required(f"{path}.type", "must not be empty at the root"))
    if schema.get("nullable"):
        causes.append(forbidden_field(f"{path}.nullable", "nullable cannot be true at the root"))
    shape = builtin.node_of("apiextensions/v1.JSONSchemaProps")
    for where, inner in _open_schemas(schema, path):
        misfit = decoding.misplaced(inner, shape)
        if misfit:
            return [invalid_value(where, misfit[1], f"{misfit[0]} must be of type {misfit[2]}")]
    _check(schema, path, causes, root=True)
    if causes:
        return causes
    _check_defaults(schema, path, causes)
    return causes + cel.compile_problems(compile_schema(schema), path)


def _open_schemas(schema: Openapi, path: str) -> Iterator[tuple[str, Openapi]]:
    """The schemas that are values of additionalProperties, which may also be a boolean and so were not checked yet."""
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        yield f"{path}.additionalProperties", additional
        yield from _open_schemas(additional, f"{path}.additionalProperties")
    for name, child in (schema.get("properties") or {}).items():
        yield from _open_schemas(child, f"{path}.properties[{name}]")
    for keyword in ("items", "not"):
        if isinstance(schema.get(keyword), dict):
            yield from _open_schemas(schema[keyword], f"{path}.{keyword}")
    for keyword in ("allOf", "anyOf", "oneOf"):
        for index, each in enumerate(schema.get(keyword) or ()):
            yield from _open_schemas(each, f"{path}.{keyword}[{index}]")


def _check(schema: Openapi, path: str, causes: Causes, *, root: bool = False) -> None:
    type_ = schema.get("type") or ""
    open_ = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    either = bool(schema.get("x-kubernetes-int-or-string"))
    if type_ and type_ not in _TYPES:
        causes.append(not_supported(f"{path}.type", type_, _TYPES))
    if not type_ and not open_ and not either and not root:
        causes.append(required(f"{path}.type", "must not be empty for specified object fields"))
    causes += [
        forbidden_field(f"{path}.{name}", f"{name} is not supported") for name in _UNSUPPORTED if schema.get(name)
    ]
    _check_extensions(schema, path, causes)
    _check_lists(schema, path, causes)
    _check_keywords(schema, path, causes)
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    if properties and isinstance(additional, dict):
        text = "additionalProperties and properties are mutual exclusive"
        causes.append(forbidden_field(f"{path}.additionalProperties", text))
    for name, child in properties.items():
        where = f"{path}.properties[{name}]"
        if (root or embedded) and name == "metadata":
            _check_metadata(child, where, causes)
        _check(child if isinstance(child, dict) else {}, where, causes)
    if isinstance(additional, dict):
        _check(additional, f"{path}.additionalProperties", causes)
    items = schema.get("items")
    if isinstance(items, dict):
        _check(items, f"{path}.items", causes)
    elif type_ == "array":
        causes.append(required(f"{path}.items", "must be specified"))
    for keyword in ("allOf", "anyOf", "oneOf"):
        alternatives = schema.get(keyword) or []
        if either and keyword == "anyOf" and alternatives in _INT_OR_STRING:
            continue
        for index, alternative in enumerate(alternatives):
            if either and keyword == "allOf" and alternative.get("anyOf") in _INT_OR_STRING:
                continue
            _check_logic(alternative, f"{path}.{keyword}[{index}]", causes)
    if isinstance(schema.get("not"), dict):
        _check_logic(schema["not"], f"{path}.not", causes)


def _check_metadata(schema: Openapi, path: str, causes: Causes) -> None:
    if schema.get("type") not in (None, "object"):
        causes.append(invalid_value(f"{path}.type", schema["type"], "must be object"))
    if set(schema.get("properties") or {}) - {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        causes.append(forbidden_field(path, text))


def _check_logic(schema: Openapi, path: str, causes: Causes) -> None:
    """Below allOf, anyOf, oneOf and not only values are restricted, nothing is declared."""
    for keyword in _FORBIDDEN_IN_LOGIC:
        if schema.get(keyword):
            causes.append(forbidden_field(f"{path}.{keyword}", "must be empty to be structural"))
    for name, child in (schema.get("properties") or {}).items():
        _check_logic(child, f"{path}.properties[{name}]", causes)
    if isinstance(schema.get("items"), dict):
        _check_logic(schema["items"], f"{path}.items", causes)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for index, alternative in enumerate(schema.get(keyword) or []):
            _check_logic(alternative, f"{path}.{keyword}[{index}]", causes)
    if isinstance(schema.get("not"), dict):
        _check_logic(schema["not"], f"{path}.not", causes)


def _check_extensions(schema: Openapi, path: str, causes: Causes) -> None:
    type_ = schema.get("type") or ""
    preserve = "x-kubernetes-preserve-unknown-fields"
    if schema.get(preserve) is False:
        causes.append(invalid_value(f"{path}.{preserve}", False, "must be true or undefined"))
    if schema.get("x-kubernetes-embedded-resource"):
        if not schema.get("properties") and not schema.get(preserve):
            text = f"must not be empty if x-kubernetes-embedded-resource is true without {preserve}"
            causes.append(required(f"{path}.properties", text))
        if type_ != "object":
            text = "must be object if x-kubernetes-embedded-resource is true"
            causes.append(invalid_value(f"{path}.type", type_, text) if type_ else required(f"{path}.type", text))
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if map_type not in ("atomic", "granular"):
            causes.append(not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular")))
        if type_ != "object":
            causes.append(invalid_value(f"{path}.type", type_, "must be object if x-kubernetes-map-type is specified"))


def _check_lists(schema: Openapi, path: str, causes: Causes) -> None:
    list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    at = f"{path}.x-kubernetes-list-type"
    if list_type is None and not keys:
        return
    if list_type is not None and schema.get("type") != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        causes.append(invalid_value(f"{path}.type", schema.get("type") or "", text))
    if list_type is not None and list_type not in ("atomic", "set", "map"):
        causes.append(not_supported(at, list_type, ("atomic", "set", "map")))
    if keys and list_type != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        causes.append(invalid_value(at, list_type, text) if list_type else required(at, text))
    if list_type == "map":
        _check_map_keys(schema, keys, path, causes)


def _check_map_keys(schema: Openapi, keys: list[str], path: str, causes: Causes) -> None:
    at = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        causes.append(required(at, "must not be empty if x-kubernetes-list-type is map"))
        return
    items = schema.get("items") or {}
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        causes.append(invalid_value(f"{path}.items.type", items.get("type") or "", text))
        return
    properties = items.get("properties") or {}
    seen: set[str] = set()
    for index, key in enumerate(keys):
        if key not in properties:
            causes.append(invalid_value(at, keys, "entries must all be names of item properties"))
            return
        if key in seen:
            causes.append(duplicate(f"{at}[{index}]", key))
        seen.add(key)
        child = properties[key]
        if "default" not in child and key not in (items.get("required") or ()):
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            causes.append(required(f"{path}.items.properties[{key}].default", text))
        if child.get("nullable"):
            text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            causes.append(forbidden_field(f"{path}.items.properties[{key}].nullable", text))


def _check_keywords(schema: Openapi, path: str, causes: Causes) -> None:
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        causes.append(forbidden_field(f"{path}.uniqueItems", text))
    if schema.get("additionalProperties") is False and schema.get("properties"):
        causes.append(forbidden_field(f"{path}.additionalProperties", "additionalProperties cannot be set to false"))
    pattern = schema.get("pattern")
    if pattern:
        try:
            compile_pattern(pattern)
        except ValueError as error:
            text = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            causes.append(invalid_value(f"{path}.pattern", pattern, text))


def _check_defaults(schema: Openapi, path: str, causes: Causes) -> None:
    """A default must itself be pruned and valid."""
    if "default" in schema:
        whole = Schema(schema)
        trial = {"d": deepcopy(schema["default"])}
        holder = Schema({"type": "object", "properties": {"d": schema}})
        if holder.prune(trial):
            causes.append(invalid_value(f"{path}.default", schema["default"], "must not have unknown fields"))
        holder.default(trial)
        for cause in values.validate(trial.get("d"), whole.node, ""):
            field = f"{path}.default" + (f".{cause.field}" if cause.field and cause.field != "<nil>" else "")
            causes.append(Cause(cause.reason, cause.message, field))
    for name, child in (schema.get("properties") or {}).items():
        _check_defaults(child, f"{path}.properties[{name}]", causes)
    for keyword in ("additionalProperties", "items"):
        if isinstance(schema.get(keyword), dict):
            _check_defaults(schema[keyword], f"{path}.{keyword}", causes)
