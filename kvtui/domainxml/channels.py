"""Channels of the guest agent and of downward metrics -> <channel>.

Source: https://libvirt.org/formatdomain.html#channel
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

GUEST_AGENT = "org.qemu.guest_agent.0"
DOWNWARD_METRICS = "org.github.vhostmd.1"


def build(guest: Guest) -> list[Element]:
    channels = [_channel(GUEST_AGENT)]  # libvirt chooses where its socket is
    if guest.devices.downward_metrics is not None:
        source = element("source", mode="bind", path=guest.paths.downward_metrics_socket())
        channels.append(_channel(DOWNWARD_METRICS, source))
    return channels


def _channel(name: str, *source: Element) -> Element:
    return element("channel", *source, element("target", type="virtio", name=name), type="unix")
