"""OpenAPI documents of what is served: v3 per group and version, v2 as a stub in protobuf and whole in JSON.

Clients read them for `explain`, validation, apply and diff: how the schema of a kind is found, which fields a list is
merged by, and whether the server validates fields itself (the fieldValidation parameter of PATCH).

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition, KEP 2896.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from kvtui.apiserver.resources import ResourceInfo, Subresource
from kvtui.apiserver.schema import builtin

Document = dict[str, Any]

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""Content type of the stub. Clients ask for `@v1.0` and choke on it in the answer."""
V2_STUB = bytes.fromhex("0a03322e3012070a0178120276314200")
"""A document without paths: kubectl only wants to see that there is one."""

_REFERENCE = "#/components/schemas/"
_META = "meta/v1."
_SHARED = ("ObjectMeta", "ListMeta", "DeleteOptions", "Status")
_ACTIONS = {"get": "get", "update": "put", "patch": "patch", "delete": "delete"}
_COLLECTION_ACTIONS = {"list": "get", "create": "post", "deletecollection": "delete"}
_WORDS = {
    "list": "list objects of kind",
    "create": "create an object of kind",
    "deletecollection": "delete a collection of",
    "get": "read the specified",
    "update": "replace the specified",
    "patch": "partially update the specified",
    "delete": "delete the specified",
}
_HEAD = {
    "apiVersion": {
        "description": "APIVersion defines the schema in which this object is written, such as kubevirt.io/v1.",
        "type": "string",
    },
    "kind": {"description": "The kind of the object.", "type": "string"},
}


