"""What `kvtui local` and `kvtui lab` share on the command line: --data, and the commands that only ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kvtui.commands.engine import EngineDirectory, EngineKind, default_data
from kvtui.errors import InvalidObject, Usage

F = TypeVar("F", bound=Callable[..., Any])


def data_option(function: F) -> F:
    option = click.option(
        "--data", metavar="DIR", type=click.Path(file_okay=False), help="Where the engine lives; each has its own."
    )
    return option(function)


def reserved_cpus_option(function: F) -> F:
    option = click.option(
        "--reserved-cpus",
        metavar="LIST",
        callback=_cpu_list,
        help="CPUs such as 0-1,8 that no VM gets for itself alone, or all.  [default: as last time; the first core]",
    )
    return option(function)


def _cpu_list(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from kvtui.node import cpusets

    try:
        return value if value in (None, "all") else cpusets.format_list(cpusets.parse(value or ""))
    except InvalidObject as error:
        raise Usage(f"--reserved-cpus: {error}") from error


def chosen_cpus(engine: EngineDirectory, given: str | None) -> str:
    """The CPUs to reserve: as given, else as the engine had them last."""
    before = engine.read() if given is None else None
    return before.reserved_cpus if before is not None else given or ""


def engine_of(ctx: click.Context, kind: EngineKind, data: str | None) -> EngineDirectory:
    """The directory given behind the command, else before it, else this user's own."""
    before: dict[str, Any] = ctx.find_object(dict) or {}
    chosen = data or before.get("data")
    return EngineDirectory(Path(chosen).absolute() if chosen else default_data(kind))


def add_questions(group: click.Group, kind: EngineKind) -> None:
    """Gives a group the commands that only ask: `status` and `kubeconfig`."""

    @group.command("status")
    @click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
    @data_option
    @click.pass_context
    def status(ctx: click.Context, output: str, data: str | None) -> None:
        """Tell whether it runs, its nodes, and the address under which its guests reach this machine."""
        from kvtui.commands import lifecycle
        from kvtui.commands.status_output import show

        ctx.exit(show(lifecycle.describe(engine_of(ctx, kind, data)), output))

    @group.command("kubeconfig")
    @data_option
    @click.pass_context
    def kubeconfig(ctx: click.Context, data: str | None) -> None:
        """Print the path of the administrator's kubeconfig."""
        engine = engine_of(ctx, kind, data)
        if not engine.kubeconfig.exists():
            raise Usage(f"no {kind} engine is in {engine.data}", hint=f"start one with `kvtui {kind} start`")
        click.echo(engine.kubeconfig)
