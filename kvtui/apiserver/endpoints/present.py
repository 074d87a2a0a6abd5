"""Objects and lists in the form that a client asked for: JSON, YAML, Table, metadata only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import yaml
from aiohttp import web

from kvtui.apiserver import status
from kvtui.apiserver.http import Call, json_response, send_large
from kvtui.apiserver.negotiation import YAML, Form, Wanted
from kvtui.apiserver.patching import shown_bytes
from kvtui.apiserver.reading import Page
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.schema import tables

Object = dict[str, Any]
JSON = "application/json"
_encode = msgspec.json.encode


def one(info: ResourceInfo, record: Record, wanted: Wanted, query: Mapping[str, str]) -> tuple[str, bytes]:
    """Content type and body of one object."""
    match wanted.form:
        case Form.FULL:
            data = shown_bytes(info, record.data)
            return (YAML, to_yaml(data)) if wanted.yaml else (JSON, data)
        case Form.PARTIAL:
            return JSON, record.partial()
        case Form.TABLE:
            return JSON, table(info, [record], wanted, query, {"resourceVersion": str(record.rv)})
        case Form.PARTIAL_LIST:
            raise status.not_acceptable((JSON, YAML))


def to_yaml(data: bytes) -> bytes:
    return yaml.safe_dump(msgspec.json.decode(data), sort_keys=False).encode()


def table(
    info: ResourceInfo,
    records: list[Record],
    wanted: Wanted,
    query: Mapping[str, str],
    meta: Object,
    *,
    columns: bool = True,
) -> bytes:
    """A Table of some records. Raises Failure 400."""
    include = query.get("includeObject", "") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise status.bad_request(f"unrecognized includeObject value: {include}")
    objs = [msgspec.json.decode(shown_bytes(info, r.data)) for r in records]
    rendered = tables.render(info, objs, now=datetime.now(UTC), include_object=include)
    rendered["apiVersion"] = wanted.table_version
    rendered["metadata"] = meta
    if not columns:
        rendered["columnDefinitions"] = None
    return _encode(rendered)


async def send_list(call: Call, info: ResourceInfo, page: Page, wanted: Wanted) -> web.StreamResponse:
    """A list in the wanted form."""
    meta: Object = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        meta["continue"] = page.continue_token
    if page.remaining is not None and page.continue_token:
        meta["remainingItemCount"] = page.remaining
    if wanted.form is Form.TABLE:
        body = table(info, page.records, wanted, call.query, meta)
        return await send_large(call, [body])
    if wanted.form in (Form.PARTIAL, Form.PARTIAL_LIST):
        parts = _joined("PartialObjectMetadataList", "meta.k8s.io/v1", meta, [r.partial() for r in page.records])
        return await send_large(call, parts)
    items = [shown_bytes(info, r.data) for r in page.records]
    parts = _joined(info.list_kind, info.api_version, meta, items)
    if wanted.yaml:
        return json_response(to_yaml(b"".join(parts)), warnings=call.warnings, content_type=YAML)
    return await send_large(call, parts)


def _joined(kind: str, api_version: str, meta: Object, items: list[bytes]) -> list[bytes]:
    head = _encode({"kind": kind, "apiVersion": api_version, "metadata": meta})[:-1] + b',"items":['
    parts = [head]
    for number, item in enumerate(items):
        if number:
            parts.append(b",")
        parts.append(item)
    parts.append(b"]}")
    return parts
