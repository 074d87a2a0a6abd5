"""`kvtui permitted-devices`: the host devices that VMs may have.

Source: life-cycle facts 9 (virtctl permitted-devices).
"""

from __future__ import annotations

from typing import Any

import click

from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example
from kvtui.errors import NotFound


@click.command("permitted-devices", cls=Verb, epilog=example("kvtui permitted-devices -n kubevirt"))
@server_options
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Show the host devices that VMs may have; in the namespace of the KubeVirt object."""
    run_async(_devices(merged(ctx, options)))


async def _devices(options: dict[str, Any]) -> None:
    from kvtui.api.kubevirt.config import KubeVirt

    async with connected(options) as (client, namespace):
        found = (await client.list(KubeVirt, namespace)).items
        if not found:
            raise NotFound(f'no KubeVirt resource in "{namespace}" namespace', code=404, reason="NotFound")
        configuration = found[0].spec.configuration
        permitted = configuration.permitted_host_devices if configuration is not None else None
        click.echo("Permitted Devices: ")
        click.echo("Host Devices: ")
        for pci in permitted.pci_host_devices if permitted is not None else ():
            click.echo(pci.resource_name)
        for usb in permitted.usb if permitted is not None else ():
            click.echo(usb.resource_name)
        click.echo("GPU Devices: ")
        for mediated in permitted.mediated_devices if permitted is not None else ():
            click.echo(mediated.resource_name)
