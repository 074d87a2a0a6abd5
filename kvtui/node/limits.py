"""What a guest may use of the node: its launcher's requests and limits as libvirt's control groups of the domain.

A host whose libvirt has no control groups still runs guests; that nothing limits them there is told once in the log,
and by `kvtui local doctor`.

Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/,
https://libvirt.org/cgroups.html
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from kvtui.api import quantity
from kvtui.api.core.pod import Pod
from kvtui.node.hypervisor import DomainId, Hypervisor, HypervisorRefused, Share
from kvtui.node.state import Record

log = structlog.get_logger()
COMPUTE = "compute"
TRANSLATION = 2**30
"""Bytes that an emulating QEMU keeps translated code in, which no launcher's limit counts."""


def share_of(pod: Pod, *, kvm: bool, own_cpus: bool = False) -> Share:
    """The launcher's resources in the words of control groups. With `own_cpus` there is nobody to take turns with."""
    container = next((c for c in pod.spec.containers if c.name == COMPUTE), None)
    resources = container.resources if container is not None else None
    if resources is None:
        return Share()
    asked, most = resources.requests.get("cpu"), resources.limits.get("cpu")
    memory = resources.limits.get("memory")
    return Share(
        cpu_shares=max(2, quantity.milli(asked) * 1024 // 1000) if asked else 0,
        cpu_limit=quantity.milli(most) if most and not own_cpus else 0,
        memory_limit=quantity.value(memory) + (0 if kvm else TRANSLATION) if memory else 0,
    )


class Limits:
    """Gives each domain its share once, and again when the share changes or another agent comes."""

    def __init__(self, hypervisor: Hypervisor, pod: Callable[[Record], Pod | None], kvm: Callable[[], bool]) -> None:
        self._hypervisor = hypervisor
        self._pod = pod
        self._kvm = kvm
        self._given: dict[str, Share] = {}
        self._told = False

    async def sync(self, record: Record) -> None:
        """Raises Unreachable and DomainGone, but nothing when the host cannot limit."""
        pod = self._pod(record)
        if pod is None:
            return
        share = share_of(pod, kvm=self._kvm(), own_cpus=bool(record.cpus))
        if share == self._given.get(record.uid, Share()):
            return
        try:
            await self._hypervisor.limit(DomainId(record.domain), share)
        except HypervisorRefused as error:
            if not self._told:
                log.info("guests are not limited by control groups", error=str(error))
                self._told = True
        self._given[record.uid] = share

    def forget(self, uid: str) -> None:
        self._given.pop(uid, None)
