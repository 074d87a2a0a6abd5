"""`kvtui events`: what happened, oldest first."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import click

from kvtui.api.core.config import Event
from kvtui.api.times import from_time, short_duration
from kvtui.client.discovery import Discovery
from kvtui.client.rest import Client
from kvtui.commands import output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example


@click.command("events", cls=Verb, epilog=example("kvtui events", "kvtui events --for vm/web -w"))
@server_options
@click.option("-A", "--all-namespaces", is_flag=True, help="In all namespaces.")
@click.option("--for", "about", metavar="KIND/NAME", help="Only events of this object.")
@click.option("--types", metavar="TYPE", type=click.Choice(["Normal", "Warning"]), help="Only events of this type.")
@click.option("-w", "--watch", is_flag=True, help="Go on and print what happens.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Show what happened, oldest first."""
    run_async(_events(merged(ctx, options)))


async def _events(options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        where = "" if options["all_namespaces"] else namespace
        selector = await _selector(client, options["about"], options["types"])
        listed = await client.list(Event, where, field_selector=selector)
        now = datetime.now(UTC)
        rows = [row(event, now, everywhere=not where) for event in sorted(listed.items, key=last_seen)]
        titles = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
        if not where:
            titles.insert(0, "NAMESPACE")
        if rows:
            output.for_each_line(output.aligned([titles, *rows]))
        elif not options["watch"]:
            click.echo(f"No events found{f' in {where} namespace' if where else ''}.", err=True)
        if options["watch"]:
            stream = client.watch(Event, where, resource_version=listed.resource_version, field_selector=selector)
            async with contextlib.aclosing(stream) as changes:
                async for change in changes:
                    if change.object is not None and change.type != "DELETED":
                        line = row(change.object, datetime.now(UTC), everywhere=not where)
                        click.echo("   ".join(line))


async def _selector(client: Client, about: str | None, type_: str | None) -> str:
    terms = []
    if about:
        kind, _, name = about.rpartition("/")
        if kind:
            terms.append(f"involvedObject.kind={(await Discovery.load(client)).find(kind).kind}")
        terms.append(f"involvedObject.name={name}")
    if type_:
        terms.append(f"type={type_}")
    return ",".join(terms)


def last_seen(event: Event) -> str:
    """The time by which events are ordered."""
    series = event.series.last_observed_time if event.series is not None else None
    return series or event.last_timestamp or event.event_time or event.metadata.creation_timestamp or ""


def row(event: Event, now: datetime, *, everywhere: bool) -> list[str]:
    """Cells of one event; texts of others are made harmless."""
    seen = last_seen(event)
    age = short_duration((now - from_time(seen)).total_seconds()) if seen else "<unknown>"
    count = event.series.count if event.series is not None else event.count
    if count > 1 and event.first_timestamp:
        age = f"{age} (x{count} over {short_duration((now - from_time(event.first_timestamp)).total_seconds())})"
    about = f"{event.involved_object.kind.lower()}/{event.involved_object.name}"
    cells = [age, event.type, event.reason, about, " ".join(event.message.split())]
    if everywhere:
        cells.insert(0, event.metadata.namespace)
    return [output.printable(cell) for cell in cells]
