"""Pods: launchers and workers, and what a scheduler and a kubelet write on them.

Source: k8s.io/api/core/v1.
"""

from __future__ import annotations

from typing import Annotated, Any

from kvtui.api.core.parts import (
    Affinity,
    LocalObjectReference,
    PodDNSConfig,
    Toleration,
    TopologySpreadConstraint,
)
from kvtui.api.meta import Resource
from kvtui.api.wire import INT32, INT64, REQUIRED, Quantity, Time, Wire, list_map, named


class ContainerPort(Wire, frozen=True):
    """A port that a container serves."""

    name: str = ""
    container_port: Annotated[int, REQUIRED, INT32] = 0
    host_port: Annotated[int | None, INT32] = None
    host_ip: str | None = named("hostIP", None)
    protocol: str = ""


class ContainerResources(Wire, frozen=True):
    """Requests and limits by resource name."""

    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    claims: list[dict[str, Any]] = []


class EnvVar(Wire, frozen=True):
    """An environment variable."""

    name: Annotated[str, REQUIRED] = ""
    value: str = ""
    value_from: dict[str, Any] = {}


class Container(Wire, frozen=True):
    """One container."""

    name: Annotated[str, REQUIRED] = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    env: Annotated[list[EnvVar], list_map("name")] = []
    ports: Annotated[list[ContainerPort], list_map("containerPort", "protocol")] = []
    resources: ContainerResources = ContainerResources()
    readiness_probe: dict[str, Any] | None = None
    liveness_probe: dict[str, Any] | None = None
    startup_probe: dict[str, Any] | None = None
    security_context: dict[str, Any] | None = None
    volume_mounts: list[dict[str, Any]] = []
    volume_devices: list[dict[str, Any]] = []
    image_pull_policy: str = ""
    restart_policy: str | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    working_dir: str = ""
    lifecycle: dict[str, Any] | None = None


class PodReadinessGate(Wire, frozen=True):
    """A condition that must be True before the Pod counts as ready."""

    condition_type: str = ""


class PodVolume(Wire, frozen=True):
    """A volume of a Pod; only the kinds that launchers and workers use are named."""

    name: Annotated[str, REQUIRED] = ""
    persistent_volume_claim: dict[str, Any] | None = None
    secret: dict[str, Any] | None = None
    config_map: dict[str, Any] | None = None
    empty_dir: dict[str, Any] | None = None
    host_path: dict[str, Any] | None = None
    downward_api: dict[str, Any] | None = named("downwardAPI", None)
    projected: dict[str, Any] | None = None


class PodSpec(Wire, frozen=True):
    """What runs, and where it may."""

    containers: Annotated[list[Container], REQUIRED, list_map("name")] = []
    init_containers: Annotated[list[Container], list_map("name")] = []
    volumes: Annotated[list[PodVolume], list_map("name")] = []
    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    topology_spread_constraints: list[TopologySpreadConstraint] = []
    scheduler_name: str = ""
    priority: Annotated[int | None, INT32] = None
    priority_class_name: str = ""
    preemption_policy: str | None = None
    restart_policy: str = ""
    hostname: str = ""
    subdomain: str = ""
    host_network: bool | None = None
    dns_policy: str = ""
    dns_config: PodDNSConfig | None = None
    service_account_name: str = ""
    service_account: str = ""
    automount_service_account_token: bool | None = None
    enable_service_links: bool | None = None
    image_pull_secrets: list[LocalObjectReference] = []
    readiness_gates: list[PodReadinessGate] = []
    overhead: dict[str, Quantity] = {}
    resource_claims: list[dict[str, Any]] = []
    security_context: dict[str, Any] | None = None
    termination_grace_period_seconds: Annotated[int | None, INT64] = None
    active_deadline_seconds: Annotated[int | None, INT64] = None


class PodCondition(Wire, frozen=True):
    """PodScheduled, Ready, ContainersReady, Initialized and gates."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None


class StateWaiting(Wire, frozen=True):
    """Not started yet, and why."""

    reason: str = ""
    message: str = ""


class StateRunning(Wire, frozen=True):
    """Running since."""

    started_at: Time | None = None


class StateTerminated(Wire, frozen=True):
    """Ended, and how."""

    exit_code: Annotated[int, INT32] = 0
    signal: Annotated[int | None, INT32] = None
    reason: str = ""
    message: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None


class ContainerState(Wire, frozen=True):
    """Exactly one of the three."""

    waiting: StateWaiting | None = None
    running: StateRunning | None = None
    terminated: StateTerminated | None = None


class ContainerStatus(Wire, frozen=True):
    """State of one container."""

    name: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    ready: bool = False
    restart_count: Annotated[int, INT32] = 0
    image: str = ""
    image_id: str = named("imageID", "")
    container_id: str = named("containerID", "")
    started: bool | None = None


class PodIP(Wire, frozen=True):
    """One address."""

    ip: str = ""


class PodStatus(Wire, frozen=True):
    """What the node reports."""

    phase: str = ""
    conditions: Annotated[list[PodCondition], list_map("type")] = []
    message: str = ""
    reason: str = ""
    nominated_node_name: str = ""
    host_ip: str = named("hostIP", "")
    pod_ip: str = named("podIP", "")
    pod_ips: list[PodIP] = named("podIPs", [])
    start_time: Time | None = None
    init_container_statuses: list[ContainerStatus] = []
    container_statuses: list[ContainerStatus] = []
    qos_class: str = ""


class Pod(Resource, frozen=True):
    """On VM nodes a Pod is a launcher (a domain) or a worker (an import, upload or clone)."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
