"""What an earlier agent, or the time before a reboot, left on this node: taken up where it is wanted, else removed.

Nothing is decided before the caches say what is wanted here, so a slow API server never costs a guest its life. A
domain whose record is lost goes on with a new one as long as its VMI, its launcher and its disks are here.
"""

from __future__ import annotations

import contextlib

import structlog

from kvtui.controlloop.backoff import Backoff
from kvtui.errors import KvtuiError
from kvtui.node import cpus, identity, lifecycle, observe, podstatus
from kvtui.node.hypervisor import DomainGone, DomainState, Hypervisor, NotRunning, OwnedDomain, Reason
from kvtui.node.instances import NodeCaches
from kvtui.node.network.sandbox import Networks
from kvtui.node.state import Record, Records, Stage

log = structlog.get_logger()


class Leftovers:
    """Looks once, when an agent starts."""

    def __init__(
        self, *, node: str, hypervisor: Hypervisor, records: Records, networks: Networks, caches: NodeCaches
    ) -> None:
        self._node = node
        self._hypervisor = hypervisor
        self._records = records
        self._networks = networks
        self._caches = caches

    async def domains(self) -> None:
        """Returns when every domain of this engine has a record or is gone."""
        for informer in self._caches.all:
            await informer.wait_synced()
        backoff = Backoff(0.5, 10.0)
        while True:
            try:
                for found in await self._hypervisor.domains():
                    record = self._records.get(found.owner.uid)
                    if record is None or not record.pod_uid:
                        await self._take_up(found)
                return
            except KvtuiError as error:
                log.warning("leftover domains are looked at again", error=str(error))
                await backoff.pause()

    async def _take_up(self, found: OwnedDomain) -> None:
        owner = found.owner
        lost = Record(uid=owner.uid, namespace=owner.namespace, name=owner.name)
        vmi = await self._caches.find(lost)
        pod = next(
            (
                p
                for p in self._caches.pods.all()
                if p.metadata.labels.get(podstatus.CREATED_BY) == owner.uid and not podstatus.is_final(p)
            ),
            None,
        )
        here = vmi is not None and vmi.status.node_name == self._node and lifecycle.phase_of(vmi) == lifecycle.RUNNING
        kept = self._records.directory(owner.uid).disks.is_dir()
        if here and kept and pod is not None and found.status.state.active:
            domain = observe.parse(await self._hypervisor.xml(found.id))
            user = domain.findtext("seclabel[@model='dac']/label", "")
            record = Record(
                uid=owner.uid,
                namespace=owner.namespace,
                name=owner.name,
                pod=pod.metadata.name,
                pod_uid=pod.metadata.uid,
                domain=found.id,
                stage=Stage.STARTED,
                paused=found.status.state is DomainState.PAUSED and found.status.reason is Reason.USER,
                own_user=identity.is_own(user),
                cpus=cpus.of_domain(domain) if vmi is not None and cpus.is_dedicated(vmi) else (),
            )
            await self._records.save(record)
            log.warning("the lost record of a running guest was made anew", vmi=f"{owner.namespace}/{owner.name}")
            return
        log.warning("orphaned domain removed", domain=found.id, vmi=f"{owner.namespace}/{owner.name}", uid=owner.uid)
        with contextlib.suppress(NotRunning, DomainGone):
            await self._hypervisor.destroy(found.id)
        with contextlib.suppress(DomainGone):
            await self._hypervisor.undefine(found.id, keep_state=True)

    async def networks(self) -> None:
        """Removes networks that neither a record nor a Pod knows."""
        known = {record.pod_uid for record in self._records}
        pods = {pod.metadata.uid for pod in self._caches.pods.all()}
        for uid in await self._networks.known():
            if uid not in known and uid not in pods:
                log.info("orphaned network removed", pod_uid=uid)
                with contextlib.suppress(KvtuiError):
                    await self._networks.detach(uid)
