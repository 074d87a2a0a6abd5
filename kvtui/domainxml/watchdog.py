"""Watchdog: spec.domain.devices.watchdog -> <watchdog model= action=>.

Source: https://libvirt.org/formatdomain.html#watchdog-devices
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.elements import Element, alias, element
from kvtui.domainxml.errors import UnsupportedDevice

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

MODELS = {Arch.AMD64: "i6300esb", Arch.S390X: "diag288"}
_FIELD = "spec.domain.devices.watchdog"


def build(guest: Guest) -> list[Element]:
    watchdog, model = guest.devices.watchdog, MODELS.get(guest.arch)
    if watchdog is None:
        return []
    if model is None:
        raise UnsupportedDevice(f"watchdog is not supported on architecture {guest.arch.name}", field=_FIELD)
    settings = watchdog.diag288 if guest.arch is Arch.S390X else watchdog.i6300esb
    if settings is None:
        raise UnsupportedDevice(f"watchdog {watchdog.name} can't be mapped, no watchdog type specified", field=_FIELD)
    return [element("watchdog", alias(watchdog.name), model=model, action=settings.action or None)]
