"""`kvtui domain-xml`: the libvirt domain that this node would define for a VM; nothing is defined.

The node's facts come from its libvirt where that answers; files that only exist once a VM starts are named as they
would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvtui.commands import complete, manifests
from kvtui.commands.connection import connected, default_data_directory, merged, run_async, server_options
from kvtui.commands.port_forward import target_of
from kvtui.commands.progress import waiting
from kvtui.commands.verb import Verb, example
from kvtui.errors import InvalidObject, KvtuiError, Usage

if TYPE_CHECKING:
    from kvtui.api.kubevirt.config import KubeVirtConfiguration
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance
    from kvtui.client.rest import Client
    from kvtui.node.build import NodeTraits

PATIENCE = 5.0
"""Seconds for libvirt's answer."""


@click.command(
    "domain-xml",
    cls=Verb,
    epilog=example("kvtui domain-xml web", "kvtui domain-xml -f vm.yaml", "kvtui domain-xml -f vm.yaml --converted"),
)
@click.argument(
    "name", metavar="[VMI]", required=False, shell_complete=complete.names("virtualmachineinstances", "vmi")
)
@click.option("-f", "--filename", "file", metavar="FILE", help="A VirtualMachine(Instance) manifest; - is stdin.")
@click.option("--converted", is_flag=True, help="Before this node adds its own: as upstream's converter makes it.")
@click.option("--libvirt", "uri", metavar="URI", help="Whose facts.  [default: this node's]")
@server_options
@click.pass_context
def command(ctx: click.Context, /, name: str | None, file: str | None, **options: Any) -> None:
    """Print the libvirt domain that this node would define."""
    if bool(name) == bool(file):
        raise Usage("name a VMI, or a manifest with -f FILE")
    run_async(_print(name, file, merged(ctx, options)))


async def _print(name: str | None, file: str | None, options: dict[str, Any]) -> None:
    from kvtui.domainxml import pretty

    claims: dict[str, bool] = {}
    configuration = None
    if name is not None:
        from kvtui.api.kubevirt.vmi import VirtualMachineInstance

        async with connected(options) as (client, namespace):
            vmi = await client.get(VirtualMachineInstance, target_of(name, namespace).key)
            configuration = await _configuration(client)
            claims = await _block_claims(client, vmi)
    else:
        assert file is not None
        vmi = await of_manifest(manifests.read([file]), options.get("namespace") or "default")
    async with waiting("asking libvirt what this node can do"):
        traits = await node_traits(options["uri"])
    click.echo(pretty(domain_of(vmi, traits, configuration, claims, options)).rstrip("\n"))


async def _configuration(client: Client) -> KubeVirtConfiguration | None:
    from kvtui.api.kubevirt.config import KubeVirt

    with contextlib.suppress(KvtuiError):  # without the right to read it the defaults count
        found = (await client.list(KubeVirt)).items
        return found[0].spec.configuration if found else None
    return None


async def _block_claims(client: Client, vmi: VirtualMachineInstance) -> dict[str, bool]:
    """Volume -> whether its claim is a block device."""
    from kvtui.api.core.storage import PersistentVolumeClaim
    from kvtui.node.volumes.claims import claim_name

    found = {}
    for volume in vmi.spec.volumes:
        if name := claim_name(volume):
            claim = await client.find(PersistentVolumeClaim, (vmi.metadata.namespace, name))
            found[volume.name] = claim is not None and claim.spec.volume_mode == "Block"
    return found


