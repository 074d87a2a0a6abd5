"""Conditions that say that something plugged into a running VMI still waits for its migration.

Source: kubevirt pkg/virt-controller/watch/vmi/{cpu-hotplug,memory-hotplug}.go, pkg/network/migration; facts 2.9, 3.5.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from kvtui.api import quantity
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceCondition
from kvtui.api.times import from_time
from kvtui.api.wire import evolve
from kvtui.controllers import conditions, names
from kvtui.controllers.launcher.networks import MULTUS_NETWORKS, attachment_of, pod_interface_name
from kvtui.controllers.launcher.resources import is_dedicated

Condition = VirtualMachineInstanceCondition
PATIENCE = 15.0
"""Seconds that the node agent has to plug in a NIC before a migration has to do it."""
PENDING, DUE = "AutoMigrationPending", "AutoMigrationDueToLiveUpdate"


def with_changes(vmi: VirtualMachineInstance, launcher: Pod, now: datetime) -> VirtualMachineInstance:
    """A running VMI with the conditions of what is under way."""
    if vmi.status.phase != "Running" or vmi.metadata.deletion_timestamp:
        return vmi
    return _network(_memory(_cpu(vmi, launcher, now), launcher, now), launcher, now)


def _put(vmi: VirtualMachineInstance, made: Condition) -> VirtualMachineInstance:
    return evolve(vmi, status=evolve(vmi.status, conditions=conditions.put(vmi.status.conditions, made)))


def _labelled(vmi: VirtualMachineInstance, key: str, value: str) -> VirtualMachineInstance:
    return evolve(vmi, metadata=evolve(vmi.metadata, labels={**vmi.metadata.labels, key: value}))


def _cpu(vmi: VirtualMachineInstance, launcher: Pod, now: datetime) -> VirtualMachineInstance:
    current, wanted = vmi.status.current_cpu_topology, vmi.spec.domain.cpu
    if current is None or wanted is None or conditions.find(vmi.status.conditions, "HotVCPUChange") is not None:
        return vmi
    # A topology of which only a part is given leaves the sockets unset, which is one.
    if (wanted.sockets or 1) == (current.sockets or 1):
        return vmi
    vmi = _put(vmi, conditions.make(Condition, "HotVCPUChange", "True", now=now))
    if not is_dedicated(vmi.spec) or not launcher.spec.containers:
        return vmi
    count = (wanted.sockets or 1) * (wanted.cores or 1) * (wanted.threads or 1)
    return _labelled(vmi, names.CPU_LIMITS_LABEL, str(count))


def _memory(vmi: VirtualMachineInstance, launcher: Pod, now: datetime) -> VirtualMachineInstance:
    requested = vmi.status.memory.guest_requested if vmi.status.memory else None
    wanted = vmi.spec.domain.memory.guest if vmi.spec.domain.memory else None
    if requested is None or wanted is None or conditions.find(vmi.status.conditions, "HotMemoryChange") is not None:
        return vmi
    difference = quantity.value(wanted) - quantity.value(requested)
    if difference == 0:
        return vmi
    vmi = _put(vmi, conditions.make(Condition, "HotMemoryChange", "True", now=now))
    compute = next((c for c in launcher.spec.containers if c.name == "compute"), None)
    present = compute.resources.requests.get("memory") if compute is not None else None
    if present is None:
        return vmi
    return _labelled(vmi, names.MEMORY_REQUESTS_LABEL, quantity.binary(quantity.value(present) + difference))


def unplugged(vmi: VirtualMachineInstance, launcher: Pod) -> list[Interface]:
    """Secondary interfaces that the launcher was not started with and that no agent has plugged in since."""
    started = attached(launcher)
    reported = {i.name for i in vmi.status.interfaces if i.name}
    secondary = {n.name for n in vmi.spec.networks if n.multus is not None and not n.multus.default}
    return [
        i
        for i in vmi.spec.domain.devices.interfaces
        if i.name in secondary
        and i.state != "absent"
        and (i.bridge is not None or i.sriov is not None)
        and pod_interface_name(i.name) not in started
        and i.name not in reported
    ]


def attached(launcher: Pod) -> dict[str, tuple[str, str]]:
    """Interface of the Pod -> the definition to which it was attached."""
    try:
        elements = json.loads(launcher.metadata.annotations.get(MULTUS_NETWORKS, "[]"))
    except ValueError:
        return {}
    found = (e for e in elements if isinstance(e, dict)) if isinstance(elements, list) else ()
    return {str(e.get("interface")): (str(e.get("namespace")), str(e.get("name"))) for e in found}


def is_moved(vmi: VirtualMachineInstance, launcher: Pod) -> bool:
    """Whether a network is another one than the launcher was attached to."""
    started = attached(launcher)
    used = {i.name for i in vmi.spec.domain.devices.interfaces if i.state != "absent"}
    for network in vmi.spec.networks:
        was = started.get(pod_interface_name(network.name))
        wanted = attachment_of(network, vmi.metadata.namespace)
        if network.name in used and was is not None and wanted is not None and wanted != was:
            return True
    return False


def _network(vmi: VirtualMachineInstance, launcher: Pod, now: datetime) -> VirtualMachineInstance:
    waiting: Sequence[Interface] = unplugged(vmi, launcher)
    present = conditions.find(vmi.status.conditions, "MigrationRequired")
    moved = is_moved(vmi, launcher)
    if not waiting and not moved:
        if present is None:
            return vmi
        left = conditions.without(vmi.status.conditions, "MigrationRequired")
        return evolve(vmi, status=evolve(vmi.status, conditions=left))
    at_once = moved or any(i.sriov is not None for i in waiting)
    if present is not None and present.status == "False":
        at_once = at_once or _since(present, now) >= PATIENCE
    due = at_once or (present is not None and present.status == "True")
    made = conditions.make(Condition, "MigrationRequired", "True" if due else "False", DUE if due else PENDING, now=now)
    return _put(vmi, made)


def _since(condition: Condition, now: datetime) -> float:
    if not condition.last_transition_time:
        return PATIENCE
    return (now - from_time(str(condition.last_transition_time))).total_seconds()


def wake_in(vmi: VirtualMachineInstance, now: datetime) -> float | None:
    """Seconds until a pending NIC becomes a reason to migrate."""
    present = conditions.find(vmi.status.conditions, "MigrationRequired")
    if present is None or present.status != "False":
        return None
    return float((timedelta(seconds=PATIENCE) - timedelta(seconds=_since(present, now))).total_seconds() + 0.1)
