"""`kvtui create instancetype` and `create preference`.

Source: life-cycle facts 9 (virtctl create instancetype, create preference).
"""

from __future__ import annotations

from typing import Any

import click

from kvtui.api import quantity
from kvtui.commands.connection import server_options
from kvtui.commands.deliver import deliver, metadata, suffix
from kvtui.commands.verb import Verb, example
from kvtui.commands.vm_manifest import pairs
from kvtui.errors import InvalidQuantity, Usage

API = "instancetype.kubevirt.io/v1beta1"
TOPOLOGIES = ("sockets", "cores", "threads", "spread", "any")


@click.command(
    "instancetype",
    cls=Verb,
    epilog=example("kvtui create instancetype --name small --cpu 2 --memory 4Gi --namespaced"),
)
@click.option("--name", metavar="NAME", help="Default: [cluster]instancetype- and five random characters.")
@click.option("--namespaced", is_flag=True, help="For one namespace instead of the cluster.")
@click.option("--cpu", type=click.IntRange(1), required=True, metavar="CORES", help="Virtual processors.")
@click.option("--memory", required=True, metavar="QUANTITY", help="Guest memory.")
@click.option("--gpu", "gpus", multiple=True, metavar="name:NAME,devicename:RESOURCE")
@click.option("--hostdevice", "host_devices", multiple=True, metavar="name:NAME,devicename:RESOURCE")
@click.option("--iothreadspolicy", type=click.Choice(["auto", "shared"]), help="Threads for disks.")
@click.option("--apply", "send", is_flag=True, help="Create it instead of printing it.")
@server_options
@click.pass_context
def instancetype(ctx: click.Context, /, send: bool, **options: Any) -> None:
    """A VirtualMachineInstancetype, for the cluster unless --namespaced is given."""
    try:
        quantity.parse(options["memory"])
    except InvalidQuantity as error:
        raise Usage(f'failed to parse "--memory" flag: {error}') from error
    spec: dict[str, Any] = {"cpu": {"guest": options["cpu"]}, "memory": {"guest": options["memory"]}}
    if options["gpus"]:
        spec["gpus"] = [_device("gpu", text) for text in options["gpus"]]
    if options["host_devices"]:
        spec["hostDevices"] = [_device("hostdevice", text) for text in options["host_devices"]]
    if options["iothreadspolicy"]:
        spec["ioThreadsPolicy"] = options["iothreadspolicy"]
    deliver(ctx, _object(ctx, "Instancetype", spec, options), options, send=send)


@click.command(
    "preference",
    cls=Verb,
    epilog=example("kvtui create preference --cpu-topology sockets --machine-type q35 --namespaced"),
)
@click.option("--name", metavar="NAME", help="Default: [cluster]preference- and five random characters.")
@click.option("--namespaced", is_flag=True, help="For one namespace instead of the cluster.")
@click.option("--cpu-topology", type=click.Choice(TOPOLOGIES), help="What processors become.")
@click.option("--machine-type", metavar="NAME", help="Such as q35.")
@click.option("--volume-storage-class", metavar="NAME", help="For volumes that name none.")
@click.option("--apply", "send", is_flag=True, help="Create it instead of printing it.")
@server_options
@click.pass_context
def preference(ctx: click.Context, /, send: bool, **options: Any) -> None:
    """A VirtualMachinePreference, for the cluster unless --namespaced is given."""
    spec: dict[str, Any] = {}
    if options["volume_storage_class"]:
        spec["volumes"] = {"preferredStorageClassName": options["volume_storage_class"]}
    if options["machine_type"]:
        spec["machine"] = {"preferredMachineType": options["machine_type"]}
    if options["cpu_topology"]:
        spec["cpu"] = {"preferredCPUTopology": options["cpu_topology"]}
    deliver(ctx, _object(ctx, "Preference", spec, options), options, send=send)


def _object(ctx: click.Context, what: str, spec: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    scope = "" if options["namespaced"] else "Cluster"
    name = options["name"] or f"{scope.lower()}{what.lower()}-{suffix()}"
    meta = metadata(ctx, name, options) if options["namespaced"] else {"name": name}
    return {"apiVersion": API, "kind": f"VirtualMachine{scope}{what}", "metadata": meta, "spec": spec}


def _device(flag: str, text: str) -> dict[str, str]:
    given = pairs(flag, text)
    if set(given) != {"name", "devicename"}:
        raise Usage(f'failed to parse "--{flag}" flag: name and devicename must be specified, and nothing else')
    return {"name": given["name"], "deviceName": given["devicename"]}
