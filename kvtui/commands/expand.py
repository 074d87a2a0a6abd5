"""`kvtui expand`: a VM with its instancetype and preference filled in.

Source: life-cycle facts 9 (virtctl expand).
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from kvtui.commands import complete, manifests, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.targets import ROOT
from kvtui.commands.verb import Verb, example
from kvtui.errors import Usage


@click.command("expand", cls=Verb, epilog=example("kvtui expand --vm web", "kvtui expand --file vm.yaml -o json"))
@click.option("--vm", metavar="NAME", help="A VM of the server.", shell_complete=complete.names("virtualmachines"))
@click.option("-f", "--file", metavar="FILE", type=click.Path(), help="A manifest; - is standard input.")
@click.option("-o", "--output", "format_", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@server_options
@click.pass_context
def command(ctx: click.Context, /, vm: str | None, file: str | None, **options: Any) -> None:
    """Show a VM with its instancetype and preference filled in."""
    if bool(vm) == bool(file):
        raise Usage("error invalid arguments - VirtualMachine name or file must be provided")
    run_async(_expand(vm, file, merged(ctx, options)))


async def _expand(vm: str | None, file: str | None, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        if vm:
            path = f"{ROOT}/namespaces/{namespace}/virtualmachines/{vm}/expand-spec"
            answer = await client.raw("GET", path)
        else:
            assert file is not None
            found = manifests.read([file])
            if len(found) != 1:
                raise Usage(f"{file} holds {len(found)} objects; one VirtualMachine is expanded at a time")
            where = found[0]["metadata"].get("namespace") or namespace
            path = f"{ROOT}/namespaces/{where}/expand-vm-spec"
            answer = await client.raw("PUT", path, body=msgspec.json.encode(found[0]))
        output.emit(answer.json(), options["format_"])
