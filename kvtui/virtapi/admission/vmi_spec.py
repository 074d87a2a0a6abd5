"""All rules for the spec of a VMI, in the order in which upstream answers.

Source: control plane facts 5.3 and 5.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission import scheduling, vmi_devices, vmi_names
from kvtui.virtapi.admission.causes import Path, invalid, not_supported
from kvtui.virtapi.admission.hyperv import validate_hyperv
from kvtui.virtapi.admission.vmi_access import validate_access
from kvtui.virtapi.admission.vmi_architecture import validate_architecture
from kvtui.virtapi.admission.vmi_claims import validate_claims
from kvtui.virtapi.admission.vmi_cpu import validate_cpu, validate_machine, validate_realtime
from kvtui.virtapi.admission.vmi_disks import validate_disk_volumes, validate_disks
from kvtui.virtapi.admission.vmi_dns import validate_dns
from kvtui.virtapi.admission.vmi_firmware import (
    validate_acpi,
    validate_firmware,
    validate_firmware_serial,
    validate_secure_boot,
)
from kvtui.virtapi.admission.vmi_launch_security import validate_launch_security
from kvtui.virtapi.admission.vmi_memory import (
    validate_memory,
    validate_memory_given,
    validate_reserved_overhead,
)
from kvtui.virtapi.admission.vmi_network import (
    validate_discontinued_gates,
    validate_network,
    validate_network_creation,
)
from kvtui.virtapi.admission.vmi_probes import validate_probes
from kvtui.virtapi.admission.vmi_volumes import (
    validate_container_disks,
    validate_coverage,
    validate_no_utility_volumes,
    validate_volumes,
)

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
    from kvtui.api.meta import ObjectMeta
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

RESERVED_LABELS = frozenset(
    f"kubevirt.io/{name}"
    for name in (
        "created-by",
        "migrationJobUID",
        "nodeName",
        "migrationTargetNodeName",
        "schedulable",
        "install-strategy",
    )
)
IGNITION = "kubevirt.io/ignitiondata"
SIDECARS = "hooks.kubevirt.io/hookSidecars"


def validate_spec(spec: VirtualMachineInstanceSpec, field: Path, config: ClusterConfig) -> list[Cause]:
    """The rules that also templates are held to."""
    disks = field.child("domain", "devices", "disks")
    return [
        *vmi_names.validate_host_names(spec, field),
        *validate_memory(spec, field, config),
        *validate_reserved_overhead(spec, field, config),
        *validate_machine(spec, field, config),
        *validate_firmware_serial(spec, field),
        *validate_acpi(spec, field),
        *validate_cpu(spec, field, config),
        *vmi_names.validate_start(spec, field),
        *validate_realtime(spec, field),
        *scheduling.validate_scheduling(spec, field),
        *validate_network(spec, field, config),
        *validate_disk_volumes(spec, field, config),
        *vmi_devices.validate_inputs(spec, field),
        *vmi_devices.validate_io_threads(spec, field),
        *validate_probes(spec, field),
        *validate_disks(spec.domain.devices.disks, disks),
        *validate_firmware(spec.domain, field.child("domain")),
        *validate_secure_boot(spec.domain, field.child("domain")),
        *validate_volumes(spec.volumes, field.child("volumes"), config),
        *validate_container_disks(spec, field),
        *validate_no_utility_volumes(spec, field),
        *validate_access(spec, field),
        *vmi_names.validate_service_account(spec, field),
        *validate_dns(spec, field),
        *vmi_names.validate_eviction(spec, field, config),
        *vmi_devices.validate_ram_displays(spec, field),
        *vmi_devices.validate_host_devices(spec, field, config),
        *validate_claims(spec, field, config),
        *vmi_devices.validate_sound(spec, field),
        *validate_launch_security(spec, field, config),
        *vmi_devices.validate_vsock(spec, field, config),
        *vmi_devices.validate_reservations(spec, field, config),
        *vmi_devices.validate_metrics_device(spec, field, config),
        *vmi_devices.validate_filesystems(spec, field, config),
        *vmi_devices.validate_video(spec, field),
        *vmi_devices.validate_panic_devices(spec, field, config),
        *vmi_devices.validate_reboot_policy(spec, field, config),
    ]


def validate_metadata(metadata: ObjectMeta, field: Path, config: ClusterConfig, *, by_component: bool) -> list[Cause]:
    """Reserved labels and annotations that need a gate."""
    found: list[Cause] = []
    if not by_component and RESERVED_LABELS & metadata.labels.keys():
        found.append(
            not_supported(
                "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited",
                field.child("labels"),
            )
        )
    own = field.child("annotations")
    if metadata.annotations.get(IGNITION) and not config.gate("ExperimentalIgnitionSupport"):
        found.append(
            invalid(
                "ExperimentalIgnitionSupport feature gate is not enabled in kubevirt-config, invalid entry "
                f"{own}.{IGNITION}",
                own,
            )
        )
    if metadata.annotations.get(SIDECARS) and not config.gate("Sidecar"):
        found.append(
            invalid(f"sidecar feature gate is not enabled in kubevirt-config, invalid entry {own}.{SIDECARS}", own)
        )
    return found


def validate_instance(vmi: VirtualMachineInstance, config: ClusterConfig, *, by_component: bool) -> list[Cause]:
    """The rules for a new instance. Those for networking run twice, as upstream's do."""
    spec, field = vmi.spec, Path("spec")
    return [
        *validate_discontinued_gates(spec, config),
        *validate_network_creation(spec, field),
        *validate_network(spec, field, config),
        *validate_spec(spec, field, config),
        *validate_coverage(spec, field),
        *validate_memory_given(spec, field),
        *validate_metadata(vmi.metadata, Path("metadata"), config, by_component=by_component),
        *validate_hyperv(spec, field.child("domain", "features", "hyperv")),
        *validate_architecture(spec, field),
    ]
