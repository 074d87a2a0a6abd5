"""`kvtui vmexport`: exports of VMs, snapshots and claims, and their download.

Source: life-cycle facts 4.3 (virtctl vmexport).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.progress import waiting
from kvtui.commands.verb import Verb, example
from kvtui.errors import AlreadyExists, NotFound, Permanent, Usage

if TYPE_CHECKING:
    from kvtui.api.core.parts import TypedLocalObjectReference
    from kvtui.client.rest import Client

_SOURCES = {
    "vm": ("kubevirt.io", "VirtualMachine"),
    "snapshot": ("snapshot.kubevirt.io", "VirtualMachineSnapshot"),
    "pvc": (None, "PersistentVolumeClaim"),
}


@click.group("vmexport")
def group() -> None:
    """Disks of VMs, snapshots and claims as files."""


def _source_options(function: Any) -> Any:
    for option in (
        click.option("--vm", metavar="NAME", help="Of a stopped VM.", shell_complete=complete.names("virtualmachines")),
        click.option("--snapshot", metavar="NAME", help="Of a VirtualMachineSnapshot."),
        click.option("--pvc", metavar="NAME", help="Of a PersistentVolumeClaim."),
        click.option("--ttl", metavar="DURATION", help="How long the export lives; the server's default is 2h."),
    ):
        function = option(function)
    return server_options(function)


def _source(options: dict[str, Any]) -> TypedLocalObjectReference | None:
    """Raises Usage for more than one."""
    from kvtui.api.core.parts import TypedLocalObjectReference

    given = [kind for kind in _SOURCES if options[kind]]
    if len(given) > 1:
        raise Usage("only one of --vm, --snapshot and --pvc can be given")
    if not given:
        return None
    api_group, kind = _SOURCES[given[0]]
    return TypedLocalObjectReference(api_group=api_group, kind=kind, name=options[given[0]])


@group.command("create", cls=Verb, epilog=example("kvtui vmexport create web-disks --vm web"))
@click.argument("name", metavar="NAME")
@_source_options
@click.pass_context
def create(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Make an export."""
    source = _source(options)
    if source is None:
        raise Usage("one of --vm, --snapshot and --pvc is needed")
    run_async(_create(name, source, merged(ctx, options)))


async def _create(name: str, source: TypedLocalObjectReference, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        await _made(client, namespace, name, source, options["ttl"])
    click.echo(f"VirtualMachineExport '{namespace}/{name}' created successfully")


async def _made(client: Client, namespace: str, name: str, source: TypedLocalObjectReference, ttl: str | None) -> None:
    from kvtui.commands import exports

    try:
        await exports.create(client, (namespace, name), source, ttl=ttl)
    except AlreadyExists as error:
        error.args = (f"VirtualMachineExport '{namespace}/{name}' already exists",)
        raise


@group.command("delete", cls=Verb, epilog=example("kvtui vmexport delete web-disks"))
@click.argument("name", metavar="NAME")
@server_options
@click.pass_context
def delete(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Remove an export; what it exported stays."""
    run_async(_delete(name, merged(ctx, options)))


async def _delete(name: str, options: dict[str, Any]) -> None:
    from kvtui.api.kubevirt.export import VirtualMachineExport

    async with connected(options) as (client, namespace):
        try:
            await client.delete(VirtualMachineExport, (namespace, name))
        except NotFound:
            click.echo(f"VirtualMachineExport '{namespace}/{name}' does not exist")
            return
    click.echo(f"VirtualMachineExport '{namespace}/{name}' deleted successfully")


@group.command(
    "download",
    cls=Verb,
    epilog=example(
        "kvtui vmexport download web-disks --vm web --output web.img.gz",
        "kvtui vmexport download web-disks --volume root --format raw --output root.img",
    ),
)
@click.argument("name", metavar="NAME")
@click.option("--output", "file", metavar="FILE", help="Where to; - is standard output.")
@click.option("--volume", metavar="NAME", help="Which volume, where there are several.")
@click.option("--format", "format_", type=click.Choice(["gzip", "raw"]), default="gzip", show_default=True)
@click.option("--insecure", is_flag=True, help="Do not verify the server's certificate.")
@click.option("--keep-vme", is_flag=True, help="Keep an export that was made for this download.")
@click.option("--delete-vme", is_flag=True, help="Remove the export afterwards also if it was there before.")
@click.option("--retry", type=click.IntRange(0), default=0, show_default=True, metavar="TIMES")
@click.option("--service-url", metavar="HOST[:PORT]", help="Fetch the internal link from this host.")
@click.option("--readiness-timeout", type=float, default=120.0, show_default=True, metavar="SECONDS")
@_source_options
@click.pass_context
def download(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Download an export; with --vm, --snapshot or --pvc it is made first."""
    if options["keep_vme"] and options["delete_vme"]:
        raise Usage("--keep-vme and --delete-vme exclude each other")
    if not options["file"] or (options["file"] == "-" and sys.stdout.isatty()):
        raise Usage("warning: Binary output can mess up your terminal. Use '--output FILE'")
    run_async(_download(name, _source(options), merged(ctx, options)))


async def _download(name: str, source: TypedLocalObjectReference | None, options: dict[str, Any]) -> None:
    from kvtui.api.kubevirt.export import VirtualMachineExport

    async with connected(options) as (client, namespace):
        created = source is not None
        if source is not None:
            await _made(client, namespace, name, source, options["ttl"])
        try:
            await _fetch(client, (namespace, name), options)
        finally:
            if options["delete_vme"] or (created and not options["keep_vme"]):
                await client.delete(VirtualMachineExport, (namespace, name))
    click.echo("Download finished successfully", err=options["file"] == "-")


async def _fetch(client: Client, key: tuple[str, str], options: dict[str, Any]) -> None:
    from kvtui.commands import exports

    internal = bool(options["service_url"])
    async with waiting(f"waiting for VM Export {key[1]} status to be ready") as line:
        link, token = await exports.link_of(client, key, options["readiness_timeout"], internal=internal)
        url, packed = exports.url_of(link, options["volume"])
        if internal:
            url = _at(url, options["service_url"])
        raw = options["format_"] == "raw"
        await exports.fetch(
            url,
            token,
            link.cert,
            None if options["file"] == "-" else Path(options["file"]),
            line,
            unpack=packed and raw,
            insecure=options["insecure"],
            retries=options["retry"],
        )


def _at(url: str, host: str) -> str:
    """The URL with another host. Raises Permanent."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme != "https":
        raise Permanent(f"the export names a strange link: {url}")
    return parts._replace(netloc=host).geturl()
