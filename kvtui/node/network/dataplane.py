"""Keeps the rules of a node's pod network as the objects want them: Services, policies, the way out.

One key stands for the whole: objects, sandboxes and time only ask for another look, which writes the rules anew where
they differ from what was written, or are gone, because another program has emptied the tables.
"""

from __future__ import annotations

import asyncio

import structlog

from kvtui.api.core.config import Namespace
from kvtui.api.core.network import EndpointSlice, NetworkPolicy, Service
from kvtui.api.core.pod import Pod
from kvtui.client.rest import Client
from kvtui.controlloop.controller import Controller, Result
from kvtui.controlloop.informer import Informer
from kvtui.node.network import dnsnames, policies, services
from kvtui.node.network.policies import PolicyRules
from kvtui.node.network.rules import Rules
from kvtui.node.network.sandbox import Networks

log = structlog.get_logger()
LOOK_AGAIN = 30.0
"""Seconds between looks at what nobody announces: rules that others removed, FORWARD chains that drop by now."""
_KEY = "rules"


class DataPlane:
    """Rules of one node. `run` until cancelled; the rules stay, as guests do."""

    def __init__(self, client: Client, node: str, networks: Networks) -> None:
        self._node = node
        self._networks = networks
        self._rules = Rules(networks.settings)
        self._services = Informer(client, Service, optional=True)
        self._slices = Informer(client, EndpointSlice, optional=True)
        self._policies = Informer(client, NetworkPolicy, optional=True)
        self._pods = Informer(client, Pod)
        self._namespaces = Informer(client, Namespace)
        first = (self._services, self._slices, self._policies)
        self._loop: Controller[str] = Controller("data plane", self._look, informers=first, workers=1)
        for informer in (*first, self._pods, self._namespaces):
            informer.subscribe(lambda _old, _new: self._loop.queue.add(_KEY))
        self._watching = False
        self._looked = False
        self._verified = -LOOK_AGAIN
        """When the kernel was last asked what is there."""
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        unsubscribe = self._networks.subscribe(lambda: self._loop.queue.add(_KEY))
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for informer in (self._services, self._slices, self._policies):
                    tasks.create_task(informer.run(), name=f"informer {informer.type.__name__}")
                self._loop.queue.add(_KEY)
                tasks.create_task(self._loop.run(), name="data plane")
        finally:
            unsubscribe()

    async def vacate(self) -> None:
        """Leaves the node as it was found; for a node without sandboxes."""
        await self._rules.remove()
        await self._networks.vacate()

    async def _look(self, _key: str) -> Result:
        entries = services.entries(self._services.all(), self._slices.all(), self._node)
        if not await self._networks.known() and not any(e.inner for e in entries):
            # Nobody is here and nobody is anywhere behind a Service: no rule would do anything.
            if self._rules.written or not self._looked:
                await self._rules.remove()
            self._looked = True
            return Result(requeue_after=LOOK_AGAIN)
        self._looked = True
        text = dnsnames.hosts_text(self._services.all(), self._slices.all())
        await asyncio.to_thread(dnsnames.write, self._networks.hosts, text)
        bridges = await asyncio.to_thread(self._networks.bridges.names)
        now = asyncio.get_running_loop().time()
        verify = now - self._verified >= LOOK_AGAIN
        if await self._rules.write(services.rules(entries), await self._policy_rules(), bridges, verify=verify):
            log.info("rules written", services=len(entries), policies=len(self._policies.store))
        if verify:
            self._verified = now
        return Result(requeue_after=LOOK_AGAIN)

    async def _policy_rules(self) -> PolicyRules:
        if not len(self._policies.store):
            return PolicyRules()
        if not self._watching and self._tasks is not None:
            # Most engines have no policy; then nobody needs to know all Pods.
            self._watching = True
            self._tasks.create_task(self._pods.run(), name="informer Pod")
            self._tasks.create_task(self._namespaces.run(), name="informer Namespace")
        await self._pods.wait_synced()
        await self._namespaces.wait_synced()
        return policies.rules(self._policies.all(), self._pods.all(), self._namespaces.all(), self._node)
