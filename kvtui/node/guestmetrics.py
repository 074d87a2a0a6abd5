"""What a node tells of its guests, under upstream's names: libvirt's statistics and guest agents' answers as samples.

Pure. Whatever a guest writes (mount points, kinds of file systems, names of disks) ends as the value of a label, and
what it says twice is told once: a scraper throws all of a node's samples away when two of them are the same.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectGetAllDomainStats; kubevirt
docs/observability/metrics.md
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kvtui.controlloop.exposition import NO_LABELS, Family, Labels, Sample, joined, label_name, labels
from kvtui.node.guestanswers import GuestFilesystem, GuestLoad
from kvtui.node.hypervisor import JobStats

VMI = "kubevirt_vmi_"
KIB, NANOSECONDS, MIB = 1024, 1e-9, 2**20
_STATES = {0: "offline", 1: "running", 2: "blocked"}
_MEASURED = 2
"""VIR_DOMAIN_DIRTYRATE_MEASURED: the page sampling has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One running guest, as it is known at the moment of a scrape."""

    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of its VMI."""
    stats: Mapping[str, object] = field(default_factory=dict)
    """In the names of virConnectGetAllDomainStats."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """Name in the spec by target: vda, tap0."""
    affinity: int = 0
    """How many pairs of a vCPU and a CPU of the node may come together."""
    filesystems: tuple[GuestFilesystem, ...] = ()
    load: GuestLoad | None = None


@dataclass(frozen=True, slots=True)
class Moving:
    """A migration away from this node."""

    namespace: str
    name: str
    job: JobStats


@dataclass(frozen=True, slots=True)
class Metric:
    """Where a metric comes from."""

    name: str
    """Behind `kubevirt_vmi_`."""
    field: str
    """libvirt's name for it."""
    help: str
    factor: float = 1
    """From libvirt's unit to ours."""

    @property
    def type(self) -> Literal["counter", "gauge"]:
        return "counter" if self.name.endswith("_total") else "gauge"


WHOLE = (
    Metric("cpu_usage_seconds_total", "cpu.time", "CPU time of the guest and of what emulates it.", NANOSECONDS),
    Metric("cpu_user_usage_seconds_total", "cpu.user", "CPU time in user mode.", NANOSECONDS),
    Metric("cpu_system_usage_seconds_total", "cpu.system", "CPU time in system mode.", NANOSECONDS),
    Metric("memory_resident_bytes", "balloon.rss", "Memory of the node that the guest's process holds.", KIB),
    Metric("memory_available_bytes", "balloon.available", "Memory that the guest sees.", KIB),
    Metric("memory_unused_bytes", "balloon.unused", "Memory that the guest uses for nothing at all.", KIB),
    Metric("memory_usable_bytes", "balloon.usable", "Memory that the guest could give up without swapping.", KIB),
    Metric("memory_cached_bytes", "balloon.disk_caches", "Memory with which the guest caches files.", KIB),
    Metric("memory_actual_balloon_bytes", "balloon.current", "Memory that the balloon leaves to the guest.", KIB),
    Metric("memory_domain_bytes", "balloon.maximum", "Memory that the domain may have.", KIB),
    Metric("memory_swap_in_traffic_bytes", "balloon.swap_in", "What the guest has read from its swap space.", KIB),
    Metric("memory_swap_out_traffic_bytes", "balloon.swap_out", "What the guest has written to its swap space.", KIB),
    Metric("memory_pgmajfault_total", "balloon.major_fault", "Page faults of the guest that needed a disk."),
    Metric("memory_pgminfault_total", "balloon.minor_fault", "Page faults of the guest that needed none."),
)
VCPU = (
    Metric("vcpu_wait_seconds_total", "wait", "Time for which a vCPU waited for I/O.", NANOSECONDS),
    Metric("vcpu_delay_seconds_total", "delay", "Time for which a vCPU could run and had no CPU.", NANOSECONDS),
)
INTERFACE = (
    Metric("network_receive_bytes_total", "rx.bytes", "Bytes received."),
    Metric("network_transmit_bytes_total", "tx.bytes", "Bytes sent."),
    Metric("network_receive_packets_total", "rx.pkts", "Packets received."),
    Metric("network_transmit_packets_total", "tx.pkts", "Packets sent."),
    Metric("network_receive_errors_total", "rx.errs", "Packets not received for an error."),
    Metric("network_transmit_errors_total", "tx.errs", "Packets not sent for an error."),
    Metric("network_receive_packets_dropped_total", "rx.drop", "Packets dropped on receipt."),
    Metric("network_transmit_packets_dropped_total", "tx.drop", "Packets dropped on their way out."),
)
DRIVE = (
    Metric("storage_iops_read_total", "rd.reqs", "Reads."),
    Metric("storage_iops_write_total", "wr.reqs", "Writes."),
    Metric("storage_read_traffic_bytes_total", "rd.bytes", "Bytes read."),
    Metric("storage_write_traffic_bytes_total", "wr.bytes", "Bytes written."),
    Metric("storage_read_times_seconds_total", "rd.times", "Time spent on reads.", NANOSECONDS),
    Metric("storage_write_times_seconds_total", "wr.times", "Time spent on writes.", NANOSECONDS),
    Metric("storage_flush_requests_total", "fl.reqs", "Flushes."),
    Metric("storage_flush_times_seconds_total", "fl.times", "Time spent on flushes.", NANOSECONDS),
)
VCPU_SECONDS = Metric("vcpu_seconds_total", "time", "Time of a vCPU, under the state it is in now.", NANOSECONDS)
TRAFFIC = Metric("network_traffic_bytes_total", "bytes", "Deprecated: bytes received and sent.")
DIRTY_RATE = Metric("dirty_rate_bytes_per_second", "dirtyrate", "Memory that the guest changes, from a sample.", MIB)
AFFINITY = Metric("node_cpu_affinity", "", "Pairs of a vCPU and a CPU of the node on which it may run.")
FILESYSTEM = (
    Metric("filesystem_capacity_bytes", "", "Size of a file system, as the guest tells it."),
    Metric("filesystem_used_bytes", "", "What is used of a file system, as the guest tells it."),
)
LOAD = tuple(Metric(f"guest_load_{n}m", "", f"Load of the guest over {n} min, as it tells itself.") for n in (1, 5, 15))
DERIVED = {
    "vmi:kubevirt_vmi_memory_used_bytes:sum": "Memory that the guest uses: what it sees without what it could give up.",
    "kubevirt_vmi_memory_used_bytes": "Deprecated: see vmi:kubevirt_vmi_memory_used_bytes:sum.",
    "vmi:kubevirt_vmi_vcpu:count": "vCPUs of the guest.",
    "vmi:kubevirt_vmi_guest_queue_length:sum": "Processes of the guest that wait for a vCPU.",
    "kubevirt_vmi_guest_vcpu_queue": "Deprecated: see vmi:kubevirt_vmi_guest_queue_length:sum.",
}
"""What upstream computes from the others with recording rules."""
_ALL = (*WHOLE, VCPU_SECONDS, *VCPU, TRAFFIC, *INTERFACE, *DRIVE, DIRTY_RATE, AFFINITY, *FILESYSTEM, *LOAD)


class _Samples:
    """Samples by metric, gathered guest by guest."""

    def __init__(self) -> None:
        names = (*(f"{VMI}{metric.name}" for metric in _ALL), *DERIVED)
        self.of: dict[str, list[Sample]] = {name: [] for name in names}

    def add(self, metric: Metric, own: Labels, value: object) -> None:
        """Only what libvirt tells."""
        if isinstance(value, (int, float)):
            self.of[f"{VMI}{metric.name}"].append(("", own, value * metric.factor))


def guest_families(node: str, guests: Iterable[Guest]) -> Iterator[Family]:
    """All metrics of all guests; a name that is there twice is told once."""
    samples, seen = _Samples(), set[tuple[str, str]]()
    for guest in guests:
        key = (guest.namespace, guest.name)
        if key not in seen:
            seen.add(key)
            _add(samples, node, guest)
    for metric in _ALL:
        name = f"{VMI}{metric.name}"
        yield Family(name, metric.help, metric.type, samples.of[name])
    for name, text in DERIVED.items():
        yield Family(name, text, "gauge", samples.of[name])


def _add(samples: _Samples, node: str, guest: Guest) -> None:
    stats, who = guest.stats, {"node": node, "namespace": guest.namespace, "name": guest.name}
    own = labels({label_name(k, "kubernetes_vmi_label_"): v for k, v in guest.labels.items()} | who)
    for metric in WHOLE:
        samples.add(metric, own, stats.get(metric.field))
    _add_vcpus(samples, own, stats)
    for name, rows in _devices(stats, "net", guest.devices):
        extra = labels({"interface": name})
        for metric in INTERFACE:
            samples.add(metric, joined(own, extra), stats.get(f"{rows}.{metric.field}"))
        for way in ("rx", "tx"):
            samples.add(TRAFFIC, joined(own, joined(extra, labels({"type": way}))), stats.get(f"{rows}.{way}.bytes"))
    for name, rows in _devices(stats, "block", guest.devices):
        extra = joined(own, labels({"drive": name}))
        for metric in DRIVE:
            samples.add(metric, extra, stats.get(f"{rows}.{metric.field}"))
    if stats.get("dirtyrate.calc_status") == _MEASURED:
        samples.add(DIRTY_RATE, own, stats.get("dirtyrate.megabytes_per_second"))
    if guest.affinity:
        samples.add(AFFINITY, own, guest.affinity)
    named = {(f.name, f.mount, f.type): f for f in guest.filesystems}
    for (name, mount, kind), found in named.items():
        where = joined(own, labels({"disk_name": name, "mount_point": mount, "file_system_type": kind}))
        for metric, size in zip(FILESYSTEM, (found.total, found.used), strict=True):
            samples.add(metric, where, size)
    if guest.load is not None:
        for metric, value in zip(LOAD, guest.load.averages, strict=True):
            samples.add(metric, own, value)
    _add_derived(samples, labels(who), guest)


