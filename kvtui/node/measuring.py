"""A scrape of the node's metrics: one call of libvirt for all guests, and what is known here anyway.

Nothing is gathered between scrapes. Who scrapes at the same time, or shortly after, shares what libvirt told; the text
is written in a thread, one at a time. How fast guests change their memory must be sampled beforehand, which is done
after a scrape, in turns, for the next one.

Source: kubevirt pkg/monitoring/metrics/virt-handler
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from kvtui.api.kubevirt import UPSTREAM_VERSION
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.controlloop.clientmetrics import count_requests
from kvtui.controlloop.controller import Controller
from kvtui.controlloop.exposition import Metrics, text
from kvtui.controlloop.queuemetrics import queue_families
from kvtui.errors import KvtuiError, Unreachable
from kvtui.node.guestagent import GuestAgents
from kvtui.node.guestmetrics import Guest, Moving, guest_families, migration_families, node_families
from kvtui.node.hypervisor import DomainId, Hypervisor
from kvtui.node.knowledge import Knowledge
from kvtui.node.observe import LiveDomain
from kvtui.node.state import Record, Records, Stage

log = structlog.get_logger()
Stats = Mapping[DomainId, Mapping[str, object]]
FRESH = 3.25
"""Seconds for which statistics are used again."""
TURN = 16
"""Guests whose dirty rate is sampled after a scrape, those first whose turn is longest ago."""
HANDLER = "virt-handler"
_PANICS = {"hyperv": "hyper-v", "s390": "s390"}
"""QEMU's word for what a panic device tells, by libvirt's model; the others tell nothing but that it happened."""


class Statistics:
    """libvirt's statistics of all domains, asked for once by however many want them."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._asking = asyncio.Lock()
        self._last: Stats | None = None
        self._complete = False
        self._forgetting: asyncio.TimerHandle | None = None

    async def get(self, *, dirty_rates: bool = False) -> Stats:
        """At most `FRESH` seconds old; dirty rates cost QEMU a question more. Raises Unreachable."""
        async with self._asking:
            if self._last is None or (dirty_rates and not self._complete):
                self._last = await self._hypervisor.stats(dirty_rates=dirty_rates)
                self._complete = dirty_rates
                if self._forgetting is not None:
                    self._forgetting.cancel()
                self._forgetting = asyncio.get_running_loop().call_later(FRESH, self._forget)
            return self._last

    def _forget(self) -> None:
        """Hundreds of guests say a lot; it need not be kept until somebody asks again."""
        self._last = self._forgetting = None


class Measurements:
    """What the node tells a scraper. `run` samples dirty rates until cancelled."""

    def __init__(
        self,
        *,
        node: str,
        hypervisor: Hypervisor,
        records: Records,
        vmi: Callable[[Record], VirtualMachineInstance | None],
        live: Callable[[str], LiveDomain | None],
        agents: GuestAgents,
        moving: Callable[[], Sequence[Moving]],
        knowledge: Knowledge,
        client: Client,
        loops: Sequence[Controller[Any]],
    ) -> None:
        """`live` gives the description of a domain by UID as it was last seen."""
        self._node = node
        self._hypervisor = hypervisor
        self._records = records
        self._vmi = vmi
        self._live = live
        self._agents = agents
        self._moving = moving
        self._knowledge = knowledge
        self.statistics = Statistics(hypervisor)
        self._writing = asyncio.Lock()
        self._sampled: dict[DomainId, float] = {}
        self._scraped = asyncio.Event()
        self._metrics = Metrics()
        self._syncs = self._metrics.counter("kubevirt_vmi_sync_total", "How often a VMI was looked at.")
        self._panics = self._metrics.counter(
            "kubevirt_vmi_guest_os_panic_total", "How often the kernel of a guest panicked."
        )
        self._metrics.collect(lambda: queue_families(loops))
        count_requests(client, self._metrics)

    def synced(self, record: Record) -> None:
        self._syncs.add(controller=HANDLER, namespace=record.namespace, name=record.name)

    def panicked(self, record: Record) -> None:
        """libvirt says that it happened; which bug check it was stands at best in QEMU's log."""
        live = self._live(record.uid)
        kind = _PANICS.get(live.panic if live is not None else "", "unknown")
        self._panics.add(namespace=record.namespace, name=record.name, type=kind, bugcheck_code="unknown")

    def forget(self, record: Record) -> None:
        self._syncs.forget(controller=HANDLER, namespace=record.namespace, name=record.name)

    async def text(self) -> str:
        """All metrics of this node. A libvirt that does not answer leaves out the guests."""
        try:
            stats = await self.statistics.get(dirty_rates=True)
        except Unreachable as error:
            log.info("libvirt tells no statistics", error=str(error))
            stats = {}
        self._scraped.set()
        guests, moving, found = self._guests(stats), self._moving(), self._knowledge.found
        ready = self._hypervisor.connected and found is not None
        deprecated = found.host.deprecated if found is not None else ()
        own = self._metrics.families()

        def write() -> str:
            parts = (
                node_families(node=self._node, version=UPSTREAM_VERSION, ready=ready, deprecated=deprecated),
                guest_families(self._node, guests),
                migration_families(self._node, moving),
                own,
            )
            return "".join(text(families) for families in parts)

        async with self._writing:
            return await asyncio.to_thread(write)

    def _guests(self, stats: Stats) -> list[Guest]:
        facts = self._knowledge.facts
        return [
            self._guest(record, values, facts.cpus if facts is not None else 0)
            for record in self._records
            if record.stage is Stage.STARTED and (values := stats.get(DomainId(record.domain))) is not None
        ]

    def _guest(self, record: Record, stats: Mapping[str, object], cpus: int) -> Guest:
        vmi, live, told = self._vmi(record), self._live(record.uid), self._agents.get(record.uid)
        return Guest(
            namespace=record.namespace,
            name=record.name,
            labels=vmi.metadata.labels if vmi is not None else {},
            stats=stats,
            devices=live.devices if live is not None else {},
            affinity=live.affinity(cpus) if live is not None else 0,
            filesystems=told.filesystems,
            load=told.load,
        )

    async def run(self) -> None:
        while True:
            await self._scraped.wait()
            self._scraped.clear()
            await self._sample()

    async def _sample(self) -> None:
        """QEMU samples by itself once it was told to, so this takes no time; a guest that moves is left alone."""
        now = asyncio.get_running_loop().time()
        running = {
            DomainId(r.domain)
            for r in self._records
            if r.stage is Stage.STARTED and (r.outgoing is None or r.outgoing.ended is not None) and not r.moved
        }
        self._sampled = {domain: at for domain, at in self._sampled.items() if domain in running}
        waiting = sorted(running, key=lambda domain: self._sampled.get(domain, 0.0))
        for domain in waiting[:TURN]:
            self._sampled[domain] = now
            try:
                await self._hypervisor.sample_dirty_rate(domain)
            except KvtuiError as error:
                log.debug("a dirty rate is not sampled", domain=domain, error=str(error))
