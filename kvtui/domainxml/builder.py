"""A VirtualMachineInstance as a libvirt <domain>: the list of all parts, and what makes them one document.

Source: https://libvirt.org/formatdomain.html; KubeVirt's converter, whose output this reproduces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml import (
    balloon,
    boot,
    channels,
    clock,
    console,
    controllers,
    cpu,
    disks,
    features,
    filesystems,
    graphics,
    hostdevices,
    inputs,
    interfaces,
    iothreads,
    launchsecurity,
    memory,
    numa,
    panic,
    pci,
    pinning,
    qemuargs,
    reboot,
    rng,
    sound,
    sysinfo,
    tpm,
    usbredir,
    vsock,
    watchdog,
)
from kvtui.domainxml.elements import Element, checked, element, group
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.guest import Guest
from kvtui.domainxml.paths import component

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvtui.api.kubevirt.vmi import VirtualMachineInstance
    from kvtui.domainxml.context import Context

    Part = Callable[[Guest], list[Element]]

DOMAIN: tuple[Part, ...] = (
    memory.build,
    iothreads.build,
    cpu.build,
    pinning.build,
    numa.build,
    sysinfo.build,
    boot.build,
    features.build,
    clock.build,
    reboot.build,
)
DEVICES: tuple[Part, ...] = (
    interfaces.build,
    hostdevices.build,
    disks.build,
    filesystems.build,
    controllers.build,
    console.build,
    channels.build,
    inputs.build,
    graphics.build,
    sound.build,
    watchdog.build,
    rng.build,
    balloon.build,
    tpm.build,
    vsock.build,
    panic.build,
    usbredir.build,
)
AFTER: tuple[Part, ...] = (launchsecurity.build, qemuargs.build)


def convert(vmi: VirtualMachineInstance, context: Context) -> Element:
    """The domain that upstream's converter makes of the VMI. Raises ConversionError.

    It is not yet what this node defines: `finish` adds identity, attachments and automatic choices.
    """
    guest = Guest(vmi, context)
    for part in ("name", "namespace", "uid"):
        component(getattr(vmi.metadata, part), f"metadata.{part}")
    return checked(
        group(
            "domain",
            [
                element("name", domain_name(vmi)),
                *(part for build in DOMAIN for part in build(guest)),
                _devices(guest),
                *(part for build in AFTER for part in build(guest)),
            ],
            type=_virtualization(guest),
        )
    )


def domain_name(vmi: VirtualMachineInstance) -> str:
    """Namespace and name joined; for display only, since a_b and c meet a and b_c."""
    return f"{vmi.metadata.namespace}_{vmi.metadata.name}"


def _virtualization(guest: Guest) -> str:
    if guest.foreign:
        if not guest.context.gate("CrossArchitectureVirtualization"):
            raise ConversionError(f"the guest is {guest.arch.value}, the node is not", field="spec.architecture")
        return "qemu"
    if guest.context.kvm:
        return "kvm"
    if guest.context.allow_emulation:
        return "qemu"
    raise ConversionError("kvm not present and emulation is not allowed", field="spec")


def _devices(guest: Guest) -> Element:
    emulator = guest.context.emulators.get(guest.arch) if guest.foreign else None
    binary = [element("emulator", emulator)] if emulator else []
    devices = group("devices", [*binary, *(part for build in DEVICES for part in build(guest))])
    if not guest.traits.pci_ports:
        return devices
    if guest.context.gate("PCINUMAAwareTopology"):
        pci.place_by_cell(devices, guest)
    if guest.annotation(pci.ROOT_COMPLEX) == "true":
        pci.place_on_root_complex(devices)
    return devices
