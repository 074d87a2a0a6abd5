"""Arguments for QEMU that libvirt has no element for: Ignition and the firmware's debug port.

Paths are ours; nothing a user wrote becomes an argument.
Source: https://libvirt.org/kbase/qemu-passthrough-security.html; https://coreos.github.io/ignition/supported-platforms/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import QEMU, Element, element, group

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

IGNITION = "kubevirt.io/ignitiondata"
DEBUG_VERBOSITY = 5
"""Above this verbosity of the launcher the debug port is logged."""


def build(guest: Guest) -> list[Element]:
    arguments: list[str] = []
    if "ignition" in guest.annotation(IGNITION):
        arguments += ["-fw_cfg", f"name=opt/com.coreos/config,file={_escaped(guest.paths.ignition())}"]
    if guest.traits.debug_port and guest.context.launcher_verbosity > DEBUG_VERBOSITY:
        log = _escaped(guest.paths.firmware_log())
        arguments += ["-chardev", f"file,id=firmwarelog,path={log}"]
        arguments += ["-device", "isa-debugcon,iobase=0x402,chardev=firmwarelog"]
    if not arguments:
        return []
    return [group(f"{{{QEMU}}}commandline", [element(f"{{{QEMU}}}arg", value=value) for value in arguments])]


def _escaped(path: str) -> str:
    """A comma ends a value of QEMU's option syntax unless it is doubled."""
    return path.replace(",", ",,")
