"""Socket between guest and node: spec.domain.devices.autoattachVSOCK, status.VSOCKCID -> <vsock>.

Source: https://libvirt.org/formatdomain.html#vsock
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    cid = guest.status.vsockcid
    if cid is None or guest.devices.autoattach_vsock is False:
        return []
    # A transitional vsock device does not exist.
    return [element("vsock", element("cid", auto="no", address=cid), model="virtio-non-transitional")]
