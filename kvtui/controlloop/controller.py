"""The loop that reconciles keys: workers, retries, back-off and logging.

A reconciler looks at listers, decides with a pure plan, applies narrow patches and returns. Transient errors bring
the key back with a growing pause, Permanent ones are logged and wait for the next change of the object.

Source: sigs.k8s.io/controller-runtime/pkg/reconcile.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from kvtui.controlloop.informer import Informer
from kvtui.controlloop.workqueue import WorkQueue
from kvtui.errors import Permanent, Transient
from kvtui.settings import ControlLoopSettings

K = TypeVar("K", bound=Hashable)
log = structlog.get_logger()
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconciler wants next."""

    requeue_after: float | None = None
    """Seconds; None waits for the next change."""


DONE = Result()
Reconcile = Callable[[K], Awaitable[Result | None]]


class Controller(Generic[K]):
    """Workers on one queue. `run` until cancelled; returns after its workers have."""

    def __init__(
        self,
        name: str,
        reconcile: Reconcile[K],
        *,
        informers: Sequence[Informer[Any]] = (),
        settings: ControlLoopSettings | None = None,
        workers: int | None = None,
    ) -> None:
        self.name = name
        self.settings = settings or ControlLoopSettings()
        self.queue: WorkQueue[K] = WorkQueue(
            backoff_base=self.settings.backoff_base, backoff_max=self.settings.backoff_max
        )
        self._reconcile = reconcile
        self._informers = informers
        self._workers = workers or self.settings.workers

    async def run(self) -> None:
        """Works once the informers are filled. Raises TimeoutError when that takes too long."""
        async with asyncio.timeout(self.settings.cache_sync_timeout):
            for informer in self._informers:
                await informer.wait_synced()
        try:
            async with asyncio.TaskGroup() as tasks:
                for n in range(self._workers):
                    tasks.create_task(self._work(), name=f"{self.name} worker {n}")
        finally:
            self.queue.close()

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._once(key)
            finally:
                self.queue.done(key)

    async def _once(self, key: K) -> None:
        bound = log.bind(controller=self.name, key=str(key), reconcile_id=next(_ids))
        try:
            result = await self._reconcile(key)
        except Transient as error:
            pause = self.queue.add_failed(key)
            bound.info("reconcile will be retried", error=str(error), seconds=round(pause, 2))
        except Permanent as error:
            self.queue.forget(key)
            bound.warning("reconcile failed", error=str(error))
        except Exception:
            # A defect in one object's handling must not stop the others'; it is logged whole and retried slowly.
            pause = self.queue.add_failed(key)
            bound.exception("reconcile broke", seconds=round(pause, 2))
        else:
            self.queue.forget(key)
            if result is not None and result.requeue_after is not None:
                self.queue.add_after(key, result.requeue_after)
