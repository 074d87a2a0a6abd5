"""`kvtui logs`: of a VM's launcher (console and agent) or of an import's worker."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.pod import Pod
from kvtui.client.rest import Client
from kvtui.commands import output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example
from kvtui.errors import NotFound


@click.command("logs", cls=Verb, epilog=example("kvtui logs web -f", "kvtui logs dv/disk"))
@click.argument("name", metavar="[vm|dv|pod/]NAME")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("--tail", type=int, metavar="LINES", help="Only the last lines.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Show the log of a VM's launcher or of an import."""
    run_async(_logs(name, merged(ctx, options)))


async def _logs(name: str, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        pod = await _pod(client, namespace, name)
        container = pod.spec.containers[0].name if pod.spec.containers else ""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod.metadata.name}/log"
        params = {
            "container": container,
            "follow": "true" if options["follow"] else None,
            "tailLines": options["tail"],
        }
        async with contextlib.aclosing(client.stream(path, params, accept="*/*")) as lines:
            async for line in lines:
                text = line.decode("utf-8", "replace").rstrip("\r")
                click.echo(output.printable(text))


async def _pod(client: Client, namespace: str, name: str) -> Pod:
    kind, slash, rest = name.partition("/")
    if slash and kind in ("pod", "pods", "po"):
        return await client.get(Pod, (namespace, rest))
    wanted = rest if slash else name
    if slash and kind in ("dv", "datavolume", "datavolumes"):
        await client.get(DataVolume, (namespace, wanted))
        found = (await client.list(Pod, namespace, label_selector="kvtui.io/worker")).items
        owned = [p for p in found if any(o.name == wanted for o in p.metadata.owner_references)]
    else:
        listed = (await client.list(Pod, namespace, label_selector="kubevirt.io=virt-launcher")).items
        owned = [p for p in listed if p.metadata.annotations.get("kubevirt.io/domain") == wanted]
    if not owned:
        raise NotFound(f"there is no Pod of {name} now", code=404, reason="NotFound")
    return max(owned, key=lambda p: p.metadata.creation_timestamp or "")