def path_of(group: str, version: str) -> str:
    """The key of a group and version in the index: api/v1, apis/kubevirt.io/v1."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def digest(document: bytes) -> str:
    """The hash by which clients cache a document: it changes when the document does."""
    return hashlib.sha512(document).hexdigest().upper()


def index(hashes: dict[str, str]) -> Document:
    """The answer of /openapi/v3: where each document is, by its path."""
    return {"paths": {p: {"serverRelativeURL": f"/openapi/v3/{p}?hash={h}"} for p, h in sorted(hashes.items())}}


def document(group: str, version: str, resources: Iterable[ResourceInfo]) -> bytes:
    """The OpenAPI v3 document of one group and version, as JSON."""
    served = list(resources)
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.32.4"},
            "paths": _paths(served),
            "components": {
                "schemas": _components(served),
                "securitySchemes": {
                    "BearerToken": {
                        "type": "apiKey",
                        "name": "authorization",
                        "in": "header",
                        "description": "Bearer Token authentication",
                    }
                },
            },
        },
        order="deterministic",
    )


def swagger(resources: Iterable[ResourceInfo]) -> bytes:
    """The Swagger 2.0 document of everything that is served, as JSON."""
    served = list(resources)
    definitions = {name: _as_v2(_plain(schema)) for name, schema in _components(served).items()}
    paths = {path: _path_as_v2(operations) for path, operations in _paths(served).items()}
    return msgspec.json.encode(
        {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": "v1.32.4"},
            "paths": paths,
            "definitions": definitions,
            "securityDefinitions": {
                "BearerToken": {
                    "description": "Bearer Token authentication",
                    "type": "apiKey",
                    "name": "authorization",
                    "in": "header",
                }
            },
            "security": [{"BearerToken": []}],
        },
        order="deterministic",
    )


def _paths(resources: list[ResourceInfo]) -> Document:
    paths: Document = {}
    for info in resources:
        base = f"/{path_of(info.group, info.version)}"
        scope = f"{base}/namespaces/{{namespace}}/{info.plural}" if info.namespaced else f"{base}/{info.plural}"
        collection = {m: _operation(info, v, None) for v, m in _COLLECTION_ACTIONS.items() if v in info.verbs}
        if collection:
            paths[scope] = collection
        if info.namespaced and "list" in info.verbs:
            paths[f"{base}/{info.plural}"] = {"get": _operation(info, "list", None, namespaced=False)}
        item = {m: _operation(info, v, None) for v, m in _ACTIONS.items() if v in info.verbs}
        if item:
            paths[f"{scope}/{{name}}"] = item
        for subresource in info.subresources:
            verbs = {**_ACTIONS, "create": "post"}
            operations = {m: _operation(info, v, subresource) for v, m in verbs.items() if v in subresource.verbs}
            if operations:
                paths[f"{scope}/{{name}}/{subresource.name}"] = operations
    return paths


def _operation(
    info: ResourceInfo, verb: str, subresource: Subresource | None, *, namespaced: bool | None = None
) -> Document:
    inside = info.namespaced if namespaced is None else namespaced
    kind = {"group": info.group, "kind": info.kind, "version": info.version}
    if subresource is not None and subresource.kind:
        kind = {"group": subresource.group, "kind": subresource.kind, "version": subresource.version or "v1"}
    where = "Namespaced" if inside else ""
    group = "".join(part.capitalize() for part in (info.group.split(".")[0] or "core", info.version))
    suffix = "".join(part.capitalize() for part in subresource.name.split("/")) if subresource else ""
    everywhere = "ForAllNamespaces" if namespaced is False else ""
    action = {"update": "put", "create": "post"}.get(verb, verb)
    words = _WORDS[verb] + (f" {subresource.name} of" if subresource else "")
    operation: Document = {
        "description": f"{words} {info.kind}",
        "operationId": f"{verb}{group}{where}{info.kind}{suffix}{everywhere}",
        "parameters": _parameters(verb, named=verb in _ACTIONS or subresource is not None, namespaced=inside),
        "responses": {"200": {"description": "OK", **_answer(info, verb, subresource)}},
        "tags": [f"{info.group.split('.')[0] or 'core'}_{info.version}"],
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind,
    }
    if verb in ("create", "update"):
        operation["requestBody"] = {"content": _content(_schema_reference(info, subresource))}
    elif verb == "patch":
        types = ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
        if not info.custom:
            types.append("application/strategic-merge-patch+json")
        operation["requestBody"] = {"content": {t: {"schema": {"type": "object"}} for t in sorted(types)}}
    return operation


def _content(schema: Document) -> Document:
    return {"application/json": {"schema": schema}, "application/yaml": {"schema": schema}}


def _answer(info: ResourceInfo, verb: str, subresource: Subresource | None) -> Document:
    if verb in ("delete", "deletecollection"):
        return {"content": _content({"$ref": _REFERENCE + builtin.component_name(_META + "Status")})}
    if verb == "list":
        return {"content": _content({"$ref": f"{_REFERENCE}{component_name(info)}List"})}
    return {"content": _content(_schema_reference(info, subresource))}


def _schema_reference(info: ResourceInfo, subresource: Subresource | None) -> Document:
    if subresource is not None and subresource.kind:
        group = subresource.group
        name = builtin.type_name(f"{group}/{subresource.version}" if group else "v1", subresource.kind)
        return {"$ref": _REFERENCE + builtin.component_name(name)} if name else {"type": "object"}
    return {"$ref": _REFERENCE + component_name(info)}


def _parameters(verb: str, *, named: bool, namespaced: bool) -> list[Document]:
    found: list[Document] = []
    if named:
        found.append(_parameter("name", "path", "string"))
    if namespaced:
        found.append(_parameter("namespace", "path", "string"))
    queries: list[tuple[str, str]] = [("pretty", "string")]
    if verb in ("create", "update", "patch"):
        queries += [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")]
    if verb == "patch":
        queries.append(("force", "boolean"))
    if verb in ("delete", "deletecollection"):
        queries += [("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("propagationPolicy", "string")]
    if verb in ("list", "deletecollection"):
        queries += [("fieldSelector", "string"), ("labelSelector", "string"), ("limit", "integer")]
        queries += [("continue", "string"), ("resourceVersion", "string"), ("resourceVersionMatch", "string")]
        queries += [("timeoutSeconds", "integer"), ("sendInitialEvents", "boolean")]
    if verb == "list":
        queries += [("watch", "boolean"), ("allowWatchBookmarks", "boolean")]
    return found + [_parameter(name, "query", type_) for name, type_ in sorted(set(queries))]


def _parameter(name: str, place: str, type_: str) -> Document:
    parameter: Document = {"name": name, "in": place, "schema": {"type": type_, "uniqueItems": True}}
    if place == "path":
        parameter["required"] = True
    return parameter


def component_name(info: ResourceInfo) -> str:
    """The name of a kind's schema: io.kubevirt.v1.VirtualMachine, io.k8s.api.core.v1.Pod."""
    name = None if info.custom else builtin.type_name(info.api_version, info.kind)
    if name is not None:
        return builtin.component_name(name)
    return ".".join([*reversed(info.group.split(".")), info.version, info.kind])


