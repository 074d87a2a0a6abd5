"""What every controller gets: client, shared informers, recorders, clock, settings and the live configuration.

A controller is a class `XController(context)` whose `run()` works until it is cancelled. Controllers ask for informers
and add indices when they are constructed; `Informers.run` starts whatever was asked for by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from kvtui.api.kubevirt.config import KubeVirt
from kvtui.api.meta import Resource
from kvtui.client.rest import Client
from kvtui.controllers.clusterconfig import ClusterConfig
from kvtui.controlloop.clientmetrics import count_requests
from kvtui.controlloop.exposition import Metrics
from kvtui.controlloop.informer import Informer
from kvtui.controlloop.recorder import EventRecorder
from kvtui.settings import ControllerSettings

R = TypeVar("R", bound=Resource)
Clock = Callable[[], datetime]
Index = Callable[[Any], Iterable[str]]


class Informers:
    """One informer per kind, shared by all controllers of this process."""

    def __init__(self, client: Client, settings: ControllerSettings) -> None:
        self._client = client
        self._settings = settings
        self._informers: dict[type[Resource], Informer[Any]] = {}
        self._indices: set[tuple[type[Resource], str]] = set()

    def of(self, type_: type[R], *, optional: bool = False) -> Informer[R]:
        """The informer of a kind. `optional`: a server that does not serve the kind counts as having no objects."""
        informer = self._informers.get(type_)
        if informer is None:
            informer = Informer(self._client, type_, settings=self._settings.loop, optional=optional)
            self._informers[type_] = informer
        return informer

    def index(self, type_: type[R], name: str, function: Callable[[R], Iterable[str]]) -> Informer[R]:
        """The informer of a kind, with this index; the same name always means the same function."""
        informer = self.of(type_)
        if (type_, name) not in self._indices:
            self._indices.add((type_, name))
            informer.store.add_index(name, function)
        return informer

    @property
    def all(self) -> list[Informer[Any]]:
        return list(self._informers.values())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for type_, informer in self._informers.items():
                tasks.create_task(informer.run(), name=f"informer {type_.__name__}")


class Recorders:
    """One event recorder per component name, all writing in the background while `run` runs."""

    def __init__(self, client: Client, clock: Clock, settings: ControllerSettings) -> None:
        self._client = client
        self._clock = clock
        self._settings = settings
        self._recorders: dict[str, EventRecorder] = {}

    def of(self, component: str) -> EventRecorder:
        recorder = self._recorders.get(component)
        if recorder is None:
            recorder = EventRecorder(self._client, component, self._clock, settings=self._settings.loop)
            self._recorders[component] = recorder
        return recorder

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for component, recorder in self._recorders.items():
                tasks.create_task(recorder.run(), name=f"events of {component}")

    async def wait_written(self) -> None:
        for recorder in list(self._recorders.values()):
            await recorder.wait_written()


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """Handed to every controller's constructor."""

    client: Client
    informers: Informers
    recorders: Recorders
    clock: Clock
    settings: ControllerSettings
    config: ClusterConfig
    metrics: Metrics

    @classmethod
    def of(cls, client: Client, settings: ControllerSettings, clock: Clock) -> ControllerContext:
        informers, metrics = Informers(client, settings), Metrics()
        count_requests(client, metrics)
        return cls(
            client=client,
            informers=informers,
            recorders=Recorders(client, clock, settings),
            clock=clock,
            settings=settings,
            config=ClusterConfig(informers.of(KubeVirt)),
            metrics=metrics,
        )


class Runnable(Protocol):
    """A controller, once it is constructed."""

    async def run(self) -> None:
        """Works until cancelled."""


MakeController = Callable[[ControllerContext], Runnable]
"""A controller class: how further controllers are plugged into the runner."""
