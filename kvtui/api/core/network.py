"""Services, the endpoints behind them, and network policies.

Source: k8s.io/api/core/v1, discovery/v1, networking/v1.
"""

from __future__ import annotations

from typing import Annotated, Any

from kvtui.api.core.storage import ObjectReference
from kvtui.api.meta import LabelSelector, Resource
from kvtui.api.wire import INT32, REQUIRED, IntOrString, Wire, list_map, named


class ServicePort(Wire, frozen=True):
    """A port of a Service and where it leads."""

    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    port: Annotated[int, REQUIRED, INT32] = 0
    target_port: IntOrString = 0
    node_port: Annotated[int, INT32] = 0


class ServiceSpec(Wire, frozen=True):
    """Which Pods, under which address."""

    ports: Annotated[list[ServicePort], list_map("port", "protocol")] = []
    selector: dict[str, str] = {}
    cluster_ip: str = named("clusterIP", "")
    cluster_ips: list[str] = named("clusterIPs", [])
    type: str = ""
    external_ips: list[str] = named("externalIPs", [])
    external_name: str = ""
    session_affinity: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    publish_not_ready_addresses: bool | None = None
    ip_families: list[str] = []
    ip_family_policy: str | None = None


class Service(Resource, frozen=True):
    """A stable address in front of Pods."""

    spec: ServiceSpec = ServiceSpec()
    status: dict[str, Any] = {}


class EndpointConditions(Wire, frozen=True):
    """Whether an endpoint may be given traffic."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Wire, frozen=True):
    """One Pod behind a Service."""

    addresses: Annotated[list[str], REQUIRED] = []
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(Wire, frozen=True):
    """A port that all endpoints of a slice serve."""

    name: str = ""
    protocol: str = "TCP"
    port: Annotated[int | None, INT32] = None
    app_protocol: str | None = None


class EndpointSlice(Resource, frozen=True):
    """Endpoints of one Service and one address family."""

    address_type: Annotated[str, REQUIRED] = "IPv4"
    endpoints: list[Endpoint] = []
    ports: list[EndpointPort] = []


class EndpointAddress(Wire, frozen=True):
    """One address behind a Service."""

    ip: Annotated[str, REQUIRED] = ""
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointSubset(Wire, frozen=True):
    """Addresses that serve the same ports."""

    addresses: list[EndpointAddress] = []
    not_ready_addresses: list[EndpointAddress] = []
    ports: list[EndpointPort] = []


class Endpoints(Resource, frozen=True):
    """What EndpointSlices replaced; still read by older clients."""

    subsets: list[EndpointSubset] = []


class IPBlock(Wire, frozen=True):
    """Addresses, less some of them."""

    cidr: Annotated[str, REQUIRED] = ""
    except_: list[str] = named("except", [])


class NetworkPolicyPeer(Wire, frozen=True):
    """Pods by label, or addresses."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyPort(Wire, frozen=True):
    """A port, a range of ports, or all of a protocol."""

    protocol: str | None = None
    port: IntOrString | None = None
    end_port: Annotated[int | None, INT32] = None


class NetworkPolicyIngressRule(Wire, frozen=True):
    """What may come in; empty lists mean all."""

    ports: list[NetworkPolicyPort] = []
    from_: list[NetworkPolicyPeer] = named("from", [])


class NetworkPolicyEgressRule(Wire, frozen=True):
    """What may go out; empty lists mean all."""

    ports: list[NetworkPolicyPort] = []
    to: list[NetworkPolicyPeer] = []


class NetworkPolicySpec(Wire, frozen=True):
    """Which Pods are closed, and what they are open for."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: list[str] = []
    ingress: list[NetworkPolicyIngressRule] = []
    egress: list[NetworkPolicyEgressRule] = []


class NetworkPolicy(Resource, frozen=True):
    """A firewall around Pods."""

    spec: NetworkPolicySpec = NetworkPolicySpec()
