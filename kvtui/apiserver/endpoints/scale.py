"""The scale subresource: three numbers of an object as an autoscaling/v1 Scale.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#scale-subresource.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kvtui.apiserver import bodies, patching, reading, selectors, status
from kvtui.apiserver.http import Call, json_response
from kvtui.apiserver.objects import Objects, Transform
from kvtui.apiserver.resources import LazySchema, ResourceInfo, ScalePaths
from kvtui.apiserver.schema import builtin
from kvtui.errors import InvalidSelector

Object = dict[str, Any]
API_VERSION = "autoscaling/v1"


def scale_of(obj: Object, paths: ScalePaths) -> Object:
    """The Scale of an object."""
    meta = obj["metadata"]
    shown = {
        key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if key in meta
    }
    state: Object = {"replicas": _at(obj, paths.status_replicas) or 0}
    selector = _at(obj, paths.label_selector) if paths.label_selector else None
    if isinstance(selector, str) and selector:
        state["selector"] = selector
    elif isinstance(selector, dict):
        try:
            state["selector"] = str(
                selectors.from_object(
                    selector
                    if "matchLabels" in selector or "matchExpressions" in selector
                    else {"matchLabels": selector}
                )
            )
        except InvalidSelector:
            state["selector"] = ""
    return {
        "kind": "Scale",
        "apiVersion": API_VERSION,
        "metadata": shown,
        "spec": {"replicas": _at(obj, paths.spec_replicas) or 0},
        "status": state,
    }


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj


def _put(obj: Object, path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        inner = obj.get(step)
        if not isinstance(inner, dict):
            inner = obj[step] = {}
        obj = inner
    obj[path[-1]] = value


def _replicas(scale: Object) -> int:
    spec = scale.get("spec")
    value = spec.get("replicas", 0) if isinstance(spec, dict) else 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise status.invalid(
            "autoscaling",
            "Scale",
            str((scale.get("metadata") or {}).get("name", "")),
            [status.invalid_value("spec.replicas", value, "must be greater than or equal to 0")],
        )
    return value


async def scale(call: Call, objects: Objects, info: ResourceInfo) -> web.StreamResponse:
    """GET, PUT and PATCH of …/scale. Raises Failure."""
    assert info.scale is not None
    paths = info.scale
    namespace, name = call.target.namespace, call.target.name
    if call.target.verb == "get":
        await reading.wait_not_older(objects.store, call.query.get("resourceVersion", ""))
        return json_response(scale_of(objects.get(info, namespace, name).decode(), paths), warnings=call.warnings)
    options = call.write_options()
    if call.target.verb == "update":
        wanted, _ = bodies.decode(await call.body(), call.content_type)
        change: Transform = lambda _scale: wanted  # noqa: E731
    elif call.target.verb == "patch":
        pseudo = _scale_info(info)
        change, _ = patching.transform_of(pseudo, await call.body(), call.content_type)
    else:
        raise status.method_not_allowed(info.group, info.plural, call.target.verb)

    def transform(old: Object) -> Object:
        new = change(scale_of(old, paths))
        revision = (new.get("metadata") or {}).get("resourceVersion")
        if revision:
            old["metadata"]["resourceVersion"] = revision
        _put(old, paths.spec_replicas, _replicas(new))
        return old

    result = await objects.update(info, namespace, name, transform, options, subresource="scale")
    return json_response(scale_of(result.record.decode(), paths), warnings=call.warnings)


def _scale_info(info: ResourceInfo) -> ResourceInfo:
    return ResourceInfo(
        group="autoscaling",
        version="v1",
        plural=info.plural,
        kind="Scale",
        singular="scale",
        list_kind="ScaleList",
        bucket=info.bucket,
        stored_api_version=API_VERSION,
        custom=info.custom,
        schema=LazySchema(lambda: builtin.openapi("autoscaling/v1.Scale")),
    )
