"""`kvtui vnc`: a VM's graphics in a viewer, through a local port, or as a picture.

Source: life-cycle facts 9 (virtctl vnc, vnc screenshot).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.port_forward import target_of
from kvtui.commands.progress import waiting
from kvtui.commands.targets import VMI, Target
from kvtui.commands.verb import Verb, example
from kvtui.errors import KvtuiError, Permanent, Usage

if TYPE_CHECKING:
    from kvtui.client.rest import Client
    from kvtui.commands.tunnel import Stream

PATIENCE = 60.0
"""Seconds in which a viewer must connect."""
VIEWERS = {"remote": "remote-viewer", "tiger": "vncviewer"}


@click.command(
    "vnc",
    cls=Verb,
    epilog=example("kvtui vnc web", "kvtui vnc web --proxy-only --port 5901", "kvtui vnc screenshot web -f web.png"),
)
@click.argument(
    "words", metavar="[screenshot] VMI", nargs=-1, shell_complete=complete.names("virtualmachineinstances", "vmi")
)
@click.option("--proxy-only", is_flag=True, help="Start no viewer; print the port.")
@click.option("--address", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="With --proxy-only.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Default: a free one.")
@click.option("--preserve-session", is_flag=True, help="Fail rather than take an open session over.")
@click.option("--vnc-type", type=click.Choice(sorted(VIEWERS)), help="Kind of viewer to start.")
@click.option("--vnc-path", metavar="FILE", help="Program to start.")
@click.option("-f", "--file", metavar="FILE", help="Of a screenshot; - is standard output.")
@click.option("--screenshot", "picture", metavar="FILE", help="Take a screenshot instead, as `vnc screenshot -f` does.")
@click.option("-m", "--move-cursor", is_flag=True, help="Wake a sleeping screen before the screenshot.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> None:
    """Open a VM's graphics."""
    options = merged(ctx, options)
    match words:
        case ("screenshot", name):
            if not options["file"]:
                raise Usage("name the file with -f FILE")
            run_async(_screenshot(name, options["file"], options))
        case (name,) if options["picture"]:
            run_async(_screenshot(name, options["picture"], options))
        case (name,):
            run_async(_vnc(name, options))
        case _:
            raise Usage("name one VMI")


async def _screenshot(name: str, file: str, options: dict[str, Any]) -> None:
    if file == "-" and sys.stdout.isatty():
        raise Usage("a picture does not belong into a terminal", hint="name a file with -f FILE")
    async with connected(options) as (client, namespace):
        target = Target(VMI, target_of(name, namespace).key)
        wanted = {"moveCursor": "true" if options["move_cursor"] else "false"}
        async with waiting(f"looking at the screen of {target.key.name}"):
            answer = await client.raw("GET", target.path("vnc/screenshot"), params=wanted, accept="*/*")
    await asyncio.to_thread(_save, file, answer.body)


def _save(file: str, data: bytes) -> None:
    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(file).write_bytes(data)
    except OSError as error:
        raise Permanent(f"{file} cannot be written: {error.strerror}") from error


async def _vnc(name: str, options: dict[str, Any]) -> None:
    from kvtui.commands.tunnel import refused

    async with connected(options) as (client, namespace):
        target = Target(VMI, target_of(name, namespace).key)
        viewer = None if options["proxy_only"] else viewer_of(options["vnc_type"], options["vnc_path"])
        try:
            await _proxy(client, target, viewer, options)
        except KvtuiError as error:
            raise refused(error, target.key.name, "VMI") from error


def viewer_of(kind: str | None, path: str | None) -> str:
    """The program to start. Raises Permanent when there is none."""
    names = [path] if path else [VIEWERS[kind]] if kind else list(VIEWERS.values())
    found = next((program for name in names if (program := shutil.which(name))), None)
    if found is None:
        raise Permanent(
            f"could not find {' or '.join(names)} in $PATH", hint="--proxy-only prints a port for any viewer"
        )
    return found


def viewer_words(program: str, port: int) -> list[str]:
    """Its command line: remote-viewer takes a URL, others host::port."""
    if "remote-viewer" in Path(program).name:
        return [program, f"vnc://127.0.0.1:{port}"]
    return [program, f"127.0.0.1::{port}"]


async def _proxy(client: Client, target: Target, viewer: str | None, options: dict[str, Any]) -> None:
    """One viewer, from its connection to its end."""
    params = {"preserveSession": "true" if options["preserve_session"] else "false"}
    address = options["address"] if viewer is None else "127.0.0.1"
    async with client.websocket(target.path("vnc"), params=params) as socket:

        def opened(port: int) -> list[str] | None:
            if viewer is None:
                click.echo(msgspec.json.encode({"port": port}).decode())
                return None
            return viewer_words(viewer, port)

        await one_client(socket, address, options["port"], opened)


async def one_client(socket: Any, address: str, port: int, opened: Any) -> None:
    """Listens for one local client and joins it with the websocket; `opened` is told the port and may name a program
    to run for it. Raises TimeoutError when nobody connects."""
    from kvtui.commands.tunnel import join, listen

    arrived: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()

    async def serve(stream: Stream) -> None:
        if arrived.done():
            await stream.close()
        else:
            arrived.set_result(stream)

    async with asyncio.TaskGroup() as tasks:
        server, at = await listen(address, port, serve, tasks)
        words = opened(at)
        program = await asyncio.create_subprocess_exec(*words) if words else None
        try:
            try:
                async with asyncio.timeout(PATIENCE):
                    stream = await arrived
            except TimeoutError as error:
                raise TimeoutError(f"no client connected to {address}:{at} within {PATIENCE:.0f} s") from error
            server.close()
            try:
                await join(stream, socket)
            finally:
                await stream.close()
        finally:
            server.close()
            if program is not None and program.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    program.terminate()
                await program.wait()
