"""SMBIOS tables: spec.domain.firmware and .chassis, cluster SMBIOS -> <sysinfo type="smbios">.

libvirt takes the uuid entry for the domain's own UUID.
Source: https://libvirt.org/formatdomain.html#smbios-system-information
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element, group

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    return [
        group(
            "sysinfo",
            [
                group("system", _entries(_system(guest))),
                element("bios"),
                element("baseBoard"),
                group("chassis", _entries(_chassis(guest))),
            ],
            type="smbios",
        )
    ]


def _system(guest: Guest) -> list[tuple[str, str]]:
    smbios, firmware = guest.context.cluster.smbios, guest.firmware
    rows: list[tuple[str, str]] = []
    if firmware is not None:
        rows.append(("uuid", firmware.uuid or ""))
        if firmware.serial:
            rows.append(("serial", firmware.serial))
    return [
        *rows,
        ("manufacturer", smbios.manufacturer),
        ("family", smbios.family),
        ("product", smbios.product),
        ("sku", smbios.sku),
        ("version", smbios.version),
    ]


def _chassis(guest: Guest) -> list[tuple[str, str]]:
    chassis = guest.domain.chassis
    if chassis is None:
        return []
    return [
        ("manufacturer", chassis.manufacturer or ""),
        ("version", chassis.version or ""),
        ("serial", chassis.serial or ""),
        ("asset", chassis.asset or ""),
        ("sku", chassis.sku or ""),
    ]


def _entries(rows: list[tuple[str, str]]) -> list[Element]:
    return [element("entry", value, name=name) for name, value in rows]
