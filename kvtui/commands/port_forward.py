"""`kvtui port-forward`: ports of a VM on this machine, one websocket for each connection.

Source: life-cycle facts 9 (virtctl port-forward).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from kvtui.api.wire import ObjectKey
from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.exits import report
from kvtui.commands.targets import VMI, Target, parse
from kvtui.commands.verb import Verb, example
from kvtui.errors import Forbidden, KvtuiError, Usage

if TYPE_CHECKING:
    from kvtui.client.rest import Client
    from kvtui.commands.tunnel import Local


@dataclass(frozen=True, slots=True)
class Port:
    """A port here and the one it leads to."""

    protocol: Literal["tcp", "udp"]
    local: int
    """0 takes a free one."""
    remote: int


def target_of(text: str, namespace: str) -> Target:
    """`vm/NAME`, `vmi/NAME`, either with `/NAMESPACE`, or `NAME`. Raises Usage."""
    words = text.split("/")
    if len(words) > 3 or not all(words):
        raise Usage(f"{text!r} is no VM: write vm/NAME, vmi/NAME or vmi/NAME/NAMESPACE")
    where = words[2] if len(words) == 3 else namespace
    target = parse(("/".join(words[:2]),), where, VMI)[0]
    return Target(target.kind, ObjectKey(where, target.key.name))


def port_of(text: str) -> Port:
    """`[tcp/|udp/]LOCAL[:REMOTE]`. Raises Usage."""
    protocol, slash, rest = text.rpartition("/")
    if slash and protocol not in ("tcp", "udp"):
        raise Usage(f"protocol {protocol!r} is neither tcp nor udp")
    local, colon, remote = rest.partition(":")
    numbers = (local or "0", remote) if colon else (local, local)
    if any(not n.isascii() or not n.isdigit() or int(n) > 65535 for n in numbers) or int(numbers[1]) == 0:
        raise Usage(f"{text!r} is no port: write [udp/]LOCAL[:REMOTE]")
    return Port("udp" if protocol == "udp" else "tcp", int(numbers[0]), int(numbers[1]))


@click.command(
    "port-forward",
    cls=Verb,
    epilog=example(
        "kvtui port-forward vm/web 8080:80",
        "kvtui port-forward vmi/web/default udp/5353:53 8443",
        "kvtui port-forward --stdio vm/web 22",
    ),
)
@click.argument("vm", metavar="vm|vmi/NAME[/NAMESPACE]", shell_complete=complete.names("virtualmachineinstances", "vm"))
@click.argument("ports", metavar="[udp/]LOCAL[:REMOTE]...", nargs=-1, required=True)
@click.option("--address", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--stdio", is_flag=True, help="Join standard input and output with one port instead of listening.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, vm: str, ports: tuple[str, ...], **options: Any) -> None:
    """Make ports of a VM reachable on this machine, until interrupted."""
    wanted = [port_of(text) for text in ports]
    if options["stdio"] and len(wanted) != 1:
        raise Usage("only one port supported when forwarding to stdout")
    work = _stdio if options["stdio"] else _listen
    run_async(work(vm, wanted, merged(ctx, options)))


async def tunnel(client: Client, target: Target, port: Port, local: Local) -> None:
    """One connection, to its end. Raises what the server refuses."""
    from kvtui.commands.tunnel import join

    path = target.path(f"portforward/{port.remote}/{port.protocol}")
    async with client.websocket(path) as socket:
        await join(local, socket)


async def _stdio(vm: str, ports: list[Port], options: dict[str, Any]) -> None:
    from kvtui.commands.tunnel import Pipes

    async with connected(options) as (client, namespace):
        await tunnel(client, target_of(vm, namespace), ports[0], Pipes(0, 1))


async def _listen(vm: str, ports: list[Port], options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        target = target_of(vm, namespace)
        await _check(client, target)
        async with asyncio.TaskGroup() as tasks, contextlib.AsyncExitStack() as stack:
            for port in ports:
                at = await _open(client, target, port, options["address"], tasks, stack)
                click.echo(f"Forwarding from {options['address']}:{at} ({port.protocol}) -> {port.remote}", err=True)
            await asyncio.Event().wait()


async def _check(client: Client, target: Target) -> None:
    """Raises NotFound at once rather than at the first connection."""
    with contextlib.suppress(Forbidden):  # whoever may only forward ports may forward ports
        await client.raw(
            "GET", f"/apis/kubevirt.io/v1/namespaces/{target.key.namespace}/{target.kind}/{target.key.name}"
        )


async def _open(
    client: Client,
    target: Target,
    port: Port,
    address: str,
    tasks: asyncio.TaskGroup,
    stack: contextlib.AsyncExitStack,
) -> int:
    """Listens, as long as the stack lasts."""
    from kvtui.commands.tunnel import DatagramPeer, Stream, listen, listen_datagrams

    async def serve(local: Stream | DatagramPeer) -> None:
        try:
            await tunnel(client, target, port, local)
        except KvtuiError as error:
            report(error)  # of this connection; the next one may succeed
        finally:
            if isinstance(local, Stream):
                await local.close()

    if port.protocol == "udp":
        transport, at = await listen_datagrams(address, port.local, serve, tasks)
        stack.callback(transport.close)
    else:
        server, at = await listen(address, port.local, serve, tasks)
        stack.callback(server.close)
    return at
