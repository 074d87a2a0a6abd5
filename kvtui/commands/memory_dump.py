"""`kvtui memory-dump`: a guest's memory into a claim, and out of it.

Source: life-cycle facts 6 (virtctl memory-dump).
"""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.port_forward import target_of
from kvtui.commands.progress import waiting
from kvtui.commands.targets import VM, Target, call
from kvtui.commands.verb import Verb, example
from kvtui.errors import Permanent, Usage

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vm import VirtualMachine
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance
    from kvtui.client.rest import Client

OVERHEAD = 100 * 2**20
"""Bytes beyond the guest's memory."""
FILESYSTEM_OVERHEAD = Decimal("0.055")
"""Without CDI's word on it."""
DUMPING, READY = 600.0, 120.0
"""Seconds for a dump, and for an export."""


@click.group("memory-dump")
def group() -> None:
    """A guest's memory as a file, for analysis."""


_vm = click.argument("vm", metavar="VM", shell_complete=complete.names("virtualmachines", "vm"))


def _download_options(function: Any) -> Any:
    for option in (
        click.option("--output", "file", metavar="FILE", help="Download to this file."),
        click.option("--format", "format_", type=click.Choice(["raw", "gzip"]), default="gzip", show_default=True),
        click.option("--insecure", is_flag=True, help="Do not verify the server's certificate."),
        click.option("--port-forward", is_flag=True, help="Through the exporter's Pod, not its address."),
        click.option(
            "--local-port", type=click.IntRange(0, 65535), metavar="PORT", help="With --port-forward: from this port."
        ),
    ):
        function = option(function)
    return server_options(function)


@group.command(
    "get",
    cls=Verb,
    epilog=example(
        "kvtui memory-dump get web --claim-name dump --create-claim", "kvtui memory-dump get web --output dump.gz"
    ),
)
@_vm
@click.option("--claim-name", metavar="NAME", help="The claim.  [default: the one of last time]")
@click.option("--create-claim", is_flag=True, help="Make the claim, large enough.")
@click.option("--storage-class", metavar="NAME", help="Of a new claim.")
@click.option("--access-mode", metavar="MODE", default="ReadWriteOnce", show_default=True, help="Of a new claim.")
@_download_options
@click.pass_context
def get(ctx: click.Context, /, vm: str, **options: Any) -> None:
    """Dump a running guest's memory into a claim."""
    if options["create_claim"] and not options["claim_name"]:
        raise Usage("--create-claim needs --claim-name")
    _check_ports(options)
    run_async(_get(vm, merged(ctx, options)))


@group.command("download", cls=Verb, epilog=example("kvtui memory-dump download web --output dump.gz"))
@_vm
@_download_options
@click.pass_context
def download(ctx: click.Context, /, vm: str, **options: Any) -> None:
    """Download the dump that a VM has."""
    if not options["file"]:
        raise Usage("name the file with --output FILE")
    _check_ports(options)
    run_async(_download_only(vm, merged(ctx, options)))


def _check_ports(options: dict[str, Any]) -> None:
    if options["local_port"] is not None and not options["port_forward"]:
        raise Usage("--local-port goes with --port-forward")


@group.command("remove", cls=Verb, epilog=example("kvtui memory-dump remove web"))
@_vm
@server_options
@click.pass_context
def remove(ctx: click.Context, /, vm: str, **options: Any) -> None:
    """Detach the claim from the VM; the dump in it stays."""
    run_async(_remove(vm, merged(ctx, options)))


