"""Interfaces on this node: a converted <interface> with its tap, bridge or user-mode network.

Source: https://libvirt.org/formatdomain.html#bridge-to-lan, #userspace-slirp-stack, #generic-ethernet-connection
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, drop, element, replace
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.names import name_of
from kvtui.domainxml.placement import Attachment, Bridged, Passt, Tapped, UserMode

if TYPE_CHECKING:
    from collections.abc import Mapping

_PASST_ONLY = ("backend", "portForward", "source")


def attach_all(devices: Element, attachments: Mapping[str, Attachment], *, vhost_net: bool) -> None:
    """Attaches every interface in place. Raises ConversionError for one that has no attachment."""
    for interface in devices.findall("interface"):
        name = name_of(interface)
        if name not in attachments:
            raise ConversionError(
                f"interface {name} has no attachment on this node", field=f"spec.domain.devices.interfaces[{name}]"
            )
        attach(interface, attachments[name], vhost_net=vhost_net)


def attach(interface: Element, attachment: Attachment, *, vhost_net: bool) -> None:
    """Attaches one interface in place."""
    if isinstance(attachment, Bridged):
        _be(interface, "bridge", element("source", bridge=attachment.bridge))
        _tap(interface, attachment.device, attachment.mtu, managed=None)
    elif isinstance(attachment, Tapped):
        _be(interface, "ethernet")
        _tap(interface, attachment.device, attachment.mtu, managed="no")
    elif isinstance(attachment, UserMode):
        _be(interface, "user")
        drop(interface, "driver")  # queues and vhost belong to taps
    if attachment.mac:
        replace(interface, element("mac", address=attachment.mac))
    if not isinstance(attachment, Passt) and not vhost_net:
        _without_vhost(interface)


def _be(interface: Element, kind: str, *source: Element) -> None:
    interface.set("type", kind)
    for tag in _PASST_ONLY:
        drop(interface, tag)
    interface.extend(source)


def _tap(interface: Element, device: str, mtu: int, *, managed: str | None) -> None:
    replace(interface, element("target", dev=device, managed=managed))
    if mtu:
        replace(interface, element("mtu", size=mtu))


def _without_vhost(interface: Element) -> None:
    driver = interface.find("driver")
    if driver is None:
        return
    driver.attrib.pop("name", None)
    if not driver.attrib:
        interface.remove(driver)
