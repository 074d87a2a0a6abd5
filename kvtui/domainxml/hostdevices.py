"""Devices of the node given to the guest: hostDevices, gpus and SR-IOV interfaces -> <hostdev>.

Concrete addresses come from device plugins by environment variable, several joined by commas; each is used once.

Source: https://libvirt.org/formatdomain.html#host-device-assignment
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml import pci
from kvtui.domainxml.elements import Element, alias, element
from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kvtui.api.kubevirt.domain import GPU, Devices, HostDevice, Interface, VGPUOptions
    from kvtui.domainxml.guest import Guest

PCI_PREFIX, MDEV_PREFIX, USB_PREFIX = "PCI_RESOURCE", "MDEV_PCI_RESOURCE", "USB_RESOURCE"
SRIOV_PREFIX = "PCIDEVICE"
_HOST_DEVICES = "spec.domain.devices.hostDevices"
_GPUS = "spec.domain.devices.gpus"
_INTERFACES = "spec.domain.devices.interfaces"


class _Pool:
    """Unused addresses by resource. An address that several resources list is given out once."""

    def __init__(self, guest: Guest, prefix: str, resources: Iterable[str]) -> None:
        environment = guest.context.device_env
        self._free = {
            name: [a for a in environment.get(variable(prefix, name), "").split(",") if a] for name in set(resources)
        }

    def take(self, resource: str) -> str | None:
        free = self._free.get(resource)
        if not free:
            return None
        taken = free[0]
        self._free = {name: [a for a in addresses if a != taken] for name, addresses in self._free.items()}
        return taken


def variable(prefix: str, resource: str) -> str:
    """The environment variable in which a device plugin passes a resource's addresses."""
    return f"{prefix}_{resource.upper().replace('/', '_').replace('.', '_')}"


def usb_devices_found(guest: Guest) -> bool:
    """A requested host device is a USB device."""
    env = guest.context.device_env
    return any(variable(USB_PREFIX, d.device_name or "") in env for d in guest.devices.host_devices)


def check_claims(devices: Devices) -> None:
    """Raises ConversionError for a device out of a resource claim: nobody on a plain node hands such devices over, and
    the converter leaves them to who does."""
    kinds: tuple[tuple[str, Sequence[GPU | HostDevice]], ...] = (
        (_GPUS, devices.gpus),
        (_HOST_DEVICES, devices.host_devices),
    )
    for field, asked in kinds:
        for index, device in enumerate(asked):
            if device.claim_name and not device.device_name:
                raise ConversionError(
                    f"no device of the resource claim {device.claim_name} was handed over for {device.name}",
                    field=f"{field}[{index}].claimName",
                )


def build(guest: Guest) -> list[Element]:
    return _generic(guest) + _gpus(guest) + _sriov(guest)


def _generic(guest: Guest) -> list[Element]:
    asked = [(d.name, d.device_name or "") for d in guest.devices.host_devices]
    resources, failure = [resource for _, resource in asked], "failed to create generic host-devices"
    pool = _Pool(guest, PCI_PREFIX, resources)
    made = [
        _pci(address, f"hostdevice-{name}", f"{failure}: failed to create hostdevice for {name}", name, _HOST_DEVICES)
        for name, resource in asked
        if (address := pool.take(resource))
    ]
    pool = _Pool(guest, MDEV_PREFIX, resources)
    made += [_mdev(a, f"hostdevice-{name}") for name, r in asked if (a := pool.take(r))]
    pool = _Pool(guest, USB_PREFIX, resources)
    made += [_usb(a, name) for name, r in asked if (a := pool.take(r))]
    wanted = sum(1 for d in guest.devices.host_devices if not d.claim_name)
    if len(made) != wanted:
        raise ConversionError(
            f"{failure}: the number of generic host-devices do not match the number of devices:\n"
            f"{wanted} asked for, {len(made)} handed over by device plugins",
            field=_HOST_DEVICES,
        )
    return made


