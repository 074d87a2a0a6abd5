"""`kvtui watch`: a table that grows by a line for every change; with -o json one object a line.

Unlike `get -w` it goes on when the server ends the stream or has to be reached anew.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kvtui.commands import complete, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import Expired, Transient, Usage

if TYPE_CHECKING:
    from kvtui.client.discovery import ResourceInfo
    from kvtui.client.rest import Client


@click.command("watch", cls=Verb, epilog=example("kvtui watch vm", "kvtui watch vmim -A", "kvtui watch vmi -o json"))
@click.argument("kinds", metavar="KIND", shell_complete=complete.kinds)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete.objects)
@click.option("-A", "--all-namespaces", is_flag=True, help="In all namespaces.")
@click.option("-l", "--selector", metavar="LABELS", help="Only objects with these labels.")
@click.option("-o", "--output", "format_", type=click.Choice(["table", "wide", "name", "json"]), default="table")
@click.option("--output-watch-events", "events", is_flag=True, help="With -o json: {type, object} on each line.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, kinds: str, name: str | None, **options: Any) -> None:
    """Show objects and every change of them, until interrupted."""
    if "," in kinds:
        raise Usage("one kind can be watched at a time")
    kind, slash, rest = kinds.partition("/")
    run_async(_watch(kind, rest if slash else name, merged(ctx, options)))


async def _watch(kind: str, name: str | None, options: dict[str, Any]) -> None:
    from kvtui.client.discovery import Discovery

    async with connected(options) as (client, namespace):
        resource = (await Discovery.load(client)).find(kind)
        lines = Lines(
            resource, "" if options["all_namespaces"] else namespace, options["format_"], events=options["events"]
        )
        params: dict[str, str | int | None] = {
            "labelSelector": options["selector"],
            "fieldSelector": f"metadata.name={name}" if name else None,
        }
        backoff, revision = Backoff(0.2, 10.0), ""
        while True:
            try:
                if not revision:
                    revision = await _list(client, resource, lines, params)
                async for event, document, seen in _events(client, resource, lines, params, revision):
                    backoff.reset()
                    revision = seen
                    lines.show(document, event)
            except Expired:
                revision = ""
            except Transient:
                if not lines.shown:
                    raise
                await backoff.pause()


async def _list(client: Client, resource: ResourceInfo, lines: Lines, params: dict[str, str | int | None]) -> str:
    answer = await client.raw("GET", resource.path(lines.namespace), params=params, accept=lines.accept)
    document = msgspec.json.decode(answer.body)
    if "rows" in document or lines.format != "json":
        lines.show(document, "")
    else:
        kind = {"apiVersion": resource.group_version, "kind": resource.kind}
        for item in document.get("items") or ():
            lines.show({**kind, **item}, "")
    lines.shown = True
    return str((document.get("metadata") or {}).get("resourceVersion") or "")


async def _events(
    client: Client, resource: ResourceInfo, lines: Lines, params: dict[str, str | int | None], revision: str
) -> Any:
    """Type, object and revision of each change; a bookmark has no object."""
    from kvtui.api.meta import Status
    from kvtui.api.wire import from_wire
    from kvtui.client.status import from_status

    wanted = {**params, "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": revision}
    stream = client.stream(resource.path(lines.namespace), wanted, accept=lines.accept)
    async with contextlib.aclosing(stream) as events:
        async for line in events:
            event = msgspec.json.decode(line)
            document = event.get("object") or {}
            if event.get("type") == "ERROR":
                raise from_status(from_wire(document, Status))
            rows = document.get("rows") or [{}]
            metadata = document.get("metadata") or {}
            if document.get("kind") == "Table" and not metadata.get("resourceVersion"):
                metadata = (rows[0].get("object") or {}).get("metadata") or {}
            revision = str(metadata.get("resourceVersion") or revision)
            yield event["type"], document, revision


class Lines:
    """Prints rows in columns that keep their widths."""

    def __init__(self, resource: ResourceInfo, namespace: str, format_: str, *, events: bool) -> None:
        self._resource = resource
        self.namespace = namespace
        self.format = format_
        self.shown = False
        self._events = events
        self._columns: list[dict[str, Any]] = []
        self._widths: list[int] = []

    @property
    def accept(self) -> str:
        return "application/json" if self.format == "json" else output.TABLE

    def show(self, document: dict[str, Any], event: str) -> None:
        """A change, or the beginning where `event` is empty."""
        if event == "BOOKMARK":
            return
        if self.format == "json":
            shown = output.without_managed_fields(document)
            told = {"type": event or "ADDED", "object": shown} if self._events else shown
            click.echo(msgspec.json.encode(told).decode())
        elif self.format == "name":
            for row in document.get("rows") or ():
                meta = (row.get("object") or {}).get("metadata") or {}
                click.echo(f"{self._resource.printed}/{meta.get('name')}")
        else:
            self._rows(document, headers=not self._widths)

    def _rows(self, document: dict[str, Any], *, headers: bool) -> None:
        self._columns = document.get("columnDefinitions") or self._columns
        everywhere = self._resource.namespaced and not self.namespace
        rows = output.cells(
            {**document, "columnDefinitions": self._columns},
            wide=self.format == "wide",
            namespaced=everywhere,
            headers=headers,
        )
        if rows and not self._widths:
            self._widths = [0] * len(rows[0])
        self._widths = [max(width, *(len(row[i]) for row in rows)) for i, width in enumerate(self._widths)]
        for row in rows:
            padded = (cell.ljust(width + 3) for cell, width in zip(row, self._widths, strict=True))
            click.echo("".join(padded).rstrip())
