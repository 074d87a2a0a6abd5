"""`kvtui local`: the engine on this machine, with this machine's libvirt."""

from __future__ import annotations

import asyncio
import ipaddress
import os

import click
from msgspec.structs import replace

from kvtui.commands import backup, lifecycle
from kvtui.commands.engine import EngineDirectory, EngineKind, EngineRecord, NodeRecord
from kvtui.commands.engine_options import (
    add_questions,
    chosen_cpus,
    data_option,
    engine_of,
    reserved_cpus_option,
)
from kvtui.commands.lifecycle import locked, running_as, say
from kvtui.errors import Usage

_LOOPBACK = "127.0.0.1"


@click.group("local")
def group() -> None:
    """The engine on this machine."""


def _engine(ctx: click.Context, data: str | None) -> EngineDirectory:
    return engine_of(ctx, EngineKind.LOCAL, data)


@group.command("start")
@click.option("--port", type=click.IntRange(1, 65535), help="Of the API server; a free one otherwise.")
@click.option(
    "--pod-network", metavar="CIDR[,CIDR]", help="Addresses of Pods, IPv4, IPv6 or both; a free one otherwise."
)
@reserved_cpus_option
@click.option("--foreground", is_flag=True, help="Run in the foreground, for a service manager.")
@data_option
@click.pass_context
def start(
    ctx: click.Context,
    port: int | None,
    pod_network: str | None,
    reserved_cpus: str | None,
    foreground: bool,
    data: str | None,
) -> None:
    """Start the engine; returns when its API answers and this machine is ready as a node."""
    from kvtui.commands import service

    engine = _engine(ctx, data)
    if not foreground and service.start_installed(engine):
        say(f"ready: export KUBECONFIG={engine.kubeconfig}")
        return
    with locked(engine):
        running = running_as(engine, EngineKind.LOCAL)
        if running is None:
            cpus = chosen_cpus(engine, reserved_cpus)
            record = replace(_prepare(engine, port, networks_of(pod_network)), reserved_cpus=cpus)
            if not foreground:
                lifecycle.launch(engine, record)
        elif not foreground:
            say(f"the engine in {engine.data} runs already")
    if foreground:
        if running is not None:
            raise Usage(f"the engine in {engine.data} runs already", hint="stop it with `kvtui local stop`")
        ctx.exit(lifecycle.run_in_foreground(engine, record))
    say(f"ready: export KUBECONFIG={engine.kubeconfig}")


def networks_of(text: str | None) -> str:
    """At most one network for each IP family, separated by commas. Raises Usage."""
    try:
        found = [ipaddress.ip_network(part.strip()) for part in text.split(",")] if text else []
    except ValueError as error:
        raise Usage(f"--pod-network: {error}") from error
    if len({n.version for n in found}) != len(found) or any(n.num_addresses < 4 for n in found):
        raise Usage("--pod-network: one network per IP family, each with room for Pods")
    return ",".join(str(n) for n in found)


def _prepare(engine: EngineDirectory, port: int | None, networks: str) -> EngineRecord:
    from kvtui.commands.host_libvirt import ensure_libvirtd

    lifecycle.stop_supervisor(engine)
    lifecycle.check_room(engine)
    ensure_libvirtd(say=say)
    chosen = lifecycle.choose_port(engine, port, (_LOOPBACK,))
    pods, bridge = lifecycle.local_pod_network(engine)
    node = NodeRecord(name=lifecycle.local_node(), address=_LOOPBACK, pods=networks or pods, bridge=bridge)
    return EngineRecord(kind=EngineKind.LOCAL, port=chosen, host_address=_LOOPBACK, nodes=[node])


@group.command("stop")
@click.option("--vms", is_flag=True, help="Shut the VMs down first.")
@data_option
@click.pass_context
def stop(ctx: click.Context, vms: bool, data: str | None) -> None:
    """Stop the engine. VMs go on running unless --vms is given."""
    from kvtui.commands import service

    engine = _engine(ctx, data)
    if not engine.record.exists():
        say(f"there is no engine in {engine.data}")
        return
    with locked(engine):
        record = engine.read()
        if record is not None and record.kind is not EngineKind.LOCAL:
            raise Usage(f"{engine.data} holds a {record.kind} engine", hint="use `kvtui lab stop`")
        if vms:
            say("shutting VMs down")
        ran = lifecycle.stop_supervisor(engine, with_vms=vms)
        service.stop_installed(engine)
        if record is not None:
            _sweep(engine, record)
    if not ran:
        say(f"the engine in {engine.data} did not run")
    elif vms:
        say("the engine has stopped, and its VMs with it")
    else:
        say("the engine has stopped; its VMs go on running (`kvtui local stop --vms` would shut them down)")


def _sweep(engine: EngineDirectory, record: EngineRecord) -> None:
    """Nothing stays on the machine for VMs that have ended, also when their agent did not live to see it."""
    if os.geteuid() != 0 or not record.nodes:
        return
    from kvtui.errors import KvtuiError
    from kvtui.node.runner import pod_network
    from kvtui.node.vacate import sweep

    for node in record.nodes:
        try:
            asyncio.run(sweep(engine.data, node.name, pod_network(tuple(node.pods.split(",")), node.bridge)))
        except KvtuiError as error:
            say(f"something of VMs that have ended stays on this machine: {error}")


@group.command("doctor")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@data_option
@click.pass_context
def doctor(ctx: click.Context, output: str, data: str | None) -> None:
    """Check what this machine needs to run VMs, and say how to mend what is missing."""
    from kvtui.commands.doctor import examine, show

    ctx.exit(show(asyncio.run(examine(_engine(ctx, data))), output))


@group.command("install-service")
@data_option
@click.pass_context
def install_service(ctx: click.Context, data: str | None) -> None:
    """Let systemd start the engine with the machine."""
    from kvtui.commands import service

    service.install(_engine(ctx, data), say=say)


@group.command("remove-service")
@data_option
@click.pass_context
def remove_service(ctx: click.Context, data: str | None) -> None:
    """Stop the engine's systemd service and remove it; the engine's data stays."""
    from kvtui.commands import service

    service.remove(_engine(ctx, data), say=say)


backup.add_to(group, _engine)
add_questions(group, EngineKind.LOCAL)
