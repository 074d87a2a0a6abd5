"""`kvtui describe`: one object, every field, and its events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from kvtui.api.core.config import Event
from kvtui.client.discovery import Discovery, ResourceInfo
from kvtui.client.rest import Client
from kvtui.commands import complete, events, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.get import targets
from kvtui.commands.verb import Verb, example

_FIRST = ("name", "namespace", "labels", "annotations")


@click.command("describe", cls=Verb, epilog=example("kvtui describe vm web"))
@click.argument("kind", shell_complete=complete.kinds)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete.objects)
@server_options
@click.option("-l", "--selector", metavar="LABELS", help="Objects with these labels.")
@click.pass_context
def command(ctx: click.Context, /, kind: str, names: tuple[str, ...], **options: Any) -> None:
    """Show objects in full, with their events."""
    run_async(_describe(kind, names, merged(ctx, options)))


async def _describe(kind: str, names: tuple[str, ...], options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        number = 0
        for resource, listed in targets(await Discovery.load(client), kind, names):
            for obj in await _objects(client, resource, listed, namespace, options):
                if number:
                    click.echo("\n")
                number += 1
                output.for_each_line(lines_of(obj))
                await _events(client, resource, obj)


async def _objects(
    client: Client, resource: ResourceInfo, names: tuple[str, ...], namespace: str, options: dict[str, Any]
) -> list[dict[str, Any]]:
    if names:
        return [(await client.raw("GET", resource.path(namespace, name))).json() for name in names]
    answer = await client.raw("GET", resource.path(namespace), params={"labelSelector": options["selector"]})
    items: list[dict[str, Any]] = answer.json().get("items") or []
    return items


async def _events(client: Client, resource: ResourceInfo, obj: dict[str, Any]) -> None:
    meta = obj.get("metadata") or {}
    selector = f"involvedObject.name={meta.get('name')},involvedObject.uid={meta.get('uid')}"
    found = (await client.list(Event, meta.get("namespace") or "", field_selector=selector)).items
    if not found:
        click.echo("Events:  <none>")
        return
    now = datetime.now(UTC)
    click.echo("Events:")
    rows = [events.row(e, now, everywhere=False) for e in sorted(found, key=events.last_seen)]
    rows = [[type_, reason, age, message] for age, type_, reason, _, message in rows]
    for line in output.aligned([["Type", "Reason", "Age", "Message"], *rows]):
        click.echo(f"  {line}")


def lines_of(obj: dict[str, Any]) -> list[str]:
    """The object as indented text: name and labels first, then spec and status field by field."""
    meta = dict(obj.get("metadata") or {})
    meta.pop("managedFields", None)
    lines = [_pair(_title(key), meta.pop(key, None)) for key in ("name", "namespace")]
    lines = [line for line in lines if line]
    for key in ("labels", "annotations"):
        values = meta.pop(key, None) or {}
        pairs = [f"{k}={v}" for k, v in sorted(values.items())] or ["<none>"]
        lines += [f"{_title(key) + ':' if not i else '':<20} {output.printable(p)}" for i, p in enumerate(pairs)]
    lines += [_pair("API Version", obj.get("apiVersion")), _pair("Kind", obj.get("kind"))]
    lines += ["Metadata:", *_nested(meta, 1)]
    for key, value in obj.items():
        if key not in ("apiVersion", "kind", "metadata"):
            lines += (
                [f"{_title(key)}:", *_nested(value, 1)]
                if isinstance(value, (dict, list))
                else [_pair(_title(key), value)]
            )
    return lines


def _nested(value: Any, depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)) and inner:
                lines += [f"{indent}{_title(key)}:", *_nested(inner, depth + 1)]
            else:
                lines += _scalar(f"{indent}{_title(key)}:", inner, depth)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, (dict, list)):
                if number and isinstance(item, dict):
                    lines.append("")
                lines += _nested(item, depth)
            else:
                lines += _scalar(indent.rstrip() or "", item, depth)
    else:
        lines += _scalar(indent, value, depth)
    return lines


def _scalar(head: str, value: Any, depth: int) -> list[str]:
    text = "" if value in ({}, [], None) else str(value)
    first, *rest = text.split("\n")
    more = [f"{'  ' * (depth + 1)}{output.printable(line)}" for line in rest if line]
    return [f"{head}  {output.printable(first)}".rstrip(), *more]


def _pair(title: str, value: Any) -> str:
    return f"{title + ':':<20} {output.printable(str(value))}" if value else ""


def _title(key: str) -> str:
    """creationTimestamp as "Creation Timestamp"."""
    words = ""
    for i, c in enumerate(key):
        start = c.isupper() and i and (not key[i - 1].isupper() or (i + 1 < len(key) and key[i + 1].islower()))
        words += " " + c if start else c
    return words[:1].upper() + words[1:]
