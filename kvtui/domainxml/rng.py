"""Random numbers: spec.domain.devices.rng -> <rng>.

Source: https://libvirt.org/formatdomain.html#random-number-generator-device
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element
from kvtui.domainxml.launchsecurity import iommu_driver

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    if guest.devices.rng is None:
        return []
    backend = element("backend", "/dev/urandom", model="random")
    return [element("rng", backend, *iommu_driver(guest), model=guest.virtio)]
