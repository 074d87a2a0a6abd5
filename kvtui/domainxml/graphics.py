"""Screen: VNC on a socket and a video device -> <graphics>, <video>.

Source: https://libvirt.org/formatdomain.html#graphical-framebuffers and #video-devices
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.elements import Element, element

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

VIDEO_KIB = 16384


def build(guest: Guest) -> list[Element]:
    if not guest.graphics:
        return []
    listen = element("listen", type="socket", socket=guest.paths.vnc_socket())
    return [element("graphics", listen, type="vnc"), element("video", _model(guest))]


def _model(guest: Guest) -> Element:
    video = guest.devices.video
    if video is not None:
        return element("model", type=video.type or None, heads=1, vram=VIDEO_KIB)
    if guest.arch is not Arch.AMD64:
        return element("model", type="virtio", heads=1)
    if guest.efi and not guest.context.cluster.vga_for_efi:
        return element("model", type="bochs", heads=1)
    return element("model", type="vga", heads=1, vram=VIDEO_KIB)
