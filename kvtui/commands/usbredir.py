"""`kvtui usbredir`: a USB device of this machine in a VM.

Source: life-cycle facts 9 (virtctl usbredir); usbredirect(1).
"""

from __future__ import annotations

import re
import shutil
from typing import Any

import click

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.port_forward import target_of
from kvtui.commands.targets import VMI, Target
from kvtui.commands.verb import Verb, example
from kvtui.errors import KvtuiError, Permanent, Usage

_DEVICE = re.compile(r"^(?:[0-9a-fA-F]{4}:[0-9a-fA-F]{4}|[0-9]{1,3}-[0-9]{1,3})$")
PROGRAM = "usbredirect"


@click.command(
    "usbredir", cls=Verb, epilog=example("kvtui usbredir 0951:1666 web", "kvtui usbredir 02-04 web --no-launch")
)
@click.argument(
    "words",
    metavar="VENDOR:PRODUCT|BUS-DEVICE VMI",
    nargs=-1,
    shell_complete=complete.names("virtualmachineinstances", "vmi"),
)
@click.option("--no-launch", is_flag=True, help="Print the address for a client instead of starting one.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], no_launch: bool, **options: Any) -> None:
    """Plug a USB device of this machine into a running VM, until interrupted."""
    device, name = _arguments(words, no_launch=no_launch)
    program = None if no_launch else shutil.which(PROGRAM)
    if not no_launch and program is None:
        raise Permanent(f"error on finding {PROGRAM} in $PATH", hint="apt install usbredirect, or use --no-launch")
    run_async(_redirect(device, name, program, merged(ctx, options)))


def _arguments(words: tuple[str, ...], *, no_launch: bool) -> tuple[str, str]:
    """Device and VMI; without a client to start, the device may be left out. Raises Usage."""
    if len(words) == 1 and no_launch:
        return "", words[0]
    if len(words) != 2:
        raise Usage("name a device (VENDOR:PRODUCT or BUS-DEVICE) and a VMI")
    if not _DEVICE.match(words[0]):
        raise Usage(f"{words[0]!r} is no device: write VENDOR:PRODUCT (0951:1666) or BUS-DEVICE (02-04)")
    return words[0], words[1]


async def _redirect(device: str, name: str, program: str | None, options: dict[str, Any]) -> None:
    from kvtui.commands.tunnel import refused
    from kvtui.commands.vnc import one_client

    def opened(port: int) -> list[str] | None:
        address = f"127.0.0.1:{port}"
        if program is None:
            click.echo(f"User can connect usbredir client at: {address}")
            return None
        return [program, "--device", device, "--to", address]

    async with connected(options) as (client, namespace):
        target = Target(VMI, target_of(name, namespace).key)
        try:
            async with client.websocket(target.path("usbredir")) as socket:
                await one_client(socket, "127.0.0.1", 0, opened)
        except KvtuiError as error:
            raise refused(error, target.key.name, "VMI") from error
