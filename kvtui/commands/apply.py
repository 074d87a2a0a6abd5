"""`kvtui apply`: server-side apply, so that what others set stays and conflicts are told."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from kvtui.client.discovery import Discovery, ResourceInfo
from kvtui.client.rest import Client, Patch
from kvtui.commands import manifests, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.commands.verb import Verb, example
from kvtui.errors import Conflict, KvtuiError, NotFound

MANAGER = "kvtui"


@click.command("apply", cls=Verb, epilog=example("kvtui apply -f vm.yaml"))
@click.option(
    "-f", "--filename", "files", metavar="FILE", multiple=True, required=True, help="A manifest, a directory, or -."
)
@click.option("-R", "--recursive", is_flag=True, help="Directories with all below.")
@click.option("--dry-run", type=click.Choice(["none", "server"]), default="none", show_default=True)
@click.option("--force-conflicts", is_flag=True, help="Take fields over from other managers.")
@click.option("-o", "--output", "format_", type=click.Choice(["name", "json", "yaml"]), help="Print the objects.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], recursive: bool, **options: Any) -> None:
    """Create or change objects: `kvtui apply -f vm.yaml`."""
    objects = manifests.read(files, recursive=recursive)
    ctx.exit(run_async(apply_all(objects, merged(ctx, options))))


async def apply_all(objects: list[dict[str, Any]], options: dict[str, Any]) -> int:
    failures: list[KvtuiError] = []
    async with connected(options) as (client, namespace):
        discovery = await Discovery.load(client)
        for obj in objects:
            try:
                resource = await _resource(client, discovery, obj)
                await _apply_one(client, resource, obj, namespace, options)
            except KvtuiError as error:
                report(error)
                failures.append(error)
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(objects) == 1 else ExitCode.PARTLY


async def _resource(client: Client, discovery: Discovery, obj: dict[str, Any]) -> ResourceInfo:
    """The resource of an object; a definition applied a moment ago may have brought it."""
    try:
        return discovery.of_kind(obj["apiVersion"], obj["kind"])
    except NotFound:
        return (await Discovery.load(client)).of_kind(obj["apiVersion"], obj["kind"])


async def _apply_one(
    client: Client, resource: ResourceInfo, obj: dict[str, Any], namespace: str, options: dict[str, Any]
) -> None:
    meta = obj["metadata"]
    where = (meta.get("namespace") or namespace) if resource.namespaced else ""
    name = meta.get("name")
    dry = options["dry_run"] == "server"
    params = {
        "dryRun": "All" if dry else None,
        "fieldManager": MANAGER,
        "fieldValidation": "Strict",
    }
    if not name:
        answer = await client.raw("POST", resource.path(where), params=params, body=msgspec.json.encode(obj))
        done, result = "created", answer.json()
    else:
        before = await _revision(client, resource.path(where, name))
        force = "true" if options["force_conflicts"] else None
        body = msgspec.json.encode({**obj, "metadata": {**meta, "namespace": where} if where else meta})
        try:
            answer = await client.raw(
                "PATCH",
                resource.path(where, name),
                params={**params, "force": force},
                body=body,
                content_type=Patch.APPLY,
            )
        except Conflict as error:
            error.hint = "--force-conflicts takes the fields over"
            raise
        result = answer.json()
        same = (result.get("metadata") or {}).get("resourceVersion") == before
        done = "created" if answer.status == 201 else "unchanged" if same else "configured"
    for warning in answer.headers.getall("Warning", []) if hasattr(answer.headers, "getall") else []:
        click.echo(f"Warning: {warning.partition(' - ')[2].strip(chr(34)) or warning}", err=True)
    match options["format_"]:
        case "json" | "yaml":
            output.emit(result, options["format_"])
        case "name":
            click.echo(f"{resource.printed}/{result['metadata']['name']}")
        case _:
            click.echo(f"{resource.printed}/{result['metadata']['name']} {done}{' (server dry run)' if dry else ''}")


async def _revision(client: Client, path: str) -> str | None:
    try:
        found = (await client.raw("GET", path)).json()
    except NotFound:
        return None
    revision = (found.get("metadata") or {}).get("resourceVersion")
    return str(revision) if revision else None
