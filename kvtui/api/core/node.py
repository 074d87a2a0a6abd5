"""Nodes and their leases.

Source: k8s.io/api/core/v1, k8s.io/api/coordination/v1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.meta import Resource
from kvtui.api.wire import INT32, Quantity, Time, Wire, list_map, named


class Taint(Wire, frozen=True):
    """Keeps Pods away that do not tolerate it: NoSchedule, PreferNoSchedule or NoExecute."""

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: Time | None = None


class NodeSpec(Wire, frozen=True):
    """What an administrator decides."""

    unschedulable: bool = False
    taints: list[Taint] = []
    pod_cidr: str = named("podCIDR", "")
    pod_cidrs: list[str] = named("podCIDRs", [])
    provider_id: str = named("providerID", "")


class NodeCondition(Wire, frozen=True):
    """Ready, MemoryPressure, DiskPressure, PIDPressure."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None


class NodeAddress(Wire, frozen=True):
    """InternalIP, ExternalIP or Hostname."""

    type: str = ""
    address: str = ""


class DaemonEndpoint(Wire, frozen=True):
    """A port of the agent."""

    port: Annotated[int, INT32] = named("Port", 0)


class NodeDaemonEndpoints(Wire, frozen=True):
    """Where the agent answers, on the node's InternalIP, with TLS."""

    kubelet_endpoint: DaemonEndpoint = DaemonEndpoint()


class NodeSystemInfo(Wire, frozen=True):
    """Versions and identities."""

    machine_id: str = named("machineID", "")
    system_uuid: str = named("systemUUID", "")
    boot_id: str = named("bootID", "")
    kernel_version: str = ""
    os_image: str = ""
    container_runtime_version: str = ""
    kubelet_version: str = ""
    kube_proxy_version: str = ""
    operating_system: str = ""
    architecture: str = ""


class NodeStatus(Wire, frozen=True):
    """What the agent reports."""

    capacity: dict[str, Quantity] = {}
    allocatable: dict[str, Quantity] = {}
    conditions: Annotated[list[NodeCondition], list_map("type")] = []
    addresses: Annotated[list[NodeAddress], list_map("type")] = []
    daemon_endpoints: NodeDaemonEndpoints = NodeDaemonEndpoints()
    node_info: NodeSystemInfo = NodeSystemInfo()


class Node(Resource, frozen=True):
    """A machine that runs VMs."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class LeaseSpec(Wire, frozen=True):
    """Who holds it and until when."""

    holder_identity: str | None = None
    lease_duration_seconds: Annotated[int | None, INT32] = None
    acquire_time: Time | None = None
    renew_time: Time | None = None
    lease_transitions: Annotated[int | None, INT32] = None


class Lease(Resource, frozen=True):
    """A heartbeat or a lock."""

    spec: LeaseSpec = LeaseSpec()
