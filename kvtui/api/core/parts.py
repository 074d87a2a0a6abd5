"""Parts of core/v1 that VMs, DataVolumes and Pods share: affinity, tolerations, probes, claims.

Source: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.meta import LabelSelector
from kvtui.api.wire import ATOMIC, INT32, INT64, REQUIRED, IntOrString, Quantity, Wire, list_map, one_of


class NodeSelectorRequirement(Wire, frozen=True):
    """Node selector requirement."""

    key: Annotated[str, REQUIRED] = ""
    operator: Annotated[str, REQUIRED, one_of("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")] = ""
    values: Annotated[list[str], ATOMIC] = []


class NodeSelectorTerm(Wire, frozen=True):
    """Node selector term."""

    match_expressions: Annotated[list[NodeSelectorRequirement], ATOMIC] = []
    match_fields: Annotated[list[NodeSelectorRequirement], ATOMIC] = []


class PreferredSchedulingTerm(Wire, frozen=True):
    """Preferred scheduling term."""

    preference: Annotated[NodeSelectorTerm, REQUIRED] = NodeSelectorTerm()
    weight: Annotated[int, REQUIRED, INT32] = 0


class NodeSelector(Wire, frozen=True):
    """Node selector."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], REQUIRED, ATOMIC] = []


class NodeAffinity(Wire, frozen=True):
    """Node affinity."""

    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredSchedulingTerm], ATOMIC] = []
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Wire, frozen=True):
    """Pod affinity term."""

    label_selector: LabelSelector | None = None
    match_label_keys: Annotated[list[str], ATOMIC] = []
    mismatch_label_keys: Annotated[list[str], ATOMIC] = []
    namespace_selector: LabelSelector | None = None
    namespaces: Annotated[list[str], ATOMIC] = []
    topology_key: Annotated[str, REQUIRED] = ""


class WeightedPodAffinityTerm(Wire, frozen=True):
    """Weighted pod affinity term."""

    pod_affinity_term: Annotated[PodAffinityTerm, REQUIRED] = PodAffinityTerm()
    weight: Annotated[int, REQUIRED, INT32] = 0


class PodAffinity(Wire, frozen=True):
    """Pod affinity."""

    preferred_during_scheduling_ignored_during_execution: Annotated[list[WeightedPodAffinityTerm], ATOMIC] = []
    required_during_scheduling_ignored_during_execution: Annotated[list[PodAffinityTerm], ATOMIC] = []


class PodAntiAffinity(Wire, frozen=True):
    """Pod anti affinity."""

    preferred_during_scheduling_ignored_during_execution: Annotated[list[WeightedPodAffinityTerm], ATOMIC] = []
    required_during_scheduling_ignored_during_execution: Annotated[list[PodAffinityTerm], ATOMIC] = []


class Affinity(Wire, frozen=True):
    """Near or far from which nodes and Pods something should run."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class ObjectFieldSelector(Wire, frozen=True):
    """Object field selector."""

    api_version: str | None = None
    field_path: Annotated[str, REQUIRED] = ""


class ResourceFieldSelector(Wire, frozen=True):
    """Resource field selector."""

    container_name: str | None = None
    divisor: Quantity | None = None
    resource: Annotated[str, REQUIRED] = ""


class DownwardAPIVolumeFile(Wire, frozen=True):
    """Downward API volume file."""

    field_ref: ObjectFieldSelector | None = None
    mode: Annotated[int | None, INT32] = None
    path: Annotated[str, REQUIRED] = ""
    resource_field_ref: ResourceFieldSelector | None = None


class ExecAction(Wire, frozen=True):
    """A command to check something."""

    command: Annotated[list[str], ATOMIC] = []


class HTTPHeader(Wire, frozen=True):
    """HTTP header."""

    name: Annotated[str, REQUIRED] = ""
    value: Annotated[str, REQUIRED] = ""


class HTTPGetAction(Wire, frozen=True):
    """A request to check something."""

    host: str | None = None
    http_headers: Annotated[list[HTTPHeader], ATOMIC] = []
    path: str | None = None
    port: Annotated[IntOrString | None, REQUIRED] = None
    scheme: Annotated[str | None, one_of("HTTP", "HTTPS")] = None


class LocalObjectReference(Wire, frozen=True):
    """An object of the same namespace."""

    name: str | None = None


class TypedLocalObjectReference(Wire, frozen=True):
    """An object of the same namespace, of any kind."""

    api_group: str | None = None
    kind: Annotated[str, REQUIRED] = ""
    name: Annotated[str, REQUIRED] = ""


class TypedObjectReference(Wire, frozen=True):
    """Typed object reference."""

    api_group: str | None = None
    kind: Annotated[str, REQUIRED] = ""
    name: Annotated[str, REQUIRED] = ""
    namespace: str | None = None


class VolumeResourceRequirements(Wire, frozen=True):
    """Volume resource requirements."""

    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}


class PersistentVolumeClaimSpec(Wire, frozen=True):
    """A request for storage."""

    access_modes: Annotated[list[str], ATOMIC] = []
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements | None = None
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_attributes_class_name: str | None = None
    volume_mode: Annotated[str | None, one_of("Block", "Filesystem", "FromStorageProfile")] = None
    volume_name: str | None = None


class ClaimVolumeSource(Wire, frozen=True):
    """Persistent volume claim volume source."""

    claim_name: Annotated[str, REQUIRED] = ""
    read_only: bool | None = None


class PodDNSConfigOption(Wire, frozen=True):
    """Pod DNS config option."""

    name: str | None = None
    value: str | None = None


class PodDNSConfig(Wire, frozen=True):
    """Name servers and search domains."""

    nameservers: Annotated[list[str], ATOMIC] = []
    options: Annotated[list[PodDNSConfigOption], ATOMIC] = []
    searches: Annotated[list[str], ATOMIC] = []


class TCPSocketAction(Wire, frozen=True):
    """A connection to check something."""

    host: str | None = None
    port: Annotated[IntOrString | None, REQUIRED] = None


class Toleration(Wire, frozen=True):
    """A taint of nodes that is put up with."""

    effect: Annotated[str | None, one_of("NoExecute", "NoSchedule", "PreferNoSchedule")] = None
    key: str | None = None
    operator: Annotated[str | None, one_of("Equal", "Exists")] = None
    toleration_seconds: Annotated[int | None, INT64] = None
    value: str | None = None


class TopologySpreadConstraint(Wire, frozen=True):
    """How Pods are spread over zones or nodes."""

    label_selector: LabelSelector | None = None
    match_label_keys: Annotated[list[str], ATOMIC] = []
    max_skew: Annotated[int, REQUIRED, INT32] = 0
    min_domains: Annotated[int | None, INT32] = None
    node_affinity_policy: Annotated[str | None, one_of("Honor", "Ignore")] = None
    node_taints_policy: Annotated[str | None, one_of("Honor", "Ignore")] = None
    topology_key: Annotated[str, REQUIRED] = ""
    when_unsatisfiable: Annotated[str, REQUIRED, one_of("DoNotSchedule", "ScheduleAnyway")] = ""


class ResourceClaim(Wire, frozen=True):
    """A dynamic resource that a container uses."""

    name: Annotated[str, REQUIRED] = ""
    request: str | None = None


class ResourceRequirements(Wire, frozen=True):
    """Requests and limits by resource name."""

    claims: Annotated[list[ResourceClaim], list_map("name")] = []
    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}