def _components(resources: list[ResourceInfo]) -> Document:
    names = {_META + name for name in _SHARED}
    schemas: Document = {}
    for info in resources:
        own = None if info.custom else builtin.type_name(info.api_version, info.kind)
        if own is not None:
            names.add(own)
        elif info.schema is not None:
            schemas[component_name(info)] = _custom(info, info.schema.document)
        else:
            schemas[component_name(info)] = _custom(info, {"type": "object"})
        if "list" in info.verbs:
            schemas[f"{component_name(info)}List"] = _list(info)
        for subresource in info.subresources:
            group = subresource.group
            other = builtin.type_name(f"{group}/{subresource.version}" if group else "v1", subresource.kind)
            if other is not None:
                names.add(other)
    for reached in set().union(*(builtin.references(name) for name in names)):
        schemas[builtin.component_name(reached)] = builtin.component(reached)
    return schemas | {name: dict(schema) for name, schema in builtin.SHARED.values()}


def _custom(info: ResourceInfo, schema: Document) -> Document:
    properties = dict(schema.get("properties") or {})
    metadata = {"allOf": [{"$ref": _REFERENCE + builtin.component_name(_META + "ObjectMeta")}]}
    metadata["description"] = "Standard object's metadata."  # type: ignore[assignment]
    return {
        **schema,
        "properties": {**properties, **_HEAD, "metadata": metadata},
        "x-kubernetes-group-version-kind": [{"group": info.group, "kind": info.kind, "version": info.version}],
    }


def _list(info: ResourceInfo) -> Document:
    return {
        "description": f"{info.list_kind} is a list of {info.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_HEAD,
            "metadata": {"allOf": [{"$ref": _REFERENCE + builtin.component_name(_META + "ListMeta")}]},
            "items": {"type": "array", "items": {"allOf": [{"$ref": _REFERENCE + component_name(info)}]}},
        },
        "x-kubernetes-group-version-kind": [{"group": info.group, "kind": info.list_kind, "version": info.version}],
    }


def _plain(schema: Document) -> Document:
    """A kind that says nothing of itself is any object: old clients took the extension for a promise to validate."""
    if schema.get(_ANYTHING) and not schema.get("properties", {}).keys() - {*_HEAD, "metadata"}:
        return {k: v for k, v in schema.items() if k != _ANYTHING}
    return schema


_ANYTHING = "x-kubernetes-preserve-unknown-fields"
_V3_ONLY = ("nullable", "oneOf", "anyOf", "not")


def _as_v2(schema: Document) -> Document:
    """A v3 schema in the words of Swagger 2.0: other references, no alternatives, no nullable."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace(_REFERENCE, "#/definitions/")}
    result = {k: v for k, v in schema.items() if k not in _V3_ONLY and k != "allOf"}
    if "properties" in result:
        result["properties"] = {name: _as_v2(child) for name, child in result["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(result.get(keyword), dict):
            result[keyword] = _as_v2(result[keyword])
    if "oneOf" in schema and "type" not in schema and not schema.keys() - {"oneOf", "format", "description"}:
        result["type"] = "string"  # one of the scalars that have a name of their own
    alternatives = schema.get("allOf") or []
    if len(alternatives) == 1 and "$ref" in alternatives[0]:
        result.update(_as_v2(alternatives[0]))
    return result


def _path_as_v2(operations: Document) -> Document:
    result: Document = {}
    for method, operation in operations.items():
        converted = {k: v for k, v in operation.items() if k not in ("requestBody", "responses", "parameters")}
        parameters = [
            {**{k: v for k, v in p.items() if k != "schema"}, **_as_v2(p["schema"])} for p in operation["parameters"]
        ]
        body = operation.get("requestBody")
        if body:
            schema = _as_v2(next(iter(body["content"].values()))["schema"])
            parameters.append({"name": "body", "in": "body", "required": True, "schema": schema})
        converted["parameters"] = parameters
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        converted["responses"] = {"200": {"description": "OK", "schema": _as_v2(answer)}}
        converted["consumes"] = sorted(body["content"]) if body else ["*/*"]
        converted["produces"] = ["application/json", "application/yaml"]
        converted["schemes"] = ["https"]
        result[method] = converted
    return result
