"""VMI status as a node reports it: from the domain, its networks and the guest agent to a patch. Pure.

Lists are written whole, so a patch carries the revision it was made from; a writer who comes late reads again.

Source: kubevirt.io/api/core/v1, VirtualMachineInstanceStatus.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kvtui.api import quantity
from kvtui.api.kubevirt.domain import Machine
from kvtui.api.kubevirt.vmi import (
    CPUTopology,
    DomainMemoryDumpInfo,
    MemoryStatus,
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VirtualMachineInstanceGuestOSInfo,
    VirtualMachineInstanceNetworkInterface,
    VirtualMachineInstancePhaseTransitionTimestamp,
    VirtualMachineInstanceStatus,
    VolumeStatus,
)
from kvtui.api.wire import evolve, to_wire
from kvtui.node.hypervisor import DomainState, DomainStatus, Reason

PAUSED, AGENT, SYNCHRONIZED = "Paused", "AgentConnected", "Synchronized"
CREDENTIALS = "AccessCredentialsSynchronized"
GUEST_ONLY = 10
"""Interfaces of the guest besides the spec's that are shown."""
DUMPING = "MemoryDumpInProgress"
SYNC_REASON = "Synchronizing with the Domain failed."
_PAUSES = {
    Reason.USER: ("PausedByUser", "VMI was paused by user"),
    Reason.IOERROR: ("PausedIOError", "VMI was paused, low-level IO error detected"),
}
_MIGRATION_PAUSE = ("PausedByMigrationMonitor", "VMI was paused by the migration monitor")


@dataclass(frozen=True, slots=True)
class DomainNic:
    """An interface of the live domain."""

    name: str
    """Of the interface in the spec."""
    mac: str
    link_up: bool = True
    queues: int = 1


@dataclass(frozen=True, slots=True)
class GuestNic:
    """An interface as the guest agent tells."""

    name: str
    mac: str
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dump:
    """How far a memory dump is."""

    claim: str
    file: str
    start: str
    """RFC 3339, as `end`."""
    end: str = ""
    phase: str = DUMPING
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known of a running guest."""

    domain: DomainStatus
    machine: str = ""
    agent_connected: bool = False
    agent_supported: bool = True
    nics: Sequence[DomainNic] = ()
    pod_interfaces: Mapping[str, str] = field(default_factory=dict)
    """Name of the NIC in the pod, by interface name."""
    pod_ips: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses by interface name as the network room knows them."""
    guest_nics: Sequence[GuestNic] = ()
    guest_os: Sequence[tuple[str, str]] = ()
    """Field and value of what the guest agent tells of the system."""
    frozen: bool | None = None
    """None while a guest agent that is connected has not told yet."""
    credentials: tuple[bool, str] | None = None
    """Whether keys and passwords are in the guest, and why not; None where the guest agent has none to put there."""
    targets: Mapping[str, str] = field(default_factory=dict)
    """Target device by volume."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of generated images by volume."""
    dumps: Mapping[str, Dump] = field(default_factory=dict)
    """Memory dumps by volume."""
    memory: int = 0
    """Bytes that the guest has now."""
    requested: int = 0
    """Bytes that the guest was asked to have, pluggable memory included."""
    memory_failure: str = ""
    """Why the guest could not be given the memory of its spec."""
    topology: tuple[int, int, int] | None = None
    """Sockets, cores, threads that are plugged."""
    verdicts: Sequence[VirtualMachineInstanceCondition] = ()
    """LiveMigratable and StorageLiveMigratable."""
    migration_method: str = ""


def running(
    vmi: VirtualMachineInstance, seen: Observation, now: str, failure: str = ""
) -> VirtualMachineInstanceStatus:
    """The status of a VMI whose domain is active; `failure` is why it could not be brought into step."""
    status = vmi.status or VirtualMachineInstanceStatus()
    if status.phase != "Running":
        status = with_phase(status, "Running", now)
    conditions = _paused(status, seen.domain, now)
    conditions = _flag(conditions, AGENT, seen.agent_connected, now)
    conditions = _flag(conditions, "AgentVersionNotSupported", seen.agent_connected and not seen.agent_supported, now)
    conditions = _credentials(conditions, seen.credentials, now)
    conditions = [c for c in conditions if c.type != SYNCHRONIZED and not _done(c.type, vmi, seen)]
    for verdict in seen.verdicts:
        conditions = with_condition(conditions, verdict, now)
    if failure:
        known = [c for c in status.conditions if c.type == SYNCHRONIZED]
        conditions = with_condition([*conditions, *known], _not_synchronized(failure), now)
    if seen.memory_failure and any(c.type == "HotMemoryChange" for c in conditions):
        conditions = with_condition(conditions, _memory_failed(seen.memory_failure), now)
    changes: dict[str, Any] = {
        "conditions": conditions,
        "interfaces": interfaces(vmi, seen),
        "volume_status": volume_status(status.volume_status, seen, {v.name for v in vmi.spec.volumes}),
        "fs_freeze_status": _freeze_status(status, seen),
    }
    if seen.machine:
        changes["machine"] = Machine(type=seen.machine)
    if seen.migration_method:
        changes["migration_method"] = seen.migration_method
    if seen.memory:
        memory = evolve(status.memory or MemoryStatus(), guest_current=quantity.binary(seen.memory))
        if seen.requested:
            memory = evolve(memory, guest_requested=quantity.binary(seen.requested))
        changes["memory"] = memory
    if seen.topology is not None:
        sockets, cores, threads = seen.topology
        changes["current_cpu_topology"] = CPUTopology(sockets=sockets, cores=cores, threads=threads)
    told = VirtualMachineInstanceGuestOSInfo(**dict(seen.guest_os))
    if seen.guest_os and told.name != (status.guest_os_info and status.guest_os_info.name):
        changes["guest_os_info"] = told
    return evolve(status, **changes)


