"""What a launcher's Pod says about its networks: Multus annotations, served ports, device resources.

Source: kubevirt pkg/network/multus, pkg/network/pod/annotations; control plane facts 4.1, node facts 3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kvtui.api.core.config import NetworkAttachmentDefinition
from kvtui.api.core.pod import ContainerPort
from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vmi import Network, VirtualMachineInstanceSpec
from kvtui.controllers.clusterconfig import Configuration

MULTUS_NETWORKS = "k8s.v1.cni.cncf.io/networks"
MULTUS_DEFAULT = "v1.multus-cni.io/default-network"
RESOURCE_NAME = "k8s.v1.cni.cncf.io/resourceName"
ISTIO_REROUTE = "istio.io/reroute-virtual-interfaces"
ISTIO_INTERFACES = "traffic.sidecar.istio.io/kubevirtInterfaces"
ISTIO_INJECT = "sidecar.istio.io/inject"
_POD_BRIDGE = "k6t-eth0"


def pod_interface_name(network: str) -> str:
    """Name of a secondary network's interface in the Pod, the same after every migration."""
    return "pod" + hashlib.sha256(network.encode()).hexdigest()[:11]


def attachment_of(network: Network, namespace: str) -> tuple[str, str] | None:
    """(namespace, name) of the NetworkAttachmentDefinition that a network names."""
    if network.multus is None or not network.multus.network_name:
        return None
    own, _, name = network.multus.network_name.rpartition("/")
    return own or namespace, name


def network_annotations(spec: VirtualMachineInstanceSpec, namespace: str, config: Configuration) -> dict[str, str]:
    interfaces = {i.name: i for i in spec.domain.devices.interfaces}
    annotations: dict[str, str] = {}
    elements = []
    for network in spec.networks:
        interface = interfaces.get(network.name)
        if interface is None or interface.state == "absent":
            continue
        if network.multus is not None and network.multus.default:
            annotations[MULTUS_DEFAULT] = network.multus.network_name
        elif network.multus is not None:
            elements.append(_element(network, interface, namespace))
        elements += _plugin_elements(network, interface, namespace, config)
    if elements:
        annotations[MULTUS_NETWORKS] = json.dumps(elements, separators=(",", ":"))
    if any(i.masquerade is not None for i in interfaces.values()):
        annotations[ISTIO_REROUTE] = annotations[ISTIO_INTERFACES] = _POD_BRIDGE
    return annotations


def _element(network: Network, interface: Interface, namespace: str) -> dict[str, Any]:
    where = attachment_of(network, namespace)
    assert where is not None
    element: dict[str, Any] = {"name": where[1], "namespace": where[0]}
    if interface.mac_address:
        element["mac"] = interface.mac_address
    element["interface"] = pod_interface_name(network.name)
    return element


def _plugin_elements(
    network: Network, interface: Interface, namespace: str, config: Configuration
) -> list[dict[str, Any]]:
    plugin = config.network.binding.get(interface.binding.name) if interface.binding else None
    if plugin is None or not plugin.network_attachment_definition:
        return []
    own, _, name = plugin.network_attachment_definition.rpartition("/")
    return [{"name": name, "namespace": own or namespace, "cni-args": {"logicNetworkName": network.name}}]


def ports(spec: VirtualMachineInstanceSpec) -> list[ContainerPort]:
    """Every port that an interface declares."""
    return [
        ContainerPort(name=p.name or "", container_port=p.port, protocol=p.protocol or "TCP")
        for interface in spec.domain.devices.interfaces
        for p in interface.ports
    ]


def device_networks(
    spec: VirtualMachineInstanceSpec,
    namespace: str,
    attachments: Mapping[tuple[str, str], NetworkAttachmentDefinition],
    config: Configuration,
) -> dict[str, str]:
    """Network -> device resource named by its attachment; empty while somebody else injects those."""
    if config.gate("ExternalNetResourceInjection"):
        return {}
    found: dict[str, str] = {}
    for network in spec.networks:
        where = attachment_of(network, namespace)
        definition = attachments.get(where) if where else None
        if definition is not None and (resource := definition.metadata.annotations.get(RESOURCE_NAME)):
            found[network.name] = resource
    return found
