"""`kvtui delete`: says what goes with it, asks, deletes, and waits until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import click
import msgspec

from kvtui.client.discovery import Discovery, ResourceInfo
from kvtui.client.rest import Client
from kvtui.commands import complete, manifests
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.commands.get import targets
from kvtui.commands.verb import Verb, example
from kvtui.errors import KvtuiError, NotFound, Usage

LOSES_DATA = ("VirtualMachine", "DataVolume", "PersistentVolumeClaim", "PersistentVolume", "Namespace")


@click.command("delete", cls=Verb, epilog=example("kvtui delete vm web", "kvtui delete -f vm.yaml"))
@click.argument("kind", required=False, shell_complete=complete.kinds)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete.objects)
@click.option("-f", "--filename", "files", metavar="FILE", multiple=True, help="The objects of a manifest.")
@click.option("-l", "--selector", metavar="LABELS", help="Objects with these labels.")
@click.option(
    "--cascade", type=click.Choice(["background", "foreground", "orphan"]), default="background", show_default=True
)
@click.option("--grace-period", type=int, metavar="SECONDS", help="Time to shut down; 0 cuts the power.")
@click.option("--ignore-not-found", is_flag=True, help="What is gone already is fine.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Return when the objects are gone.")
@click.option("--timeout", type=float, default=300.0, show_default=True, metavar="SECONDS", help="How long to wait.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, kind: str | None, names: tuple[str, ...], **options: Any) -> None:
    """Delete objects."""
    ctx.exit(run_async(_delete(kind, names, merged(ctx, options))))


async def _delete(kind: str | None, names: tuple[str, ...], options: dict[str, Any]) -> int:
    async with connected(options) as (client, namespace):
        listed = await _listed(client, kind, names, namespace, options)
        if not listed:
            click.echo("No resources found", err=True)
            return ExitCode.DONE
        _ask(listed, options)
        failures: list[KvtuiError] = []
        for resource, where, name in listed:
            try:
                await _delete_one(client, resource, where, name, options)
            except NotFound as error:
                if not options["ignore_not_found"]:
                    report(error)
                    failures.append(error)
            except KvtuiError as error:
                report(error)
                failures.append(error)
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(listed) == 1 else ExitCode.PARTLY


async def _listed(
    client: Client, kind: str | None, names: tuple[str, ...], namespace: str, options: dict[str, Any]
) -> list[tuple[ResourceInfo, str, str]]:
    discovery = await Discovery.load(client)
    if options["files"]:
        if kind:
            raise Usage("either -f FILE or KIND NAME, not both")
        found = []
        for obj in manifests.read(options["files"]):
            resource = discovery.of_kind(obj["apiVersion"], obj["kind"])
            where = obj["metadata"].get("namespace") or namespace
            found.append((resource, where if resource.namespaced else "", obj["metadata"]["name"]))
        return found
    if not kind:
        raise Usage("name a kind and an object, or -f FILE")
    wanted = targets(discovery, kind, names)
    result = []
    for resource, given in wanted:
        where = namespace if resource.namespaced else ""
        if not given:
            if not options["selector"]:
                raise Usage("name the objects, or choose them with -l SELECTOR")
            answer = await client.raw("GET", resource.path(where), params={"labelSelector": options["selector"]})
            given = tuple(item["metadata"]["name"] for item in answer.json().get("items") or [])
        result += [(resource, where, name) for name in given]
    return result


def _ask(listed: list[tuple[ResourceInfo, str, str]], options: dict[str, Any]) -> None:
    lossy = [f"{resource.printed}/{name}" for resource, _, name in listed if resource.kind in LOSES_DATA]
    if not lossy or options["yes"] or options["dry_run"]:
        return
    if not sys.stdin.isatty():
        raise Usage(f"deleting {', '.join(lossy[:3])} may lose data and nobody can be asked", hint="--yes confirms it")
    click.confirm(f"Delete {', '.join(lossy)}? Disks that belong to them are deleted too.", abort=True, err=True)


async def _delete_one(client: Client, resource: ResourceInfo, where: str, name: str, options: dict[str, Any]) -> None:
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": options["cascade"].capitalize(),
    }
    if options["grace_period"] is not None:
        body["gracePeriodSeconds"] = options["grace_period"]
    if options["dry_run"]:
        body["dryRun"] = ["All"]
    path = resource.path(where, name)
    before = (await client.raw("GET", path)).json()
    await client.raw("DELETE", path, body=msgspec.json.encode(body))
    click.echo(f'{resource.printed} "{name}" deleted{" (dry run)" if options["dry_run"] else ""}')
    if options["wait"] and not options["dry_run"]:
        async with asyncio.timeout(options["timeout"]):
            await _gone(client, resource, where, name, before["metadata"]["uid"])


async def _gone(client: Client, resource: ResourceInfo, where: str, name: str, uid: str) -> None:
    """Watches until the object of this uid has left."""
    while True:
        listed = (
            await client.raw("GET", resource.path(where), params={"fieldSelector": f"metadata.name={name}"})
        ).json()
        if not any(item["metadata"]["uid"] == uid for item in listed.get("items") or []):
            return
        params = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": listed["metadata"]["resourceVersion"],
        }
        async with contextlib.aclosing(client.stream(resource.path(where), params)) as lines:
            async for line in lines:
                if msgspec.json.decode(line).get("type") == "DELETED":
                    return
