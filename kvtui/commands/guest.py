"""`kvtui guestosinfo`, `userlist`, `fslist`: what the guest agent tells, as JSON.

Source: life-cycle facts 9 (virtctl guestosinfo, userlist, fslist).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import msgspec

from kvtui.commands import complete, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.commands.progress import waiting
from kvtui.commands.targets import VMI, Target, parse
from kvtui.commands.verb import Verb, example
from kvtui.errors import KvtuiError


def _reader(name: str, verb: str, text: str) -> click.Command:
    @click.command(name, cls=Verb, help=text, epilog=example(f"kvtui {name} web", f"kvtui {name} web -o yaml"))
    @click.argument(
        "names",
        metavar="VMI...",
        nargs=-1,
        required=True,
        shell_complete=complete.names("virtualmachineinstances", "vmi"),
    )
    @click.option("-o", "--output", "format_", type=click.Choice(["json", "yaml"]), default="json", show_default=True)
    @server_options
    @click.pass_context
    def command(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
        ctx.exit(run_async(_read(names, verb, merged(ctx, options))))

    return command


async def _read(names: tuple[str, ...], verb: str, options: dict[str, Any]) -> int:
    """One document for each VMI."""
    failures: list[KvtuiError] = []
    async with connected(options) as (client, namespace):
        for target in parse(names, namespace, VMI):
            try:
                async with waiting(f"asking the guest agent of {target.key.name}"):
                    answer = await client.raw("GET", Target(VMI, target.key).path(verb))
            except KvtuiError as error:
                report(error)
                failures.append(error)
                continue
            show(answer.json(), options["format_"])
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(names) == 1 else ExitCode.PARTLY


def show(value: Any, format_: str, echo: Callable[[str], None] = click.echo) -> None:
    """JSON with an indent of 2, or YAML."""
    text = output.to_yaml(value).rstrip("\n")
    if format_ == "json":
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    echo(text)


guestosinfo = _reader("guestosinfo", "guestosinfo", "Show what the guest agent tells of the operating system.")
userlist = _reader("userlist", "userlist", "Show who is logged in to the guest.")
fslist = _reader("fslist", "filesystemlist", "Show the guest's mounted file systems.")
