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
    from kvtui.client.kubeconfig import Overrides
    from kvtui.client.rest import Client
    from kvtui.settings import ClientSettings

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


_FIELDS = {
    "cluster_fields": {
        "server": "server",
        "certificate_authority": "certificate-authority",
        "insecure_skip_tls_verify": "insecure-skip-tls-verify",
        "tls_server_name": "tls-server-name",
    },
    "user_fields": {
        "token": "token",
        "client_certificate": "client-certificate",
        "client_key": "client-key",
        "as_user": "as",
        "as_uid": "as-uid",
        "as_group": "as-groups",
    },
}
"""Options and the fields of a kubeconfig whose place they take."""
_FILES = ("certificate_authority", "client_certificate", "client_key")


def connection_options(*, hidden: bool) -> Callable[[F], F]:
    """kubectl's flags for another server or user than the kubeconfig's, without its `--user`.

    Verbs take them without showing them, as kubectl's do.
    """
    file = click.Path(dir_okay=False)
    options = (
        click.option("--server", metavar="URL", hidden=hidden, help="Address of the API server."),
        click.option("--cluster", metavar="NAME", hidden=hidden, help="Cluster of the kubeconfig to use."),
        click.option("--token", metavar="TOKEN", hidden=hidden, help="Bearer token."),
        click.option("--client-certificate", metavar="FILE", type=file, hidden=hidden, help="Certificate of the user."),
        click.option("--client-key", metavar="FILE", type=file, hidden=hidden, help="Key of that certificate."),
        click.option("--certificate-authority", metavar="FILE", type=file, hidden=hidden, help="Who signs servers."),
        click.option(
            "--insecure-skip-tls-verify",
            is_flag=True,
            default=None,
            hidden=hidden,
            help="Do not verify the server's certificate.",
        ),
        click.option("--tls-server-name", metavar="NAME", hidden=hidden, help="Name in the server's certificate."),
        click.option("--as", "as_user", metavar="USER", hidden=hidden, help="Act as this user."),
        click.option("--as-group", metavar="GROUP", multiple=True, hidden=hidden, help="Act in this group."),
        click.option("--as-uid", metavar="UID", hidden=hidden, help="Act with this UID."),
        click.option("--request-timeout", metavar="DURATION", hidden=hidden, help="For one request; 0 is for ever."),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def overrides_of(options: dict[str, Any]) -> Overrides:
    """What the options say in place of the kubeconfig."""
    from kvtui.client.kubeconfig import Overrides

    fields: dict[str, dict[str, Any]] = {}
    for section, names in _FIELDS.items():
        given = {name: options[name] for name in names if options.get(name)}
        fields[section] = {names[n]: str(Path(v).absolute()) if n in _FILES else v for n, v in given.items()}
    return Overrides(options.get("cluster") or "", options.get("kube_user") or "", **fields)


def connection_words(options: dict[str, Any]) -> list[str]:
    """The same flags once more, to stand before the verb of another command."""
    named = {name: name for section in _FIELDS.values() for name in section} | {"as_user": "as", "kube_user": "user"}
    words: list[str] = []
    for name, flag in (named | {"cluster": "cluster", "request_timeout": "request-timeout"}).items():
        given = options.get(name)
        flag = f"--{flag.replace('_', '-')}"
        for value in given if isinstance(given, (tuple, list)) else (given,):
            if value:
                words += [flag] if value is True else [flag, str(value)]
    return words


def settings_of(options: dict[str, Any]) -> ClientSettings:
    """Raises Usage."""
    from kvtui.api import times
    from kvtui.settings import ClientSettings

    if not options.get("request_timeout"):
        return ClientSettings()
    text = str(options["request_timeout"])
    try:
        seconds = times.seconds_of(f"{text}s" if text.isascii() and text.isdigit() else text)
    except ValueError as error:
        raise Usage(f"--request-timeout: {error}") from error
    return ClientSettings(request_timeout=seconds if seconds > 0 else 10.0**8)


def server_options(function: F) -> F:
    """--context, --kubeconfig, --data and -n, also behind the verb, as kubectl takes them."""
    function = connection_options(hidden=True)(function)
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
    return {**options, **{k: v for k, v in before.items() if options.get(k) in (None, ())}}


@contextlib.asynccontextmanager
async def connected(options: dict[str, Any]) -> AsyncIterator[tuple[Client, str]]:
    """A client and the namespace to work in."""
    quick.import_aiohttp()
    from kvtui.client import kubeconfig
    from kvtui.client.rest import Client

    overrides, path = overrides_of(options), kubeconfig_path(options)
    endpoint = await kubeconfig.load(path, context=options.get("context"), overrides=overrides)
    async with Client(endpoint, settings_of(options)) as client:
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
