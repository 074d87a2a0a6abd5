"""Clocks of guests that stood still: set through the guest agent after a guest goes on, here or on another node.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainSetTime
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from kvtui.errors import Unreachable
from kvtui.node.hypervisor import AgentUnavailable, DomainGone, DomainId, Hypervisor, HypervisorRefused

log = structlog.get_logger()
AGAIN, PATIENCE = 1.0, 60.0
"""Seconds between tries, and for all of them: the agent may need a while to be there again."""


class GuestClocks:
    """Sets clocks; `run` owns the tries."""

    def __init__(self, hypervisor: Hypervisor, clock: Callable[[], datetime]) -> None:
        self._hypervisor = hypervisor
        self._clock = clock
        self._tasks: dict[DomainId, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    def set(self, domain: DomainId) -> None:
        """Begins to try, unless that was begun already."""
        if self._group is None or domain in self._tasks:
            return
        task = self._tasks[domain] = self._group.create_task(self._try(domain), name=f"clock of {domain}")
        task.add_done_callback(lambda _: self._tasks.pop(domain, None))

    async def _try(self, domain: DomainId) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while loop.time() < until:
            try:
                await self._hypervisor.set_guest_time(domain, int(self._clock().timestamp()))
            except (AgentUnavailable, Unreachable):
                await asyncio.sleep(AGAIN)
            except (HypervisorRefused, DomainGone) as error:
                log.debug("a guest's clock cannot be set", domain=domain, error=str(error))
                return
            else:
                return