async def of_manifest(objects: list[dict[str, Any]], namespace: str) -> VirtualMachineInstance:
    """The instance that a manifest stands for, with admission's defaults. Raises Usage, InvalidObject."""
    from kvtui.api.admission import AdmissionRequest, Denied, UserInfo
    from kvtui.api.kubevirt.vm import VirtualMachine
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance
    from kvtui.api.wire import from_wire
    from kvtui.virtapi.review import VirtAdmission

    machines = [o for o in objects if o["kind"] in ("VirtualMachine", "VirtualMachineInstance")]
    if len(machines) != 1:
        raise Usage(f"the manifest holds {len(machines)} VMs; one is converted at a time")
    document = machines[0]
    if document["kind"] == "VirtualMachine":
        vm = from_wire(document, VirtualMachine)
        if vm.spec.instancetype is not None or vm.spec.preference is not None:
            raise Usage(
                "the VM names an instancetype or a preference", hint="kvtui expand -f FILE | kvtui domain-xml -f -"
            )
        document = instance_document(document)
    meta = {"namespace": namespace, "uid": _uid(document), **document["metadata"]}
    meta.setdefault("name", str(meta.get("generateName", "")) + "x")
    request = AdmissionRequest(
        operation="CREATE",
        group="kubevirt.io",
        version="v1",
        resource="virtualmachineinstances",
        subresource="",
        namespace=meta["namespace"],
        name=meta["name"],
        object={**document, "metadata": meta},
        old_object=None,
        user=UserInfo("kubernetes-admin", "", ("system:masters",), {}),
        dry_run=True,
    )
    try:
        completed, _ = await VirtAdmission(_Empty()).mutate(request)
    except Denied as error:
        raise InvalidObject(str(error)) from error
    return from_wire(completed, VirtualMachineInstance)


def instance_document(vm: dict[str, Any]) -> dict[str, Any]:
    """The VMI of a VM manifest. The firmware's UUID is the one that the controller would give."""
    from kvtui.controllers.virtualmachine.instance import firmware_uuid

    template = (vm.get("spec") or {}).get("template") or {}
    spec = dict(template.get("spec") or {})
    domain = dict(spec.get("domain") or {})
    domain["firmware"] = {"uuid": firmware_uuid(vm["metadata"].get("name", "")), **(domain.get("firmware") or {})}
    spec["domain"] = domain
    meta = {k: v for k, v in vm["metadata"].items() if k in ("name", "namespace", "generateName")}
    more = template.get("metadata") or {}
    kept = {k: more[k] for k in ("labels", "annotations") if more.get(k)}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {**meta, **kept},
        "spec": spec,
    }


def _uid(document: dict[str, Any]) -> str:
    """The same for the same manifest, so that two runs can be compared."""
    name = str(document["metadata"].get("name"))
    return str(uuid.UUID(hashlib.sha256(name.encode()).hexdigest()[:32]))


class _Empty:
    """A cluster without objects, for the defaults of a manifest that is on no server."""

    async def find(self, type_: type[Any], namespace: str, name: str) -> None:
        return None

    async def all(self, type_: type[Any], namespace: str) -> list[Any]:
        return []

    async def find_other(self, api_version: str, kind: str, namespace: str, name: str) -> None:
        return None

    async def may(self, right: Any) -> bool:
        return True


async def node_traits(uri: str | None) -> NodeTraits:
    """What this node's libvirt tells; plain assumptions, with a word on stderr, where it does not answer."""
    from kvtui.node import build, capabilities, observe
    from kvtui.node.probe import probe_kvm

    found = await probe_kvm()
    chosen = uri or ("qemu:///system" if os.geteuid() == 0 else "qemu:///session")
    try:
        async with asyncio.timeout(PATIENCE), _libvirt(chosen) as hypervisor:
            await hypervisor.wait_connected()
            host = capabilities.host(observe.parse(await hypervisor.capabilities()))
            version = (await hypervisor.facts()).version
            machine = "q35" if host.arch == "x86_64" else ""
            kind = "kvm" if found.kvm else "qemu"
            guests = capabilities.guests(observe.parse(await hypervisor.domain_capabilities(host.arch, machine, kind)))
    except (KvtuiError, TimeoutError) as error:
        click.echo(f"note: {chosen} does not tell what this node can do ({str(error) or 'no answer'})", err=True)
        host = capabilities.host(observe.parse("<capabilities/>"))
        host = replace(host, arch=os.uname().machine)
        guests, version = capabilities.Guests(usable=(), known=()), ""
    return await asyncio.to_thread(build.traits, "kvtui", host, guests, kvm=found.kvm, libvirt=version)


