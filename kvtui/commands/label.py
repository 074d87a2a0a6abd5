"""`kvtui label`: labels of objects, set, changed and removed.

Source: kubectl label.
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.commands.get import targets
from kvtui.commands.verb import Verb, example
from kvtui.errors import KvtuiError, Permanent, Usage


@click.command(
    "label",
    cls=Verb,
    epilog=example("kvtui label vm web tier=front", "kvtui label vm -l tier=front tier-", "kvtui label vm/web a=b"),
)
@click.argument("kind", metavar="KIND", shell_complete=complete.kinds)
@click.argument("words", metavar="[NAME]... KEY=VALUE|KEY-...", nargs=-1, shell_complete=complete.objects)
@click.option("-l", "--selector", metavar="LABELS", help="Objects with these labels.")
@click.option("-A", "--all-namespaces", is_flag=True, help="With -l: in all namespaces.")
@click.option("--overwrite", is_flag=True, help="Labels that are there with another value are changed.")
@click.option("--dry-run", is_flag=True, help="Ask the server, change nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on success.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, kind: str, words: tuple[str, ...], **options: Any) -> None:
    """Set labels (KEY=VALUE) or remove them (KEY-)."""
    changes = [word for word in words if "=" in word or word.endswith("-")]
    names = tuple(word for word in words if word not in changes)
    ctx.exit(run_async(_label(kind, names, parsed(changes), merged(ctx, options))))


def parsed(words: list[str]) -> dict[str, str | None]:
    """Key -> value, None to remove it. Raises Usage."""
    found: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key if equals else key.removesuffix("-")
        if not key or key in found:
            raise Usage(f"{word!r}: write every label once, as KEY=VALUE or KEY-")
        found[key] = value if equals else None
    if not found:
        raise Usage("at least one label update is required")
    return found


async def _label(kind: str, names: tuple[str, ...], labels: dict[str, str | None], options: dict[str, Any]) -> int:
    from kvtui.client.discovery import Discovery

    failures: list[KvtuiError] = []
    async with connected(options) as (client, namespace):
        found: list[tuple[Any, str, str]] = []
        for resource, listed in targets(await Discovery.load(client), kind, names):
            where = namespace if resource.namespaced else ""
            found += [(resource, where, name) for name in listed]
            if options["selector"]:
                scope = "" if options["all_namespaces"] else where
                answer = await client.raw("GET", resource.path(scope), params={"labelSelector": options["selector"]})
                metas = [item["metadata"] for item in answer.json().get("items") or ()]
                found += [(resource, meta.get("namespace", ""), meta["name"]) for meta in metas]
        if not found and not options["selector"]:
            raise Usage("name the objects, or choose them with -l SELECTOR")
        for resource, where, name in found:
            try:
                said = await _one(client, resource, where, name, labels, options)
            except KvtuiError as error:
                report(error)
                failures.append(error)
                continue
            if not options["quiet"]:
                click.echo(f"{resource.printed}/{name} {said}{' (server dry run)' if options['dry_run'] else ''}")
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(found) == 1 else ExitCode.PARTLY


async def _one(
    client: Any, resource: Any, where: str, name: str, labels: dict[str, str | None], options: dict[str, Any]
) -> str:
    from kvtui.client.rest import Patch

    path = resource.path(where, name)
    meta = (await client.raw("GET", path)).json()["metadata"]
    present: dict[str, str] = meta.get("labels") or {}
    for key, value in labels.items():
        if value is not None and key in present and present[key] != value and not options["overwrite"]:
            raise Permanent(
                f"'{key}' already has a value ({present[key]}), and --overwrite is false", hint="add --overwrite"
            )
    changed = {key: value for key, value in labels.items() if present.get(key) != value}
    if not changed:
        return "not labeled"
    body = {"metadata": {"labels": changed, "resourceVersion": meta["resourceVersion"]}}
    params = {"dryRun": "All" if options["dry_run"] else None}
    await client.raw("PATCH", path, params=params, body=msgspec.json.encode(body), content_type=Patch.MERGE)
    return "labeled" if any(value is not None for value in changed.values()) else "unlabeled"
