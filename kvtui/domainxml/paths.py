"""Where the files and sockets of one VM are: a protocol, and the layout that upstream's launcher Pods use.

Volumes are addressed by name; nothing a user writes becomes a path except as one checked component.
"""

from __future__ import annotations

from dataclasses import dataclass
from posixpath import basename
from typing import TYPE_CHECKING, Protocol

from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance

PRIVATE = "/var/run/kubevirt-private"
PUBLIC = "/var/run/kubevirt"
EPHEMERAL = "/var/run/kubevirt-ephemeral-disks"
LIBVIRT_RUN = "/var/run/libvirt"


def component(name: str, field: str) -> str:
    """The name, if it can be one component of a path. Raises ConversionError."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ConversionError(f"{name!r} cannot name a file", field=field)
    return name


def last_component(path: str, field: str) -> str:
    """The file name at the end of a path of the guest's or an image's. Raises ConversionError."""
    return component(basename(path), field)


class Paths(Protocol):
    """Absolute paths as QEMU sees them. `volume` and `name` are names out of the spec, already one component."""

    def container_disk(self, volume: str, index: int) -> str:
        """The image inside a containerDisk; `index` is the volume's place in spec.volumes."""

    def overlay(self, volume: str) -> str:
        """The qcow2 that takes the writes of a containerDisk or ephemeral volume."""

    def filesystem_volume(self, volume: str) -> str:
        """The image file in a filesystem PVC or DataVolume."""

    def block_volume(self, volume: str) -> str:
        """The device node of a block PVC or DataVolume."""

    def hotplugged_file(self, volume: str) -> str:
        """The image file of a volume plugged into the running VM."""

    def hotplugged_block(self, volume: str) -> str:
        """The device node of a volume plugged into the running VM."""

    def host_disk(self, volume: str, path: str) -> str:
        """The image of a hostDisk whose spec says `path`."""

    def empty_disk(self, volume: str) -> str:
        """The qcow2 of an emptyDisk."""

    def cloud_init(self, volume: str, iso: str) -> str:
        """The cloud-init image; `iso` is noCloud.iso or configdrive.iso."""

    def config_disk(self, volume: str, kind: str) -> str:
        """The ISO of a volume; `kind` is config-map, secret, sysprep, downwardapi or service-account."""

    def acpi_table(self, volume: str, table: str) -> str:
        """The ACPI table slic.bin or msdm.bin in a secret volume."""

    def downward_metrics_disk(self) -> str:
        """The vhostmd disk."""

    def downward_metrics_socket(self) -> str:
        """The vhostmd channel."""

    def kernel_artifact(self, file: str) -> str:
        """A kernel or initrd out of the kernel-boot image."""

    def nvram(self) -> str:
        """The UEFI variables of this VM."""

    def virtiofs_socket(self, name: str) -> str:
        """Where the virtiofsd of a file system listens."""

    def serial_socket(self) -> str:
        """The serial console."""

    def serial_log(self) -> str:
        """What the serial console printed."""

    def vnc_socket(self) -> str:
        """The VNC server."""

    def usb_redirect_socket(self, slot: int) -> str:
        """One of the four sockets for USB devices of a client."""

    def reservation_socket(self) -> str:
        """The persistent reservation helper."""

    def ignition(self) -> str:
        """The Ignition configuration."""

    def firmware_log(self) -> str:
        """What the firmware prints to the debug port."""

    def passt_log(self) -> str:
        """The log of passt."""


@dataclass(frozen=True, slots=True)
class UpstreamPaths:
    """The layout inside an upstream launcher Pod."""

    namespace: str
    name: str
    uid: str
    nvram_directory: str = f"{PRIVATE}/libvirt/qemu/nvram"

    @classmethod
    def of(cls, vmi: VirtualMachineInstance) -> UpstreamPaths:
        """A launcher that runs as root keeps UEFI variables in libvirt's own directory."""
        meta = vmi.metadata
        unprivileged = bool(vmi.status.runtime_user) or "kubevirt.io/nonroot" in meta.annotations
        directory = f"{PRIVATE}/libvirt/qemu/nvram" if unprivileged else "/var/lib/libvirt/qemu/nvram"
        return cls(meta.namespace or "", meta.name or "", meta.uid or "", directory)

    def container_disk(self, volume: str, index: int) -> str:
        return f"{PUBLIC}/container-disks/disk_{index}.img"

    def overlay(self, volume: str) -> str:
        return f"{EPHEMERAL}/disk-data/{volume}/disk.qcow2"

    def filesystem_volume(self, volume: str) -> str:
        return f"{PRIVATE}/vmi-disks/{volume}/disk.img"

    def block_volume(self, volume: str) -> str:
        return f"/dev/{volume}"

    def hotplugged_file(self, volume: str) -> str:
        return f"{PUBLIC}/hotplug-disks/{volume}.img"

    def hotplugged_block(self, volume: str) -> str:
        return f"{PUBLIC}/hotplug-disks/{volume}"

    def host_disk(self, volume: str, path: str) -> str:
        return f"{PRIVATE}/vmi-disks/{volume}/{last_component(path, 'spec.volumes')}"

    def empty_disk(self, volume: str) -> str:
        return f"{LIBVIRT_RUN}/empty-disks/{volume}.qcow2"

    def cloud_init(self, volume: str, iso: str) -> str:
        return f"{EPHEMERAL}/cloud-init-data/{self.namespace}/{self.name}/{iso}"

    def config_disk(self, volume: str, kind: str) -> str:
        if kind == "service-account":
            return f"{PRIVATE}/service-account-disk/service-account.iso"
        return f"{PRIVATE}/{kind}-disks/{volume}.iso"

    def acpi_table(self, volume: str, table: str) -> str:
        return f"{PRIVATE}/secret/{volume}/{table}"

    def downward_metrics_disk(self) -> str:
        return f"{PRIVATE}/downwardapi-disks/vhostmd0"

    def downward_metrics_socket(self) -> str:
        return f"{PRIVATE}/downwardmetrics-channel/downwardmetrics.sock"

    def kernel_artifact(self, file: str) -> str:
        return f"{PUBLIC}/container-disks/kernel-boot/{file}"

    def nvram(self) -> str:
        return f"{self.nvram_directory}/{self.name}_VARS.fd"

    def virtiofs_socket(self, name: str) -> str:
        return f"{PUBLIC}/virtiofs-containers/{name}.sock"

    def serial_socket(self) -> str:
        return f"{PRIVATE}/{self.uid}/virt-serial0"

    def serial_log(self) -> str:
        return f"{PRIVATE}/{self.uid}/virt-serial0-log"

    def vnc_socket(self) -> str:
        return f"{PRIVATE}/{self.uid}/virt-vnc"

    def usb_redirect_socket(self, slot: int) -> str:
        return f"{PRIVATE}/{self.uid}/virt-usbredir-{slot}"

    def reservation_socket(self) -> str:
        return f"{PUBLIC}/daemons/pr/pr-helper.sock"

    def ignition(self) -> str:
        return f"{EPHEMERAL}/ignition-data/{self.namespace}/{self.name}/data.ign"

    def firmware_log(self) -> str:
        return f"{PRIVATE}/QEMUSeaBiosDebugPipe"

    def passt_log(self) -> str:
        return f"{PUBLIC}/passt.log"
