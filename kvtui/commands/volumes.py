"""`kvtui addvolume` and `removevolume`: plug volumes into VMs and take them out.

Source: life-cycle facts 9 (virtctl addvolume, removevolume).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kvtui.commands import complete
from kvtui.commands.connection import merged, run_async
from kvtui.commands.targets import VM, VMI, Target, call, for_each, wait_for
from kvtui.commands.verb import Verb, example, verb_options, vm_arguments
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import ApiError, KvtuiError, NotFound, Permanent, Usage

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance
    from kvtui.client.rest import Client

TRIES = 15
_CONCURRENT = "the server rejected our request due to an error in our request"
"""How upstream's API says that the object changed meanwhile."""


@click.command("addvolume", cls=Verb, epilog=example("kvtui addvolume web --volume-name data --serial DATA01"))
@vm_arguments
@click.option(
    "--volume-name",
    metavar="NAME",
    required=True,
    help="A DataVolume or PersistentVolumeClaim.",
    shell_complete=complete.names("datavolumes"),
)
@click.option("--disk-name", metavar="NAME", help="Name of the disk in the VM.  [default: the volume's]")
@click.option("--serial", metavar="TEXT", help="Serial number that the guest sees.  [default: the volume's name]")
@click.option("--cache", type=click.Choice(["none", "writethrough", "writeback"]), help="Cache mode of the disk.")
@click.option("--disk-type", type=click.Choice(["disk", "lun"]), default="disk", show_default=True)
@click.option("--bus", type=click.Choice(["scsi", "virtio", "sata"]), default="scsi", show_default=True)
@click.option("--persist", is_flag=True, help="Accepted for old scripts: volumes always persist.")
@verb_options
@click.pass_context
def add(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Plug a volume into running VMs."""
    options = merged(ctx, options)
    if options["disk_type"] == "lun" and options["bus"] != "scsi":
        raise Usage("--disk-type=lun needs --bus=scsi")
    volume = options["volume_name"]

    async def work(client: Client, target: Target) -> str:
        body = add_options(options, await _source(client, target.key.namespace, volume))
        await _submit(client, target, "addvolume", body, "adding")
        await _wait(client, target, options, volume, there=True)
        return f"Successfully submitted add volume request to VM {target.key.name} for volume {volume}"

    ctx.exit(run_async(for_each(names, options, VM, work, "addvolume")))


def add_options(options: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """The body of an addvolume request."""
    volume = options["volume_name"]
    disk: dict[str, Any] = {
        options["disk_type"]: {"bus": options["bus"]},
        "serial": options["serial"] or volume,
    }
    if options["cache"]:
        disk["cache"] = options["cache"]
    body: dict[str, Any] = {"name": options["disk_name"] or volume, "disk": disk, "volumeSource": source}
    return body | ({"dryRun": ["All"]} if options["dry_run"] else {})


async def _source(client: Client, namespace: str, name: str) -> dict[str, Any]:
    from kvtui.api.cdi.datavolume import DataVolume
    from kvtui.api.core.storage import PersistentVolumeClaim

    if await client.find(DataVolume, (namespace, name)) is not None:
        return {"dataVolume": {"name": name, "hotpluggable": True}}
    if await client.find(PersistentVolumeClaim, (namespace, name)) is not None:
        return {"persistentVolumeClaim": {"claimName": name, "hotpluggable": True}}
    raise NotFound(f"error adding volume, Volume {name} is not a DataVolume or PersistentVolumeClaim", code=404)


@click.command("removevolume", cls=Verb, epilog=example("kvtui removevolume web --volume-name data"))
@vm_arguments
@click.option("--volume-name", metavar="NAME", required=True, help="The volume in the VM.")
@click.option("--persist", is_flag=True, help="Accepted for old scripts: removals always persist.")
@verb_options
@click.pass_context
def remove(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Take a plugged volume out of running VMs."""
    options = merged(ctx, options)
    volume = options["volume_name"]
    body = {"name": volume} | ({"dryRun": ["All"]} if options["dry_run"] else {})

    async def work(client: Client, target: Target) -> str:
        await _submit(client, target, "removevolume", body, "removing")
        await _wait(client, target, options, volume, there=False)
        return f"Successfully submitted remove volume request to VM {target.key.name} for volume {volume}"

    ctx.exit(run_async(for_each(names, options, VM, work, "removevolume")))


async def _submit(client: Client, target: Target, verb: str, body: dict[str, Any], doing: str) -> None:
    """To the VM, or where there is none to the instance. Raises the server's refusal, in virtctl's words."""
    backoff = Backoff(0.1, 2.0)
    for attempt in range(TRIES):
        try:
            try:
                await call(client, Target(VM, target.key), verb, body)
            except NotFound:
                await call(client, Target(VMI, target.key), verb, body)
        except ApiError as error:
            if _CONCURRENT in str(error) and attempt + 1 < TRIES:
                await backoff.pause()
                continue
            error.args = (f"error {doing} volume, {error}",)
            raise
        except KvtuiError:
            raise
        return
    raise Permanent(f"error {doing} volume after {TRIES} retries")


async def _wait(client: Client, target: Target, options: dict[str, Any], volume: str, *, there: bool) -> None:
    if not options["wait"] or options["dry_run"]:
        return
    name = options.get("disk_name") or volume

    def done(vmi: VirtualMachineInstance | None) -> bool:
        if vmi is None:
            return not there
        ready = {v.name for v in vmi.status.volume_status if v.phase == "Ready" or v.hotplug_volume is None}
        listed = {v.name for v in vmi.status.volume_status}
        return name in ready if there else name not in listed

    what = f"volume {volume} {'in' if there else 'out of'} {target.key}"
    await wait_for(client, target.key, done, options["timeout"], what)
