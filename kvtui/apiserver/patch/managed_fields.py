"""Server-side apply, and the bookkeeping of who owns which field on every other write.

`apply` merges a configuration into an object and gives its manager exactly the fields it names; fields that others own
with another value are conflicts. `track_update` lets an ordinary write take what it changed.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/, KEP 555.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from kvtui.api.times import to_time
from kvtui.apiserver.patch import field_set, typed
from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.patch.field_set import LEAF, FieldSet
from kvtui.apiserver.schema import builtin
from kvtui.apiserver.schema.node import Node, compile_schema
from kvtui.errors import Cause

MAX_UPDATE_MANAGERS = 10
"""More entries of ordinary writes than this are merged, the oldest first, into ANCIENT."""
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_MANAGER_LENGTH = 128

Object = dict[str, Any]

_NEVER_OWNED: FieldSet = {
    "f:apiVersion": LEAF,
    "f:kind": LEAF,
    "f:metadata": {
        field_set.SELF: LEAF,
        **{
            f"f:{name}": LEAF
            for name in (
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "generation",
                "selfLink",
                "managedFields",
                "clusterName",
            )
        },
    },
}


class ApplyConflict(PatchError):
    """409: other managers own fields with other values. `causes` has one entry per field."""

    def __init__(self, message: str, causes: tuple[Cause, ...]) -> None:
        super().__init__(409, message)
        self.causes = causes


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry of metadata.managedFields."""

    name: str
    operation: str
    api_version: str
    fields: FieldSet
    time: str = ""
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes two entries the same: an applier keeps its entry across versions."""
        version = "" if self.operation == "Apply" else self.api_version
        return self.operation, self.name, version, self.subresource

    def wire(self) -> Object:
        entry: Object = {"manager": self.name, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            entry["time"] = self.time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = self.fields
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        if self.operation == "Update":
            text += f" using {self.api_version}"
        return text


def decode(entries: Any) -> list[Manager] | None:
    """The entries of metadata.managedFields; None if they are malformed, which clients may send and we ignore."""
    if not isinstance(entries, list):
        return None
    managers: list[Manager] = []
    for entry in entries:
        if not isinstance(entry, dict):
            return None
        fields = entry.get("fieldsV1") or {}
        if entry.get("operation") not in ("Apply", "Update") or not field_set.well_formed(fields):
            return None
        if entry.get("fieldsType") != "FieldsV1" or not isinstance(entry.get("manager") or "", str):
            return None
        managers.append(
            Manager(
                entry.get("manager") or "",
                entry["operation"],
                str(entry.get("apiVersion") or ""),
                fields,
                str(entry.get("time") or ""),
                str(entry.get("subresource") or ""),
            )
        )
    return managers


def track_update(
    old: Object | None,
    new: Object,
    manager: str,
    operation: str,
    schema: Node,
    api_version: str,
    now: datetime,
    subresource: str = "",
    *,
    reset: Collection[str] = (),
) -> Object:
    """`new` with managedFields in which `manager` owns what differs from `old`.

    `reset` names top-level fields that this endpoint does not write (status, or everything else). An object without
    managedFields is left without, until someone applies. Neither argument is changed.
    """
    metadata = new.get("metadata") or {}
    before = ((old or {}).get("metadata") or {}).get("managedFields")
    managers = _before_update(before, metadata.get("managedFields"), subresource)
    if managers is None:
        managers = decode(before or []) or []
        if old is not None and not managers:
            return _with_entries(new, [])
    else:
        before = None
    root = _root(schema)
    difference = typed.compare(_bare(old), _bare(new), root)
    if difference.same:
        return _with_entries(new, managers, before)
    taken = _owned(field_set.union(difference.added, difference.modified), reset)
    managers = _give_up(managers, field_set.union(taken, _owned(difference.removed, ())))
    if taken:
        mine = Manager(manager, operation, api_version, taken, to_time(now), subresource)
        managers = _granted(managers, mine)
    return _with_entries(new, _capped(managers))


def _before_update(old: Any, new: Any, subresource: str) -> list[Manager] | None:
    """The entries that the client sent, if it changed them and they make sense; an empty list clears them."""
    if new is None or new == old or subresource:
        return None
    return [] if new in ([], [{}]) else decode(new)


def apply(
    live: Object | None,
    config: Object,
    manager: str,
    force: bool,
    schema: Node,
    api_version: str,
    now: datetime,
    subresource: str = "",
    *,
    reset: Collection[str] = (),
) -> Object:
    """The object after `manager` applied `config` to it; a new one if there was none. Arguments are not changed.

    Raises PatchError for a configuration that does not fit, and without `force` ApplyConflict for fields that
    others own with another value.
    """
    _check_config(config, schema)
    try:
        return _apply(live, config, manager, force, _root(schema), api_version, to_time(now), subresource, reset)
    except typed.NotTyped as error:
        raise PatchError(400, f"failed to merge with the live object: {error}") from error


def _apply(
    live: Object | None,
    config: Object,
    manager: str,
    force: bool,
    root: Node,
    api_version: str,
    time: str,
    subresource: str,
    reset: Collection[str],
) -> Object:
    base = live or {}
    managers = decode((base.get("metadata") or {}).get("managedFields") or []) or []
    bare = _bare(base)
    if live and not managers:
        managers = _first_apply(bare, root, api_version, time, reset)
    named = _written(typed.to_set(config, root), reset)
    wanted = Manager(manager, "Apply", api_version, _owned(named, reset), time, subresource)
    last = next((m for m in managers if m.identity == wanted.identity), None)
    others = [m for m in managers if m.identity != wanted.identity]

    merged = typed.merge(bare, _without_status(config, reset), root)
    merged = _pruned(merged, root, last, [named, *(m.fields for m in others)])
    difference = typed.compare(bare, merged, root)
    changed = field_set.union(difference.added, difference.modified)
    conflicts = [(m, both) for m in others if (both := field_set.intersection(m.fields, changed))]
    if conflicts and not force:
        conflicts = _not_excused(conflicts, bare, root, manager)
        if conflicts:
            raise _conflict(conflicts)
    others = _give_up(others, field_set.union(changed, difference.removed))
    if difference.same:
        wanted = replace(wanted, time=last.time if last else "")
    kept = [*others, wanted] if wanted.fields else others
    result = _with_entries(typed.without_emptied(merged), kept)
    if live is None:
        result.setdefault("apiVersion", api_version)
    return result


def _check_config(config: Object, schema: Node) -> None:
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise PatchError(400, "metadata.managedFields must be nil")
    problems = typed.check(config, _root(schema))
    if problems:
        name = (metadata or {}).get("name", "") if isinstance(metadata, dict) else ""
        namespace = (metadata or {}).get("namespace", "") if isinstance(metadata, dict) else ""
        version = str(config.get("apiVersion", ""))
        where = f"{namespace}/{name}; {version if '/' in version else f'/{version}'}, Kind={config.get('kind', '')}"
        listed = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {p}" for p in problems)
        raise PatchError(400, f"failed to create typed patch object ({where}): {listed}")


def _first_apply(bare: Object, root: Node, api_version: str, time: str, reset: Collection[str]) -> list[Manager]:
    """Everything that is there before anyone applied belongs to one manager of that name."""
    everything = _owned(typed.compare({}, bare, root).added, reset)
    return [Manager(BEFORE_FIRST_APPLY, "Update", api_version, everything, time)] if everything else []


def _pruned(merged: Object, root: Node, last: Manager | None, wanted: list[FieldSet]) -> Object:
    """Without what the manager applied last time, if nobody wants it any more."""
    if last is None or not last.fields:
        return merged
    owned: FieldSet = {}
    for fields in wanted:
        owned = field_set.union(owned, fields)
    had = typed.named_members(last.fields, root)
    removed = typed.remove(merged, had, root)
    everything = typed.named_members(typed.to_set(merged, root), root)
    left = typed.named_members(typed.to_set(removed, root), root)
    keep = field_set.union(left, typed.named_members(owned, root))
    pruned = typed.remove(merged, field_set.difference(everything, keep), root)
    left = typed.named_members(typed.to_set(pruned, root), root)
    gone = field_set.intersection(field_set.difference(everything, left), had)
    result: Object = typed.remove(merged, gone, root)
    return result


Conflicts = list[tuple[Manager, FieldSet]]


def _not_excused(conflicts: Conflicts, live: Object, root: Node, manager: str) -> Conflicts:
    """kubectl may take over what its own client-side apply wrote, as long as nobody changed it since."""
    if manager != "kubectl":
        return conflicts
    annotation = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        applied = msgspec.json.decode(annotation or "null")
        if not isinstance(applied, dict):
            return conflicts
        difference = typed.compare(live, applied, root)
        allowed = typed.to_set(applied, root)
    except (msgspec.DecodeError, typed.NotTyped):
        return conflicts
    for changed in (difference.modified, difference.added, difference.removed):
        allowed = field_set.difference(allowed, changed)
    return [(m, left) for m, fields in conflicts if (left := field_set.difference(fields, allowed))]


def _conflict(conflicts: Conflicts) -> ApplyConflict:
    by_manager: dict[str, list[str]] = {}
    for manager, fields in sorted(conflicts, key=lambda conflict: str(conflict[0])):
        by_manager.setdefault(str(manager), []).extend(field_set.show(path) for path in field_set.paths(fields))
    causes = tuple(
        Cause("FieldManagerConflict", f"conflict with {name}", path)
        for name, paths in by_manager.items()
        for path in paths
    )
    if len(causes) == 1:
        only = f"{causes[0].message}: {causes[0].field}"
        return ApplyConflict(f"Apply failed with 1 conflict: {only}", causes)
    lines: list[str] = []
    for name, paths in by_manager.items():
        lines += [f"conflicts with {name}:", *(f"- {path}" for path in paths)]
    return ApplyConflict(f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines), causes)


def _give_up(managers: list[Manager], taken: FieldSet) -> list[Manager]:
    """The entries without these fields; empty ones go."""
    if not taken:
        return managers
    return [replace(m, fields=fields) for m in managers if (fields := field_set.difference(m.fields, taken))]


def _granted(managers: list[Manager], mine: Manager) -> list[Manager]:
    """With the fields of `mine` added to the entry of the same identity."""
    result: list[Manager] = []
    for manager in managers:
        if manager.identity == mine.identity:
            mine = replace(mine, fields=field_set.union(manager.fields, mine.fields))
        else:
            result.append(manager)
    return [*result, mine]


def _capped(managers: list[Manager]) -> list[Manager]:
    updates = sorted((m for m in managers if m.operation == "Update"), key=lambda m: (m.time, m.name))
    surplus = len(updates) - MAX_UPDATE_MANAGERS
    if surplus <= 0:
        return managers
    merged: dict[str, Manager] = {}
    for old in updates:
        if old.name == ANCIENT:
            merged[old.api_version] = old
    candidates = [m for m in updates if m.name != ANCIENT]
    dropped: list[Manager] = []
    while len(candidates) + len(merged) > MAX_UPDATE_MANAGERS and candidates:
        old = candidates.pop(0)
        dropped.append(old)
        present = merged.get(old.api_version)
        merged[old.api_version] = Manager(
            ANCIENT,
            "Update",
            old.api_version,
            field_set.union(present.fields if present else {}, old.fields),
            max(old.time, present.time if present else ""),
        )
    rest = [m for m in managers if m.name != ANCIENT and m not in dropped]
    return [*merged.values(), *rest]


def _owned(fields: FieldSet, reset: Collection[str]) -> FieldSet:
    """Without the fields that are never recorded, and those that the endpoint does not write."""
    return _written(field_set.difference(fields, _NEVER_OWNED), reset)


def _written(fields: FieldSet, reset: Collection[str]) -> FieldSet:
    if any(f"f:{name}" in fields for name in reset):
        fields = {key: below for key, below in fields.items() if key[2:] not in reset}
    return fields


def _without_status(config: Object, reset: Collection[str]) -> Object:
    return {k: v for k, v in config.items() if k not in reset} if reset else config


def _bare(obj: Object | None) -> Object:
    """The object without managedFields."""
    if not obj:
        return {}
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def _with_entries(obj: Object, managers: list[Manager], original: Any = None) -> Object:
    """The object with these entries, in the order in which clients see them."""
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k != "managedFields"}
    if original and managers and all(e.get("fieldsType") for e in original):
        metadata["managedFields"] = original
    elif managers:
        ordered = sorted(managers, key=lambda m: (m.operation, m.time, m.name, m.api_version, m.subresource))
        metadata["managedFields"] = [m.wire() for m in ordered]
    return {**obj, "metadata": metadata}


_roots: dict[int, tuple[Node, Node]] = {}


def _root(schema: Node) -> Node:
    """The schema with the metadata that every object has, which the schemas of custom kinds leave open."""
    metadata = schema.properties.get("metadata")
    if metadata is not None and metadata.properties:
        return schema
    known = _roots.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    root = replace(schema, properties={**schema.properties, **_head()})
    if len(_roots) > 512:
        _roots.clear()
    _roots[id(schema)] = (schema, root)
    return root


def _head() -> dict[str, Node]:
    text = {"type": "string"}
    return {
        "apiVersion": compile_schema(text),
        "kind": compile_schema(text),
        "metadata": compile_schema(builtin.openapi("meta/v1.ObjectMeta")),
    }
