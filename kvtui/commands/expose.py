"""`kvtui expose`: a Service in front of VMs.

Source: virtctl expose; https://kubevirt.io/user-guide/network/service_objects/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example
from kvtui.errors import Usage

if TYPE_CHECKING:
    from kvtui.api.core.network import Service, ServicePort
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec

NAME_LABEL = "vm.kubevirt.io/name"
"""On the launcher of every VM."""
MAX_LABEL = 63
KINDS = {
    **dict.fromkeys(("vm", "vms", "virtualmachine", "virtualmachines"), "vm"),
    **dict.fromkeys(("vmi", "vmis", "virtualmachineinstance", "virtualmachineinstances"), "vmi"),
    **dict.fromkeys(
        ("vmirs", "vmirss", "virtualmachineinstancereplicaset", "virtualmachineinstancereplicasets"), "vmirs"
    ),
}


@click.command(
    "expose",
    cls=Verb,
    epilog=example(
        "kvtui expose vm web --name web --port 80",
        "kvtui expose vmi/db --name db --port 5432 --target-port 15432 --type NodePort",
        "kvtui expose vmirs web --name web --port 80",
    ),
)
@click.argument("words", metavar="vm|vmi|vmirs NAME", nargs=-1, required=True, shell_complete=complete.objects)
@click.option("--name", required=True, metavar="NAME", help="Of the Service.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Of the Service; default: the VM's ports.")
@click.option("--target-port", metavar="PORT", help="Number or name of the guest's port; default: the same.")
@click.option("--port-name", metavar="NAME", help="Of the Service's port.")
@click.option("--node-port", type=click.IntRange(1, 65535), metavar="PORT", help="With NodePort: this one.")
@click.option("--protocol", type=click.Choice(["TCP", "UDP", "SCTP"]), default="TCP", show_default=True)
@click.option("--type", "kind", type=click.Choice(["ClusterIP", "NodePort", "LoadBalancer"]), default="ClusterIP")
@click.option("--cluster-ip", metavar="ADDRESS", help="This address, or None for a Service without one.")
@click.option("--external-ip", multiple=True, metavar="ADDRESS", help="Further addresses of the nodes.")
@click.option("--dry-run", is_flag=True, help="Ask the server, change nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on success.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> None:
    """Make a Service that leads to a VM, to an instance or to those of a replica set."""
    run_async(_expose(*target_of(words), merged(ctx, options)))


def target_of(words: tuple[str, ...]) -> tuple[str, str]:
    """Kind (vm, vmi, vmirs) and name, from `vm web` or `vm/web`. Raises Usage."""
    parts = words if len(words) == 2 else tuple(words[0].split("/")) if len(words) == 1 else ()
    if len(parts) != 2 or parts[0] not in KINDS or not parts[1]:
        raise Usage("name what to expose: vm NAME, vmi NAME or vmirs NAME")
    return KINDS[parts[0]], parts[1]


async def _expose(kind: str, name: str, options: dict[str, Any]) -> None:
    from kvtui.api.kubevirt.replicaset import VirtualMachineInstanceReplicaSet
    from kvtui.api.kubevirt.vm import VirtualMachine
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance

    async with connected(options) as (client, namespace):
        if kind == "vm":
            vm = await client.get(VirtualMachine, (namespace, name))
            spec, selector = vm.spec.template.spec, by_name(name, vm.spec.template.spec.hostname)
        elif kind == "vmi":
            vmi = await client.get(VirtualMachineInstance, (namespace, name))
            spec, selector = vmi.spec, by_name(name, vmi.spec.hostname)
        else:
            found = await client.get(VirtualMachineInstanceReplicaSet, (namespace, name))
            spec = found.spec.template.spec
            labels = found.spec.selector
            if labels is None or labels.match_expressions:
                raise Usage(f"the selector of vmirs/{name} has expressions, which a Service cannot have")
            selector = labels.match_labels
        made = await client.create(service(namespace, selector, spec, options), dry_run=options["dry_run"])
    if not options["quiet"]:
        where = ", ".join(f"{p.port}:{p.node_port}" if p.node_port else str(p.port) for p in made.spec.ports)
        note = " (server dry run)" if options["dry_run"] else ""
        click.echo(f"service/{made.metadata.name} exposed at {made.spec.cluster_ip} port {where}{note}")


def by_name(name: str, hostname: str | None) -> dict[str, str]:
    return {NAME_LABEL: hostname or name.split(".")[0][:MAX_LABEL].rstrip("-")}


def service(
    namespace: str, selector: dict[str, str], spec: VirtualMachineInstanceSpec, options: dict[str, Any]
) -> Service:
    """Raises Usage when nobody says which port."""
    from kvtui.api.core.network import Service, ServiceSpec
    from kvtui.api.meta import ObjectMeta

    return Service(
        metadata=ObjectMeta(name=options["name"], namespace=namespace),
        spec=ServiceSpec(
            type=options["kind"],
            selector=selector,
            ports=_ports(spec, options),
            cluster_ip=options["cluster_ip"] or "",
            external_ips=list(options["external_ip"]),
        ),
    )


def _ports(spec: VirtualMachineInstanceSpec, options: dict[str, Any]) -> list[ServicePort]:
    from kvtui.api.core.network import ServicePort

    if options["port"]:
        target = options["target_port"] or str(options["port"])
        return [
            ServicePort(
                name=options["port_name"] or "",
                protocol=options["protocol"],
                port=options["port"],
                target_port=int(target) if target.isdigit() else target,
                node_port=options["node_port"] or 0,
            )
        ]
    declared = [port for interface in spec.domain.devices.interfaces for port in interface.ports]
    if not declared:
        raise Usage("--port is required: the VM declares no ports")
    return [
        ServicePort(
            name=port.name or f"port-{number}", protocol=port.protocol or "TCP", port=port.port, target_port=port.port
        )
        for number, port in enumerate(declared, 1)
    ]
