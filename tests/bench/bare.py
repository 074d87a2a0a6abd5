"""libvirt without kvtui: the same domains, on the same daemons, driven by nothing but libvirt's own calls."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import libvirt

from kvtui.lab.plan import NodePlan

T = TypeVar("T")
BRIDGE = "kvbare0"
ROOM = "/run/kvtui/bare"
"""Sockets and logs of the domains; every node has its own /run/kvtui."""

libvirt.registerErrorHandler(lambda _context, _error: None, None)


class Node:
    """The libvirtd of one lab node, with as many calls at a time as an agent allows itself starts."""

    def __init__(self, plan: NodePlan, daemon: int) -> None:
        self.plan = plan
        self.socket = f"/proc/{daemon}/root/run/libvirt/libvirt-sock"
        self._connection: Any = libvirt.open(f"qemu+unix:///system?socket={self.socket}")
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1)
        self.run("ip", "link", "add", BRIDGE, "up", "type", "bridge", check=False)

    def close(self) -> None:
        self._threads.shutdown()
        self._connection.close()
        self.run("ip", "link", "delete", BRIDGE, check=False)
        self.run("rm", "-rf", ROOM)

    def run(self, *arguments: str, check: bool = True) -> None:
        """One command inside of the node."""
        subprocess.run(self.plan.enter(*arguments), check=check, capture_output=True, timeout=30)

    async def call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def describe(self, domain: str) -> str:
        """The description of a domain as it was defined."""
        xml: str = self._connection.lookupByName(domain).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        return xml

    def make_room(self, names: Sequence[str]) -> None:
        """Directories for the sockets and logs of the domains; not part of what is measured."""
        self.run("mkdir", "-p", *(f"{ROOM}/{name}/{part}" for name in names for part in ("s", "console")))
        self.run("chmod", "-R", "a+rwX", ROOM)  # QEMU runs as another user

    async def start(self, xml: str) -> None:
        await self.call(lambda: self._connection.defineXML(xml).create())

    async def remove(self, name: str) -> None:
        def work() -> None:
            domain = self._connection.lookupByName(name)
            domain.destroy()
            domain.undefine()

        await self.call(work)

    async def migrate(self, name: str, target: Node) -> None:
        flags = (
            libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_PEER2PEER
            | libvirt.VIR_MIGRATE_PERSIST_DEST
            | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
            | libvirt.VIR_MIGRATE_UNSAFE
        )
        destination = f"qemu+unix:///system?socket={target.socket}"
        parameters = {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{target.plan.address}"}
        await self.call(lambda: self._connection.lookupByName(name).migrateToURI3(destination, parameters, flags))


def bare(xml: str, name: str, disk: str = "") -> str:
    """The description of a domain that kvtui made, for a domain that is nobody's: same devices, other places."""
    domain = ElementTree.fromstring(xml)
    old, new = domain.findtext("uuid", ""), str(uuid.uuid4())
    log = domain.find("devices/serial/log")
    assert log is not None
    directory = log.get("file", "").rpartition("/console/")[0]
    metadata = domain.find("metadata")
    if metadata is not None:
        domain.remove(metadata)
    domain.find("name").text = name  # type: ignore[union-attr]
    for interface in domain.findall("devices/interface"):
        interface.find("source").set("bridge", BRIDGE)  # type: ignore[union-attr]
        interface.remove(interface.find("target"))  # type: ignore[arg-type]
    for source in domain.findall("devices/disk/source") if disk else []:
        source.set("file", disk)
    text = ElementTree.tostring(domain, encoding="unicode")
    return text.replace(old, new).replace(directory, f"{ROOM}/{name}")
