"""Controllers for USB, SCSI, serial channels and the PCI root -> <controller>.

Source: https://libvirt.org/formatdomain.html#controllers
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml import iothreads
from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.elements import Element, element
from kvtui.domainxml.hostdevices import usb_devices_found
from kvtui.domainxml.launchsecurity import iommu_driver

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

NO_PCI_HOLE = "kubevirt.io/disablePCIHole64"


def build(guest: Guest) -> list[Element]:
    usb = "qemu-xhci" if _needs_usb(guest) else "none"
    controllers = [element("controller", type="usb", index=0, model=usb)]
    if not guest.devices.disable_hotplug or _has_scsi_disk(guest):
        controllers.append(_scsi(guest))
    if guest.traits.pci_hole and guest.annotation(NO_PCI_HOLE).lower() == "true":
        hole = element("pcihole64", 0, unit="KiB")
        controllers.append(element("controller", hole, type="pci", index=0, model="pcie-root"))
    if guest.serial_console:
        controllers.append(
            element("controller", *iommu_driver(guest), type="virtio-serial", index=0, model=guest.virtio)
        )
    return controllers


def _needs_usb(guest: Guest) -> bool:
    if guest.arch is not Arch.AMD64:
        return guest.arch is Arch.ARM64
    devices = guest.devices
    return (
        any((device.bus or "usb") == "usb" for device in devices.inputs)
        or any(disk.disk is not None and disk.disk.bus == "usb" for disk in devices.disks)
        or devices.client_passthrough is not None
        or usb_devices_found(guest)
    )


def _has_scsi_disk(guest: Guest) -> bool:
    targets = (disk.lun or disk.disk or disk.cdrom for disk in guest.devices.disks)
    return any(target is not None and target.bus == "scsi" for target in targets)


def _scsi(guest: Guest) -> Element:
    model = "virtio-scsi" if guest.arch is Arch.S390X else guest.virtio
    thread = iothreads.scsi_thread(guest)
    driver = iommu_driver(guest)
    if thread is not None:
        iommu = "on" if guest.iommu else None
        driver = [element("driver", iothread=thread, queues=guest.topology.vcpus, iommu=iommu)]
    return element("controller", *driver, type="scsi", index=0, model=model)
