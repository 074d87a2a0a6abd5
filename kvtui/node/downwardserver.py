"""Keeps the downward metrics of all guests that ask for them fresh, and answers on their channels.

Source: node's /proc, libvirt's domain statistics
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import KvtuiError
from kvtui.node import downwardmetrics
from kvtui.node.downwardmetrics import Metric
from kvtui.node.hypervisor import DomainId, Hypervisor

log = structlog.get_logger()
EVERY = 5.0
"""Seconds between refreshes."""
DISK, CHANNEL = "vhostmd0", "downwardmetrics"


@dataclass(slots=True)
class _Guest:
    domain: DomainId
    disk: Path | None
    """As the agent writes it."""
    channel: Path | None
    body: bytes = downwardmetrics.document(())


class DownwardMetrics:
    """One per node. `run` owns its tasks."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._guests: dict[str, _Guest] = {}
        self._channels: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._wanted = asyncio.Event()

    def watch(self, vmi: VirtualMachineInstance, domain: DomainId, directory: Path, sockets: Path) -> None:
        """Serves a running guest that asks for metrics; `directory` is its state, `sockets` a short way to sockets."""
        uid, spec = vmi.metadata.uid, vmi.spec
        disk = any(v.downward_metrics is not None for v in spec.volumes)
        channel = spec.domain.devices.downward_metrics is not None
        if uid in self._guests or not (disk or channel):
            return
        guest = _Guest(domain, directory / "disks" / DISK if disk else None, sockets / CHANNEL if channel else None)
        self._guests[uid] = guest
        self._wanted.set()
        if guest.channel is not None and self._tasks is not None:
            task = self._tasks.create_task(self._serve(uid, guest.channel), name=f"downward metrics {uid}")
            self._channels[uid] = task

    def forget(self, uid: str) -> None:
        """The guest is gone."""
        self._guests.pop(uid, None)
        task = self._channels.pop(uid, None)
        if task is not None:
            task.cancel()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                if not self._guests:
                    self._wanted.clear()
                    await self._wanted.wait()
                try:
                    await self._refresh()
                except (KvtuiError, OSError) as error:
                    log.warning("downward metrics are not refreshed", error=str(error))
                await asyncio.sleep(EVERY)

    async def _refresh(self) -> None:
        stats = await self._hypervisor.stats()
        facts = await self._hypervisor.facts()
        host = await asyncio.to_thread(_host, facts.cpus, facts.hypervisor_version)
        for guest in list(self._guests.values()):
            own = stats.get(guest.domain)
            if own is None:
                continue
            guest.body = downwardmetrics.document([*host, *downwardmetrics.guest_metrics(own)])
            if guest.disk is not None:
                await asyncio.to_thread(downwardmetrics.update, guest.disk, guest.body)

    async def _serve(self, uid: str, path: Path) -> None:
        """Answers on the channel of a guest, from connection to connection: QEMU's end goes with the guest."""
        backoff = Backoff(0.5, 30.0)
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(path))
            except OSError:
                await asyncio.sleep(backoff.next())
                continue
            try:
                await self._talk(uid, reader, writer)
            except OSError as error:
                log.debug("a channel of metrics ended", uid=uid, error=str(error))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await asyncio.sleep(backoff.next())

    async def _talk(self, uid: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        while data := await reader.read(downwardmetrics.MAX_REQUEST):
            buffer += data
            guest = self._guests.get(uid)
            for answer in downwardmetrics.answers(
                buffer, guest.body if guest is not None else downwardmetrics.document(())
            ):
                writer.write(answer)
                await writer.drain()


def _host(cpus: int, version: str) -> list[Metric]:
    memory = dict(_pairs(Path("/proc/meminfo").read_text(), ":"))
    paging = dict(_pairs(Path("/proc/vmstat").read_text(), " "))
    page = os.sysconf("SC_PAGE_SIZE") // downwardmetrics.KIB
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return downwardmetrics.host_metrics(
        hostname=socket.gethostname(),
        cpus=cpus,
        version=version,
        now=int(time.time()),
        busy=(sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"),
        memory=memory,
        swapped=(paging.get("pswpin", 0) * page, paging.get("pswpout", 0) * page),
    )


def _pairs(text: str, separator: str) -> list[tuple[str, int]]:
    """Names and first numbers of the lines of a file of /proc."""
    rows = (line.partition(separator) for line in text.splitlines())
    return [(name, int(rest.split()[0])) for name, _, rest in rows if rest.split() and rest.split()[0].isdigit()]
