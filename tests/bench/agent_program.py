"""One agent by itself: libvirt's test driver, networks in memory, a real API server elsewhere.

Arguments: kubeconfig, data directory, node, certificate, key, authority. Says "ready" when it serves.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.console.inotify import Watcher
from kvtui.node import access
from kvtui.node.agent import Agent
from kvtui.node.hypervisor import DomainId
from kvtui.node.layout import Layout
from kvtui.node.libvirt_driver import LibvirtHypervisor
from kvtui.node.volumes.images import NoPuller
from kvtui.settings import NodeSettings
from tests.fakes.networks import FakeNetworks


class TestDriver(LibvirtHypervisor):
    """Takes descriptions that are meant for QEMU."""

    def __init__(self) -> None:
        super().__init__("test:///default", "bench")

    async def define(self, xml: str) -> DomainId:
        return await super().define(xml.replace('<domain type="qemu"', '<domain type="test"', 1))


async def main(kubeconfig: Path, data: Path, node: str, certificate: str, key: str, authority: str) -> None:
    settings = NodeSettings(data=str(data), node=node, certificate=certificate, key=key, authority=authority)
    server_tls, client_tls = access.contexts(certificate, key, authority)
    with Watcher() as watcher:
        async with Client(await load(kubeconfig)) as client, FakeNetworks(data / "net") as networks:
            agent = Agent(
                settings=settings,
                layout=Layout(data, data / "shared", data),
                client=client,
                hypervisor=TestDriver(),
                networks=networks,
                puller=NoPuller(),
                watcher=watcher,
                engine="bench",
                server_tls=server_tls,
                client_tls=client_tls,
            )
            running = asyncio.create_task(agent.run())
            await agent.server.started.wait()
            print("ready", flush=True)
            await running


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:7]))
