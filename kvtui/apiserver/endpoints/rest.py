"""The REST verbs on objects of every kind.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from kvtui.apiserver import bodies, deletion, patching, reading, selection, status
from kvtui.apiserver.beside import beside
from kvtui.apiserver.endpoints import apply, present
from kvtui.apiserver.http import Call, failure_response, json_response
from kvtui.apiserver.objects import Objects, Written
from kvtui.apiserver.options import DeleteOptions, WriteOptions, delete_options
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import ResourceInfo

Object = dict[str, Any]
_DELETE_SLICE = 64


async def get(call: Call, objects: Objects, info: ResourceInfo) -> web.StreamResponse:
    await reading.wait_not_older(objects.store, call.query.get("resourceVersion", ""))
    record = objects.get(info, call.target.namespace, call.target.name)
    return answer(call, info, record)


async def list_objects(call: Call, objects: Objects, info: ResourceInfo) -> web.StreamResponse:
    wanted = call.wanted
    chosen = selection_of(call, info)
    given = reading.read_options(call.query)
    page = await reading.read(objects.store, info, chosen, given)
    return await present.send_list(call, info, page, wanted)


def selection_of(call: Call, info: ResourceInfo) -> selection.Selection:
    """Raises Failure 400, 404."""
    namespace = call.target.namespace or None if info.namespaced else None
    return selection.parse(info, namespace, call.query.get("labelSelector", ""), call.query.get("fieldSelector", ""))


def answer(call: Call, info: ResourceInfo, record: Record, code: int = 200) -> web.Response:
    """One object in the form that the client wants."""
    content_type, body = present.one(info, record, call.wanted, call.query)
    return json_response(body, code=code, warnings=call.warnings, content_type=content_type)


def written(call: Call, info: ResourceInfo, result: Written) -> web.Response:
    return answer(call, info, result.record, 201 if result.created else 200)


async def decode_body(call: Call, info: ResourceInfo) -> tuple[Object, list[str]]:
    """The object of a POST or PUT, of the right kind. Raises Failure 400, 415."""
    body = await call.body()
    obj, duplicates = await decoded(body, call.content_type)
    check_kind(info, obj, body)
    return obj, duplicates


async def decoded(body: bytes, content_type: str) -> tuple[Object, list[str]]:
    """As `bodies.decode`, which takes its time with YAML."""
    slow = bodies.media_type(content_type).endswith("yaml")
    return await beside(len(body) * (bodies.YAML_EFFORT if slow else 1), bodies.decode, body, content_type)


def check_kind(info: ResourceInfo, obj: Object, body: bytes = b"") -> None:
    """apiVersion and kind of a body against the URL. Raises Failure 400."""
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    if info.custom and not kind:
        shown = body.decode(errors="replace")[:200]
        raise status.bad_request(f"Object 'Kind' is missing in '{shown}'")
    if not api_version:
        obj["apiVersion"] = info.api_version
    elif api_version != info.api_version:
        raise status.bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({info.api_version})"
        )
    if not kind:
        obj["kind"] = info.kind
    elif kind != info.kind:
        group_kind = f"{info.kind}.{info.group}" if info.group else info.kind
        raise status.bad_request(f"the kind in the data ({kind}) does not match the expected kind ({group_kind})")


async def create(call: Call, objects: Objects, info: ResourceInfo) -> web.StreamResponse:
    options = call.write_options()
    obj, duplicates = await decode_body(call, info)
    result = await objects.create(info, call.target.namespace, obj, options, duplicates=duplicates)
    return written(call, info, result)


async def update(call: Call, objects: Objects, info: ResourceInfo, subresource: str = "") -> web.StreamResponse:
    options = call.write_options()
    obj, duplicates = await decode_body(call, info)
    namespace, name = call.target.namespace, call.target.name
    if info.create_on_update and not subresource and objects.bucket(info).get_latest((namespace, name)) is None:
        result = await objects.create(info, namespace, obj, options, name=name, duplicates=duplicates)
        return written(call, info, result)
    encoded = msgspec.json.encode(obj)

    def replace(_old: Object) -> Object:
        fresh: Object = msgspec.json.decode(encoded)
        return fresh

    result = await objects.update(
        info,
        namespace,
        name,
        replace,
        options,
        subresource=subresource,
        duplicates=duplicates,
        require_revision=True,
    )
    return written(call, info, result)


async def patch(call: Call, objects: Objects, info: ResourceInfo, subresource: str = "") -> web.StreamResponse:
    kind = bodies.media_type(call.content_type)
    if kind in patching.APPLY_PATCHES:
        result = await apply.apply(call, objects, info, subresource)
        return written(call, info, result)
    options = call.write_options()
    body = await call.body()
    transform, duplicates = await beside(len(body), patching.transform_of, info, body, call.content_type)
    result = await objects.update(
        info,
        call.target.namespace,
        call.target.name,
        transform,
        options,
        subresource=subresource,
        duplicates=duplicates,
        effort=len(body),
    )
    return written(call, info, result)


async def delete(call: Call, objects: Objects, info: ResourceInfo) -> web.StreamResponse:
    options, write = await deletion_options(call)
    done = await deletion.delete(objects, info, call.target.namespace, call.target.name, options, write)
    return deleted(call, info, done, accepted=options.orphan is False)


async def deletion_options(call: Call) -> tuple[DeleteOptions, WriteOptions]:
    """Raises Failure 400, 415, 422."""
    body = await call.body()
    given: Object | None = None
    if body.strip():
        given, _ = await decoded(body, call.content_type)
        if given.get("kind", "DeleteOptions") != "DeleteOptions":
            raise status.bad_request(f"expected DeleteOptions, got {given.get('kind')}")
    options = delete_options(given, call.query)
    base = call.write_options()
    write = WriteOptions(user=base.user, manager=base.manager, dry_run=options.dry_run, warnings=base.warnings)
    return options, write


def deleted(call: Call, info: ResourceInfo, done: deletion.Deleted, *, accepted: bool = False) -> web.Response:
    record = done.record
    if not done.gone:
        return answer(call, info, record, 202 if accepted else 200)
    if info.bucket == "namespaces" or info.bucket == "pods":
        return answer(call, info, record)
    body = status.success(name=record.name, group=info.group, kind=info.plural, uid=record.uid)
    return json_response(body, warnings=call.warnings)


async def delete_collection(call: Call, objects: Objects, info: ResourceInfo) -> web.StreamResponse:
    options, write = await deletion_options(call)
    chosen = selection_of(call, info)
    page = await reading.read(objects.store, info, chosen, reading.read_options(call.query))
    gone: list[Record] = []
    for record in page.records:
        try:
            done = await deletion.delete(objects, info, record.namespace, record.name, options, write)
        except status.Failure as failure:
            if failure.code == 404:
                continue
            return failure_response(failure, call.warnings)
        gone.append(done.record)
    remaining = reading.Page(gone, objects.store.revision, page.continue_token, page.remaining)
    return await present.send_list(call, info, remaining, call.wanted)
