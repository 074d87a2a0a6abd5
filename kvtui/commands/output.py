"""Data to stdout: tables as the server renders them, names, JSON, YAML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import msgspec
import yaml

FORMATS = ("table", "wide", "name", "json", "yaml")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class _Dumper(yaml.SafeDumper):
    """Long strings as blocks, as people write manifests."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def to_yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=1000, allow_unicode=True)


def emit(value: Any, format_: str) -> None:
    """JSON or YAML of a value, without managedFields."""
    plain = without_managed_fields(value)
    if format_ == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(plain), indent=4).decode())
    else:
        click.echo(to_yaml(plain), nl=False)


def without_managed_fields(value: Any) -> Any:
    if isinstance(value, dict):
        meta = value.get("metadata")
        if isinstance(meta, dict) and "managedFields" in meta:
            value = {**value, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}
        if isinstance(value.get("items"), list):
            value = {**value, "items": [without_managed_fields(item) for item in value["items"]]}
    return value


def table(document: dict[str, Any], *, wide: bool, namespaced: bool, headers: bool = True) -> list[str]:
    """Lines of a meta.k8s.io Table, aligned; `namespaced` puts the namespace first."""
    return aligned(cells(document, wide=wide, namespaced=namespaced, headers=headers))


def cells(document: dict[str, Any], *, wide: bool, namespaced: bool, headers: bool = True) -> list[list[str]]:
    """Rows of a meta.k8s.io Table, the titles first."""
    columns = document.get("columnDefinitions") or []
    shown = [i for i, c in enumerate(columns) if wide or not c.get("priority")]
    rows = []
    for row in document.get("rows") or []:
        row_cells = [_cell(row["cells"][i]) for i in shown]
        if namespaced:
            row_cells.insert(0, _cell(((row.get("object") or {}).get("metadata") or {}).get("namespace")))
        rows.append(row_cells)
    titles = [columns[i]["name"].upper() for i in shown]
    if namespaced:
        titles.insert(0, "NAMESPACE")
    return [titles, *rows] if headers else rows


def _cell(value: Any) -> str:
    if value is None:
        return "<none>"
    return printable(str(value))


def printable(text: str) -> str:
    """Text of others without control characters, which could steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def aligned(rows: list[list[str]], gap: int = 3) -> list[str]:
    """Columns of equal width, without trailing blanks."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["".join(cell.ljust(width + gap) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def for_each_line(lines: list[str], echo: Callable[[str], None] = click.echo) -> None:
    for line in lines:
        echo(line)
