"""`kvtui scale`: how many VMs a pool or replica set has.

Source: kubectl scale; the scale subresource.
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.commands.get import targets
from kvtui.commands.progress import waiting
from kvtui.commands.verb import OptionalValue, Verb, example
from kvtui.errors import Conflict, KvtuiError, Usage


@click.command(
    "scale", cls=Verb, epilog=example("kvtui scale vmpool/web --replicas 5", "kvtui scale vmirs web --replicas=0")
)
@click.argument("kind", metavar="KIND", shell_complete=complete.kinds)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete.objects)
@click.option("--replicas", type=click.IntRange(0), required=True, metavar="N", help="How many.")
@click.option("--current-replicas", type=click.IntRange(0), metavar="N", help="Only if it is so many now.")
@click.option("--wait", cls=OptionalValue, bare="done", metavar="", help="Return when as many are there.")
@click.option("--timeout", type=float, default=300.0, show_default=True, metavar="SECONDS", help="How long to wait.")
@click.option("--dry-run", is_flag=True, help="Ask the server, change nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on success.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, kind: str, names: tuple[str, ...], **options: Any) -> None:
    """Set the number of VMs of a pool or replica set."""
    ctx.exit(run_async(_scale(kind, names, merged(ctx, options))))


async def _scale(kind: str, names: tuple[str, ...], options: dict[str, Any]) -> int:
    from kvtui.client.discovery import Discovery

    failures: list[KvtuiError | TimeoutError] = []
    async with connected(options) as (client, namespace):
        found = [(r, name) for r, listed in targets(await Discovery.load(client), kind, names) for name in listed]
        if not found:
            raise Usage("name what to scale")
        for resource, name in found:
            if "scale" not in resource.subresources:
                raise Usage(f"{resource.plural} have no number to scale")
            try:
                await _one(client, resource, namespace, name, options)
            except (KvtuiError, TimeoutError) as error:
                report(error)
                failures.append(error)
                continue
            if not options["quiet"]:
                click.echo(f"{resource.printed}/{name} scaled{' (server dry run)' if options['dry_run'] else ''}")
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(found) == 1 else ExitCode.PARTLY


async def _one(client: Any, resource: Any, namespace: str, name: str, options: dict[str, Any]) -> None:
    path = resource.path(namespace, name, "scale")
    scale = (await client.raw("GET", path)).json()
    now = (scale.get("spec") or {}).get("replicas", 0)
    expected = options["current_replicas"]
    if expected is not None and expected != now:
        raise Conflict(f"Expected replicas to be {expected}, was {now}", code=409, reason="Conflict")
    body = {**scale, "spec": {"replicas": options["replicas"]}}
    params = {"dryRun": "All" if options["dry_run"] else None}
    await client.raw("PUT", path, params=params, body=msgspec.json.encode(body))
    if options["wait"] and not options["dry_run"]:
        await _reached(client, resource, namespace, name, options)


async def _reached(client: Any, resource: Any, namespace: str, name: str, options: dict[str, Any]) -> None:
    """Watches until the status has the number. Raises TimeoutError."""
    import asyncio
    import contextlib

    wanted = options["replicas"]
    params = {"fieldSelector": f"metadata.name={name}"}
    what = f"{resource.singular}/{name} to have {wanted}"
    try:
        async with asyncio.timeout(options["timeout"]), waiting(f"waiting for {what}"):
            listed = (await client.raw("GET", resource.path(namespace), params=params)).json()
            if any((item.get("status") or {}).get("replicas", 0) == wanted for item in listed.get("items") or ()):
                return
            more = {**params, "watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
            async with contextlib.aclosing(client.stream(resource.path(namespace), more)) as lines:
                async for line in lines:
                    status = (msgspec.json.decode(line).get("object") or {}).get("status") or {}
                    if status.get("replicas", 0) == wanted:
                        return
    except TimeoutError as error:
        raise TimeoutError(f"timed out waiting for {what} (the request was sent)") from error
