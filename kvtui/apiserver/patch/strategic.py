"""Strategic merge patch: merges by the schema's merge keys, with the directives that kubectl sends.

`$patch: replace|delete|merge` in an object or a list item, `$retainKeys`, `$deleteFromPrimitiveList/<field>` and
`$setElementOrder/<field>`. Only built-in kinds take this kind of patch.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.patch.json_patch import same
from kvtui.apiserver.schema.node import UNTYPED, Node

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"

Object = dict[str, Any]


def merge(target: Object, patch: Any, schema: Node) -> Object:
    """The patched object; neither argument is changed. Raises PatchError (400) for a patch that makes no sense."""
    if not isinstance(patch, dict):
        raise PatchError(400, "error decoding patch: a strategic merge patch must be an object")
    return _merge_map(target, patch, schema)


def _merge_map(original: Object, patch: Object, schema: Node) -> Object:
    directive = patch.get(_PATCH)
    if directive is not None:
        if directive == "replace":
            replacement: Object = _plain({k: v for k, v in patch.items() if k != _PATCH})
            return replacement
        if directive == "delete":
            return {}
        if directive != "merge":
            raise PatchError(400, f"unknown patch type: {directive}")
    result = _retained(original, patch)
    ordered = _ordered_lists(result, patch, schema)
    for key, value in patch.items():
        if key in (_PATCH, _RETAIN) or key.startswith(_ORDER) or key in ordered:
            continue
        if key.startswith(_DELETE_FROM):
            _delete_from(result, key[len(_DELETE_FROM) :], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_value(result.get(key), value, schema.child(key) or UNTYPED)
    result.update(ordered)
    return result


def _retained(original: Object, patch: Object) -> Object:
    keep = patch.get(_RETAIN)
    if keep is None:
        return dict(original)
    if not isinstance(keep, list):
        raise PatchError(400, f"{_RETAIN} must be a list")
    extra = [key for key in patch if not key.startswith("$") and patch[key] is not None and key not in keep]
    if extra:
        raise PatchError(400, "the keys in the patch do not match the keys that are to be retained")
    return {key: value for key, value in original.items() if key in keep}


def _merge_value(original: Any, value: Any, schema: Node) -> Any:
    if isinstance(value, dict):
        if isinstance(original, dict):
            return _merge_map(original, value, schema)
        return _plain(value)
    if isinstance(value, list):
        if isinstance(original, list) and schema.patch_merge:
            return _merge_list(original, value, schema)
        return _plain(value)
    return value


def _delete_from(result: Object, field: str, values: Any) -> None:
    present = result.get(field)
    if not isinstance(values, list):
        raise PatchError(400, f"{_DELETE_FROM}{field} must be a list")
    if isinstance(present, list):
        result[field] = [item for item in present if not _contains(values, item)]


def _ordered_lists(original: Object, patch: Object, schema: Node) -> Object:
    """The lists for which the patch gives the order of the elements, merged and in that order."""
    merged: Object = {}
    for key, order in patch.items():
        if not key.startswith(_ORDER):
            continue
        field = key[len(_ORDER) :]
        if not isinstance(order, list):
            raise PatchError(400, f"{key} must be a list")
        child = schema.child(field) or UNTYPED
        present, change = original.get(field), patch.get(field)
        if isinstance(change, list):
            _check_order(change, order, key, _identity(child.patch_key))
        if f"{_DELETE_FROM}{field}" in patch and isinstance(present, list):
            removed = patch[f"{_DELETE_FROM}{field}"]
            present = [item for item in present if not _contains(removed, item)]
        if isinstance(present, list) and isinstance(change, list):
            result = _merge_list(present, change, child) if child.patch_merge else _plain(change)
        elif isinstance(change, list):
            present, result = [], _plain(change)
        elif isinstance(present, list):
            result = present
        else:
            continue
        merged[field] = _in_order(result, order, present, _identity(child.patch_key))
    return merged


def _merge_list(original: list[Any], patch: list[Any], schema: Node) -> list[Any]:
    key = schema.patch_key
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        merged: list[Any] = []
        for item in (*original, *patch):
            if not _contains(merged, item):
                merged.append(item)
        return _in_order(merged, patch, original, _identity(""))
    if not key:
        raise PatchError(400, "cannot merge lists without merge key")
    original, patch = _special_items(original, patch, key)
    merged = list(original)
    for item in patch:
        position = _position(merged, item, key)
        if position is None:
            merged.append(_plain(item))
        else:
            merged[position] = _merge_map(merged[position], item, schema.items or UNTYPED)
    return _in_order(merged, patch, original, _identity(key))


def _special_items(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Carries out the items that are directives; what is left to merge."""
    plain: list[Any] = []
    replace = False
    result = original
    for item in patch:
        if not isinstance(item, dict):
            raise PatchError(400, "a list of objects cannot be merged with other values")
        directive = item.get(_PATCH)
        if directive is None:
            plain.append(item)
        elif directive == "delete":
            if key not in item:
                raise PatchError(400, f"delete patch type with no merge key defined: {key}")
            result = [o for o in result if not (isinstance(o, dict) and same(o.get(key), item[key]))]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise PatchError(400, "merging lists cannot yet be specified in the patch")
        else:
            raise PatchError(400, f"unknown patch type: {directive}")
    return ([], plain) if replace else (result, plain)


