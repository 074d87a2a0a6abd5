"""Words that a shell offers: kinds, names, namespaces, nodes and contexts.

The server is waited for a moment only; when it does not answer in time the words of last time are offered, and its
late answer is there for the next time. Whatever goes wrong, nothing is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import select
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvtui.commands.connection import connected, default_data_directory, kubeconfig_path, merged
from kvtui.errors import KvtuiError

if TYPE_CHECKING:
    from kvtui.client.rest import Client

BUDGET = 0.2
"""Seconds that the prompt waits for the server; the rest of half a second is the interpreter's."""
PATIENCE = 10.0
"""Seconds in which an answer that comes too late for this prompt is still good for the next."""
FRESH = 3.0
"""Seconds during which the words of last time are as good as the server's."""

Callback = Callable[[click.Context, click.Parameter, str], list[str]]
_Words = Callable[["Client", str], Awaitable[list[str]]]


def names(plural: str, *prefixes: str) -> Callback:
    """Names of one kind; `prefixes` are kinds that may stand before a slash (`vm/web`)."""

    async def words(client: Client, namespace: str) -> list[str]:
        group = "/apis/kubevirt.io/v1" if plural.startswith("virtualmachine") else "/apis/cdi.kubevirt.io/v1beta1"
        if plural == "persistentvolumeclaims":
            group = "/api/v1"
        return await _listed(client, f"{group}/namespaces/{namespace}/{plural}")

    def callback(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        kind, slash, rest = incomplete.rpartition("/")
        taken = ctx.params.get(param.name or "") or ()
        found = [name for name in _offered(ctx, f"{plural} names", words) if name not in taken]
        if not slash:
            return _starting(found, incomplete)
        return [f"{kind}/{name}" for name in _starting(found, rest)] if kind in (*prefixes, "vmi") else []

    return callback


async def _listed(client: Client, path: str) -> list[str]:
    """Names from a partial list, which is small."""
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
    document = (await client.raw("GET", path, accept=accept)).json()
    return sorted(item["metadata"]["name"] for item in document.get("items") or ())


def nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    async def words(client: Client, namespace: str) -> list[str]:
        return await _listed(client, "/api/v1/nodes")

    return _starting(_offered(ctx, "nodes", words), incomplete)


def namespaces(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    async def words(client: Client, namespace: str) -> list[str]:
        return await _listed(client, "/api/v1/namespaces")

    return _starting(_offered(ctx, "namespaces", words), incomplete)


def contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Of the kubeconfig; no server is asked."""
    try:
        import yaml

        from kvtui.client import kubeconfig

        path = kubeconfig_path({**merged(ctx, dict(ctx.params)), "context": "any"}) or kubeconfig.default_path()
        entries = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("contexts") or []
        return _starting(sorted(str(entry["name"]) for entry in entries), incomplete)
    except (KvtuiError, OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return []


def kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Plurals and short names, also after a comma, and `KIND/NAME`."""
    kind, slash, name = incomplete.partition("/")
    if slash:
        return [f"{kind}/{found}" for found in _starting(_of_kind(ctx, kind), name)]
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{word}" for word in _starting(_offered(ctx, "kinds", _kinds), last)]


async def _kinds(client: Client, namespace: str) -> list[str]:
    from kvtui.client.discovery import Discovery

    found = (await Discovery.load(client)).resources
    return sorted({word for r in found if "list" in r.verbs for word in (r.plural, *r.short_names)})


def objects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the kind that stands before them."""
    kind = ctx.params.get("kinds") or ctx.params.get("kind") or ""
    return _starting(_of_kind(ctx, str(kind)), incomplete) if kind and "/" not in str(kind) else []


def _of_kind(ctx: click.Context, kind: str) -> list[str]:
    async def words(client: Client, namespace: str) -> list[str]:
        from kvtui.client.discovery import Discovery

        resource = (await Discovery.load(client)).find(kind)
        return await _listed(client, resource.path(namespace))

    return _offered(ctx, f"names of {kind}", words)


def _starting(words: list[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _offered(ctx: click.Context, what: str, words: _Words) -> list[str]:
    """The server's words, or those of last time, or none."""
    try:
        options = merged(ctx, dict(ctx.params))
        place = _place(options, what)
        known, age = _remembered(place)
        if known is not None and age < FRESH:
            return known
        _refresh(place, options, words)
        return _remembered(place)[0] or []
    except Exception:  # a word that cannot be offered must not disturb the prompt
        return []


def _refresh(place: Path, options: dict[str, Any], words: _Words) -> None:
    """Has a child ask the server, and returns when it has remembered the answer or the prompt has waited enough."""
    done, ended = os.pipe()
    if os.fork() == 0:
        with contextlib.suppress(BaseException):
            # The shell waits for whoever has its pipe open.
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            os.setsid()
            _remember(place, asyncio.run(_asked(options, words)))
        os._exit(0)
    os.close(ended)
    select.select([done], [], [], BUDGET)
    os.close(done)


async def _asked(options: dict[str, Any], words: _Words) -> list[str]:
    async with asyncio.timeout(PATIENCE), connected(options) as (client, namespace):
        return await words(client, namespace)


def _place(options: dict[str, Any], what: str) -> Path:
    """The file for these words of this server and namespace."""
    path = kubeconfig_path(options)
    where = [str(path), os.environ.get("KUBECONFIG", ""), options.get("context"), options.get("namespace"), what]
    if path is None and not where[1]:
        where.append(str(default_data_directory()))
    digest = hashlib.sha256(json.dumps(where).encode()).hexdigest()[:32]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "kvtui" / "completion" / f"{digest}.json"


def _remembered(place: Path) -> tuple[list[str] | None, float]:
    """Words and their age in seconds."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        return [str(word) for word in found], time.time() - place.stat().st_mtime
    except (OSError, ValueError, TypeError):
        return None, 0.0


def _remember(place: Path, words: list[str]) -> None:
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = place.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(words), encoding="utf-8")
        temporary.replace(place)
