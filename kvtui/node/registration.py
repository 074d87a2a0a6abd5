"""The Node object, its Lease and its labels: how a node joins, tells that it lives, and what it can run.

Cordon and taints belong to administrators and are never touched.

Source: https://kubernetes.io/docs/concepts/architecture/nodes/
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from kvtui.api.core.node import Lease, LeaseSpec, Node, NodeStatus
from kvtui.api.meta import ObjectMeta, OwnerReference
from kvtui.api.times import to_micro_time, to_time
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client, Patch
from kvtui.controlloop.recorder import EventRecorder
from kvtui.errors import AlreadyExists, KvtuiError, NotFound
from kvtui.node import capabilities, hugepages
from kvtui.node.build import NodeTraits
from kvtui.node.capabilities import GO_ARCH
from kvtui.node.hypervisor import NodeFacts
from kvtui.settings import NodeSettings

log = structlog.get_logger()
LEASES = "kube-node-lease"
HEARTBEAT = "kubevirt.io/heartbeat"
SCHEDULABLE = "kubevirt.io/schedulable"
ACCELERATOR = "kvtui.io/accelerator"
STORAGE = "kvtui.io/local-storage"
REALTIME = "kubevirt.io/realtime"
CPU_MANAGER = ("cpumanager", "kubevirt.io/cpumanager")
"""Labels of a node that gives CPUs to one VM alone."""
EXCLUSIVE_CPU = "kvtui.io/exclusive-cpu"
"""Resource: how many it gives. Other guests run on them as long as nobody has them, so they are part of "cpu" too."""
_REALTIME_BUDGET = "/proc/sys/kernel/sched_rt_runtime_us"
SKIP_LABELS = "node-labeller.kubevirt.io/skip-node"
MAX_PODS = 500
DEVICES = 1000
"""Devices of each sort that launchers may ask for; they are shared, so the number only bounds."""
DISK_PRESSURE = 0.05
"""Share of the storage's file system below which it counts as full."""


@dataclass(frozen=True, slots=True)
class Health:
    """What decides the Ready condition."""

    libvirt: bool
    message: str = ""


def capacity(
    facts: NodeFacts,
    storage: int,
    *,
    kvm: bool,
    foreign: int = 0,
    reserve: int = 0,
    exclusive: int = 0,
    pages: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Resources that launchers ask for. `foreign` and `reserve` are bytes of memory that are not for them, `exclusive`
    are the CPUs that can be one VM's alone, `pages` the huge pages."""
    memory = max(0, facts.memory - foreign - reserve)
    return {
        "cpu": str(facts.cpus),
        "memory": f"{memory // 1024}Ki",
        "ephemeral-storage": f"{storage // 1024}Ki",
        "pods": str(MAX_PODS),
        EXCLUSIVE_CPU: str(exclusive),
        **(pages or {}),
        "devices.kubevirt.io/kvm": str(DEVICES if kvm else 0),
        "devices.kubevirt.io/tun": str(DEVICES),
        "devices.kubevirt.io/vhost-net": str(DEVICES if Path("/dev/vhost-net").exists() else 0),
    }


def conditions(health: Health, disk_free: float, memory_free: float, old: NodeStatus, now: str) -> list[dict[str, Any]]:
    """Ready and the pressures; a time changes only with its status."""
    wanted = [
        (
            "Ready",
            health.libvirt,
            ("KubeletReady", "the agent is in touch with libvirt")
            if health.libvirt
            else (
                "HypervisorUnreachable",
                health.message or "libvirt does not answer; running guests are not affected",
            ),
        ),
        (
            "MemoryPressure",
            memory_free < 0.02,
            ("NodeHasSufficientMemory", "enough memory")
            if memory_free >= 0.02
            else ("NodeHasLowMemory", "little memory"),
        ),
        (
            "DiskPressure",
            disk_free < DISK_PRESSURE,
            ("NodeHasNoDiskPressure", "enough disk")
            if disk_free >= DISK_PRESSURE
            else ("NodeHasDiskPressure", "disk full"),
        ),
        ("PIDPressure", False, ("NodeHasSufficientPID", "enough process ids")),
    ]
    since = {c.type: (c.status, c.last_transition_time) for c in old.conditions}
    result = []
    for kind, value, (reason, message) in wanted:
        state = "True" if value else "False"
        known, moment = since.get(kind, ("", None))
        result.append(
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": moment if known == state and moment else now,
            }
        )
    return result