def _position(items: Sequence[Any], item: Object, key: str) -> int | None:
    if key not in item:
        raise PatchError(400, f"map: {item} does not contain declared merge key: {key}")
    for position, candidate in enumerate(items):
        if isinstance(candidate, dict) and same(candidate.get(key), item[key]):
            return position
    return None


Identity = Callable[[Any], Any]


def _identity(key: str) -> Identity:
    return lambda item: item.get(key) if key and isinstance(item, dict) else item


def _check_order(change: list[Any], order: list[Any], key: str, identity: Identity) -> None:
    """The elements of the patch, directives aside, must stand in the order that it asks for."""
    pending = iter(order)
    for item in change:
        if isinstance(item, dict) and item.get(_PATCH) in ("delete", "replace"):
            continue
        mine = identity(item)
        if not any(same(identity(other), mine) for other in pending):
            raise PatchError(400, f"the order in the patch list of {key[len(_ORDER) :]} does not match {key}")


def _in_order(merged: list[Any], wanted: list[Any], server: list[Any], identity: Identity) -> list[Any]:
    """Elements that `wanted` names follow its order; the others keep their places relative to the server's list."""

    def rank(order: list[Any], item: Any) -> int:
        mine = identity(item)
        return next((at for at, other in enumerate(order) if same(identity(other), mine)), -1)

    from_patch = sorted((i for i in merged if rank(wanted, i) >= 0), key=lambda i: rank(wanted, i))
    server_only = sorted((i for i in merged if rank(wanted, i) < 0), key=lambda i: rank(server, i))
    result: list[Any] = []
    left, right = 0, 0
    while left < len(server_only) or right < len(from_patch):
        if left == len(server_only):
            result.append(from_patch[right])
            right += 1
        elif right == len(from_patch):
            result.append(server_only[left])
            left += 1
        else:
            mine, other = rank(server, server_only[left]), rank(server, from_patch[right])
            if mine >= 0 and other >= 0 and mine < other:
                result.append(server_only[left])
                left += 1
            else:
                result.append(from_patch[right])
                right += 1
    return result


def _contains(items: list[Any], item: Any) -> bool:
    return any(same(item, other) for other in items)


def _plain(value: Any) -> Any:
    """The value without nulls and directives, as it stands when there is nothing to merge it with."""
    if isinstance(value, dict):
        if value.get(_PATCH) == "delete":
            return {}
        return {k: _plain(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    if isinstance(value, list):
        return [_plain(v) for v in value if not (isinstance(v, dict) and v.get(_PATCH) == "delete")]
    return value
