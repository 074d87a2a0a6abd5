"""What libvirt says this node is: asked at the start, after each reconnect, when others start or stop domains, and now
and then."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from kvtui.domainxml import HostCell
from kvtui.errors import KvtuiError
from kvtui.node import build, capabilities, observe
from kvtui.node.build import NodeTraits
from kvtui.node.cpuallocation import one_cell
from kvtui.node.hypervisor import Hypervisor, HypervisorRefused, NodeFacts
from kvtui.node.identity import QemuUser, user_of
from kvtui.settings import NodeSettings

log = structlog.get_logger()
SETTLE = 1.0
"""Seconds in which what others do to their domains counts as one change."""
AGAIN = 2.0
"""Seconds after which a libvirt that did not tell is asked again."""


class Knowledge:
    """Keeps the answers; `known` is set with the first."""

    def __init__(
        self, hypervisor: Hypervisor, settings: NodeSettings, engine: str, state: Path, changed: Callable[[], None]
    ) -> None:
        """`state` is where the directories of VMs are; `changed` is called after each look."""
        self._hypervisor = hypervisor
        self._settings = settings
        self._engine = engine
        self._state = state
        self._changed = changed
        self._outdated = asyncio.Event()
        self.known = asyncio.Event()
        self.facts: NodeFacts | None = None
        self.found: NodeTraits | None = None
        self.foreign = 0
        """Bytes that running domains of others use."""

    def traits(self) -> NodeTraits:
        """Nothing that needs them runs before they are known."""
        assert self.found is not None
        return self.found

    def cells(self) -> tuple[HostCell, ...]:
        """NUMA cells of the node; where libvirt tells none, one of cores with a single thread each."""
        if self.found is not None and self.found.host.cells:
            return self.found.host.cells
        return one_cell(self.facts.cpus if self.facts is not None else 0)

    def qemu_user(self, uid: str, *, own: bool) -> QemuUser:
        """Whom the QEMU of the VMI with this UID runs as."""
        node = self.traits()
        if not own:
            return node.host.user
        return user_of(uid, node.host.user, group=os.stat("/dev/kvm").st_gid if node.kvm else None)

    def outdated(self) -> None:
        """Something came or went that the answers tell of."""
        self._outdated.set()

    async def run(self) -> None:
        while True:
            await self._hypervisor.wait_connected()
            pause = self._settings.relabel
            self._outdated.clear()
            try:
                await self._look()
            except KvtuiError as error:
                log.warning("libvirt did not tell what this node is", error=str(error))
                pause = AGAIN
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._outdated.wait()
                    await asyncio.sleep(SETTLE)

    async def _look(self) -> None:
        self.facts = await self._hypervisor.facts()
        host = capabilities.host(observe.parse(await self._hypervisor.capabilities()))
        self.foreign = await self._hypervisor.foreign_memory()
        guests = await self._guests(host)
        self.found = await asyncio.to_thread(
            build.traits,
            self._engine,
            host,
            guests,
            kvm=self._settings.kvm,
            libvirt=self.facts.version,
            state=self._state,
        )
        self.known.set()
        self._changed()

    async def _guests(self, host: capabilities.Host) -> capabilities.Guests:
        kind = "kvm" if self._settings.kvm else "qemu"
        machine = "q35" if host.arch == "x86_64" else ""
        try:
            text = await self._hypervisor.domain_capabilities(host.arch, machine, kind)
        except HypervisorRefused as error:
            log.warning("libvirt tells no CPU models", error=str(error))
            return capabilities.Guests(usable=(), known=())
        return capabilities.guests(observe.parse(text))
