"""`kvtui version`."""

from __future__ import annotations

from typing import Any

import click

from kvtui import __version__
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example


@click.command("version", cls=Verb, epilog=example("kvtui version"))
@click.option("-c", "--client", is_flag=True, help="Only kvtui's own.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, client: bool, **options: Any) -> None:
    """Print the versions of kvtui and of the server."""
    click.echo(f"Client Version: {__version__}")
    if not client:
        run_async(_server(merged(ctx, options)))


async def _server(options: dict[str, Any]) -> None:
    async with connected(options) as (client, _):
        click.echo(f"Server Version: {(await client.raw('GET', '/version')).json()['gitVersion']}")
