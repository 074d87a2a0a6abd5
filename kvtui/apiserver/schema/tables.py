"""Tables: what `kubectl get` prints. Cells are made here, ages as of the moment of the answer.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from kvtui.apiserver.resources import PrinterColumn, ResourceInfo
from kvtui.apiserver.schema import jsonpath
from kvtui.apiserver.schema.cells import Column, age, moment
from kvtui.apiserver.schema.further_printers import FURTHER
from kvtui.apiserver.schema.printers import PRINTERS, Printer

Object = dict[str, Any]
IncludeObject = Literal["None", "Metadata", "Object"]

_NAME = Column("Name", "string", "name", "The name of the object, unique among its kind in a namespace.")
_AGE = PrinterColumn("Age", "date", ".metadata.creationTimestamp", description="Time since the object was created.")
_ALL = {**PRINTERS, **FURTHER}
_CREATED = Column("Created At", "date", "", "When the object was created.")
_DEFAULT = Printer((_CREATED,), lambda obj, _now: [(obj.get("metadata") or {}).get("creationTimestamp")])


def render(info: ResourceInfo, objs: list[Object], *, now: datetime, include_object: str = "Metadata") -> Object:
    """A meta.k8s.io/v1 Table of objects of one resource; the caller sets its metadata."""
    if info.custom:
        columns = info.columns or (_AGE,)
        definitions = [_NAME.wire(), *(_definition(column) for column in columns)]
        rows = [_row(obj, [_name(obj), *(_cell(obj, c, now) for c in columns)], include_object) for obj in objs]
    else:
        printer = _ALL.get((info.group, info.kind), _DEFAULT)
        first = (_NAME,) if printer.named else ()
        definitions = [column.wire() for column in (*first, *printer.columns)]
        rows = [_built_in(printer, obj, now, include_object) for obj in objs]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": definitions,
        "rows": rows,
    }


def partial(obj: Object) -> Object:
    """The object's PartialObjectMetadata."""
    metadata = obj.get("metadata") or {}
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}


def _definition(column: PrinterColumn) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description
        or f"Custom resource definition column (in JSONPath format): {column.json_path}",
        "priority": column.priority,
    }


def _built_in(printer: Printer, obj: Object, now: datetime, include_object: str) -> Object:
    cells = printer.cells(obj, now)
    if printer.named:
        cells = [printer.name(obj) or _name(obj), *cells]
    return _row(obj, cells, include_object)


def _name(obj: Object) -> str:
    name: str = (obj.get("metadata") or {}).get("name", "")
    return name


def _row(obj: Object, cells: list[Any], include_object: str) -> Object:
    row: Object = {"cells": cells}
    if include_object == "Object":
        row["object"] = obj
    elif include_object == "Metadata":
        row["object"] = partial(obj)
    return row


def _cell(obj: Object, column: PrinterColumn, now: datetime) -> Any:
    """The first value at the column's path, as the column's type; null if there is none or it does not fit."""
    value = jsonpath.first(obj, column.json_path)
    if value is None:
        return None
    match column.type:
        case "integer":
            return _whole(value)
        case "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return age(value, now) if isinstance(value, str) and moment(value) else "<unknown>" if value else None
    return _text(value)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def _text(value: Any) -> str:
    """As Go's %v prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_text(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_text(v) for v in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "<nil>" if value is None else str(value)
