"""`kvtui diff -f`: what `apply` would change, asked of the server without changing anything.

Source: kubectl diff (output, exit status).
"""

from __future__ import annotations

import difflib
from typing import Any

import click
import msgspec

from kvtui.commands import manifests, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example
from kvtui.errors import NotFound

_NOISE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


@click.command("diff", cls=Verb, epilog=example("kvtui diff -f vm.yaml"))
@click.option(
    "-f", "--filename", "files", metavar="FILE", multiple=True, required=True, help="A manifest, a directory, or -."
)
@click.option("-R", "--recursive", is_flag=True, help="Directories with all below.")
@click.option("--force-conflicts", is_flag=True, help="As if fields were taken over from other managers.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], recursive: bool, **options: Any) -> None:
    """Show what `apply` would change. Exit status: 0 nothing, 1 something, above that an error."""
    objects = manifests.read(files, recursive=recursive)
    ctx.exit(run_async(_diff(objects, merged(ctx, options))))


async def _diff(objects: list[dict[str, Any]], options: dict[str, Any]) -> int:
    from kvtui.client.discovery import Discovery

    differs = False
    async with connected(options) as (client, namespace):
        discovery = await Discovery.load(client)
        for obj in objects:
            resource = discovery.of_kind(obj["apiVersion"], obj["kind"])
            meta = obj["metadata"]
            where = (meta.get("namespace") or namespace) if resource.namespaced else ""
            before, after = await _both(client, resource, where, obj, force=options["force_conflicts"])
            title = f"{resource.printed}/{meta.get('name') or meta.get('generateName')}"
            for line in lines(before, after, title):
                differs = True
                click.echo(line)
    return int(differs)


async def _both(
    client: Any, resource: Any, where: str, obj: dict[str, Any], *, force: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The object now and as it would be; empty for one that is not there."""
    from kvtui.client.rest import Patch
    from kvtui.commands.apply import MANAGER

    name = obj["metadata"].get("name")
    params = {"dryRun": "All", "fieldManager": MANAGER, "fieldValidation": "Strict"}
    if not name:
        answer = await client.raw("POST", resource.path(where), params=params, body=msgspec.json.encode(obj))
        return {}, answer.json()
    path = resource.path(where, name)
    try:
        before = (await client.raw("GET", path)).json()
    except NotFound:
        before = {}
    meta = {**obj["metadata"], "namespace": where} if where else obj["metadata"]
    body = msgspec.json.encode({**obj, "metadata": meta})
    more = {**params, "force": "true" if force else None}
    answer = await client.raw("PATCH", path, params=more, body=body, content_type=Patch.APPLY)
    return before, answer.json()


def lines(before: dict[str, Any], after: dict[str, Any], title: str) -> list[str]:
    """A unified diff; nothing where both say the same."""
    old, new = (output.to_yaml(_quiet(side)).splitlines() if side else [] for side in (before, after))
    found = difflib.unified_diff(old, new, f"live/{title}", f"merged/{title}", lineterm="")
    return [output.printable(line) for line in found]


def _quiet(obj: dict[str, Any]) -> dict[str, Any]:
    """Without what the server counts and notes by itself."""
    meta = {k: v for k, v in (obj.get("metadata") or {}).items() if k not in _NOISE}
    return {**{k: v for k, v in obj.items() if k != "status"}, "metadata": meta}