def _freeze_status(status: VirtualMachineInstanceStatus, seen: Observation) -> str | None:
    """What was last known stays until it is known anew."""
    if seen.agent_connected and seen.frozen is None:
        return status.fs_freeze_status
    return "frozen" if seen.frozen else None


def _done(kind: str, vmi: VirtualMachineInstance, seen: Observation) -> bool:
    """Whether a change that a condition announces has been applied to the running domain."""
    if kind == "HotVCPUChange" and seen.topology is not None:
        cpu = vmi.spec.domain.cpu
        return cpu is not None and seen.topology[0] >= (cpu.sockets or 1)
    if kind == "HotMemoryChange":
        memory = vmi.spec.domain.memory
        return bool(memory and memory.guest and seen.requested == quantity.value(memory.guest))
    return False


def with_phase(
    status: VirtualMachineInstanceStatus, phase: str, now: str, reason: str = ""
) -> VirtualMachineInstanceStatus:
    """The status in another phase; each phase has one timestamp."""
    known = [t for t in status.phase_transition_timestamps if t.phase != phase]
    stamp = VirtualMachineInstancePhaseTransitionTimestamp(phase=phase, phase_transition_timestamp=now)
    return evolve(status, phase=phase, reason=reason or status.reason, phase_transition_timestamps=[*known, stamp])


def ended(vmi: VirtualMachineInstance, phase: str, reason: str, now: str) -> VirtualMachineInstanceStatus:
    """The status of a VMI that has come to its end."""
    return with_phase(vmi.status or VirtualMachineInstanceStatus(), phase, now, reason)


def not_synchronized(vmi: VirtualMachineInstance, message: str, now: str) -> VirtualMachineInstanceStatus:
    """Synchronized=False with the first failure's words; it stays until a synchronisation succeeds."""
    status = vmi.status or VirtualMachineInstanceStatus()
    if any(c.type == SYNCHRONIZED and c.reason == SYNC_REASON for c in status.conditions):
        return status
    return evolve(status, conditions=with_condition(status.conditions, _not_synchronized(message), now))


def unknown(vmi: VirtualMachineInstance, now: str) -> VirtualMachineInstanceStatus:
    """libvirt has not answered for a while: nothing is known about the domain, which most probably runs on."""
    status = vmi.status or VirtualMachineInstanceStatus()
    condition = VirtualMachineInstanceCondition(
        type=SYNCHRONIZED,
        status="Unknown",
        reason="HypervisorUnreachable",
        message="the node's libvirt does not answer; a running guest is not affected",
    )
    return evolve(status, conditions=with_condition(status.conditions, condition, now))


def _not_synchronized(message: str) -> VirtualMachineInstanceCondition:
    return VirtualMachineInstanceCondition(type=SYNCHRONIZED, status="False", reason=SYNC_REASON, message=message)


def _memory_failed(message: str) -> VirtualMachineInstanceCondition:
    return VirtualMachineInstanceCondition(
        type="HotMemoryChange", status="False", reason="Memory Hotplug Failed", message=message
    )


def with_condition(
    conditions: Sequence[VirtualMachineInstanceCondition], wanted: VirtualMachineInstanceCondition, now: str
) -> list[VirtualMachineInstanceCondition]:
    """The list with this condition; its times change only with its status."""
    old = next((c for c in conditions if c.type == wanted.type), None)
    if old is not None and (old.status, old.reason or "") == (wanted.status, wanted.reason or ""):
        return list(conditions)
    since = old.last_transition_time if old is not None and old.status == wanted.status else now
    new = evolve(wanted, last_transition_time=since, last_probe_time=None)
    if old is None:
        return [*conditions, new]
    return [new if c is old else c for c in conditions]