@contextlib.asynccontextmanager
async def _libvirt(uri: str) -> AsyncIterator[Any]:
    """A connection to libvirt for as long as the block lasts."""
    import structlog

    from kvtui.node.libvirt_driver import LibvirtHypervisor

    # What the driver logs while it tries is for an agent's log, not for a terminal.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    hypervisor = LibvirtHypervisor(uri, "kvtui")
    running = asyncio.create_task(hypervisor.run(), name="libvirt connection")
    try:
        yield hypervisor
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def domain_of(
    vmi: VirtualMachineInstance,
    traits: NodeTraits,
    configuration: KubeVirtConfiguration | None,
    block: dict[str, bool],
    options: dict[str, Any],
) -> Any:
    """The <domain> element. Raises ConversionError."""
    from kvtui.domainxml import Bridged, Placement, convert, finish, ownership_of, placeholder_count
    from kvtui.domainxml.hostdevices import check_claims
    from kvtui.node import cpuallocation, cpusets, owner
    from kvtui.node.build import Builder, disk_facts
    from kvtui.node.cpus import is_dedicated
    from kvtui.node.hypervisor import Owner
    from kvtui.node.network import names
    from kvtui.node.volumes.room import Prepared

    paths = _paths(vmi, options)
    prepared = Prepared(paths, frozenset(name for name, is_block in block.items() if is_block), {})
    cells = traits.host.cells or cpuallocation.one_cell(os.cpu_count() or 1)
    # Which CPUs a VM gets is not known before it is there; it could get any of these.
    whole = tuple(sorted(cpuallocation.pool(cells).exclusive))
    builder = Builder(lambda: traits, lambda: configuration, allow_emulation=True, cpus=lambda _: whole)
    converted = convert(vmi, builder.context(vmi, prepared))
    if options["converted"]:
        return converted
    check_claims(vmi.spec.domain.devices)
    # The Pod's uid gives links their names; before there is a Pod, the instance's stands for it.
    pod = next(iter(vmi.status.active_pods), vmi.metadata.uid)
    interfaces = {
        interface.name: Bridged(
            bridge=names.node_bridge(pod, interface.name),
            device=names.tap(pod, interface.name),
            mac=interface.mac_address or names.guest_mac(vmi.metadata.namespace, vmi.metadata.name, interface.name),
        )
        for interface in vmi.spec.domain.devices.interfaces
    }
    placement = Placement(
        ownership=ownership_of(vmi),
        interfaces=interfaces,
        disks=disk_facts(converted),
        serial_log=paths.serial_log() if converted.find("devices/serial") is not None else "",
        placeholders=placeholder_count(vmi),
        host_model=bool(traits.guests.host_model),
        vhost_net=traits.vhost_net,
        cpus=cpusets.format_list(whole) if is_dedicated(vmi) else "",
        libvirt=traits.libvirt,
    )
    domain = finish(converted, placement)
    meta = vmi.metadata
    owner.put(domain, Owner(traits.engine, meta.namespace, meta.name, meta.uid))
    return domain


class _Named(dict[str, str]):
    """Files by name in a directory, for those that are not known before a start."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def __missing__(self, name: str) -> str:
        return str(self._directory / name)


def _paths(vmi: VirtualMachineInstance, options: dict[str, Any]) -> Any:
    from kvtui.node.layout import DomainPaths, layout_of

    data = Path(options.get("data") or default_data_directory())
    places = layout_of(data, os.uname().nodename, privileged=os.geteuid() == 0)
    return DomainPaths(
        directory=places.vm(vmi.metadata.uid),
        images=_Named(places.seen(places.images)),
        volumes=_Named(places.seen(places.storage)),
        kernel=_Named(places.seen(places.images)),
    )