class Registration:
    """Keeps the Node and its Lease. `run` until cancelled; on the way out the node says it takes no more VMs."""

    def __init__(
        self,
        *,
        client: Client,
        settings: NodeSettings,
        storage: Path,
        clock: Callable[[], datetime],
        facts: Callable[[], NodeFacts | None],
        traits: Callable[[], NodeTraits | None],
        health: Callable[[], Health],
        foreign_memory: Callable[[], int],
        exclusive_cpus: Callable[[], int],
        port: Callable[[], int],
        obsolete: Callable[[], Mapping[str, bool]],
        labeller: EventRecorder,
    ) -> None:
        """`obsolete` are CPU models as the cluster's configuration marks them; `labeller` tells of labels."""
        self._obsolete = obsolete
        self._labeller = labeller
        self._client = client
        self._settings = settings
        self._storage = storage
        self._clock = clock
        self._facts = facts
        self._traits = traits
        self._health = health
        self._foreign_memory = foreign_memory
        self._exclusive_cpus = exclusive_cpus
        self._port = port
        self._changed = asyncio.Event()
        self._boot = ""

    def poke(self) -> None:
        """Something that the status tells has changed."""
        self._changed.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep(self.renew, self._settings.lease_renew), name="node lease")
                tasks.create_task(self._report(), name="node status")
                tasks.create_task(self._keep(self.heartbeat, self._settings.heartbeat), name="node heartbeat")
        finally:
            await self._leave()

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(2):
                await self._patch({"metadata": {"labels": {SCHEDULABLE: "false"}}})
        except (KvtuiError, TimeoutError) as error:
            log.info("the node could not say good-bye", error=str(error))

    async def _keep(self, step: Callable[[], Any], interval: float) -> None:
        while True:
            try:
                await step()
                pause = interval * random.uniform(1.0, 1.2)  # noqa: S311  # spreads load
            except NotFound:
                self.poke()
                pause = 1.0
            except KvtuiError as error:
                log.warning("node update failed", step=getattr(step, "__name__", ""), error=str(error))
                pause = min(interval, 2.0)
            await asyncio.sleep(pause)

    async def _report(self) -> None:
        while True:
            self._changed.clear()
            pause = self._settings.lease_renew * 3
            try:
                await self.report()
            except KvtuiError as error:
                log.warning("node status could not be written", error=str(error))
                pause = 2.0
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def report(self) -> None:
        """Creates the Node where it is missing; brings labels, addresses, capacity and conditions up to date."""
        facts, traits, health = self._facts(), self._traits(), self._health()
        key = ObjectKey("", self._settings.node)
        node = await self._client.find(Node, key)
        if node is None:
            try:
                node = await self._client.create(
                    Node(metadata=ObjectMeta(name=self._settings.node, labels=self._fixed_labels(traits)))
                )
            except AlreadyExists:
                node = await self._client.get(Node, key)
        meta = self._metadata(node, traits)
        if meta:
            node = await self._patch({"metadata": meta})
        if traits is not None and capabilities.OBSOLETE_HOST in meta.get("labels", {}):
            self._tell_obsolete(node, traits.guests.host_model)
        now = to_time(self._clock())
        disk = await asyncio.to_thread(os.statvfs, self._storage)
        memory_free = await asyncio.to_thread(_memory_available)
        status: dict[str, Any] = {
            "conditions": conditions(health, disk.f_bavail / max(1, disk.f_blocks), memory_free, node.status, now),
            "addresses": [
                {"type": "InternalIP", "address": self._settings.address},
                {"type": "Hostname", "address": self._settings.node},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port()}},
            "nodeInfo": await asyncio.to_thread(self._info, facts, traits),
        }
        if facts is not None and traits is not None:
            size = disk.f_blocks * disk.f_frsize
            exclusive, pages = self._exclusive_cpus(), await asyncio.to_thread(hugepages.reserved)
            usable = await asyncio.to_thread(hugepages.mounted)
            whole = hugepages.resources(pages, pages)
            status["capacity"] = capacity(facts, size, kvm=traits.kvm, exclusive=exclusive, pages=whole)
            status["allocatable"] = capacity(
                facts,
                size,
                kvm=traits.kvm,
                foreign=self._foreign_memory(),
                reserve=self._settings.memory_reserve + sum(pages.values()),
                exclusive=exclusive,
                pages=hugepages.resources(pages, usable),
            )
        await self._client.patch(Node, key, {"status": status}, how=Patch.STRATEGIC, subresource="status")

    def _tell_obsolete(self, node: Node, model: str) -> None:
        if node.metadata.labels.get(capabilities.OBSOLETE_HOST) == "true":
            words = f"the host-model CPU of this node, {model}, is among the cluster's obsolete models"
            self._labeller.warning(node, "HostModelIsObsolete", words)

    async def renew(self) -> None:
        """The Lease by which the control plane knows that this agent lives."""
        now = to_micro_time(self._clock())
        key = ObjectKey(LEASES, self._settings.node)
        try:
            await self._client.patch(Lease, key, {"spec": {"renewTime": now}})
        except NotFound:
            node = await self._client.get(Node, ObjectKey("", self._settings.node))
            reference = OwnerReference(api_version="v1", kind="Node", name=node.metadata.name, uid=node.metadata.uid)
            spec = LeaseSpec(
                holder_identity=self._settings.node,
                lease_duration_seconds=self._settings.lease_duration,
                renew_time=now,
            )
            meta = ObjectMeta(name=key.name, namespace=key.namespace, owner_references=[reference])
            await self._client.create(Lease(metadata=meta, spec=spec))

    async def heartbeat(self) -> None:
        """KubeVirt's own sign of life. Whether VMs may come here is for `report` alone to say."""
        await self._patch({"metadata": {"annotations": {HEARTBEAT: to_time(self._clock())}}})

    async def _patch(self, body: Mapping[str, Any]) -> Node:
        return await self._client.patch(Node, ObjectKey("", self._settings.node), body)

    def _fixed_labels(self, traits: NodeTraits | None) -> dict[str, str]:
        arch = GO_ARCH.get(traits.host.arch if traits else platform.machine(), "amd64")
        return {
            "kubernetes.io/hostname": self._settings.node,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": arch,
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": arch,
            **dict(self._settings.labels),
        }

    def _metadata(self, node: Node, traits: NodeTraits | None) -> dict[str, Any]:
        """The part of the metadata that has to change."""
        wanted: dict[str, str | None] = dict(self._fixed_labels(traits))
        ready = traits is not None and self._health().libvirt
        wanted[SCHEDULABLE] = "true" if ready else "false"
        if traits is not None:
            wanted[REALTIME] = "" if _read(_REALTIME_BUDGET) == "-1" else None
            wanted |= dict.fromkeys(CPU_MANAGER, "true" if self._exclusive_cpus() else "false")
            wanted[ACCELERATOR] = "kvm" if traits.kvm else "emulation"
            if SKIP_LABELS not in node.metadata.annotations:
                found = capabilities.labels(traits.host, traits.guests, self._obsolete())
                old = {k for k in node.metadata.labels if k.startswith(capabilities.PREFIXES)}
                wanted |= dict.fromkeys(old - found.keys()) | found
        labels = {k: v for k, v in wanted.items() if node.metadata.labels.get(k) != v}
        further = self._settings.annotations
        annotations = {k: v for k, v in further if node.metadata.annotations.get(k) != v}
        if node.metadata.annotations.get(STORAGE) != str(self._storage):
            annotations[STORAGE] = str(self._storage)
        if HEARTBEAT not in node.metadata.annotations and ready:
            annotations[HEARTBEAT] = to_time(self._clock())
        return {key: value for key, value in (("labels", labels), ("annotations", annotations)) if value}

    def _info(self, facts: NodeFacts | None, traits: NodeTraits | None) -> dict[str, str]:
        import kvtui

        release = _os_release()
        return {
            "machineID": _read("/etc/machine-id"),
            "systemUUID": traits.host.uuid if traits else "",
            "bootID": _read("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": platform.release(),
            "osImage": release.get("PRETTY_NAME", "Linux"),
            "containerRuntimeVersion": f"kvtui://libvirt-{facts.version}-qemu-{facts.hypervisor_version}"
            if facts
            else "kvtui://",
            "kubeletVersion": f"v{kvtui.__version__}-kvtui",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": GO_ARCH.get(traits.host.arch if traits else platform.machine(), "amd64"),
        }


def _memory_available() -> float:
    """Share of the memory that is available."""
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) / max(1, int(rows["MemTotal"].split()[0]))


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_release() -> dict[str, str]:
    pairs = (line.split("=", 1) for line in _read("/etc/os-release").splitlines() if "=" in line)
    return {key: value.strip('"') for key, value in pairs}


def hostname() -> str:
    """The name that a node has when nobody gives it one: a DNS label."""
    return socket.gethostname().partition(".")[0].lower()