def _flag(
    conditions: Sequence[VirtualMachineInstanceCondition], name: str, present: object, now: str
) -> list[VirtualMachineInstanceCondition]:
    """A condition that is True or absent."""
    if not present:
        return [c for c in conditions if c.type != name]
    return with_condition(conditions, VirtualMachineInstanceCondition(type=name, status="True"), now)


def _credentials(
    conditions: Sequence[VirtualMachineInstanceCondition], synced: tuple[bool, str] | None, now: str
) -> list[VirtualMachineInstanceCondition]:
    """Other words of a failure are news here, unlike elsewhere: they name another user or key."""
    if synced is None:
        return [c for c in conditions if c.type != CREDENTIALS]
    succeeded, message = synced
    wanted = VirtualMachineInstanceCondition(
        type=CREDENTIALS, status="True" if succeeded else "False", message=message or None
    )
    kept = [c for c in conditions if c.type != CREDENTIALS or (c.message or "") == message]
    return with_condition(kept, wanted, now)


def _paused(
    status: VirtualMachineInstanceStatus, domain: DomainStatus, now: str
) -> list[VirtualMachineInstanceCondition]:
    conditions = list(status.conditions)
    if domain.state is not DomainState.PAUSED:
        return [c for c in conditions if c.type != PAUSED]
    if any(c.type == PAUSED for c in conditions):
        return conditions
    words = _PAUSES.get(domain.reason)
    migration = status.migration_state
    if domain.reason is Reason.MIGRATION and migration is not None and migration.mode == "Paused":
        words = _MIGRATION_PAUSE if not migration.completed else None
    if words is None:
        return conditions
    reason, message = words
    wanted = VirtualMachineInstanceCondition(type=PAUSED, status="True", reason=reason, message=message)
    return with_condition(conditions, wanted, now)


def interfaces(vmi: VirtualMachineInstance, seen: Observation) -> list[VirtualMachineInstanceNetworkInterface]:
    """Interfaces of the spec, the primary one first, then those that only the guest has; merged by MAC."""
    known = {i.name: i for i in (vmi.status.interfaces if vmi.status else [])}
    by_mac = {nic.mac.lower(): _reachable(nic) for nic in seen.guest_nics}
    by_name = {nic.name: nic for nic in seen.nics}
    result = []
    first = {n.name for n in vmi.spec.networks if n.pod is not None or (n.multus is not None and n.multus.default)}
    for spec in sorted(vmi.spec.domain.devices.interfaces, key=lambda i: i.name not in first):
        old, nic = known.get(spec.name), by_name.get(spec.name)
        sources = [s for s in (old.info_source or "").split(", ") if s == "multus-status"] if old else []
        if nic is None:
            if old is not None and spec.state != "absent":
                result.append(old)
            continue
        guest = by_mac.pop(nic.mac.lower(), None)
        sources = ["domain", *(["guest-agent"] if guest else []), *sources]
        ips = _addresses(seen.pod_ips.get(spec.name, ()), guest)
        result.append(
            VirtualMachineInstanceNetworkInterface(
                name=spec.name,
                mac=nic.mac,
                ip_address=ips[0] if ips else None,
                ip_addresses=list(ips),
                interface_name=guest.name if guest else None,
                pod_interface_name=seen.pod_interfaces.get(spec.name),
                info_source=", ".join(sources),
                queue_count=nic.queues,
                link_state="up" if nic.link_up else "down",
            )
        )
    others = [nic for nic in by_mac.values() if nic.name != "lo" and nic.mac]
    result.extend(
        VirtualMachineInstanceNetworkInterface(
            mac=guest.mac,
            ip_address=guest.ips[0] if guest.ips else None,
            ip_addresses=list(guest.ips),
            interface_name=guest.name,
            info_source="guest-agent",
        )
        for guest in others[:GUEST_ONLY]
    )
    return result


def _addresses(given: Sequence[str], guest: GuestNic | None) -> tuple[str, ...]:
    """IPv4 first. Others reach the guest by what its Pod was given, if the guest uses that family at all."""
    if guest is None:
        return tuple(given)
    found: list[str] = []
    for six in (False, True):
        used = [ip for ip in guest.ips if (":" in ip) == six]
        known = [ip for ip in given if (":" in ip) == six]
        found += known if used and known else used
    return tuple(found)


def _reachable(nic: GuestNic) -> GuestNic:
    """The interface without the addresses that mean nothing beyond its link."""
    return replace(nic, ips=tuple(ip for ip in nic.ips if not ip.lower().startswith("fe80:")))


