"""CustomResourceDefinitions become resources: what a stored definition means to the generic path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from kvtui.apiserver.database import Change
from kvtui.apiserver.kinds.crds import is_established, is_terminating
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import (
    LazySchema,
    PrinterColumn,
    ResourceInfo,
    Resources,
    ScalePaths,
    Subresource,
)
from kvtui.apiserver.store import Bucket, Event, Store

Object = dict[str, Any]
BUCKET = "customresourcedefinitions.apiextensions.k8s.io"
_SCALE = Subresource("scale", group="autoscaling", version="v1", kind="Scale")


def resources_of(crd: Object, schema_generation: int = 0) -> tuple[ResourceInfo, ...]:
    """One entry per served version of an established definition."""
    spec = crd["spec"]
    names = crd["status"]["acceptedNames"]
    stored = next(v["name"] for v in spec["versions"] if v.get("storage"))
    schemas: dict[bytes, LazySchema] = {}
    return tuple(
        replace(
            _resource(spec, names, version, f"{spec['group']}/{stored}", schemas),
            terminating=is_terminating(crd),
            schema_generation=schema_generation,
        )
        for version in spec["versions"]
        if version.get("served")
    )


def _resource(
    spec: Object, names: Object, version: Object, stored: str, schemas: dict[bytes, LazySchema]
) -> ResourceInfo:
    document = (version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
    schema = schemas.setdefault(msgspec.json.encode(document), LazySchema(lambda: document))
    subresources = version.get("subresources") or {}
    status = "status" in subresources
    scale = subresources.get("scale")
    warning = ""
    if version.get("deprecated"):
        warning = version.get("deprecationWarning") or (
            f"{spec['group']}/{version['name']} {names['kind']} is deprecated"
        )
    return ResourceInfo(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        singular=names.get("singular") or names["kind"].lower(),
        list_kind=names.get("listKind") or f"{names['kind']}List",
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=(
            *((Subresource("status"),) if status else ()),
            *((_SCALE,) if scale else ()),
        ),
        bucket=f"{names['plural']}.{spec['group']}",
        stored_api_version=stored,
        status=status,
        scale=_scale_paths(scale) if scale else None,
        generation=True,
        selectable=tuple(field["jsonPath"] for field in version.get("selectableFields") or ()),
        schema=schema,
        columns=tuple(_column(c) for c in version.get("additionalPrinterColumns") or ()),
        custom=True,
        warning=warning,
    )


def _scale_paths(scale: Object) -> ScalePaths:
    def path(key: str) -> tuple[str, ...]:
        return tuple(step for step in str(scale.get(key) or "").split(".") if step)

    return ScalePaths(path("specReplicasPath"), path("statusReplicasPath"), path("labelSelectorPath"))


def _column(column: Object) -> PrinterColumn:
    return PrinterColumn(
        name=column["name"],
        type=column["type"],
        json_path=column["jsonPath"],
        format=column.get("format") or "",
        description=column.get("description") or "",
        priority=int(column.get("priority") or 0),
    )


class CustomResources:
    """Keeps the registry in step with the stored definitions, at the moment a change is published."""

    def __init__(self, store: Store, resources: Resources, ended: Callable[[str], None]) -> None:
        self._resources = resources
        self._ended = ended
        """Called with a bucket when one of its versions is no longer served."""
        self._generations: dict[str, int] = {}
        self._stored_schemas: dict[str, Object] = {}
        self.bucket: Bucket = store.bucket(BUCKET)
        for record in self.bucket.scan():
            self._serve(record)
        self.bucket.listeners.append(self._changed)

    def _changed(self, event: Event) -> None:
        before = {i.version for i in self._resources.custom(event.record.name)}
        if event.change is Change.DELETED:
            self._withdraw(event.record.name)
        else:
            self._serve(event.record)
        after = {i.version for i in self._resources.custom(event.record.name)}
        if before - after:
            self._ended(event.record.name)

    def _withdraw(self, name: str) -> None:
        self._resources.withdraw(name)
        self._stored_schemas.pop(name, None)
        self._generations.pop(name, None)

    def _serve(self, record: Record) -> None:
        crd = record.decode()
        name = record.name
        if not is_established(crd):
            self._resources.withdraw(name)
            return
        schema = next(v.get("schema") or {} for v in crd["spec"]["versions"] if v.get("storage"))
        known = self._stored_schemas.get(name)
        if known is None:
            # After a restart nobody knows under which schema an object was stored, if there was more than one.
            self._generations[name] = int(crd["metadata"].get("generation", 1) > 1)
        elif known != schema:
            self._generations[name] += 1
        self._stored_schemas[name] = schema
        self._resources.serve(name, resources_of(crd, self._generations[name]))
