"""From two versions of an object to the smallest merge patch between them, and writing it.

A patch carries the resourceVersion it was computed from, so that a list which somebody else has changed meanwhile is
never put back: the server answers Conflict and the key comes again.

Source: RFC 7396; https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from kvtui.api.meta import Resource
from kvtui.api.registry import kind_of
from kvtui.api.wire import to_wire
from kvtui.client.rest import Client

R = TypeVar("R", bound=Resource)


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What must be merged into `old` to get `new`; lists are taken whole. Empty when they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if key not in old:
            patch[key] = value
        elif isinstance(before, dict) and isinstance(value, dict):
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif before != value:
            patch[key] = value
    return patch


def changes(old: R, new: R) -> dict[str, Any]:
    return merge_patch(to_wire(old), to_wire(new))


async def write_changes(client: Client, old: R, new: R, *, guarded: bool = True) -> R:
    """Patches what differs, status through its subresource where there is one. Returns what the server has then.

    Raises Conflict when the object has changed since `old` was read (unless not `guarded`), NotFound when it is gone.
    """
    patch = changes(old, new)
    if not patch:
        return old
    type_ = type(old)
    guard = {"resourceVersion": old.metadata.resource_version} if guarded and old.metadata.resource_version else {}
    status = patch.pop("status", None)
    result = old
    if status is not None and not kind_of(type_).status:
        patch["status"] = status
        status = None
    if patch:
        patch["metadata"] = {**patch.get("metadata", {}), **guard}
        result = await client.patch(type_, old.key, patch)
        guard = {"resourceVersion": result.metadata.resource_version} if guard else {}
    if status is not None:
        body: dict[str, Any] = {"status": status}
        if guard:
            body["metadata"] = guard
        result = await client.patch(type_, old.key, body, subresource="status")
    return result
