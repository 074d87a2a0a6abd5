"""Volumes of a VMI: one source each, what a source demands, how often a sort may occur.

Source: control plane facts 5.3 (volumes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission import amounts
from kvtui.virtapi.admission.causes import Path, invalid, not_found, required
from kvtui.virtapi.admission.vmi_cloud_init import validate_cloud_init
from kvtui.virtapi.admission.vmi_firmware import validate_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kvtui.api.kubevirt.vmi import HostDisk, VirtualMachineInstanceSpec, Volume
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec

HOST_DISK_TYPES = ("Disk", "DiskOrCreate")
SINGLE = (
    ("service_account", "serviceAccount"),
    ("downward_metrics", "downwardMetric"),
    ("memory_dump", "memory dump"),
)
"""Sorts of which a VMI has at most one, and upstream's word for each."""
RESERVED_PATHS = ("/proc", "/sys", "/dev", "/var/run/kubevirt", "/var/run/libvirt", "/run/kubevirt", "/run/libvirt")
"""Where the launcher keeps its own things; not to be shared with a guest."""


def sources_of(volume: Volume) -> list[str]:
    """The members that are set, name aside."""
    return [name for name in volume.__struct_fields__ if name != "name" and getattr(volume, name) is not None]


def validate_volumes(volumes: Sequence[Volume], field: Path, config: ClusterConfig) -> list[Cause]:
    """`field` is the path of the list."""
    found: list[Cause] = []
    first: dict[str, int] = {}
    for position, volume in enumerate(volumes):
        at = field.item(position)
        if volume.name in first:
            other = field.item(first[volume.name])
            found.append(invalid(f"{at} and {other} must not have the same Name.", at.child("name")))
        first.setdefault(volume.name, position)
        if volume.data_volume is not None and not volume.data_volume.name:
            found.append(required("DataVolume 'name' must be set", at.child("name")))
        if len(sources_of(volume)) != 1:
            found.append(invalid(f"{at} must have exactly one source type set", at))
        found += validate_cloud_init(volume, at)
        if volume.downward_metrics is not None and not config.gate("DownwardMetrics"):
            found.append(
                invalid("downwardMetrics disks are not allowed: DownwardMetrics feature gate is not enabled.", at)
            )
        if volume.host_disk is not None:
            found += _host_disk(volume.host_disk, at, config)
        if volume.container_path is not None and not config.gate("ContainerPathVolumes"):
            found.append(invalid("ContainerPathVolumes feature gate is not enabled", at))
        found += _names(volume, at)
    for member, word in SINGLE:
        if sum(getattr(volume, member) is not None for volume in volumes) > 1:
            found.append(invalid(f"{field} must have max one {word} volume set", field))
    return found


def _host_disk(disk: HostDisk, at: Path, config: ClusterConfig) -> Iterator[Cause]:
    if not config.gate("HostDisk"):
        yield invalid("HostDisk feature gate is not enabled", at)
    own = at.child("hostDisk")
    if not disk.path:
        yield not_found(f"{own.child('path')} is required for hostDisk volume", own.child("path"))
    type_field = own.child("type")
    if disk.type not in HOST_DISK_TYPES:
        yield invalid(f"{type_field} has invalid value '{disk.type}', allowed are 'Disk' or 'DiskOrCreate'", type_field)
    if disk.type == "Disk" and amounts.exact(disk.capacity):
        capacity = own.child("capacity")
        yield invalid(f"{capacity} is allowed to pass only with {type_field} equal to 'DiskOrCreate'", capacity)


def _names(volume: Volume, at: Path) -> Iterator[Cause]:
    given = (
        (volume.config_map, "configMap", "name", volume.config_map and volume.config_map.name),
        (volume.secret, "secret", "secretName", volume.secret and volume.secret.secret_name),
        (
            volume.service_account,
            "serviceAccount",
            "serviceAccountName",
            volume.service_account and volume.service_account.service_account_name,
        ),
    )
    for source, member, name, value in given:
        if source is not None and not value:
            own = at.child(member, name)
            yield invalid(f"{own} is a required field", own)


def validate_container_disks(spec: Spec, field: Path) -> list[Cause]:
    """The path inside the image, where one is named."""
    found: list[Cause] = []
    for position, volume in enumerate(spec.volumes):
        if volume.container_disk is not None and volume.container_disk.path:
            own = field.child("volumes").item(position).child("containerDisk")
            found += validate_path(volume.container_disk.path, own)
    return found


def validate_no_utility_volumes(spec: Spec, field: Path) -> list[Cause]:
    if not spec.utility_volumes:
        return []
    return [
        invalid(
            "cannot create VMI with utility volumes in spec, utility volumes can only be added via hotplug",
            field.child("utilityVolumes"),
        )
    ]


def validate_coverage(spec: Spec, field: Path) -> list[Cause]:
    """Every volume reaches the guest by a disk or a filesystem; only instances are held to it."""
    devices, found = spec.domain.devices, []
    filesystems = {filesystem.name for filesystem in devices.filesystems}
    known = filesystems | {disk.name for disk in devices.disks}
    for position, volume in enumerate(spec.volumes):
        own = field.child("domain", "volumes").item(position).child("name")
        if volume.memory_dump is None and volume.name not in known:
            found.append(invalid(f"{own} '{volume.name}' not found.", own))
        if volume.container_path is None:
            continue
        if volume.name not in filesystems:
            found.append(invalid(f"containerPath volume '{volume.name}' must be mapped to a filesystem", own))
        path = volume.container_path.path
        if any(path == reserved or path.startswith(reserved + "/") for reserved in RESERVED_PATHS):
            found.append(invalid(f"containerPath volume '{volume.name}' points to the reserved path {path}", own))
    return found
