"""The screen's copy of the cluster: one informer per kind, how fresh they are, and what sort of engine answers.

`run` fills and follows the caches until cancelled. Nothing here waits for the server when it is asked.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import Event, Namespace
from kvtui.api.core.node import Node
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.client.rest import Client
from kvtui.controlloop.informer import Informer
from kvtui.errors import Forbidden, KvtuiError, NotFound
from kvtui.settings import ControlLoopSettings
from kvtui.tui.columns.nodes import accelerator_of

R = TypeVar("R", bound=Resource)
LAB_IMAGE = "kvtui.io/lab-image"
"""Annotation of nodes."""
_PROBE_EVERY, _PROBE_SOON = 10.0, 2.0
"""Seconds between measurements of the round trip: normally, and after the first or while there is no answer."""
_FOLLOW = ControlLoopSettings(backoff_max=15.0)
_REQUIRED: tuple[type[Resource], ...] = (VirtualMachine, VirtualMachineInstance)
_OPTIONAL: tuple[type[Resource], ...] = (
    DataVolume,
    PersistentVolumeClaim,
    VirtualMachineInstanceMigration,
    Node,
    Event,
    Namespace,
    StorageClass,
)
_CLUSTER_SCOPED = (Node, Namespace, StorageClass)


class Link(enum.StrEnum):
    """How we stand with the server."""

    CONNECTING = "connecting"
    LIVE = "live"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Health:
    """The connection as the header shows it."""

    link: Link = Link.CONNECTING
    round_trip: float | None = None
    """Seconds."""
    since: datetime | None = None
    """When it was lost."""
    reason: str = ""


class Cluster:
    """Caches of one context."""

    def __init__(self, client: Client, clock: Callable[[], datetime]) -> None:
        self.client = client
        self.clock = clock
        self.context = client.endpoint.context or client.endpoint.server
        self.namespace = client.endpoint.namespace
        self.health = Health()
        self.confined_to = ""
        """The only namespace that may be read, when not all may."""
        self._informers: dict[type[Resource], Informer[Any]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._attached: list[Callable[[], None]] = []
        self._probe_now = asyncio.Event()
        self._make_informers("")

    @property
    def types(self) -> list[type[Resource]]:
        """The kinds that are followed."""
        return list(self._informers)

    def informer(self, type_: type[R]) -> Informer[R]:
        return self._informers[type_]

    def preload(self, objects: Iterable[Resource]) -> None:
        """Puts objects into the caches before anybody follows them."""
        for obj in objects:
            if (informer := self._informers.get(type(obj))) is not None:
                informer.store.put(obj)

    def attach(self, subscribe: Callable[[], None]) -> None:
        """Calls the function now and whenever there are new informers to subscribe to."""
        self._attached.append(subscribe)
        subscribe()

    def on_health(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    @property
    def synced(self) -> bool:
        """The lists that the first screen needs are there."""
        return all(self._informers[t].synced for t in _REQUIRED)

    def failure(self, type_: type[Resource]) -> KvtuiError | None:
        """Why the copy of a kind is empty or stale."""
        return self._informers[type_].failure

    @property
    def nodes(self) -> list[Node]:
        return sorted(self.informer(Node).all(), key=lambda n: n.metadata.name)

    @property
    def accelerator(self) -> str:
        """`KVM`, `emulation`, `KVM and emulation`, or empty where nodes do not say."""
        return " and ".join(sorted({word for node in self.nodes if (word := accelerator_of(node))}))

    @property
    def lab_image(self) -> str:
        """The lab's guest image, where the engine offers one: a container image or a URL."""
        return next((image for n in self.nodes if (image := n.metadata.annotations.get(LAB_IMAGE, ""))), "")

    @property
    def one_machine(self) -> bool:
        """Our own engine with a single node."""
        nodes = self.nodes
        return len(nodes) == 1 and bool(accelerator_of(nodes[0]))

    @property
    def engine(self) -> str:
        """`kvtui` where our agents run the VMs, `kubevirt` where upstream does, empty while unknown."""
        if not self.nodes:
            return ""
        return "kvtui" if any(accelerator_of(n) for n in self.nodes) else "kubevirt"

    def namespaces(self) -> list[str]:
        names = {n.metadata.name for n in self.informer(Namespace).all()} | {self.namespace}
        return sorted(names)

    def probe(self) -> None:
        """Measures the connection now."""
        self._probe_now.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for type_, informer in self._informers.items():
                        tasks.create_task(informer.run(), name=f"{type_.__name__} informer")
                    tasks.create_task(self._probe(), name="probe")
                    tasks.create_task(self._watch_rights(), name="rights")
            except* _ConfinedError:
                self._confine_informers()

    def _make_informers(self, namespace: str) -> None:
        for type_ in (*_REQUIRED, *_OPTIONAL):
            scope = "" if type_ in _CLUSTER_SCOPED else namespace
            self._informers[type_] = Informer(
                self.client, type_, namespace=scope, settings=_FOLLOW, optional=type_ in _OPTIONAL
            )

    def _confine_informers(self) -> None:
        """Starts again with one namespace."""
        self.confined_to = self.namespace
        self._make_informers(self.namespace)
        for subscribe in self._attached:
            subscribe()

    async def _watch_rights(self) -> None:
        """Ends the informers when VMs of all namespaces may not be listed but this namespace may be tried."""
        informer = self._informers[VirtualMachine]
        while not informer.synced:
            if isinstance(informer.failure, Forbidden) and not self.confined_to:
                raise _ConfinedError
            await asyncio.sleep(0.1)

    async def _probe(self) -> None:
        pause = _PROBE_SOON
        while True:
            self._set_health(await self._measure())
            self._probe_now.clear()
            try:
                async with asyncio.timeout(pause if self.health.link is Link.LIVE else _PROBE_SOON):
                    await self._probe_now.wait()
            except TimeoutError:
                pause = _PROBE_EVERY

    async def _measure(self) -> Health:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await self.client.raw("GET", "/version", timeout=5.0)
        except (Forbidden, NotFound):
            return Health(Link.LIVE, loop.time() - started)
        except KvtuiError as error:
            lost = self.health.since if self.health.link is Link.OFFLINE else self.clock()
            return Health(Link.OFFLINE, None, lost, str(error))
        return Health(Link.LIVE, loop.time() - started)

    def _set_health(self, health: Health) -> None:
        self.health = health
        for listener in list(self._listeners):
            listener()


class _ConfinedError(Exception):
    """The informers must start again with one namespace."""


def subscribe_keys(informer: Informer[R], handler: Callable[[R], None]) -> None:
    """Calls the handler with the old and the new object of each change."""

    def told(old: R | None, new: R | None) -> None:
        for obj in (old, new):
            if obj is not None:
                handler(obj)

    informer.subscribe(told)
