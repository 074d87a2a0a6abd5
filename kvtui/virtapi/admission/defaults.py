"""Defaults of a VMI spec, first half: what a VM's template is also given before it is checked.

Source: control plane facts 3.2, steps 2 to 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.kubevirt.domain import (
    CPU,
    Disk,
    Interface,
    InterfaceBridge,
    InterfaceMasquerade,
    Machine,
    Memory,
    ResourceRequirements,
)
from kvtui.api.kubevirt.vmi import Network, PodNetwork
from kvtui.api.wire import evolve
from kvtui.virtapi.admission import amounts
from kvtui.virtapi.admission.causes import bad_request

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, Volume
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec


def shared_defaults(spec: Spec, config: ClusterConfig) -> Spec:
    """Steps 2 to 10 in order. Raises Denied (400) when the cluster's default network binding is gone."""
    spec = architecture(spec, config)
    spec = machine(spec, config)
    spec = cpu_request(spec, config)
    spec = guest_memory(spec)
    spec = topology(spec)
    spec = pull_policies(spec)
    spec = eviction(spec, config)
    spec = network_interface(spec, config)
    return volume_disks(spec)


def architecture(spec: Spec, config: ClusterConfig) -> Spec:
    return spec if spec.architecture else evolve(spec, architecture=config.default_architecture)


def machine(spec: Spec, config: ClusterConfig) -> Spec:
    if spec.domain.machine is not None and spec.domain.machine.type:
        return spec
    machine_type = config.machine_type(spec.architecture or config.default_architecture)
    return evolve(spec, domain=evolve(spec.domain, machine=Machine(type=machine_type)))


def cpu_request(spec: Spec, config: ClusterConfig) -> Spec:
    """The limit is the request where only that is given; the cluster's request otherwise, not for dedicated CPUs."""
    resources = spec.domain.resources or ResourceRequirements()
    limit, request = resources.limits.get("cpu"), resources.requests.get("cpu")
    if amounts.exact(limit) and not amounts.exact(request) and limit is not None:
        request = limit
    elif request is None and config.cpu_request is not None:
        if spec.domain.cpu is not None and spec.domain.cpu.dedicated_cpu_placement:
            return spec
        request = config.cpu_request
    if request is None or request == resources.requests.get("cpu"):
        return spec
    resources = evolve(resources, requests={**resources.requests, "cpu": request})
    return evolve(spec, domain=evolve(spec.domain, resources=resources))


def guest_memory(spec: Spec) -> Spec:
    """Guest memory from the memory request, the limit or the huge page size, in that order."""
    memory = spec.domain.memory
    if memory is not None and memory.guest is not None:
        return spec
    resources = spec.domain.resources or ResourceRequirements()
    guest = None
    if amounts.value(resources.requests.get("memory")) > 0:
        guest = resources.requests["memory"]
    elif amounts.value(resources.limits.get("memory")) > 0:
        guest = resources.limits["memory"]
    elif memory is not None and memory.hugepages is not None:
        size = memory.hugepages.page_size or ""
        if not amounts.complaint(size):
            guest = size
    return evolve(spec, domain=evolve(spec.domain, memory=evolve(memory or Memory(), guest=guest)))


def topology(spec: Spec) -> Spec:
    """One core, one thread, and as many sockets as the CPU limit or request asks for, when nothing is said."""
    cpu = spec.domain.cpu or CPU()
    if cpu.cores or cpu.sockets or cpu.threads:
        return spec
    resources = spec.domain.resources or ResourceRequirements()
    sockets = 1
    if "cpu" in resources.limits:
        sockets = amounts.value(resources.limits["cpu"])
    elif "cpu" in resources.requests:
        sockets = amounts.value(resources.requests["cpu"])
    wrapped = sockets % 2**32  # upstream's counter is unsigned, so a negative request becomes a huge number
    cpu = evolve(cpu, cores=1, threads=1, sockets=wrapped or None)
    return evolve(spec, domain=evolve(spec.domain, cpu=cpu))


def pull_policies(spec: Spec) -> Spec:
    def filled(volume: Volume) -> Volume:
        disk = volume.container_disk
        if disk is None or disk.image_pull_policy:
            return volume
        floating = disk.image.endswith(":latest") or not any(mark in disk.image for mark in ":@")
        policy = "Always" if floating else "IfNotPresent"
        return evolve(volume, container_disk=evolve(disk, image_pull_policy=policy))

    return evolve(spec, volumes=[filled(volume) for volume in spec.volumes])


def eviction(spec: Spec, config: ClusterConfig) -> Spec:
    if spec.eviction_strategy is not None:
        return spec
    return evolve(spec, eviction_strategy=config.configuration.eviction_strategy or "None")


def network_interface(spec: Spec, config: ClusterConfig) -> Spec:
    """A NIC on the pod network for a VMI that speaks of no network at all."""
    devices = spec.domain.devices
    if devices.autoattach_pod_interface is False or spec.networks or devices.interfaces:
        return spec
    match config.default_interface:
        case "bridge":
            if not config.bridge_on_pod_network:
                raise bad_request("Bridge interface is not enabled in kubevirt-config")
            interface = Interface(name="default", bridge=InterfaceBridge())
        case "masquerade":
            interface = Interface(name="default", masquerade=InterfaceMasquerade())
        case "slirp":
            raise bad_request("slirp interface is deprecated as of v1.3")
        case other:
            raise bad_request(f"unknown default network interface {other}")
    domain = evolve(spec.domain, devices=evolve(devices, interfaces=[interface]))
    return evolve(spec, domain=domain, networks=[Network(name="default", pod=PodNetwork())])


def volume_disks(spec: Spec) -> Spec:
    """A disk, by name only, for every volume that has neither disk nor filesystem."""
    devices = spec.domain.devices
    known = {disk.name for disk in devices.disks} | {filesystem.name for filesystem in devices.filesystems}
    added: list[Disk] = []
    for volume in spec.volumes:
        if volume.name not in known:
            known.add(volume.name)
            added.append(Disk(name=volume.name))
    if not added:
        return spec
    return evolve(spec, domain=evolve(spec.domain, devices=evolve(devices, disks=[*devices.disks, *added])))
