"""Ports that passt forwards to the guest -> <portForward>.

Source: https://libvirt.org/formatdomain.html#vhost-user-connection-with-passt-backend; Istio's reserved ports
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element, group

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import Interface
    from kvtui.domainxml.guest import Guest

ISTIO_INJECTION = "sidecar.istio.io/inject"
ISTIO_PORTS = (15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090)


def port_forwards(guest: Guest, interface: Interface) -> list[Element]:
    """The listed ports, or all; without those that Istio keeps for itself."""
    tcp: list[Element] = []
    udp: list[Element] = []
    if guest.annotation(ISTIO_INJECTION).lower() == "true":
        tcp += [element("range", start=port, exclude="yes") for port in ISTIO_PORTS]
    for port in interface.ports:
        protocol = (port.protocol or "tcp").lower()
        if port.port < 0 or protocol not in ("tcp", "udp"):
            continue
        (tcp if protocol == "tcp" else udp).append(element("range", start=port.port))
    if not tcp and not udp:
        return [element("portForward", proto="tcp"), element("portForward", proto="udp")]
    ranges = {"tcp": tcp, "udp": udp}
    return [group("portForward", chosen, proto=protocol) for protocol, chosen in ranges.items() if chosen]
