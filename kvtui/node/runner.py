"""Runs the agent of one node with the real libvirt, network and API server."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import structlog

from kvtui.client.kubeconfig import Endpoint
from kvtui.client.rest import Client
from kvtui.console.inotify import Watcher
from kvtui.node import access, layout, mounts
from kvtui.node.agent import Agent, engine_id
from kvtui.node.hypervisor import DomainId, Hypervisor
from kvtui.node.libvirt_driver import LibvirtHypervisor
from kvtui.node.network.dataplane import DataPlane
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.settings import NetworkSettings
from kvtui.node.network.usermode import UserNetworks
from kvtui.node.processes import ProgramFailed
from kvtui.node.volumes.puller import RegistryPuller
from kvtui.settings import NodeSettings

log = structlog.get_logger()


async def run_agent(
    settings: NodeSettings, endpoint: Endpoint, *, network: NetworkSettings | None = None, registries_conf: str = ""
) -> None:
    """Until cancelled. Needs settings.data, node, address and the three certificate files."""
    # QEMU's users read some of what is made here; what they must not, is made with a mode that says so.
    os.umask(0o022)
    data = Path(settings.data)
    places = layout.layout_of(data, settings.node, privileged=os.geteuid() == 0)
    if settings.run_directory:
        places = replace(places, run=Path(settings.run_directory))
    server_tls, client_tls = access.contexts(settings.certificate, settings.key, settings.authority)
    engine = engine_id(data)
    conf = Path(registries_conf) if registries_conf else None
    with Watcher() as watcher:
        hypervisor = LibvirtHypervisor(settings.libvirt_uri, engine)
        async with Client(endpoint) as client, _networks(places.node / "net", network, hypervisor) as networks:
            agent = Agent(
                settings=settings,
                layout=places,
                client=client,
                hypervisor=hypervisor,
                networks=networks,
                puller=RegistryPuller(conf),
                watcher=watcher,
                engine=engine,
                server_tls=server_tls,
                client_tls=client_tls,
                registries_conf=registries_conf,
            )
            log.info("agent starts", node=settings.node, address=settings.address, libvirt=settings.libvirt_uri)
            plane = DataPlane(client, settings.node, networks) if os.geteuid() == 0 else None
            try:
                async with asyncio.TaskGroup() as tasks:
                    if plane is not None:
                        tasks.create_task(plane.run(), name="data plane")
                    await agent.run()
            finally:
                if agent.began and not len(agent.records):
                    # Guests keep mounts and rules alive; without any, nothing of this node stays behind.
                    with contextlib.suppress(ProgramFailed):
                        await mounts.remove(places)
                    if plane is not None and not await networks.known():
                        await plane.vacate()


def _networks(directory: Path, network: NetworkSettings | None, hypervisor: Hypervisor) -> Networks:
    if os.geteuid() == 0:
        return Networks(directory, network or NetworkSettings())

    async def forward(domain: str, interface: str, here: int, there: int, udp: bool) -> None:
        await hypervisor.forward(DomainId(domain), interface, here, there, udp=udp)

    return UserNetworks(directory, forward)


def pod_network(subnets: tuple[str, ...], bridge: str, routed: Iterable[str] = ()) -> NetworkSettings:
    """The pod network of a node; `routed` are those of other nodes. Raises ValueError for subnets that are none."""
    others = tuple(r for r in routed if r not in subnets)
    for subnet in (*subnets, *others):
        ipaddress.ip_network(subnet)
    return NetworkSettings(subnets=subnets, bridge=bridge, routed=others)
