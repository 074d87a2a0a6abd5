"""Objects and lists in the form that a client asked for: JSON, YAML, Table, metadata only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import yaml
from aiohttp import web

from kvtui.apiserver import status
from kvtui.apiserver.http import Call, json_response, send_large
from kvtui.apiserver.negotiation import YAML, Form, Wanted
from kvtui.apiserver.reading import Page
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.schema import tables
from kvtui.apiserver.showing import shown_bytes

Object = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")
JSON = "application/json"
_SLICE = 0.005
"""Seconds between two turns of the event loop."""
_LOOK = 8
"""Objects between two looks at the clock; one takes up to a millisecond when its schema has changed."""
_ROWS = 20
"""Table rows that are made in one go."""
_encode = msgspec.json.encode
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def one(info: ResourceInfo, record: Record, wanted: Wanted, query: Mapping[str, str]) -> tuple[str, bytes]:
    """Content type and body of one object."""
    match wanted.form:
        case Form.FULL:
            data = shown_bytes(info, record)
            return (YAML, to_yaml(data)) if wanted.yaml else (JSON, data)
        case Form.PARTIAL:
            return JSON, record.partial()
        case Form.TABLE:
            return JSON, table(info, [record], wanted, query, {"resourceVersion": str(record.rv)})
        case Form.PARTIAL_LIST:
            raise status.not_acceptable((JSON, YAML))


def to_yaml(data: bytes) -> bytes:
    text: str = yaml.dump(msgspec.json.decode(data), Dumper=_Dumper, sort_keys=False)
    return text.encode()


def include_object(query: Mapping[str, str]) -> str:
    """How much of each object a Table carries. Raises Failure 400."""
    include = query.get("includeObject", "") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise status.bad_request(f"unrecognized includeObject value: {include}")
    return include


def table(
    info: ResourceInfo,
    records: list[Record],
    wanted: Wanted,
    query: Mapping[str, str],
    meta: Object,
    *,
    columns: bool = True,
) -> bytes:
    """A Table of a few records. Raises Failure 400."""
    objs = [msgspec.json.decode(shown_bytes(info, r)) for r in records]
    rendered = tables.render(info, objs, now=datetime.now(UTC), include_object=include_object(query))
    rendered["apiVersion"] = wanted.table_version
    rendered["metadata"] = meta
    if not columns:
        rendered["columnDefinitions"] = None
    return _encode(rendered)


async def send_list(call: Call, info: ResourceInfo, page: Page, wanted: Wanted) -> web.StreamResponse:
    """A list in the wanted form; other requests get their turn in between."""
    meta: Object = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        meta["continue"] = page.continue_token
    if page.remaining is not None and page.continue_token:
        meta["remainingItemCount"] = page.remaining
    if wanted.form is Form.TABLE:
        head = msgspec.json.decode(table(info, [], wanted, call.query, meta))
        del head["rows"]
        rows = [row async for row in _rows(call, info, page.records)]
        return await send_large(call, _joined(head, "rows", rows))
    if wanted.form in (Form.PARTIAL, Form.PARTIAL_LIST):
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        items = [item async for item in slowly(page.records, Record.partial)]
    else:
        head = {"kind": info.list_kind, "apiVersion": info.api_version, "metadata": meta}
        items = [item async for item in slowly(page.records, lambda r: shown_bytes(info, r))]
    parts = _joined(head, "items", items)
    if wanted.yaml:
        body = await asyncio.to_thread(to_yaml, b"".join(parts))
        return json_response(body, warnings=call.warnings, content_type=YAML)
    return await send_large(call, parts)


async def slowly(values: Sequence[T], form: Callable[[T], R]) -> AsyncIterator[R]:
    """Forms of many values; other requests get their turn in between."""
    end = time.monotonic() + _SLICE
    for number, value in enumerate(values):
        yield form(value)
        if number % _LOOK == _LOOK - 1 and time.monotonic() > end:
            await asyncio.sleep(0)
            end = time.monotonic() + _SLICE


async def _rows(call: Call, info: ResourceInfo, records: list[Record]) -> AsyncIterator[bytes]:
    include = include_object(call.query)
    now = datetime.now(UTC)
    for start in range(0, len(records), _ROWS):
        objs = [msgspec.json.decode(shown_bytes(info, r)) for r in records[start : start + _ROWS]]
        for row in tables.render(info, objs, now=now, include_object=include)["rows"]:
            yield _encode(row)
        await asyncio.sleep(0)


def _joined(head: Object, name: str, items: list[bytes]) -> list[bytes]:
    parts = [_encode(head)[:-1] + f',"{name}":['.encode()]
    for number, item in enumerate(items):
        if number:
            parts.append(b",")
        parts.append(item)
    parts.append(b"]}")
    return parts
