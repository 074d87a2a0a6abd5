"""--data of `kvtui local` and `kvtui lab`: which engine is meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kvtui.commands.engine import EngineDirectory, EngineKind, default_data

F = TypeVar("F", bound=Callable[..., Any])


def data_option(function: F) -> F:
    option = click.option(
        "--data", metavar="DIR", type=click.Path(file_okay=False), help="Where the engine lives; each has its own."
    )
    return option(function)


def engine_of(ctx: click.Context, kind: EngineKind, data: str | None) -> EngineDirectory:
    """The directory given behind the command, else before it, else this user's own."""
    before: dict[str, Any] = ctx.find_object(dict) or {}
    chosen = data or before.get("data")
    return EngineDirectory(Path(chosen).absolute() if chosen else default_data(kind))