def volume_status(known: Sequence[VolumeStatus], seen: Observation, wanted: Collection[str]) -> list[VolumeStatus]:
    """Targets and sizes of the domain's disks in the list that the controller keeps, sorted by name.

    `wanted` are the volumes of the spec.
    """
    by_name = {v.name: v for v in known}
    for name in seen.targets:
        by_name.setdefault(name, VolumeStatus(name=name))
    result = []
    for name in sorted(by_name):
        volume = by_name[name]
        target = seen.targets.get(name, "")
        changes: dict[str, Any] = {"target": target}
        if name in seen.sizes:
            changes["size"] = seen.sizes[name]
        dump = seen.dumps.get(name)
        if dump is not None and (name in wanted or dump.phase == DUMPING):
            changes |= _dump(dump)
        elif volume.hotplug_volume is not None:
            changes |= _hotplug_phase(volume, target, gone=name not in wanted)
        result.append(evolve(volume, **changes))
    return result


def _dump(dump: Dump) -> dict[str, Any]:
    info = DomainMemoryDumpInfo(
        claim_name=dump.claim,
        start_timestamp=dump.start,
        end_timestamp=dump.end or None,
        target_file_name=dump.file,
    )
    return {
        "phase": dump.phase,
        "reason": dump.phase,
        "message": dump.message or None,
        "memory_dump_volume": info,
    }


def unmounted(vmi: VirtualMachineInstance) -> list[str]:
    """Hot-plugged volumes of the spec that a start has to wait for: they are part of the first description."""
    wanted = {
        v.name
        for v in vmi.spec.volumes
        if (source := v.persistent_volume_claim or v.data_volume) is not None and source.hotpluggable
    }
    there = {s.name for s in vmi.status.volume_status if s.phase in ("MountedToPod", "Ready")}
    return sorted(wanted - there)


def mounted(vmi: VirtualMachineInstance) -> VirtualMachineInstanceStatus:
    """The status with every volume that can be reached from this node as mounted."""
    return evolve(
        vmi.status,
        volume_status=[
            evolve(
                volume,
                phase="MountedToPod",
                reason="VolumeMountedToPod",
                message=f"Volume {volume.name} has been mounted in virt-launcher pod",
            )
            if volume.hotplug_volume is not None and volume.phase == "AttachedToNode"
            else volume
            for volume in vmi.status.volume_status
        ],
    )


def immovable_news(vmi: VirtualMachineInstance, wanted: VirtualMachineInstanceStatus) -> str:
    """What an instance that has to move when its node is drained is told when it turns out that it cannot."""
    found = next((c for c in wanted.conditions if c.type == "LiveMigratable"), None)
    known = any(c.type == "LiveMigratable" for c in vmi.status.conditions)
    if vmi.spec.eviction_strategy != "LiveMigrate" or known or found is None or found.status != "False":
        return ""
    return f"EvictionStrategy is set but vmi is not migratable; {found.message or ''}"


def volume_news(before: Sequence[VolumeStatus], after: Sequence[VolumeStatus]) -> list[tuple[str, str]]:
    """Reason and message of the phases that hot-plugged volumes came to."""
    known = {v.name: v.phase for v in before}
    news = [
        (v.reason, v.message)
        for v in after
        if v.hotplug_volume is not None and v.reason and v.message and v.phase != known.get(v.name)
    ]
    gone = [v.name for v in after if v.phase == "UnMountedFromPod" and known.get(v.name) != v.phase]
    return [*news, *(("VolumeUnplugged", f"Volume {name} has been unplugged") for name in gone)]


def _hotplug_phase(volume: VolumeStatus, target: str, *, gone: bool) -> dict[str, str]:
    if gone and not target:
        return {
            "phase": "UnMountedFromPod",
            "reason": "VolumeUnMountedFromPod",
            "message": f"Volume {volume.name} has been unmounted from virt-launcher pod",
        }
    if target and volume.phase in ("MountedToPod", "AttachedToNode", "Bound", "Pending", "Ready"):
        return {
            "phase": "Ready",
            "reason": "VolumeReady",
            "message": f"Successfully attach hotplugged volume {volume.name} to VM",
        }
    return {}


def patch(vmi: VirtualMachineInstance, wanted: VirtualMachineInstanceStatus) -> dict[str, Any] | None:
    """Merge patch that turns the VMI's status into the wanted one; None when they are equal."""
    old = to_wire(vmi.status or VirtualMachineInstanceStatus())
    new = to_wire(wanted)
    difference = {key: new.get(key) for key in {*old, *new} if old.get(key) != new.get(key)}
    for key, value in difference.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            difference[key] = {**dict.fromkeys(old[key]), **value}
    if not difference:
        return None
    return {"metadata": {"resourceVersion": vmi.metadata.resource_version}, "status": difference}
