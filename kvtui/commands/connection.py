"""Which server a command talks to, and the options that say so.

Order: --kubeconfig or --context or --data, then $KUBECONFIG, then the engine of this machine when it has been
started, then ~/.kube/config.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kvtui.commands import quick
from kvtui.errors import Usage

if TYPE_CHECKING:
    from kvtui.client.rest import Client

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def default_data_directory() -> Path:
    """Where the engine of this machine keeps its state: /var/lib/kvtui for root, else the user's data directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/kvtui")
    from platformdirs import user_data_path

    return user_data_path("kvtui")


def kubeconfig_path(options: dict[str, Any]) -> Path | None:
    """The file to read; None means client-go's default."""
    if options.get("kubeconfig"):
        return Path(options["kubeconfig"])
    if options.get("data"):
        path = Path(options["data"]) / "kubeconfig"
        if not path.exists():
            raise Usage(
                f"there is no engine in {options['data']}", hint="start one with `kvtui local start --data DIR`"
            )
        return path
    if os.environ.get("KUBECONFIG"):
        return None
    from kvtui.client import kubeconfig

    local = default_data_directory() / "kubeconfig"
    default = kubeconfig.default_path()
    if options.get("context") and default.exists():
        return default
    return local if _readable(local) else None


def _readable(path: Path) -> bool:
    try:
        return os.access(path, os.R_OK)
    except OSError:
        return False


def _namespaces(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from kvtui.commands import complete

    return complete.namespaces(ctx, param, incomplete)


def _contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from kvtui.commands import complete

    return complete.contexts(ctx, param, incomplete)


def server_options(function: F) -> F:
    """--context, --kubeconfig, --data and -n, also behind the verb, as kubectl takes them."""
    for option in (
        click.option("-n", "--namespace", metavar="NAME", help="Namespace to work in.", shell_complete=_namespaces),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig to use.", shell_complete=_contexts),
        click.option("--kubeconfig", metavar="FILE", type=click.Path(dir_okay=False), help="The kubeconfig to read."),
        click.option("--data", metavar="DIR", type=click.Path(file_okay=False), help="Data directory of an engine."),
    ):
        function = option(function)
    return function


def merged(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options behind the verb over those before it."""
    before = ctx.find_object(dict) or {}
    return {**options, **{k: v for k, v in before.items() if options.get(k) is None}}


@contextlib.asynccontextmanager
async def connected(options: dict[str, Any]) -> AsyncIterator[tuple[Client, str]]:
    """A client and the namespace to work in."""
    quick.import_aiohttp()
    from kvtui.client import kubeconfig
    from kvtui.client.rest import Client

    endpoint = await kubeconfig.load(kubeconfig_path(options), context=options.get("context"))
    async with Client(endpoint) as client:
        yield client, options.get("namespace") or endpoint.namespace


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Runs a command to its end; an error group of one error is that error."""
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        errors = group
        while len(errors.exceptions) == 1 and isinstance(errors.exceptions[0], BaseExceptionGroup):
            errors = errors.exceptions[0]
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from group
        raise
