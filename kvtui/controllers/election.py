"""Of several processes with the same controllers only one works: it holds a Lease and renews it.

Source: k8s.io/client-go/tools/leaderelection; control plane facts 9 (virt-controller: 15 s, 10 s, 2 s).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from kvtui.api.core.node import Lease, LeaseSpec
from kvtui.api.meta import ObjectMeta
from kvtui.api.times import to_micro_time
from kvtui.api.wire import ObjectKey, to_wire
from kvtui.client.rest import Client
from kvtui.errors import AlreadyExists, Conflict, KvtuiError, Transient

DURATION = 15.0
"""Seconds for which a lease holds without renewal."""
DEADLINE = 10.0
"""Seconds without a successful renewal after which the holder stops working."""
PERIOD = 2.0
"""Seconds between attempts."""
log = structlog.get_logger()


class LostLeadership(Transient):
    """Somebody else may be working by now; start over."""


class Election:
    """One candidate. `lead` waits for its turn, then works for as long as the lease can be renewed."""

    def __init__(
        self,
        client: Client,
        key: ObjectKey,
        identity: str,
        clock: Callable[[], datetime],
        *,
        duration: float = DURATION,
        deadline: float = DEADLINE,
        period: float = PERIOD,
    ) -> None:
        self._client = client
        self._key = key
        self._identity = identity
        self._clock = clock
        self._duration, self._deadline, self._period = duration, deadline, period
        self._observed: tuple[str, float] = ("", 0.0)
        """Revision of the lease, and when this process saw it first: other machines' clocks are not trusted."""

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Returns when the work does. Raises LostLeadership, and what the work raises."""
        while not await self._try():  # noqa: ASYNC110  # a lease that lapses tells nobody
            await asyncio.sleep(self._period)
        log.info("leading", lease=str(self._key), identity=self._identity)
        task = asyncio.ensure_future(work())
        try:
            await self._renew_until(task)
        finally:
            task.cancel()
            await asyncio.wait([task])
        task.result()

    async def _renew_until(self, task: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            done, _ = await asyncio.wait([task], timeout=self._period)
            if done:
                return
            if await self._try():
                renewed = loop.time()
            elif loop.time() - renewed > self._deadline:
                raise LostLeadership(f"the lease {self._key} could not be renewed")

    async def _try(self) -> bool:
        """Takes or renews the lease; False when it is somebody else's, or when the server does not answer."""
        try:
            lease = await self._client.find(Lease, self._key)
            if lease is None:
                await self._client.create(
                    Lease(
                        metadata=ObjectMeta(namespace=self._key.namespace, name=self._key.name), spec=self._spec(None)
                    )
                )
                return True
            if lease.spec.holder_identity not in (None, "", self._identity) and not self._expired(lease):
                return False
            body = {
                "metadata": {"resourceVersion": lease.metadata.resource_version},
                "spec": to_wire(self._spec(lease)),
            }
            await self._client.patch(Lease, self._key, body)
        except (AlreadyExists, Conflict):
            return False
        except KvtuiError as error:
            log.info("lease not reached", lease=str(self._key), error=str(error))
            return False
        return True

    def _expired(self, lease: Lease) -> bool:
        moment = asyncio.get_running_loop().time()
        if self._observed[0] != lease.metadata.resource_version:
            self._observed = (lease.metadata.resource_version, moment)
        return moment - self._observed[1] > (lease.spec.lease_duration_seconds or self._duration)

    def _spec(self, lease: Lease | None) -> LeaseSpec:
        moment = to_micro_time(self._clock())
        same = lease is not None and lease.spec.holder_identity == self._identity
        changes = (lease.spec.lease_transitions or 0) + (not same) if lease is not None else 0
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=max(1, int(self._duration)),
            acquire_time=lease.spec.acquire_time if same and lease is not None else moment,
            renew_time=moment,
            lease_transitions=changes,
        )