async def _remove(name: str, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        target = Target(VM, target_of(name, namespace).key)
        await call(client, target, "removememorydump")
    click.echo(f"Successfully submitted remove memory dump association of VM {target.key.name}")


async def _get(name: str, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        target = Target(VM, target_of(name, namespace).key)
        if options["create_claim"]:
            await _create_claim(client, target, options)
        body = {"claimName": options["claim_name"]} if options["claim_name"] else {}
        await call(client, target, "memorydump", body)
        click.echo(f"Successfully submitted memory dump request of VM {target.key.name}")
        if options["file"]:
            await _download(client, target, options)


async def _create_claim(client: Client, target: Target, options: dict[str, Any]) -> None:
    """Raises Permanent when there is a dump or a claim already."""
    from kvtui.api.core.storage import PersistentVolumeClaim
    from kvtui.api.kubevirt.vm import VirtualMachine
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance

    namespace, claim = target.key.namespace, options["claim_name"]
    vm = await client.get(VirtualMachine, target.key)
    if vm.status.memory_dump_request is not None:
        raise Permanent(f"VM {target.key.name} has a memory dump claim already: no new one is needed")
    if await client.find(PersistentVolumeClaim, (namespace, claim)) is not None:
        raise Permanent(f"PVC {namespace}/{claim} already exists, check if it should be created if not remove the flag")
    spec: dict[str, Any] = {
        "accessModes": [options["access_mode"]],
        "resources": {"requests": {"storage": str(size_of(await client.get(VirtualMachineInstance, target.key)))}},
    }
    if options["storage_class"]:
        spec["storageClassName"] = options["storage_class"]
    labels = {"cdi.kubevirt.io/applyStorageProfile": "true"}
    manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim, "namespace": namespace, "labels": labels},
        "spec": spec,
    }
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    await client.raw("POST", path, body=msgspec.json.encode(manifest))
    click.echo(f"PVC {namespace}/{claim} created")


def size_of(vmi: VirtualMachineInstance) -> int:
    """Bytes that a claim needs."""
    from kvtui.api import quantity

    resources, memory = vmi.spec.domain.resources, vmi.spec.domain.memory
    asked = resources.requests.get("memory") if resources is not None else None
    if asked is None and memory is not None:
        asked = memory.guest
    plain = math.ceil(Decimal(quantity.value(asked or 0) + OVERHEAD) / 2**20) * 2**20
    return math.ceil(plain * (1 + FILESYSTEM_OVERHEAD))


async def _download_only(name: str, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        await _download(client, Target(VM, target_of(name, namespace).key), options)


async def _download(client: Client, target: Target, options: dict[str, Any]) -> None:
    """Waits for the dump, exports its claim, fetches it, and removes the export. Raises TimeoutError."""
    from kvtui.api.core.parts import TypedLocalObjectReference
    from kvtui.api.kubevirt.export import VirtualMachineExport
    from kvtui.api.kubevirt.vm import VirtualMachine
    from kvtui.commands import exports
    from kvtui.commands.until import until

    def completed(vm: VirtualMachine | None) -> bool:
        request = vm.status.memory_dump_request if vm is not None else None
        if request is None:
            raise Permanent(f"VM {target.key.name} has no memory dump")
        if request.phase == "Failed":
            raise Permanent(f"the memory dump failed: {request.message or 'no reason is given'}")
        return request.phase == "Completed"

    key = (target.key.namespace, target.key.name)
    async with waiting(f"dumping the memory of {target.key.name}"):
        await until(client, VirtualMachine, key, completed, DUMPING, "the memory dump to complete")
    click.echo("Memory dump completed successfully")
    request = (await client.get(VirtualMachine, target.key)).status.memory_dump_request
    assert request is not None
    export = (key[0], f"export-{key[1]}-{request.claim_name}")
    source = TypedLocalObjectReference(kind="PersistentVolumeClaim", name=request.claim_name)
    await exports.create(client, export, source)
    try:
        async with waiting(f"waiting for VM Export {export[1]} status to be ready") as line:
            wanted = exports.Download(
                key=export,
                volume=request.claim_name,
                file=Path(options["file"]) if options["file"] != "-" else None,
                format=options["format_"],
                insecure=options["insecure"],
                retries=2,
                timeout=READY,
                local_port=(options["local_port"] or 0) if options["port_forward"] else None,
            )
            await exports.download(client, wanted, line)
    finally:
        await client.delete(VirtualMachineExport, export)
    click.echo("Download finished successfully", err=options["file"] == "-")
