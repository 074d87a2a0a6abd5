"""CustomResourceDefinitions become resources: what a stored definition means to the generic path."""

from __future__ import annotations

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


def bucket_name(crd: Object) -> str:
    spec = crd["spec"]
    return f"{spec['names']['plural']}.{spec['group']}"


def resources_of(crd: Object) -> tuple[ResourceInfo, ...]:
    """One entry per served version of an established definition."""
    spec = crd["spec"]
    names = crd["status"]["acceptedNames"]
    stored = next(v["name"] for v in spec["versions"] if v.get("storage"))
    schemas: dict[bytes, LazySchema] = {}
    return tuple(
        _resource(spec, names, version, f"{spec['group']}/{stored}", schemas, terminating=is_terminating(crd))
        for version in spec["versions"]
        if version.get("served")
    )


def _resource(
    spec: Object, names: Object, version: Object, stored: str, schemas: dict[bytes, LazySchema], *, terminating: bool
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
        terminating=terminating,
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

    def __init__(self, store: Store, resources: Resources) -> None:
        self._resources = resources
        self.bucket: Bucket = store.bucket(BUCKET)
        for record in self.bucket.scan():
            self._serve(record)
        self.bucket.listeners.append(self._changed)

    def _changed(self, event: Event) -> None:
        if event.change is Change.DELETED:
            self._resources.withdraw(event.record.name)
        else:
            self._serve(event.record)

    def _serve(self, record: Record) -> None:
        crd = record.decode()
        if is_established(crd):
            self._resources.serve(record.name, resources_of(crd))
        else:
            self._resources.withdraw(record.name)
