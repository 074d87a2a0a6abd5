"""Whether a running VMI can be moved, and how. Pure.

Source: KubeVirt's conditions LiveMigratable and StorageLiveMigratable, status.migrationMethod.
"""

from __future__ import annotations

from kvtui.api.kubevirt.vmi import (
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VirtualMachineInstanceStatus,
    Volume,
)

POD_BRIDGE = "kubevirt.io/allow-pod-bridge-network-live-migration"
BLOCK, PLAIN = "BlockMigration", "LiveMigration"


def verdicts(vmi: VirtualMachineInstance, *, node: str, host_model: bool) -> list[VirtualMachineInstanceCondition]:
    """LiveMigratable and StorageLiveMigratable."""
    causes = list(_causes(vmi, node, host_model))
    disks = _disk_cause(vmi)
    first = causes[0] if causes else disks
    live = VirtualMachineInstanceCondition(
        type="LiveMigratable",
        status="False" if first else "True",
        reason=first[0] if first else None,
        message=first[1] if first else None,
    )
    storage = VirtualMachineInstanceCondition(
        type="StorageLiveMigratable",
        status="False" if causes else "True",
        reason="NotMigratable" if causes else None,
        message=", ".join(f"{reason}: {message}" for reason, message in causes) or None,
    )
    return [live, storage]


def method(vmi: VirtualMachineInstance) -> str:
    """BlockMigration where some disk of the guest lives on this node only."""
    status = vmi.status or VirtualMachineInstanceStatus()
    filesystems = {f.name for f in vmi.spec.domain.devices.filesystems}
    read_only = {d.name for d in vmi.spec.domain.devices.disks if d.cdrom is not None and d.cdrom.readonly is not False}
    used = {d.name for d in vmi.spec.domain.devices.disks}
    local = any(
        v.name in used and v.name not in filesystems and v.name not in read_only and not _outlives(v)
        for v in vmi.spec.volumes
    )
    return BLOCK if local or status.migrated_volumes or _disk_cause(vmi) else PLAIN


def _outlives(volume: Volume) -> bool:
    return volume.persistent_volume_claim is not None or volume.data_volume is not None or volume.host_disk is not None


def _causes(vmi: VirtualMachineInstance, node: str, host_model: bool) -> list[tuple[str, str]]:
    spec, found = vmi.spec, []
    pods = {n.name for n in spec.networks if n.pod is not None}
    for interface in spec.domain.devices.interfaces:
        if interface.name in pods and interface.bridge is not None and POD_BRIDGE not in vmi.metadata.annotations:
            found.append(
                (
                    "InterfaceNotLiveMigratable",
                    (
                        "cannot migrate VMI which does not use masquerade or a migratable plugin "
                        "to connect to the pod network"
                    ),
                )
            )
            break
    cpu = spec.domain.cpu
    if cpu is not None and cpu.model == "host-model" and not host_model:
        found.append(
            ("CPUModeLiveMigratable", f'cannot migrate VMI: the node "{node}" does not allow migration with host-model')
        )
    if spec.domain.devices.host_devices or spec.domain.devices.gpus:
        found.append(("HostDeviceNotLiveMigratable", "VMI uses a PCI host devices"))
    security = spec.domain.launch_security
    if security is not None and (security.sev is not None or security.snp is not None):
        found.append(("SEVNotLiveMigratable", "VMI uses SEV"))
    if security is not None and security.tdx is not None:
        found.append(("TDXNotLiveMigratable", "VMI uses TDX"))
    features = spec.domain.features
    if features is not None and features.hyperv_passthrough is not None and features.hyperv_passthrough.enabled:
        found.append(("HypervPassthroughNotLiveMigratable", "VMI uses hyperv passthrough"))
    if any(f.virtiofs is not None for f in spec.domain.devices.filesystems):
        # What a guest has open in a shared file system is its server's, which stays on this node.
        found.append(("VirtIOFSNotLiveMigratable", "VMI uses virtiofs"))
    return found


def _disk_cause(vmi: VirtualMachineInstance) -> tuple[str, str] | None:
    status = vmi.status or VirtualMachineInstanceStatus()
    migrated = {v.volume_name for v in status.migrated_volumes}
    infos = {v.name: v.persistent_volume_claim_info for v in status.volume_status}
    for volume in vmi.spec.volumes:
        if volume.name in migrated:
            continue
        claim = volume.persistent_volume_claim or volume.data_volume
        if claim is not None:
            name = (
                volume.persistent_volume_claim.claim_name
                if volume.persistent_volume_claim is not None
                else volume.data_volume.name
                if volume.data_volume is not None
                else ""
            )
            info = infos.get(volume.name)
            if info is None:
                return (
                    "DisksNotLiveMigratable",
                    (
                        f"cannot migrate VMI: Unable to determine if PVC {name} is shared, "
                        "live migration requires that all PVCs must be shared (using ReadWriteMany access mode)"
                    ),
                )
            if "ReadWriteMany" not in info.access_modes:
                return (
                    "DisksNotLiveMigratable",
                    (
                        f"cannot migrate VMI: PVC {name} is not shared, "
                        "live migration requires that all PVCs must be shared (using ReadWriteMany access mode)"
                    ),
                )
        elif volume.host_disk is not None and not volume.host_disk.shared:
            return "DisksNotLiveMigratable", "cannot migrate VMI with non-shared HostDisk"
    return None
