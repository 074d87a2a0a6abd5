"""`kvtui objectgraph`: the objects that a VM is made of, as a tree.

Source: life-cycle facts 9 (virtctl objectgraph).
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.guest import show
from kvtui.commands.targets import VM, VMI, parse
from kvtui.commands.verb import Verb, example
from kvtui.errors import Usage


@click.command("objectgraph", cls=Verb, epilog=example("kvtui objectgraph web", "kvtui objectgraph web -o yaml"))
@click.argument("name", metavar="VM", shell_complete=complete.names("virtualmachines", "vm"))
@click.option("--vmi", is_flag=True, help="The name is that of a VMI.")
@click.option("--exclude-optional", is_flag=True, help="Without what the VM can do without.")
@click.option("--selector", metavar="KEY=VALUE,...", help="Only branches with these labels.")
@click.option("-o", "--output", "format_", type=click.Choice(["json", "yaml"]), default="json", show_default=True)
@server_options
@click.pass_context
def command(ctx: click.Context, /, name: str, vmi: bool, **options: Any) -> None:
    """Show the objects that a VM needs."""
    run_async(_graph(name, VMI if vmi else VM, merged(ctx, options)))


async def _graph(name: str, kind: str, options: dict[str, Any]) -> None:
    body: dict[str, Any] = {"includeOptionalNodes": not options["exclude_optional"]}
    if options["selector"]:
        body["labelSelector"] = {"matchLabels": labels(options["selector"])}
    async with connected(options) as (client, namespace):
        target = parse((name,), namespace, kind)[0]
        # A GET with a body is unusual, and what this API asks for.
        answer = await client.raw("GET", target.path("objectgraph"), body=msgspec.json.encode(body))
        show(answer.json(), options["format_"])


def labels(text: str) -> dict[str, str]:
    """`a=b,c=d`. Raises Usage."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if any(not equals or not key for key, equals, _ in pairs):
        raise Usage(f"{text!r} is not KEY=VALUE,...")
    return {key: value for key, _, value in pairs}
