"""Sound card: spec.domain.devices.sound -> <sound>.

Source: https://libvirt.org/formatdomain.html#sound-devices
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, alias, element

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    sound = guest.devices.sound
    if sound is None:
        return []
    return [element("sound", alias(sound.name), model="ac97" if sound.model == "ac97" else "ich9")]
