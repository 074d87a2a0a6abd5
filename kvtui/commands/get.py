"""`kvtui get`: objects as the server's own table, so that new kinds and columns need nothing here."""

from __future__ import annotations

import contextlib
from typing import Any

import click
import msgspec

from kvtui.client.discovery import Discovery, ResourceInfo
from kvtui.client.rest import Client
from kvtui.commands import complete, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example
from kvtui.errors import Usage


@click.command(
    "get",
    cls=Verb,
    epilog=example("kvtui get vm", "kvtui get vmi,dv -A", "kvtui get vm/web -o yaml"),
)
@click.argument("kinds", metavar="KIND[,KIND...]", shell_complete=complete.kinds)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete.objects)
@server_options
@click.option("-A", "--all-namespaces", is_flag=True, help="In all namespaces.")
@click.option("-l", "--selector", metavar="LABELS", help="Only objects with these labels.")
@click.option("--field-selector", metavar="FIELDS", help="Only objects with these fields.")
@click.option("-o", "--output", "format_", type=click.Choice(output.FORMATS), default="table", show_default=True)
@click.option("-w", "--watch", is_flag=True, help="Go on and print every change.")
@click.option("--no-headers", is_flag=True, help="Print no column titles.")
@click.pass_context
def command(ctx: click.Context, /, kinds: str, names: tuple[str, ...], **options: Any) -> None:
    """Show objects."""
    run_async(_get(kinds, names, merged(ctx, options)))


async def _get(kinds: str, names: tuple[str, ...], options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        discovery = await Discovery.load(client)
        wanted = targets(discovery, kinds, names)
        where = "" if options["all_namespaces"] else namespace
        for number, (resource, listed) in enumerate(wanted):
            if number:
                click.echo()
            await _show(client, resource, listed, where, options)


def targets(discovery: Discovery, kinds: str, names: tuple[str, ...]) -> list[tuple[ResourceInfo, tuple[str, ...]]]:
    """Kinds with names, from `vm a b`, `vm,dv` or `vm/a dv/b`. Raises Usage."""
    if "/" in kinds:
        pairs = [word.partition("/") for word in (kinds, *names)]
        if any(not kind or not name for kind, _, name in pairs):
            raise Usage("either all arguments are KIND/NAME or none is")
        return [(discovery.find(kind), (name,)) for kind, _, name in pairs]
    listed = [discovery.find(kind) for kind in kinds.split(",") if kind]
    if len(listed) > 1 and names:
        raise Usage("names can only be given with one kind")
    return [(resource, names) for resource in listed]


def _params(options: dict[str, Any]) -> dict[str, str | int | None]:
    return {"labelSelector": options.get("selector"), "fieldSelector": options.get("field_selector")}


async def _show(
    client: Client, resource: ResourceInfo, names: tuple[str, ...], namespace: str, options: dict[str, Any]
) -> None:
    format_ = options["format_"]
    if format_ in ("json", "yaml"):
        await _documents(client, resource, names, namespace, options)
        return
    if names and not namespace and resource.namespaced:
        raise Usage("a resource cannot be retrieved by name across all namespaces")
    paths = [resource.path(namespace, name) for name in names] or [resource.path(namespace)]
    headers, revision = not options["no_headers"], None
    for path in paths:
        answer = await client.raw("GET", path, params=_params(options) if not names else None, accept=output.TABLE)
        document = msgspec.json.decode(answer.body)
        revision = (document.get("metadata") or {}).get("resourceVersion")
        lines = _lines(document, resource, namespace, format_, headers)
        if not lines or (len(lines) == 1 and headers and format_ != "name"):
            where = f" in {namespace} namespace" if namespace and resource.namespaced else ""
            click.echo(f"No resources found{where}.", err=True)
        else:
            output.for_each_line(lines)
            headers = False
    if options["watch"]:
        await _watch(client, resource, names, namespace, options, revision)


def _lines(document: dict[str, Any], resource: ResourceInfo, namespace: str, format_: str, headers: bool) -> list[str]:
    if format_ == "name":
        found = [(row.get("object") or {}).get("metadata") or {} for row in document.get("rows") or []]
        return [f"{resource.printed}/{meta.get('name')}" for meta in found]
    everywhere = resource.namespaced and not namespace
    return output.table(document, wide=format_ == "wide", namespaced=everywhere, headers=headers)


async def _watch(
    client: Client,
    resource: ResourceInfo,
    names: tuple[str, ...],
    namespace: str,
    options: dict[str, Any],
    revision: str | None,
) -> None:
    params = _params(options)
    if len(names) == 1:
        params["fieldSelector"] = f"metadata.name={names[0]}"
    elif names:
        raise Usage("only one name can be watched")
    params |= {"watch": "true", "resourceVersion": revision}
    columns: list[dict[str, Any]] = []
    stream = client.stream(resource.path(namespace), params, accept=output.TABLE)
    async with contextlib.aclosing(stream) as lines:
        async for line in lines:
            event = msgspec.json.decode(line)
            document = event.get("object") or {}
            if event.get("type") == "BOOKMARK" or document.get("kind") != "Table":
                continue
            columns = document.get("columnDefinitions") or columns
            document = {**document, "columnDefinitions": columns}
            output.for_each_line(_lines(document, resource, namespace, options["format_"], False))


async def _documents(
    client: Client, resource: ResourceInfo, names: tuple[str, ...], namespace: str, options: dict[str, Any]
) -> None:
    if names:
        found = [(await client.raw("GET", resource.path(namespace, name))).json() for name in names]
        value: Any = found[0] if len(found) == 1 else {"apiVersion": "v1", "kind": "List", "items": found}
    else:
        listed = (await client.raw("GET", resource.path(namespace), params=_params(options))).json()
        items = [
            {"apiVersion": resource.group_version, "kind": resource.kind, **item} for item in listed.get("items") or []
        ]
        value = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}
    output.emit(value, options["format_"])
