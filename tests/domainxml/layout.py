"""A layout for tests: one VM's files in a state directory, its sockets in a short one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvtui.domainxml.errors import ConversionError

MAX_SOCKET_BYTES = 107
"""Length of a unix socket's path, without the final NUL."""


@dataclass(frozen=True, slots=True)
class NodePaths:
    """Implements `paths.Paths`."""

    state: str
    """Directory of this VM's files, such as …/vms/<uid>."""
    sockets: str
    """Directory of this VM's sockets; short."""
    claims: Mapping[str, str] = field(default_factory=dict)
    """Image file or device node of each PVC, DataVolume, ephemeral and hostDisk volume, resolved by the node."""
    container_images: Mapping[str, str] = field(default_factory=dict)
    """Image file of each containerDisk volume."""
    helper: str = "/run/qemu-pr-helper.sock"

    def _socket(self, name: str) -> str:
        path = f"{self.sockets}/{name}"
        if len(path.encode()) > MAX_SOCKET_BYTES:
            raise ConversionError(f"{path} is too long for a socket", field="metadata.uid")
        return path

    def _claim(self, volume: str) -> str:
        if volume not in self.claims:
            raise ConversionError(f"volume {volume} is not on this node", field="spec.volumes")
        return self.claims[volume]

    def container_disk(self, volume: str, index: int) -> str:
        return self.container_images.get(volume) or f"{self.state}/container-disks/{volume}.img"

    def overlay(self, volume: str) -> str:
        return f"{self.state}/overlays/{volume}.qcow2"

    def filesystem_volume(self, volume: str) -> str:
        return self._claim(volume)

    def block_volume(self, volume: str) -> str:
        return self._claim(volume)

    def hotplugged_file(self, volume: str) -> str:
        return self._claim(volume)

    def hotplugged_block(self, volume: str) -> str:
        return self._claim(volume)

    def host_disk(self, volume: str, path: str) -> str:
        return self._claim(volume)

    def empty_disk(self, volume: str) -> str:
        return f"{self.state}/empty-disks/{volume}.qcow2"

    def cloud_init(self, volume: str, iso: str) -> str:
        return f"{self.state}/cloud-init/{iso}"

    def config_disk(self, volume: str, kind: str) -> str:
        return f"{self.state}/config-disks/{kind}-{volume}.iso"

    def acpi_table(self, volume: str, table: str) -> str:
        return f"{self.state}/acpi/{volume}/{table}"

    def downward_metrics_disk(self) -> str:
        return f"{self.state}/vhostmd"

    def downward_metrics_socket(self) -> str:
        return self._socket("vhostmd")

    def kernel_artifact(self, file: str) -> str:
        return f"{self.state}/kernel-boot/{file}"

    def nvram(self) -> str:
        return f"{self.state}/nvram.fd"

    def virtiofs_socket(self, name: str) -> str:
        return self._socket(f"fs-{name}")

    def serial_socket(self) -> str:
        return self._socket("serial")

    def serial_log(self) -> str:
        return f"{self.state}/serial.log"

    def vnc_socket(self) -> str:
        return self._socket("vnc")

    def usb_redirect_socket(self, slot: int) -> str:
        return self._socket(f"usb{slot}")

    def reservation_socket(self) -> str:
        return self.helper

    def ignition(self) -> str:
        return f"{self.state}/ignition.json"

    def firmware_log(self) -> str:
        return f"{self.state}/firmware.log"

    def passt_log(self) -> str:
        return f"{self.state}/passt.log"
