"""Trusted platform module, emulated by swtpm: spec.domain.devices.tpm -> <tpm>.

Source: https://libvirt.org/formatdomain.html#tpm-device
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    tpm = guest.devices.tpm
    if tpm is None or tpm.enabled is False:
        return []
    kept = "yes" if tpm.persistent else None
    backend = element("backend", type="emulator", version="2.0", persistent_state=kept)
    return [element("tpm", backend, model="tpm-crb" if tpm.persistent else "tpm-tis")]
