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
    "vmtemplate": ("template.kubevirt.io", "VirtualMachineTemplate"),
}


@click.group("vmexport")
def group() -> None:
    """Disks of VMs, snapshots and claims as files."""


def _source_options(function: Any) -> Any:
    for option in (
        click.option("--vm", metavar="NAME", help="Of a stopped VM.", shell_complete=complete.names("virtualmachines")),
        click.option("--snapshot", metavar="NAME", help="Of a VirtualMachineSnapshot."),
        click.option("--pvc", metavar="NAME", help="Of a PersistentVolumeClaim."),
        click.option("--vmtemplate", metavar="NAME", help="Of a VirtualMachineTemplate."),
        click.option("--labels", multiple=True, metavar="KEY=VALUE,...", help="For the export and its Pod."),
        click.option("--annotations", multiple=True, metavar="KEY=VALUE,...", help="For the export and its Pod."),
        click.option("--ttl", metavar="DURATION", help="How long the export lives; the server's default is 2h."),
    ):
        function = option(function)
    return server_options(function)


def _source(options: dict[str, Any]) -> TypedLocalObjectReference | None:
    """Raises Usage for more than one."""
    from kvtui.api.core.parts import TypedLocalObjectReference

    given = [kind for kind in _SOURCES if options[kind]]
    if len(given) > 1:
        raise Usage("only one of --vm, --snapshot, --pvc and --vmtemplate can be given")
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
        raise Usage("one of --vm, --snapshot, --pvc and --vmtemplate is needed")
    run_async(_create(name, source, merged(ctx, options)))


async def _create(name: str, source: TypedLocalObjectReference, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        await _made(client, namespace, name, source, options)
    click.echo(f"VirtualMachineExport '{namespace}/{name}' created successfully")


async def _made(
    client: Client, namespace: str, name: str, source: TypedLocalObjectReference, options: dict[str, Any]
) -> None:
    from kvtui.commands import exports

    more = {what: _words(what, options[what]) for what in ("labels", "annotations")}
    try:
        await exports.create(client, (namespace, name), source, ttl=options["ttl"], **more)
    except AlreadyExists as error:
        error.args = (f"VirtualMachineExport '{namespace}/{name}' already exists",)
        raise


def _words(flag: str, texts: tuple[str, ...]) -> dict[str, str]:
    """Raises Usage."""
    found = [pair.partition("=") for text in texts for pair in text.split(",")]
    if any(not equals or not key for key, equals, _ in found):
        raise Usage(f"--{flag} takes KEY=VALUE,...")
    return {key: value for key, _, value in found}


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
@click.option("--format", "format_", type=click.Choice(["gzip", "raw", "oci"]), help="Of the file.  [default: gzip]")
@click.option("--manifest", is_flag=True, help="The VM's manifests instead of a volume.")
@click.option("--manifest-output-format", type=click.Choice(["yaml", "json"]), help="Of those.  [default: yaml]")
@click.option("--include-secret", is_flag=True, help="With --manifest: the Secret that imports need, too.")
@click.option("--insecure", is_flag=True, help="Do not verify the server's certificate.")
@click.option("--keep-vme", is_flag=True, help="Keep an export that was made for this download.")
@click.option("--delete-vme", is_flag=True, help="Remove the export afterwards also if it was there before.")
@click.option("--retry", type=click.IntRange(0), default=0, show_default=True, metavar="TIMES")
@click.option("--service-url", metavar="HOST[:PORT]", help="Fetch the internal link from this host.")
@click.option("--port-forward", is_flag=True, help="Through the exporter's Pod, not its address.")
@click.option(
    "--local-port", type=click.IntRange(0, 65535), metavar="PORT", help="With --port-forward: from this port."
)
@click.option("--readiness-timeout", type=float, default=120.0, show_default=True, metavar="SECONDS")
@_source_options
@click.pass_context
def download(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Download an export; with --vm, --snapshot or --pvc it is made first."""
    _check(options)
    run_async(_download(name, _source(options), merged(ctx, options)))


def _check(options: dict[str, Any]) -> None:
    """Raises Usage for flags that contradict each other."""
    if options["keep_vme"] and options["delete_vme"]:
        raise Usage("--keep-vme and --delete-vme exclude each other")
    if options["service_url"] and options["port_forward"]:
        raise Usage("--service-url and --port-forward exclude each other")
    if options["local_port"] is not None and not options["port_forward"]:
        raise Usage("--local-port goes with --port-forward")
    if options["manifest"]:
        for flag in ("volume", "format_"):
            if options[flag]:
                raise Usage(f"the '--{flag.rstrip('_')}' flag is incompatible with '--manifest'")
        return
    for flag in ("manifest-output-format", "include-secret"):
        if options[flag.replace("-", "_")]:
            raise Usage(f"--{flag} goes with --manifest")
    if not options["file"] or (options["file"] == "-" and sys.stdout.isatty()):
        raise Usage("warning: Binary output can mess up your terminal. Use '--output FILE'")


async def _download(name: str, source: TypedLocalObjectReference | None, options: dict[str, Any]) -> None:
    from kvtui.api.kubevirt.export import VirtualMachineExport

    async with connected(options) as (client, namespace):
        created = source is not None
        if source is not None:
            await _made(client, namespace, name, source, options)
        try:
            await _fetch(client, (namespace, name), options)
        finally:
            # Manifests name the export as the place that the disks come from.
            if options["delete_vme"] or (created and not options["keep_vme"] and not options["manifest"]):
                await client.delete(VirtualMachineExport, (namespace, name))
    if not options["manifest"]:
        click.echo("Download finished successfully", err=options["file"] == "-")


async def _fetch(client: Client, key: tuple[str, str], options: dict[str, Any]) -> None:
    from kvtui.commands import exports

    wanted = exports.Download(
        key=key,
        volume=options["volume"],
        file=None if options["file"] in (None, "-") else Path(options["file"]),
        format=options["format_"] or "gzip",
        insecure=options["insecure"],
        retries=options["retry"],
        timeout=options["readiness_timeout"],
        service_url=options["service_url"],
        local_port=(options["local_port"] or 0) if options["port_forward"] else None,
    )
    async with waiting(f"waiting for VM Export {key[1]} status to be ready") as line:
        if not options["manifest"]:
            await exports.download(client, wanted, line)
            return
        text = await exports.manifests(
            client, wanted, with_secret=options["include_secret"], yaml=options["manifest_output_format"] != "json"
        )
    if wanted.file is None:
        click.echo(text, nl=False)
        return
    try:
        wanted.file.write_bytes(text)
    except OSError as error:
        raise Permanent(f"{wanted.file} cannot be written: {error.strerror}") from error
