"""Serial console: a socket for input and a log for all output -> <serial>, <console>.

Source: https://libvirt.org/formatdomain.html#serial-port
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    if not guest.serial_console:
        return []
    serial = element(
        "serial",
        element("source", mode="bind", path=guest.paths.serial_socket()),
        element("target", port=0),
        type="unix",
    )
    if _is_logged(guest):
        serial.append(element("log", file=guest.paths.serial_log(), append="on"))
    return [serial, element("console", element("target", type="serial", port=0), type="pty")]


def _is_logged(guest: Guest) -> bool:
    asked = guest.devices.log_serial_console
    return guest.context.cluster.serial_console_log if asked is None else asked
