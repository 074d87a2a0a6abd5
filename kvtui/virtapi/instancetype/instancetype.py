"""What an instancetype puts into a VM's template, and where the template already says otherwise.

Source: life-cycle facts 8.1; kubevirt pkg/instancetype/apply.
"""

from __future__ import annotations

import struct

from kvtui.api.kubevirt.domain import CPU, Memory, ResourceRequirements
from kvtui.api.kubevirt.instancetype import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceTemplateSpec
from kvtui.api.quantity import binary
from kvtui.api.wire import evolve
from kvtui.virtapi.admission import amounts
from kvtui.virtapi.instancetype import topology

Spec = VirtualMachineInstancetypeSpec
Template = VirtualMachineInstanceTemplateSpec

_CPU_FLAGS = (
    ("model", "model"),
    ("dedicated_cpu_placement", "dedicatedCPUPlacement"),
    ("isolate_emulator_thread", "isolateEmulatorThread"),
    ("numa", "numa"),
    ("realtime", "realtime"),
)


def conflicts(template: Template, instancetype: Spec) -> list[str]:
    """Fields, below the template's spec, that both set. Annotations are named `annotations.<key>`."""
    spec, found = template.spec, []
    if instancetype.node_selector and spec.node_selector:
        found.append("nodeSelector")
    if instancetype.scheduler_name and spec.scheduler_name:
        found.append("schedulerName")
    found += [f"domain.{name}" for name in (*_cpu_conflicts(template, instancetype), *_memory(template, instancetype))]
    wanted, present = instancetype.io_threads, spec.domain.io_threads
    if wanted is not None and wanted.supplemental_pool_thread_count is not None and present is not None:
        found.append("domain.ioThreads.supplementalPoolThreadCount")
    if instancetype.io_threads_policy is not None and spec.domain.io_threads_policy is not None:
        found.append("domain.ioThreadsPolicy")
    if instancetype.launch_security is not None and spec.domain.launch_security is not None:
        found.append("domain.launchSecurity")
    if instancetype.gpus and spec.domain.devices.gpus:
        found.append("domain.devices.gpus")
    if instancetype.host_devices and spec.domain.devices.host_devices:
        found.append("domain.devices.hostDevices")
    return found + annotation_conflicts(template, instancetype)


def annotation_conflicts(template: Template, instancetype: Spec) -> list[str]:
    own = template.metadata.annotations
    return [f"annotations.{key}" for key, value in instancetype.annotations.items() if own.get(key, value) != value]


def _cpu_conflicts(template: Template, instancetype: Spec) -> list[str]:
    cpu = template.spec.domain.cpu or CPU()
    resources = template.spec.domain.resources or ResourceRequirements()
    found = [f"cpu.{level}" for level in ("sockets", "cores", "threads") if getattr(cpu, level)]
    found += [f"resources.{name}.cpu" for name in ("requests", "limits") if "cpu" in getattr(resources, name)]
    for name, wire in _CPU_FLAGS:
        wanted = getattr(instancetype.cpu, name)
        if wanted not in (None, "") and getattr(cpu, name) not in (None, "", False):
            found.append(f"cpu.{wire}")
    return found


def _memory(template: Template, instancetype: Spec) -> list[str]:
    """Only the first."""
    memory = template.spec.domain.memory or Memory()
    resources = template.spec.domain.resources or ResourceRequirements()
    wanted = instancetype.memory
    checks = (
        ("memory.guest", memory.guest is not None),
        ("memory.hugepages", memory.hugepages is not None and wanted.hugepages is not None),
        ("memory.maxGuest", memory.max_guest is not None and wanted.max_guest is not None),
        ("resources.requests.memory", "memory" in resources.requests),
        ("resources.limits.memory", "memory" in resources.limits),
    )
    return next(([name] for name, clash in checks if clash), [])


def apply(template: Template, instancetype: Spec, preference: VirtualMachinePreferenceSpec | None) -> Template:
    """The template with the instancetype's share. Conflicts must have been ruled out."""
    spec, domain = template.spec, template.spec.domain
    domain = evolve(
        domain,
        cpu=_cpu(domain.cpu or CPU(), instancetype, preference),
        memory=_guest_memory(domain.memory or Memory(), instancetype),
        resources=_resources(domain.resources, instancetype),
        io_threads=instancetype.io_threads or domain.io_threads,
        io_threads_policy=instancetype.io_threads_policy or domain.io_threads_policy,
        launch_security=instancetype.launch_security or domain.launch_security,
        devices=evolve(
            domain.devices,
            gpus=instancetype.gpus or domain.devices.gpus,
            host_devices=instancetype.host_devices or domain.devices.host_devices,
        ),
    )
    spec = evolve(
        spec,
        domain=domain,
        node_selector=instancetype.node_selector or spec.node_selector,
        scheduler_name=instancetype.scheduler_name or spec.scheduler_name,
    )
    annotations = {**template.metadata.annotations, **instancetype.annotations}
    return evolve(template, spec=spec, metadata=evolve(template.metadata, annotations=annotations))


def _cpu(cpu: CPU, instancetype: Spec, preference: VirtualMachinePreferenceSpec | None) -> CPU:
    wanted = instancetype.cpu
    sockets, cores, threads = topology.split(wanted.guest, preference)
    return evolve(
        cpu,
        sockets=sockets,
        cores=cores,
        threads=threads,
        max_sockets=wanted.max_sockets or cpu.max_sockets,
        model=wanted.model or cpu.model,
        dedicated_cpu_placement=wanted.dedicated_cpu_placement or cpu.dedicated_cpu_placement,
        isolate_emulator_thread=wanted.isolate_emulator_thread or cpu.isolate_emulator_thread,
        numa=wanted.numa or cpu.numa,
        realtime=wanted.realtime or cpu.realtime,
    )


def _guest_memory(memory: Memory, instancetype: Spec) -> Memory:
    wanted = instancetype.memory
    return evolve(
        memory,
        guest=wanted.guest,
        hugepages=wanted.hugepages or memory.hugepages,
        max_guest=wanted.max_guest or memory.max_guest,
    )


def _resources(resources: ResourceRequirements | None, instancetype: Spec) -> ResourceRequirements | None:
    """An overcommitted guest requests less than it sees."""
    percent = instancetype.memory.overcommit_percent
    if not percent:
        return resources
    share = _single(1 - _single(percent / 100))
    requested = int(_single(_single(amounts.value(instancetype.memory.guest)) * share))
    resources = resources or ResourceRequirements()
    return evolve(resources, requests={**resources.requests, "memory": binary(requested)})


def _single(number: float) -> float:
    """The number as 32 bits hold it, in which upstream computes the share."""
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded
