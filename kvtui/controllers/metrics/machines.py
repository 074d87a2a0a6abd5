"""Metrics about VMs and VMIs, computed from the caches at each scrape.

Source: kubevirt docs/observability/metrics.md, pkg/monitoring/metrics/virt-controller; control plane facts 10.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from kvtui.api import quantity
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.times import from_time
from kvtui.controllers import conditions, names
from kvtui.controllers.launcher.overhead import vcpus
from kvtui.controllers.launcher.volumes import claim_of
from kvtui.controlloop.exposition import Family, counter, gauge, label_name
from kvtui.errors import InvalidQuantity

NONE = "<none>"
"""What upstream says where a NIC has no model; elsewhere a label without value is left out."""
COUNTED = (
    "node",
    "phase",
    "os",
    "workload",
    "flavor",
    "instance_type",
    "preference",
    "guest_os_kernel_release",
    "guest_os_machine",
    "guest_os_arch",
    "guest_os_name",
    "guest_os_version_id",
)
"""Labels by which VMIs are counted; what upstream computes with recording rules is told outright."""
GROUPS: dict[str, tuple[str, ...]] = {
    "starting": ("Starting", "Provisioning", "WaitingForVolumeBinding", "WaitingForReceiver"),
    "running": ("Running",),
    "migrating": ("Migrating",),
    "non_running": ("Stopped", "Stopping", "Paused", "Terminating"),
    "error": (
        "CrashLoopBackOff",
        "Unknown",
        "ErrorUnschedulable",
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrorPvcNotFound",
        "DataVolumeError",
    ),
}


def group_of(status: str) -> str:
    return next((group for group, words in GROUPS.items() if status in words), "<unknown>")


def _unix(text: object) -> float:
    try:
        return from_time(str(text)).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def _annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    return {word: annotations.get(f"vm.kubevirt.io/{word}") or "" for word in ("os", "workload", "flavor")}


def _applied(annotations: Mapping[str, str], word: str) -> str:
    own, cluster = f"kubevirt.io/{word}-name", f"kubevirt.io/cluster-{word}-name"
    return annotations.get(own) or annotations.get(cluster) or ""


def is_evictable(vmi: VirtualMachineInstance, default: str) -> bool:
    strategy = vmi.spec.eviction_strategy or default
    if strategy != "LiveMigrate":
        return True
    return conditions.is_true(vmi.status.conditions, "LiveMigratable")


def vmi_families(
    vmis: Iterable[VirtualMachineInstance], eviction: str, launchers: Mapping[tuple[str, str], str]
) -> Iterator[Family]:
    """`eviction`: the cluster's strategy; `launchers`: (VMI uid, node) -> name of the running launcher."""
    known = list(vmis)
    yield gauge(
        "kubevirt_vmi_info",
        "Information about VirtualMachineInstances.",
        ((_vmi_info(v, eviction, launchers.get((v.metadata.uid, v.status.node_name or ""), "")), 1) for v in known),
    )
    phases = Counter(tuple((k, t) for k, t in _vmi_info(v, eviction, "").items() if k in COUNTED) for v in known)
    for name in ("node:kubevirt_vmi_phase:sum", "kubevirt_vmi_phase_count"):
        text = "Sum of VMIs per phase and node."
        yield gauge(name, text, ((dict(labels), count) for labels, count in sorted(phases.items())))
    yield gauge(
        "kubevirt_vmi_non_evictable",
        "Indication for a VirtualMachineInstance that its eviction strategy is live migrate but is not migratable.",
        ((_named(v, node=v.status.node_name or ""), 0 if is_evictable(v, eviction) else 1) for v in known),
    )
    yield gauge(
        "kubevirt_vmi_status_addresses",
        "The addresses of a VirtualMachineInstance.",
        ((_named(v, node=v.status.node_name or "") | labels, 1) for v in known for labels in _addresses(v)),
    )
    yield gauge(
        "kubevirt_vmi_vnic_info",
        "Details of VirtualMachineInstance vNIC interfaces.",
        ((_named(v) | labels, 1) for v in known for labels in _nics(v.spec)),
    )
    yield gauge(
        "kubevirt_vmi_number_of_outdated",
        "Number of VirtualMachineInstances that need an update.",
        [({}, sum(names.OUTDATED in v.metadata.labels for v in known))],
    )


def overhead_family(pods: Iterable[Pod]) -> Family:
    samples = []
    for pod in pods:
        text, name = pod.metadata.annotations.get(names.MEMORY_OVERHEAD), pod.metadata.annotations.get(names.DOMAIN)
        if name and text and text.isdigit():
            samples.append(({"namespace": pod.metadata.namespace, "name": name}, float(text)))
    return gauge("kubevirt_vmi_launcher_memory_overhead_bytes", "Estimated memory beside the guest's own.", samples)


def _named(obj: VirtualMachine | VirtualMachineInstance, *, node: str | None = None) -> dict[str, str]:
    labels = {"node": node} if node is not None else {}
    return {**labels, "namespace": obj.metadata.namespace, "name": obj.metadata.name}


def _vmi_info(vmi: VirtualMachineInstance, eviction: str, pod: str) -> dict[str, str]:
    os = vmi.status.guest_os_info
    return {
        **_named(vmi, node=vmi.status.node_name or ""),
        "phase": (vmi.status.phase or "").lower(),
        **_annotations(vmi.metadata.annotations),
        "instance_type": _applied(vmi.metadata.annotations, "instancetype"),
        "preference": _applied(vmi.metadata.annotations, "preference"),
        "guest_os_kernel_release": (os.kernel_release if os else None) or "",
        "guest_os_machine": (vmi.status.machine.type if vmi.status.machine else None) or "",
        "guest_os_arch": (os.machine if os else None) or "",
        "guest_os_name": (os.name if os else None) or "",
        "guest_os_version_id": (os.version_id if os else None) or "",
        "evictable": str(is_evictable(vmi, eviction)).lower(),
        "outdated": str(names.OUTDATED in vmi.metadata.labels).lower(),
        "vmi_pod": pod,
    }


def _addresses(vmi: VirtualMachineInstance) -> Iterator[dict[str, str]]:
    for interface in vmi.status.interfaces:
        names = {"vnic_name": interface.name or "", "interface_name": interface.interface_name or ""}
        if interface.ip_address:
            yield {**names, "address": interface.ip_address, "type": "ExternalInterface"}
        elif any(names.values()):
            yield {**names, "type": "SystemInterface"}


def _binding(interface: Interface) -> tuple[str, str]:
    if interface.binding is not None:
        return "plugin", interface.binding.name
    for word in ("masquerade", "bridge", "sriov", "passt_binding"):
        if getattr(interface, word) is not None:
            return "core", word.removesuffix("_binding")
    return "core", ""


def _nics(spec: VirtualMachineInstanceSpec) -> Iterator[dict[str, str]]:
    networks = {n.name: n for n in spec.networks}
    for interface in spec.domain.devices.interfaces:
        network = networks.get(interface.name)
        if network is None:
            continue
        target = network.multus.network_name if network.multus is not None else "pod networking"
        sort, name = _binding(interface)
        yield {
            "vnic_name": interface.name,
            "binding_type": sort,
            "network": target,
            "binding_name": name,
            "model": interface.model or NONE,
        }


def vm_families(
    vms: Iterable[VirtualMachine],
    claims: Mapping[str, PersistentVolumeClaim],
    expanded: Callable[[VirtualMachine], VirtualMachineInstanceSpec] = lambda vm: vm.spec.template.spec,
) -> Iterator[Family]:
    """`claims`: by ns/name; `expanded`: the template with instancetype and preference applied."""
    known = list(vms)
    yield gauge("kubevirt_vm_info", "Information about VirtualMachines.", ((_vm_info(v), 1) for v in known))
    yield gauge(
        "kubevirt_vm_create_date_timestamp_seconds",
        "When the VirtualMachine was created.",
        ((_named(v), _unix(v.metadata.creation_timestamp)) for v in known),
    )
    for group in GROUPS:
        yield counter(
            f"kubevirt_vm_{group}_status_last_transition_timestamp_seconds",
            f"When the VirtualMachine last changed to a {group.replace('_', ' ')} status.",
            ((_named(v), _transition(v, group)) for v in known),
        )
    yield gauge(
        "kubevirt_vm_labels",
        "Labels of the VirtualMachine.",
        (
            ({label_name(k, "label_"): t for k, t in v.metadata.labels.items()} | _named(v), 1)
            for v in known
            if v.metadata.labels
        ),
    )
    yield gauge(
        "kubevirt_vm_vnic_info",
        "Details of VirtualMachine vNIC interfaces.",
        ((_named(v) | labels, 1) for v in known for labels in _nics(v.spec.template.spec)),
    )
    yield gauge(
        "kubevirt_vm_resource_requests",
        "Resources requested by VirtualMachine.",
        ((_named(v) | labels, n) for v in known for labels, n in _requests(expanded(v))),
    )
    yield gauge(
        "kubevirt_vm_resource_limits",
        "Resources limits by VirtualMachine.",
        ((_named(v) | labels, n) for v in known for labels, n in _limits(expanded(v))),
    )
    yield gauge(
        "kubevirt_vm_disk_allocated_size_bytes",
        "Allocated disk size of a VirtualMachine in bytes.",
        (sample for v in known for sample in _disks(v, claims)),
    )
    counts = Counter(v.metadata.namespace for v in known)
    for name in ("namespace:kubevirt_vm:sum", "kubevirt_number_of_vms"):
        text = "The number of VMs in the cluster by namespace."
        yield gauge(name, text, (({"namespace": n}, c) for n, c in sorted(counts.items())))


def _vm_info(vm: VirtualMachine) -> dict[str, str]:
    status = vm.status.printable_status or "Unknown"
    spec = vm.spec
    template = spec.template.metadata.annotations if spec.template.metadata else {}
    machine = spec.template.spec.domain.machine
    return {
        "name": vm.metadata.name,
        "namespace": vm.metadata.namespace,
        **_annotations(template),
        "machine_type": (machine.type if machine else None) or "",
        "instance_type": (spec.instancetype.name if spec.instancetype else None) or "",
        "preference": (spec.preference.name if spec.preference else None) or "",
        "status": status.lower(),
        "status_group": group_of(status),
    }


def _transition(vm: VirtualMachine, group: str) -> float:
    """0 when the VM is not in that group; a status that is in none counts as an error."""
    current = group_of(vm.status.printable_status or "Unknown")
    if (current if current in GROUPS else "error") != group:
        return 0.0
    moments = [_unix(c.last_transition_time) for c in vm.status.conditions if c.type in ("Ready", "Failure", "Paused")]
    return max([*moments, _unix(vm.metadata.creation_timestamp)])


Sample = tuple[dict[str, str], float]


def _requests(spec: VirtualMachineInstanceSpec) -> Iterator[Sample]:
    domain = spec.domain
    given = domain.resources.requests if domain.resources else {}
    for level in ("cores", "threads", "sockets"):
        count = getattr(domain.cpu, level) if domain.cpu is not None else None
        if count:
            yield {"resource": "cpu", "unit": level, "source": "domain"}, count
        elif domain.cpu is None and "cpu" not in given:
            yield {"resource": "cpu", "unit": level, "source": "default"}, 1
    if "cpu" in given:
        yield {"resource": "cpu", "unit": "cores", "source": "requests"}, quantity.milli(given["cpu"]) / 1000
    yield {"resource": "cpu", "unit": "cores", "source": "guest_effective"}, max(1, vcpus(domain.cpu))
    memory = domain.memory
    asked = quantity.value(given["memory"]) if "memory" in given else 0
    guest = quantity.value(memory.guest) if memory is not None and memory.guest is not None else 0
    pages = _page(memory.hugepages.page_size) if memory is not None and memory.hugepages is not None else 0
    sizes = {"domain": asked, "guest": guest, "hugepages": pages, "guest_effective": guest or asked}
    for source, size in sizes.items():
        if size:
            yield {"resource": "memory", "unit": "bytes", "source": source}, size


def _page(size: str | None) -> int:
    try:
        return quantity.value(size or 0)
    except InvalidQuantity:
        return 0


def _limits(spec: VirtualMachineInstanceSpec) -> Iterator[Sample]:
    given = spec.domain.resources.limits if spec.domain.resources else {}
    if "cpu" in given:
        yield {"resource": "cpu", "unit": "cores"}, quantity.milli(given["cpu"]) / 1000
    if "memory" in given:
        yield {"resource": "memory", "unit": "bytes"}, quantity.value(given["memory"])


def _disks(vm: VirtualMachine, claims: Mapping[str, PersistentVolumeClaim]) -> Iterator[Sample]:
    for volume in vm.spec.template.spec.volumes:
        name = claim_of(volume)
        claim = claims.get(f"{vm.metadata.namespace}/{name}") if name else None
        if claim is None:
            continue
        size = claim.status.capacity.get("storage")
        if size is None and claim.spec.resources is not None:
            size = claim.spec.resources.requests.get("storage")
        yield (
            {
                **_named(vm),
                "persistentvolumeclaim": claim.metadata.name,
                "volume_mode": claim.spec.volume_mode or "Filesystem",
                "device": volume.name,
            },
            quantity.value(size or 0),
        )
