"""Starts all controllers of a process on shared informers, and the endpoint of their metrics."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Sequence

from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.controllers.context import Clock, ControllerContext, MakeController, Runnable
from kvtui.controllers.datavolume.cdi import CDIController
from kvtui.controllers.datavolume.datasource import DataSourceController
from kvtui.controllers.election import Election
from kvtui.controllers.kubevirt import KubeVirtController
from kvtui.controllers.metrics.collector import MetricsController
from kvtui.controllers.metrics.endpoint import serve_metrics
from kvtui.controllers.migration.controller import MigrationController
from kvtui.controllers.migration.evacuation import EvacuationController
from kvtui.controllers.migration.workloadupdate import WorkloadUpdateController
from kvtui.controllers.node import NodeController
from kvtui.controllers.pool.controller import PoolController
from kvtui.controllers.replicaset import ReplicaSetController
from kvtui.controllers.standins.disruption import DisruptionController
from kvtui.controllers.standins.endpoints import EndpointsController
from kvtui.controllers.standins.nodelifecycle import NodeLifecycleController, PodGarbageCollector
from kvtui.controllers.standins.scheduler.controller import SchedulerController
from kvtui.controllers.virtualmachine.controller import VirtualMachineController
from kvtui.controllers.virtualmachineinstance.controller import VirtualMachineInstanceController
from kvtui.controlloop.controller import Controller
from kvtui.controlloop.queuemetrics import queue_families
from kvtui.settings import ControllerSettings

LEASE = "virt-controller"

CONTROLLERS: tuple[MakeController, ...] = (
    KubeVirtController,
    VirtualMachineController,
    VirtualMachineInstanceController,
    MigrationController,
    EvacuationController,
    WorkloadUpdateController,
    NodeController,
    ReplicaSetController,
    PoolController,
    MetricsController,
)
STANDINS: tuple[MakeController, ...] = (
    SchedulerController,
    NodeLifecycleController,
    PodGarbageCollector,
    DisruptionController,
    EndpointsController,
    DataSourceController,
    CDIController,
)
"""Only where no real cluster does this."""


async def run_controllers(
    client: Client,
    settings: ControllerSettings,
    *,
    standins: bool,
    clock: Clock,
    further: Sequence[MakeController] = (),
) -> None:
    """Runs until cancelled. `further`: controllers of other parts with the same shape."""

    async def work() -> None:
        await run_with(ControllerContext.of(client, settings, clock), standins=standins, further=further)

    if not settings.leader_election:
        await work()
        return
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    await Election(client, ObjectKey(settings.install_namespace, LEASE), identity, clock).lead(work)


async def run_with(context: ControllerContext, *, standins: bool, further: Sequence[MakeController] = ()) -> None:
    """As `run_controllers`, for callers that keep the context."""
    makers = (*CONTROLLERS, *(STANDINS if standins else ()), *further)
    controllers: list[tuple[str, Runnable]] = [(make.__name__, make(context)) for make in makers]
    loops = [c for _, made in controllers if isinstance(c := getattr(made, "controller", None), Controller)]
    context.metrics.collect(lambda: queue_families(loops))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(context.informers.run(), name="informers")
        tasks.create_task(context.recorders.run(), name="event recorders")
        tasks.create_task(serve_metrics(context), name="metrics")
        for name, controller in controllers:
            tasks.create_task(controller.run(), name=name)
