"""The columns of built-in kinds and how their cells are made.

Source: https://kubernetes.io/docs/reference/kubectl/, as kube-apiserver prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kvtui.apiserver.schema.cells import (
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    Object,
    access_modes,
    age,
    condition,
    created,
    images,
    meta,
    moment,
    pairs,
    selector,
    spec,
    status,
)
from kvtui.apiserver.schema.pod_cells import pod_cells

Cells = Callable[[Object, datetime], list[Any]]


def _own_name(_obj: Object) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Printer:
    """Columns after the name, and the cells of an object. `name` replaces the object's name if it answers one."""

    columns: tuple[Column, ...]
    cells: Cells
    name: Callable[[Object], str] = _own_name
    named: bool = True
    """The first column is the name; otherwise the columns are all there is."""


_AGE = Column("Age")


def columns(*names: str) -> tuple[Column, ...]:
    """`Name`, or `Name:type`; names that start with + are wide."""
    found: list[Column] = []
    for text in names:
        name, _, type_ = text.lstrip("+").partition(":")
        found.append(Column(name, type_ or "string", wide=text.startswith("+")))
    return tuple(found)


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [status(obj).get("phase", ""), created(obj, now)]


def _node(obj: Object, now: datetime) -> list[Any]:
    ready = condition(obj, "Ready")
    states = ["Ready" if ready == "True" else "NotReady" if ready else "Unknown"]
    if spec(obj).get("unschedulable"):
        states.append("SchedulingDisabled")
    labels = meta(obj).get("labels") or {}
    roles = {k.removeprefix("node-role.kubernetes.io/") for k in labels if k.startswith("node-role.kubernetes.io/")}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    info = status(obj).get("nodeInfo") or {}
    return [
        ",".join(states),
        ",".join(sorted(role for role in roles if role)) or NONE,
        created(obj, now),
        info.get("kubeletVersion", ""),
        _address(obj, "InternalIP"),
        _address(obj, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _address(obj: Object, type_: str) -> str:
    addresses = status(obj).get("addresses") or []
    return next((a.get("address", "") for a in addresses if a.get("type") == type_), NONE)


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), created(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [obj.get("type", ""), len(obj.get("data") or {}), created(obj, now)]


def _service_account(obj: Object, now: datetime) -> list[Any]:
    return [len(obj.get("secrets") or ()), created(obj, now)]


def _volume(obj: Object, now: datetime) -> list[Any]:
    claim = spec(obj).get("claimRef") or {}
    phase = "Terminating" if meta(obj).get("deletionTimestamp") else status(obj).get("phase", "")
    return [
        str((spec(obj).get("capacity") or {}).get("storage", "")),
        access_modes(spec(obj).get("accessModes")),
        spec(obj).get("persistentVolumeReclaimPolicy", ""),
        phase,
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec(obj).get("storageClassName", ""),
        spec(obj).get("volumeAttributesClassName") or UNSET,
        status(obj).get("reason", ""),
        created(obj, now),
        spec(obj).get("volumeMode") or UNSET,
    ]


def _claim(obj: Object, now: datetime) -> list[Any]:
    bound = bool(spec(obj).get("volumeName"))
    phase = "Terminating" if meta(obj).get("deletionTimestamp") else status(obj).get("phase", "")
    return [
        phase,
        spec(obj).get("volumeName", ""),
        str((status(obj).get("capacity") or {}).get("storage", "")) if bound else "",
        access_modes(status(obj).get("accessModes")) if bound else "",
        spec(obj).get("storageClassName") or (meta(obj).get("annotations") or {}).get(_BETA_CLASS, ""),
        spec(obj).get("volumeAttributesClassName") or UNSET,
        created(obj, now),
        spec(obj).get("volumeMode") or UNSET,
    ]


_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def _class_name(obj: Object) -> str:
    annotations = meta(obj).get("annotations") or {}
    if any(annotations.get(key) == "true" for key in _DEFAULT_CLASS):
        return f"{meta(obj).get('name', '')} (default)"
    return ""


def _class(obj: Object, now: datetime) -> list[Any]:
    return [
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        created(obj, now),
        pairs(obj.get("parameters")),
    ]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [spec(obj).get("holderIdentity", ""), created(obj, now)]


def _event(obj: Object, now: datetime) -> list[Any]:
    first = age(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = age(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    series = obj.get("series")
    if series:
        last, count = age(series.get("lastObservedTime"), now), series.get("count", count)
    source = obj.get("source") or {}
    reporter = source.get("component") or obj.get("reportingComponent") or ""
    involved = obj.get("involvedObject") or obj.get("regarding") or {}
    target = involved.get("kind", "").lower()
    if involved.get("name"):
        target += f"/{involved['name']}"
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        target,
        involved.get("fieldPath", ""),
        f"{reporter}, {source['host']}" if source.get("host") else reporter,
        (obj.get("message") or obj.get("note") or "").strip(),
        first,
        count,
        meta(obj).get("name", ""),
    ]


def _deployment(obj: Object, now: datetime) -> list[Any]:
    template = spec(obj).get("template") or {}
    return [
        f"{status(obj).get('readyReplicas', 0)}/{spec(obj).get('replicas', 1)}",
        status(obj).get("updatedReplicas", 0),
        status(obj).get("availableReplicas", 0),
        created(obj, now),
        *images(template),
        selector(spec(obj).get("selector")),
    ]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    return [
        spec(obj).get("replicas", 1),
        status(obj).get("replicas", 0),
        status(obj).get("readyReplicas", 0),
        created(obj, now),
        *images(spec(obj).get("template") or {}),
        selector(spec(obj).get("selector")),
    ]


def _stateful_set(obj: Object, now: datetime) -> list[Any]:
    ready = f"{status(obj).get('readyReplicas', 0)}/{spec(obj).get('replicas', 1)}"
    return [ready, created(obj, now), *images(spec(obj).get("template") or {})]


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    state = status(obj)
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    return [
        *(state.get(name, 0) for name in counts),
        state.get("numberAvailable", 0),
        pairs((spec(spec(obj).get("template") or {})).get("nodeSelector")),
        created(obj, now),
        *images(spec(obj).get("template") or {}),
        selector(spec(obj).get("selector")),
    ]


def _service(obj: Object, now: datetime) -> list[Any]:
    ports = [
        f"{p.get('port', '')}:{p['nodePort']}/{p.get('protocol', 'TCP')}"
        if p.get("nodePort")
        else f"{p.get('port', '')}/{p.get('protocol', 'TCP')}"
        for p in spec(obj).get("ports") or ()
    ]
    external = ",".join(spec(obj).get("externalIPs") or ()) or NONE
    return [
        spec(obj).get("type") or "ClusterIP",
        spec(obj).get("clusterIP") or NONE,
        spec(obj).get("externalName") or external,
        ",".join(ports) or NONE,
        created(obj, now),
        pairs(spec(obj).get("selector")),
    ]


def _binding(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or []

    def named(kind: str) -> str:
        return ", ".join(s.get("name", "") for s in subjects if s.get("kind") == kind)

    accounts = [f"{s.get('namespace', '')}/{s.get('name', '')}" for s in subjects if s.get("kind") == "ServiceAccount"]
    return [
        f"{role.get('kind', '')}/{role.get('name', '')}",
        created(obj, now),
        named("User"),
        named("Group"),
        ", ".join(accounts),
    ]


def _budget(obj: Object, now: datetime) -> list[Any]:
    def shown(value: Any) -> str:
        return "N/A" if value is None else str(value)

    return [
        shown(spec(obj).get("minAvailable")),
        shown(spec(obj).get("maxUnavailable")),
        status(obj).get("disruptionsAllowed", 0),
        created(obj, now),
    ]


def _priority_class(obj: Object, now: datetime) -> list[Any]:
    return [
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        created(obj, now),
        obj.get("preemptionPolicy") or "PreemptLowerPriority",
    ]


def _revision(obj: Object, now: datetime) -> list[Any]:
    owner = next((o for o in meta(obj).get("ownerReferences") or () if o.get("controller")), None)
    if owner is None:
        return [NONE, obj.get("revision", 0), created(obj, now)]
    group = owner.get("apiVersion", "").rpartition("/")[0]
    kind = owner.get("kind", "").lower() + (f".{group}" if group else "")
    return [f"{kind}/{owner.get('name', '')}", obj.get("revision", 0), created(obj, now)]


def _quota(obj: Object, now: datetime) -> list[Any]:
    hard, used = status(obj).get("hard") or {}, status(obj).get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        text = f"{name}: {used.get(name, 0)}/{hard[name]}"
        (limits if "limits." in name else requests).append(text)
    return [", ".join(requests), ", ".join(limits), created(obj, now)]


def _api_service(obj: Object, now: datetime) -> list[Any]:
    service = spec(obj).get("service")
    where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    available = next((c for c in status(obj).get("conditions") or () if c.get("type") == "Available"), None)
    shown = "Unknown"
    if available:
        shown = available.get("status", "")
        if shown != "True" and available.get("reason"):
            shown += f" ({available['reason']})"
    return [where, shown, created(obj, now)]


def _job(obj: Object, now: datetime) -> list[Any]:
    wanted, done = spec(obj).get("completions"), status(obj).get("succeeded", 0)
    state = "Running"
    for type_, text in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if condition(obj, type_) == "True":
            state = text
    if meta(obj).get("deletionTimestamp"):
        state = "Terminating"
    completions = f"{done}/{wanted}" if wanted is not None else f"{done}/1 of {spec(obj).get('parallelism', 1)}"
    template = spec(obj).get("template") or {}
    start, end = status(obj).get("startTime"), status(obj).get("completionTime")
    return [
        state,
        completions,
        _between(start, end, now),
        created(obj, now),
        *images(template),
        selector(spec(obj).get("selector")),
    ]


def _between(start: Any, end: Any, now: datetime) -> str:
    begin = moment(start)
    return age(start, moment(end) or now) if begin else ""


def _webhooks(obj: Object, now: datetime) -> list[Any]:
    return [len(obj.get("webhooks") or ()), created(obj, now)]


def _endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = ",".join(str(p.get("port", "")) for p in obj.get("ports") or ()) or UNSET
    found = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    shown = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [obj.get("addressType", ""), ports, shown or UNSET, created(obj, now)]


_REPLICA_COLUMNS = columns(
    "Desired:integer", "Current:integer", "Ready:integer", "Age", "+Containers", "+Images", "+Selector"
)
_RBAC = "rbac.authorization.k8s.io"
_HOOKS = "admissionregistration.k8s.io"

PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "Namespace"): Printer(columns("Status", "Age"), _namespace),
    ("", "Node"): Printer(
        columns(
            "Status",
            "Roles",
            "Age",
            "Version",
            "+Internal-IP",
            "+External-IP",
            "+OS-Image",
            "+Kernel-Version",
            "+Container-Runtime",
        ),
        _node,
    ),
    ("", "Pod"): Printer(
        columns("Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"), pod_cells
    ),
    ("", "ConfigMap"): Printer(columns("Data:integer", "Age"), _config_map),
    ("", "Secret"): Printer(columns("Type", "Data:integer", "Age"), _secret),
    ("", "ServiceAccount"): Printer(columns("Secrets:integer", "Age"), _service_account),
    ("", "PersistentVolume"): Printer(
        columns(
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
            "+VolumeMode",
        ),
        _volume,
    ),
    ("", "PersistentVolumeClaim"): Printer(
        columns(
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "+VolumeMode",
        ),
        _claim,
    ),
    ("storage.k8s.io", "StorageClass"): Printer(
        columns(
            "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion:boolean", "Age", "+Parameters"
        ),
        _class,
        _class_name,
    ),
    ("coordination.k8s.io", "Lease"): Printer(columns("Holder", "Age"), _lease),
    ("", "Event"): Printer(
        columns(
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "+Subobject",
            "+Source",
            "Message",
            "+First Seen",
            "+Count:integer",
            "+Name",
        ),
        _event,
        named=False,
    ),
    ("apps", "Deployment"): Printer(
        columns("Ready", "Up-to-date:integer", "Available:integer", "Age", "+Containers", "+Images", "+Selector"),
        _deployment,
    ),
    ("apps", "ReplicaSet"): Printer(_REPLICA_COLUMNS, _replica_set),
    ("", "ReplicationController"): Printer(
        _REPLICA_COLUMNS, lambda obj, now: [*_replica_set(obj, now)[:-1], pairs(spec(obj).get("selector"))]
    ),
    ("apps", "StatefulSet"): Printer(columns("Ready", "Age", "+Containers", "+Images"), _stateful_set),
    ("apps", "DaemonSet"): Printer(
        columns(
            "Desired:integer",
            "Current:integer",
            "Ready:integer",
            "Up-to-date:integer",
            "Available:integer",
            "Node Selector",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ),
        _daemon_set,
    ),
    ("apps", "ControllerRevision"): Printer(columns("Controller", "Revision:integer", "Age"), _revision),
    ("batch", "Job"): Printer(
        columns("Status", "Completions", "Duration", "Age", "+Containers", "+Images", "+Selector"), _job
    ),
    ("", "Service"): Printer(columns("Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"), _service),
    ("discovery.k8s.io", "EndpointSlice"): Printer(
        columns("AddressType", "Ports", "Endpoints", "Age"), _endpoint_slice
    ),
    (_RBAC, "RoleBinding"): Printer(columns("Role", "Age", "+Users", "+Groups", "+ServiceAccounts"), _binding),
    (_RBAC, "ClusterRoleBinding"): Printer(columns("Role", "Age", "+Users", "+Groups", "+ServiceAccounts"), _binding),
    ("policy", "PodDisruptionBudget"): Printer(
        columns("Min Available", "Max Unavailable", "Allowed Disruptions:integer", "Age"), _budget
    ),
    ("scheduling.k8s.io", "PriorityClass"): Printer(
        columns("Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy"), _priority_class
    ),
    ("", "ResourceQuota"): Printer(columns("Request", "Limit", "Age"), _quota),
    ("apiregistration.k8s.io", "APIService"): Printer(columns("Service", "Available", "Age"), _api_service),
    (_HOOKS, "MutatingWebhookConfiguration"): Printer(columns("Webhooks:integer", "Age"), _webhooks),
    (_HOOKS, "ValidatingWebhookConfiguration"): Printer(columns("Webhooks:integer", "Age"), _webhooks),
}
PRINTERS[("events.k8s.io", "Event")] = PRINTERS[("", "Event")]
