"""Small built-in kinds: namespaces, secrets, config maps, accounts, events, revisions, priorities, budgets.

Source: k8s.io/api/core/v1, apps/v1, scheduling/v1, policy/v1.
"""

from __future__ import annotations

from typing import Annotated, Any

from kvtui.api.core.storage import ObjectReference
from kvtui.api.meta import Condition, LabelSelector, Resource
from kvtui.api.wire import INT32, INT64, REQUIRED, IntOrString, Quantity, Time, Wire, list_map


class NamespaceSpec(Wire, frozen=True):
    """Finalizers that hold the namespace until it is empty."""

    finalizers: list[str] = []


class NamespaceStatus(Wire, frozen=True):
    """Active or Terminating."""

    phase: str = ""
    conditions: Annotated[list[Condition], list_map("type")] = []


class Namespace(Resource, frozen=True):
    """A scope for names."""

    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class Secret(Resource, frozen=True):
    """Confidential data; values of `data` are base64."""

    type: str = ""
    data: dict[str, str] = {}
    string_data: dict[str, str] = {}
    immutable: bool | None = None


class ConfigMap(Resource, frozen=True):
    """Plain data; values of `binaryData` are base64."""

    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool | None = None


class ServiceAccount(Resource, frozen=True):
    """An identity for programs."""

    secrets: list[ObjectReference] = []
    image_pull_secrets: list[dict[str, str]] = []
    automount_service_account_token: bool | None = None


class EventSource(Wire, frozen=True):
    """Who reported."""

    component: str = ""
    host: str = ""


class EventSeries(Wire, frozen=True):
    """How often it was seen."""

    count: Annotated[int, INT32] = 0
    last_observed_time: Time | None = None


class Event(Resource, frozen=True):
    """Something that happened to an object."""

    involved_object: Annotated[ObjectReference, REQUIRED] = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    count: Annotated[int, INT32] = 0
    source: EventSource = EventSource()
    first_timestamp: Time | None = None
    last_timestamp: Time | None = None
    event_time: Time | None = None
    series: EventSeries | None = None
    action: str = ""
    related: ObjectReference | None = None
    reporting_component: str = ""
    reporting_instance: str = ""


class ControllerRevision(Resource, frozen=True):
    """An immutable snapshot of a spec."""

    data: Any = None
    revision: Annotated[int, REQUIRED, INT64] = 0


class PriorityClass(Resource, frozen=True):
    """A name for a priority."""

    value: Annotated[int, REQUIRED, INT32] = 0
    global_default: bool = False
    description: str = ""
    preemption_policy: str | None = None


class PodDisruptionBudgetSpec(Wire, frozen=True):
    """How many Pods must stay or may go."""

    min_available: IntOrString | None = None
    max_unavailable: IntOrString | None = None
    selector: LabelSelector | None = None
    unhealthy_pod_eviction_policy: str | None = None


class PodDisruptionBudgetStatus(Wire, frozen=True):
    """How many disruptions are allowed now."""

    observed_generation: Annotated[int, INT64] = 0
    disruptions_allowed: Annotated[int, INT32] = 0
    current_healthy: Annotated[int, INT32] = 0
    desired_healthy: Annotated[int, INT32] = 0
    expected_pods: Annotated[int, INT32] = 0
    disrupted_pods: dict[str, Time] = {}
    conditions: Annotated[list[Condition], list_map("type")] = []


class PodDisruptionBudget(Resource, frozen=True):
    """Limits voluntary disruptions."""

    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()


class ResourceQuotaSpec(Wire, frozen=True):
    """What a namespace may use in all."""

    hard: dict[str, Quantity] = {}
    scopes: list[str] = []


class ResourceQuotaStatus(Wire, frozen=True):
    """What it uses now."""

    hard: dict[str, Quantity] = {}
    used: dict[str, Quantity] = {}


class ResourceQuota(Resource, frozen=True):
    """Limits what the objects of a namespace may use together."""

    spec: ResourceQuotaSpec = ResourceQuotaSpec()
    status: ResourceQuotaStatus = ResourceQuotaStatus()


class NetworkAttachmentDefinitionSpec(Wire, frozen=True):
    """A CNI configuration as a JSON string."""

    config: str = ""


class NetworkAttachmentDefinition(Resource, frozen=True):
    """A secondary network. Source: k8s.cni.cncf.io/v1."""

    spec: NetworkAttachmentDefinitionSpec = NetworkAttachmentDefinitionSpec()