def _gpus(guest: Guest) -> list[Element]:
    asked = [(g.name, g.device_name or "", g.virtual_gpu_options) for g in guest.devices.gpus]
    resources, failure = [resource for _, resource, _ in asked], "failed to create GPU host-devices"
    pool = _Pool(guest, PCI_PREFIX, resources)
    made = [
        _pci(address, f"gpu-{name}", f"{failure}: failed to create hostdevice for {name}", name, _GPUS)
        for name, resource, _ in asked
        if (address := pool.take(resource))
    ]
    pool = _Pool(guest, MDEV_PREFIX, resources)
    made += [_mdev(a, f"gpu-{name}", **_display(options)) for name, r, options in asked if (a := pool.take(r))]
    wanted = sum(1 for g in guest.devices.gpus if not g.claim_name)
    if wanted and len(made) != wanted:
        raise ConversionError(
            f"{failure}: the number of device plugin GPU/s do not match the number of devices:\n"
            f"{wanted} asked for, {len(made)} handed over by device plugins",
            field=_GPUS,
        )
    return made


def _display(options: VGPUOptions | None) -> dict[str, str | None]:
    """A virtual GPU is a display, with a boot frame buffer, unless its options say otherwise."""
    if options is None:
        return {"display": "on", "ramfb": "on"}
    display = options.display
    if display is None or display.enabled is False:
        return {}
    ram_fb = display.ram_fb is None or display.ram_fb.enabled is not False
    return {"display": "on", "ramfb": "on" if ram_fb else None}


def _sriov(guest: Guest) -> list[Element]:
    """Functions that Multus reported plugged; their addresses come from its network information."""
    wanted = [i for i in guest.devices.interfaces if i.sriov is not None and i.state != "absent"]
    ready = [i for i in wanted if _is_plugged(guest, i)]
    addresses = _function_addresses(guest, ready)
    made = []
    for interface in ready:
        failure = f"failed to create hostdevice for {interface.name}"
        address = addresses.get(interface.name)
        if not address:
            raise ConversionError(
                f'{failure}: PCI-Address for SR-IOV network "{interface.name}" not found', field=_INTERFACES
            )
        device = _pci(address, f"sriov-{interface.name}", failure, interface.name, _INTERFACES)
        if interface.pci_address:
            subject = f"{failure}: failed to interpret the guest PCI address"
            device.append(pci.address(interface.pci_address, subject, _INTERFACES))
        if interface.boot_order is not None:
            device.append(element("boot", order=interface.boot_order))
        made.append(device)
    return made


def _is_plugged(guest: Guest, interface: Interface) -> bool:
    status = guest.interface_status(interface.name)
    return bool(status and "multus-status" in (status.info_source or ""))


def _function_addresses(guest: Guest, interfaces: list[Interface]) -> dict[str, str]:
    """By network. Without network information, what the device plugin of each network's resource handed over."""
    if guest.context.sriov_addresses or not interfaces:
        return dict(guest.context.sriov_addresses)
    environment = guest.context.device_env
    resources = {i.name: environment.get(f"KUBEVIRT_RESOURCE_NAME_{i.name}", "") for i in interfaces}
    pool = _Pool(guest, SRIOV_PREFIX, resources.values())
    addresses = {}
    for name, resource in resources.items():
        address = pool.take(resource) if resource else None
        if address is None:
            raise ConversionError(
                f"failed to create hostdevice for {name}: "
                + (
                    f"failed to allocate SR-IOV PCI address for network {name}: resource {resource} does not exist"
                    if resource
                    else f"resource for SR-IOV network {name} does not exist"
                ),
                field=_INTERFACES,
            )
        addresses[name] = address
    return addresses


def _pci(address: str, device_alias: str, failure: str, name: str, field: str) -> Element:
    subject = f"{failure}: failed to create PCI device for {name}"
    source = element("source", pci.address(address, subject, field))
    return element("hostdev", source, alias(device_alias), type="pci", managed="no")


def _mdev(uuid: str, device_alias: str, **display: str | None) -> Element:
    source = element("source", element("address", uuid=uuid))
    return element("hostdev", source, alias(device_alias), type="mdev", mode="subsystem", model="vfio-pci", **display)


def _usb(address: str, name: str) -> Element:
    bus, separator, device = address.partition(":")
    if not separator or ":" in device:
        raise ConversionError(f"failed to create hostdevice for {name}: Bad value: {address}", field=_HOST_DEVICES)
    source = element("source", element("address", bus=bus, device=device))
    return element("hostdev", source, alias(f"usb-host-{name}"), type="usb", mode="subsystem")