def _add_vcpus(samples: _Samples, own: Labels, stats: Mapping[str, object]) -> None:
    for number in range(_count(stats, "vcpu.maximum")):
        if f"vcpu.{number}.state" not in stats:
            continue
        which = {"id": str(number)}
        state = {"state": _STATES.get(_count(stats, f"vcpu.{number}.state"), "unknown")}
        samples.add(VCPU_SECONDS, joined(own, labels(which | state)), stats.get(f"vcpu.{number}.time"))
        for metric in VCPU:
            samples.add(metric, joined(own, labels(which)), stats.get(f"vcpu.{number}.{metric.field}"))


def _add_derived(samples: _Samples, own: Labels, guest: Guest) -> None:
    available, usable = guest.stats.get("balloon.available"), guest.stats.get("balloon.usable")
    if isinstance(available, int) and isinstance(usable, int):
        for name in ("vmi:kubevirt_vmi_memory_used_bytes:sum", "kubevirt_vmi_memory_used_bytes"):
            samples.of[name].append(("", own, (available - usable) * KIB))
    vcpus = _count(guest.stats, "vcpu.current")
    if vcpus:
        samples.of["vmi:kubevirt_vmi_vcpu:count"].append(("", own, vcpus))
    if guest.load is not None and vcpus:
        for name in ("vmi:kubevirt_vmi_guest_queue_length:sum", "kubevirt_vmi_guest_vcpu_queue"):
            samples.of[name].append(("", own, max(0.0, guest.load.averages[0] - vcpus)))


def _devices(stats: Mapping[str, object], group: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name of each device of a group, once, and the beginning of its fields."""
    seen = set()
    for number in range(_count(stats, f"{group}.count")):
        target = str(stats.get(f"{group}.{number}.name", ""))
        name = names.get(target) or target
        if name and name not in seen:
            seen.add(name)
            yield name, f"{group}.{number}"


def _count(stats: Mapping[str, object], name: str) -> int:
    value = stats.get(name, 0)
    return value if isinstance(value, int) else 0


def migration_families(node: str, moving: Iterable[Moving]) -> Iterator[Family]:
    """Progress of what leaves this node: bytes, bytes per second."""
    known = {(m.namespace, m.name): m.job for m in moving}
    rows: dict[str, tuple[str, Callable[[JobStats], int]]] = {
        "migration_data_bytes_total": ("What there is to move.", lambda j: j.data_total),
        "migration_data_processed_bytes": ("What has been moved.", lambda j: j.data_processed),
        "migration_data_remaining_bytes": ("What is still to be moved.", lambda j: j.data_remaining),
        "migration_dirty_memory_rate_bytes": ("What the guest changes meanwhile.", lambda j: j.dirty_rate),
        "migration_memory_transfer_rate_bytes": ("How fast memory moves.", lambda j: j.memory_rate),
    }
    own = {key: labels({"node": node, "namespace": key[0], "name": key[1]}) for key in known}
    for name, (text, read) in rows.items():
        kind: Literal["counter", "gauge"] = "counter" if name.endswith("_total") else "gauge"
        yield Family(VMI + name, text, kind, [("", own[key], read(job)) for key, job in known.items()])
    total = [("", own[key], float(job.data_total)) for key, job in known.items()]
    yield Family("kubevirt_vmi_migration_data_total_bytes", "Deprecated: what there is to move.", "counter", total)


def node_families(*, node: str, version: str, ready: bool, deprecated: Iterable[str]) -> Iterator[Family]:
    """What concerns the node itself; `deprecated` are machine types."""
    info = labels({"goversion": f"python{platform.python_version()}", "kubeversion": version})
    yield Family("kubevirt_info", "Version information.", "gauge", [("", info, 1)])
    text = "Whether this node's agent is ready for guests."
    yield Family("kubevirt_virt_handler_ready_status", text, "gauge", [("", NO_LABELS, float(ready))])
    machines = [("", labels({"machine_type": name, "node": node}), 1.0) for name in dict.fromkeys(deprecated)]
    text = "Machine types that this node's QEMU gives up."
    yield Family("kubevirt_node_deprecated_machine_types", text, "gauge", machines)
