"""Networks of a VMI and how interfaces join them: sources, names, states, bindings.

Source: control plane facts 5.3 (networking).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, duplicate, invalid, not_supported, required
from kvtui.virtapi.admission.text import quoted
from kvtui.virtapi.admission.vmi_claims import validate_network_claims
from kvtui.virtapi.admission.vmi_interfaces import validate_interfaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.kubevirt.domain import Interface
    from kvtui.api.kubevirt.vmi import Network, VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec

RESERVED_MAC = "02:00:00:00:00:00"
"""Address of the bridge that a masquerading NIC is plugged into."""
STATES = ("", "absent", "up", "down")
DISCONTINUED = (
    ("slirp", "slirp", "Slirp interface support has been discontinued since v1.3"),
    ("passt", "passt", "Passt network binding has been discontinued since v1.3"),
    ("macvtap", "macvtap", "Macvtap network binding has been discontinued since v1.3"),
)
DISCONTINUED_GATES = (("Passt", "passt", "Passt network binding"), ("Macvtap", "macvtap", "Macvtap network binding"))


def validate_network(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    return [
        *_default_network(spec, field),
        *_sources(spec, field),
        *_states(spec, field),
        *_bindings(spec, field, config),
        *_names(spec, field),
        *validate_interfaces(spec, field, config),
        *validate_network_claims(spec, field, config),
    ]


def validate_network_creation(spec: Spec, field: Path) -> list[Cause]:
    """Bindings that new objects may not use any more."""
    found = []
    for position, interface in enumerate(spec.domain.devices.interfaces):
        at = field.child("domain", "devices", "interfaces").item(position)
        found += [
            invalid(message, at.child(member))
            for attribute, member, message in DISCONTINUED
            if getattr(interface, attribute) is not None
        ]
    return found


def validate_discontinued_gates(spec: Spec, config: ClusterConfig) -> list[Cause]:
    """A listed gate whose feature is gone refuses the objects that use it."""
    return [
        not_supported(f"{words} is discontinued since v1.3. Please refer to Kubevirt user guide for alternatives.")
        for gate, attribute, words in DISCONTINUED_GATES
        if gate in config.listed_gates
        and any(getattr(interface, attribute) is not None for interface in spec.domain.devices.interfaces)
    ]


def _default_network(spec: Spec, field: Path) -> Iterator[Cause]:
    pods = sum(network.pod is not None for network in spec.networks)
    defaults = sum(network.multus is not None and bool(network.multus.default) for network in spec.networks)
    if pods > 1:
        own = field.child("interfaces")
        yield duplicate(f"more than one interface is connected to a pod network in {own}", own)
    if defaults > 1:
        yield invalid("Multus CNI should only have one default network", field.child("networks"))
    if pods and defaults:
        yield invalid("Pod network cannot be defined when Multus default network is defined", field.child("networks"))


def _sources(spec: Spec, field: Path) -> Iterator[Cause]:
    networks = field.child("networks")
    for position, network in enumerate(spec.networks):
        count = sum(source is not None for source in (network.pod, network.multus, network.resource_claim))
        if count != 1:
            words = "should have only one network type" if count else "should have a network type"
            yield required(words, networks.item(position))
    for position, network in enumerate(spec.networks):
        if network.multus is not None and not network.multus.network_name:
            yield required("CNI delegating plugin must have a networkName", networks.item(position))
            return


def _is_default(network: Network) -> bool:
    return network.pod is not None or (network.multus is not None and bool(network.multus.default))


def _states(spec: Spec, field: Path) -> Iterator[Cause]:
    default = next((network.name for network in spec.networks if _is_default(network)), None)
    for position, interface in enumerate(spec.domain.devices.interfaces):
        own = field.child("domain", "devices", "interfaces").item(position).child("state")
        name, state = interface.name, interface.state or ""
        if state not in STATES:
            yield invalid(f"logical {name} interface state value is unsupported: {state}", own)
        if state in ("up", "down") and interface.sriov is not None:
            yield invalid(f"{quoted(name)} interface's state {quoted(state)} is not supported for SR-IOV NICs", own)
        if state != "absent":
            continue
        if interface.bridge is None:
            yield invalid(f"{quoted(name)} interface's state {quoted(state)} is supported only for bridge binding", own)
        if name == default:
            yield invalid(f"{quoted(name)} interface's state {quoted(state)} is not supported on default networks", own)


def _bindings(spec: Spec, field: Path, config: ClusterConfig) -> Iterator[Cause]:
    networks = {network.name: network for network in spec.networks}
    for position, interface in enumerate(spec.domain.devices.interfaces):
        at = field.child("domain", "devices", "interfaces").item(position)
        network = networks.get(interface.name)
        on_pod = network is not None and network.pod is not None
        if len(_binding_methods(interface)) != 1:
            yield invalid(
                f"logical {interface.name} interface must have exactly one binding method or binding plugin", at
            )
        if interface.masquerade is not None:
            if not on_pod:
                yield invalid("Masquerade interface only implemented with pod network", at.child("name"))
            if (interface.mac_address or "").lower().replace("-", ":") == RESERVED_MAC:
                yield invalid(
                    "The requested MAC address is reserved for the in-pod bridge. Please choose another one.",
                    at.child("macAddress"),
                )
        if interface.bridge is not None and on_pod and not config.bridge_on_pod_network:
            yield invalid("Bridge on pod network configuration is not enabled under kubevirt-config", at.child("name"))
        if interface.passt_binding is not None:
            if not config.gate("PasstBinding"):
                yield invalid("PasstBinding feature gate is not enabled", at.child("name"))
            if not on_pod:
                yield invalid("PasstBinding interface only implemented with pod network", at.child("name"))


def _binding_methods(interface: Interface) -> list[str]:
    names = ("bridge", "masquerade", "sriov", "passt_binding", "binding")
    return [name for name in names if getattr(interface, name) is not None]


def _names(spec: Spec, field: Path) -> Iterator[Cause]:
    """Unique names on both sides, and every network and interface with its partner."""
    networks, interfaces = field.child("networks"), field.child("domain", "devices", "interfaces")
    network_names = [network.name for network in spec.networks]
    interface_names = [interface.name for interface in spec.domain.devices.interfaces]
    for position, name in enumerate(network_names):
        if name in network_names[:position]:
            yield duplicate(
                f"Network with name {quoted(name)} already exists, every network must have a unique name",
                networks.item(position).child("name"),
            )
    for position, name in enumerate(network_names):
        if name not in interface_names:
            own = networks.item(position).child("name")
            yield required(f"{own} '{name}' not found.", own)
    for position, name in enumerate(interface_names):
        if name in interface_names[:position]:
            yield duplicate(
                "Only one interface can be connected to one specific network", interfaces.item(position).child("name")
            )
    for position, name in enumerate(interface_names):
        if name not in network_names:
            own = interfaces.item(position).child("name")
            yield invalid(f"{own} '{name}' not found.", own)
