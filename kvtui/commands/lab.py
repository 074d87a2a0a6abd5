"""`kvtui lab`: an engine with several VM nodes on this machine, for trying live migration and for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from kvtui.commands import lifecycle
from kvtui.commands.engine import EngineDirectory, EngineKind, EngineRecord, NodeRecord, cache_directory
from kvtui.commands.engine_options import (
    add_questions,
    chosen_cpus,
    data_option,
    engine_of,
    reserved_cpus_option,
)
from kvtui.commands.lifecycle import locked, running_as, say
from kvtui.errors import Unsupported, Usage

_LOOPBACK = "127.0.0.1"


@click.group("lab")
def group() -> None:
    """Several VM nodes on this machine, for trying and testing."""


def _engine(ctx: click.Context, data: str | None) -> EngineDirectory:
    return engine_of(ctx, EngineKind.LAB, data)


@group.command("start")
@click.option("--nodes", type=click.IntRange(0, 200), default=None, help="How many; 2 unless the lab exists.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of the API server; a free one otherwise.")
@reserved_cpus_option
@data_option
@click.pass_context
def start(ctx: click.Context, nodes: int | None, port: int | None, reserved_cpus: str | None, data: str | None) -> None:
    """Start a lab; returns when its API answers and all its nodes are ready."""
    engine = _engine(ctx, data)
    with locked(engine):
        running = running_as(engine, EngineKind.LAB)
        if running is not None:
            if nodes not in (None, len(running.nodes)):
                raise Usage(
                    f"the lab in {engine.data} runs with {len(running.nodes)} nodes",
                    hint="stop it first with `kvtui lab stop`",
                )
            say(f"the lab in {engine.data} runs already")
        else:
            _start(engine, nodes, port, reserved_cpus)
    say(f"ready: export KUBECONFIG={engine.kubeconfig}")


def _start(engine: EngineDirectory, nodes: int | None, port: int | None, reserved_cpus: str | None) -> None:
    from kvtui.lab.nodes import raise_nodes, read_lab, remove_nodes

    lifecycle.stop_supervisor(engine)
    lifecycle.check_room(engine)
    before = read_lab(engine.data)
    count = nodes if nodes is not None else len(before.nodes) if before is not None else 2
    chosen = lifecycle.choose_port(engine, port, (_LOOPBACK,))
    lab = raise_nodes(engine.data, count, cache_directory(), say=say)
    record = EngineRecord(
        kind=EngineKind.LAB,
        port=chosen,
        host_address=str(lab.host_address) if lab.nodes else _LOOPBACK,
        nodes=[NodeRecord(name=n.name, address=str(n.address), pods=str(n.pods)) for n in lab.nodes],
        reserved_cpus=chosen_cpus(engine, reserved_cpus),
    )
    try:
        lifecycle.launch(engine, record)
    except BaseException:
        say("the lab does not start; taking it down again (logs stay)")
        lifecycle.stop_supervisor(engine)
        remove_nodes(engine.data)
        raise


@group.command("stop")
@data_option
@click.pass_context
def stop(ctx: click.Context, data: str | None) -> None:
    """Stop a lab and remove everything of it: VMs, disks, objects, networks, files."""
    from kvtui.lab.nodes import remove_nodes

    engine = _engine(ctx, data)
    if not engine.data.is_dir():
        say(f"there is no lab in {engine.data}")
        return
    with locked(engine):
        record = engine.read()
        if record is not None and record.kind is not EngineKind.LAB:
            raise Usage(f"{engine.data} holds a {record.kind} engine", hint="use `kvtui local stop`")
        lifecycle.stop_supervisor(engine)
        remove_nodes(engine.data)
        if record is not None or (engine.data / "lab.json").exists():
            lifecycle.remove_files(engine)
            say(f"the lab in {engine.data} is gone")
        else:
            engine.lock.unlink(missing_ok=True)
            say(f"there is no lab in {engine.data}")


@group.command("image")
@click.option("--to", metavar="PATH", type=click.Path(path_type=Path), help="Copy it there.")
def image(to: Path | None) -> None:
    """Print the path of the guest image, and build it when it is not there yet.

    Some 20 MiB of qcow2 for BIOS and UEFI: log in on the serial console as root, without a password.
    """
    from kvtui.lab.image.build import build_image

    cache = cache_directory()
    built = build_image(cache, say=say, kernels=(cache / "kernel",))
    if to is None:
        click.echo(built)
        return
    try:
        target = to / "kvtui-guest.qcow2" if to.is_dir() else to
        shutil.copyfile(built, target)
    except OSError as error:
        raise Unsupported(f"the image cannot be copied to {to}: {error.strerror}") from error
    click.echo(target)


add_questions(group, EngineKind.LAB)
