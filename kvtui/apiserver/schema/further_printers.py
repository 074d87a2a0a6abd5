"""The columns of built-in kinds that machines hardly ever need, but people and other programs list all the same.

Source: https://kubernetes.io/docs/reference/kubectl/, as kube-apiserver prints them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kvtui.apiserver.schema.cells import (
    NONE,
    UNKNOWN,
    UNSET,
    Object,
    age,
    created,
    images,
    pairs,
    selector,
    spec,
    status,
)
from kvtui.apiserver.schema.printers import Printer, columns

_HOOKS = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"
_SHOWN = 3
"""Hosts, modes and addresses that are listed by name."""


def _few(values: list[str], nothing: str) -> str:
    more = f" + {len(values) - _SHOWN} more..." if len(values) > _SHOWN else ""
    return ",".join(values[:_SHOWN]) + more if values else nothing


def _request(obj: Object, now: datetime) -> list[Any]:
    state = status(obj)
    conditions = sorted(str(c.get("type")) for c in state.get("conditions") or ())
    shown = ",".join(conditions) if conditions else "Pending"
    if state.get("certificate"):
        shown += ",Issued"
    seconds = spec(obj).get("expirationSeconds")
    duration = f"{seconds}s" if seconds is not None else NONE
    return [created(obj, now), spec(obj).get("signerName") or NONE, spec(obj).get("username", ""), duration, shown]


def _autoscaler(obj: Object, now: datetime) -> list[Any]:
    target = spec(obj).get("scaleTargetRef") or {}
    return [
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _few(_metrics(obj), NONE),
        spec(obj).get("minReplicas", UNSET),
        spec(obj).get("maxReplicas", 0),
        status(obj).get("currentReplicas", 0),
        created(obj, now),
    ]


def _metrics(obj: Object) -> list[str]:
    """Current value and goal of each metric."""
    old = spec(obj).get("targetCPUUtilizationPercentage")
    if old is not None:
        now = status(obj).get("currentCPUUtilizationPercentage")
        return [f"cpu: {UNKNOWN if now is None else f'{now}%'}/{old}%"]
    current = status(obj).get("currentMetrics") or []
    shown: list[str] = []
    for index, metric in enumerate(spec(obj).get("metrics") or ()):
        kind = str(metric.get("type", ""))
        part = kind[:1].lower() + kind[1:]
        wanted = metric.get(part) or {}
        seen = ((current[index] if index < len(current) else {}) or {}).get(part) or {}
        goal, value = wanted.get("target") or {}, seen.get("current") or {}
        name = f"{wanted.get('name')}: " if part == "resource" else ""
        use = goal.get("averageUtilization")
        if use is not None:
            found = value.get("averageUtilization")
            shown.append(f"{name}{UNKNOWN if found is None else f'{found}%'}/{use}%")
        else:
            limit = goal.get("averageValue", goal.get("value", UNSET))
            found = value.get("averageValue", value.get("value"))
            shown.append(f"{name}{UNKNOWN if found is None else found}/{limit}")
    return shown


def _component(obj: Object, now: datetime) -> list[Any]:
    healthy: Object = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), {})
    shown = {"True": "Healthy", "False": "Unhealthy"}.get(str(healthy.get("status")), "Unknown")
    return [shown, healthy.get("message", ""), healthy.get("error", "")]


def _ingress(obj: Object, now: datetime) -> list[Any]:
    hosts = [str(rule["host"]) for rule in spec(obj).get("rules") or () if rule.get("host")]
    points = (status(obj).get("loadBalancer") or {}).get("ingress") or ()
    addresses = ",".join(str(p.get("ip") or p.get("hostname") or "") for p in points)
    ports = "80, 443" if spec(obj).get("tls") else "80"
    return [spec(obj).get("ingressClassName") or NONE, _few(hosts, "*"), addresses, ports, created(obj, now)]


def _ingress_class(obj: Object, now: datetime) -> list[Any]:
    given = spec(obj).get("parameters") or {}
    kind = f"{given.get('kind')}.{given['apiGroup']}" if given.get("apiGroup") else given.get("kind")
    return [spec(obj).get("controller", ""), f"{kind}/{given.get('name')}" if given else NONE, created(obj, now)]


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        ports = [f":{port.get('port')}" for port in subset.get("ports") or ()]
        found += [f"{a.get('ip')}{port}" for port in ports or [""] for a in subset.get("addresses") or ()]
    return [_few(found, NONE), created(obj, now)]


def _cron_job(obj: Object, now: datetime) -> list[Any]:
    template = spec(spec(obj).get("jobTemplate") or {}).get("template") or {}
    last = status(obj).get("lastScheduleTime")
    return [
        spec(obj).get("schedule", ""),
        spec(obj).get("timeZone") or NONE,
        str(bool(spec(obj).get("suspend"))),
        len(status(obj).get("active") or ()),
        age(last, now) if last else NONE,
        created(obj, now),
        *images(template),
        selector(spec(spec(obj).get("jobTemplate") or {}).get("selector")),
    ]


def _flow(obj: Object, now: datetime) -> list[Any]:
    dangling = [c.get("status") for c in status(obj).get("conditions") or () if c.get("type") == "Dangling"]
    return [
        (spec(obj).get("priorityLevelConfiguration") or {}).get("name", ""),
        spec(obj).get("matchingPrecedence", 0),
        (spec(obj).get("distinguisherMethod") or {}).get("type", NONE),
        created(obj, now),
        *(dangling[:1] or ["?"]),
    ]


def _level(obj: Object, now: datetime) -> list[Any]:
    limited = spec(obj).get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    numbers = [queuing.get(key, NONE) for key in ("queues", "handSize", "queueLengthLimit")]
    return [spec(obj).get("type", ""), limited.get("nominalConcurrencyShares", NONE), *numbers, created(obj, now)]


def _policy(obj: Object, now: datetime) -> list[Any]:
    kind = spec(obj).get("paramKind") or {}
    shown = f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET
    return [len(spec(obj).get("validations") or ()), shown, created(obj, now)]


def _mutation(obj: Object, now: datetime) -> list[Any]:
    kind = spec(obj).get("paramKind") or {}
    shown = f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET
    return [len(spec(obj).get("mutations") or ()), shown, created(obj, now)]


def _policy_binding(obj: Object, now: datetime) -> list[Any]:
    given = spec(obj).get("paramRef") or {}
    shown = UNSET
    if given:
        place = given.get("namespace") or ""
        shown = (f"{place}/" if place else "") + str(given.get("name") or "*")
    return [spec(obj).get("policyName", ""), shown, created(obj, now)]


def _pod_template(obj: Object, now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    return [*images(template), pairs((template.get("metadata") or {}).get("labels"))]


def _driver(obj: Object, now: datetime) -> list[Any]:
    given = spec(obj)
    audiences = [str(t.get("audience")) for t in given.get("tokenRequests") or ()]
    return [
        given.get("attachRequired", True),
        given.get("podInfoOnMount", False),
        given.get("storageCapacity", False),
        ",".join(audiences) if audiences else UNSET,
        given.get("requiresRepublish", False),
        ",".join(given.get("volumeLifecycleModes") or ("Persistent",)),
        created(obj, now),
    ]


def _attachment(obj: Object, now: datetime) -> list[Any]:
    volume = (spec(obj).get("source") or {}).get("persistentVolumeName", "")
    return [
        spec(obj).get("attacher", ""),
        volume,
        spec(obj).get("nodeName", ""),
        bool(status(obj).get("attached")),
        created(obj, now),
    ]


FURTHER: dict[tuple[str, str], Printer] = {
    ("certificates.k8s.io", "CertificateSigningRequest"): Printer(
        columns("Age", "SignerName", "Requestor", "RequestedDuration", "Condition"), _request
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): Printer(
        columns("Reference", "Targets", "MinPods", "MaxPods:integer", "Replicas:integer", "Age"), _autoscaler
    ),
    ("networking.k8s.io", "Ingress"): Printer(columns("Class", "Hosts", "Address", "Ports", "Age"), _ingress),
    ("networking.k8s.io", "IngressClass"): Printer(columns("Controller", "Parameters", "Age"), _ingress_class),
    ("networking.k8s.io", "NetworkPolicy"): Printer(
        columns("Pod-Selector", "Age"), lambda obj, now: [selector(spec(obj).get("podSelector")), created(obj, now)]
    ),
    ("", "Endpoints"): Printer(columns("Endpoints", "Age"), _endpoints),
    ("", "ComponentStatus"): Printer(columns("Status", "Message", "Error"), _component),
    ("batch", "CronJob"): Printer(
        columns(
            "Schedule",
            "Timezone",
            "Suspend",
            "Active:integer",
            "Last Schedule",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ),
        _cron_job,
    ),
    (_FLOW, "FlowSchema"): Printer(
        columns("PriorityLevel", "MatchingPrecedence:integer", "DistinguisherMethod", "Age", "MissingPL"), _flow
    ),
    (_FLOW, "PriorityLevelConfiguration"): Printer(
        columns("Type", "NominalConcurrencyShares", "Queues", "HandSize", "QueueLengthLimit", "Age"), _level
    ),
    (_HOOKS, "ValidatingAdmissionPolicy"): Printer(columns("Validations:integer", "ParamKind", "Age"), _policy),
    (_HOOKS, "MutatingAdmissionPolicy"): Printer(columns("Mutations:integer", "ParamKind", "Age"), _mutation),
    (_HOOKS, "MutatingAdmissionPolicyBinding"): Printer(columns("PolicyName", "ParamRef", "Age"), _policy_binding),
    (_HOOKS, "ValidatingAdmissionPolicyBinding"): Printer(columns("PolicyName", "ParamRef", "Age"), _policy_binding),
    ("", "PodTemplate"): Printer(columns("Containers", "Images", "Pod Labels"), _pod_template),
    ("node.k8s.io", "RuntimeClass"): Printer(
        columns("Handler", "Age"), lambda obj, now: [obj.get("handler", ""), created(obj, now)]
    ),
    ("storage.k8s.io", "CSIDriver"): Printer(
        columns(
            "AttachRequired:boolean",
            "PodInfoOnMount:boolean",
            "StorageCapacity:boolean",
            "TokenRequests",
            "RequiresRepublish:boolean",
            "Modes",
            "Age",
        ),
        _driver,
    ),
    ("storage.k8s.io", "CSINode"): Printer(
        columns("Drivers:integer", "Age"),
        lambda obj, now: [len(spec(obj).get("drivers") or ()), created(obj, now)],
    ),
    ("storage.k8s.io", "CSIStorageCapacity"): Printer(
        columns("StorageClassName", "Capacity"),
        lambda obj, now: [obj.get("storageClassName", ""), str(obj.get("capacity") or UNSET)],
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): Printer(
        columns("DriverName", "Age"), lambda obj, now: [obj.get("driverName", ""), created(obj, now)]
    ),
    ("storage.k8s.io", "VolumeAttachment"): Printer(
        columns("Attacher", "PV", "Node", "Attached:boolean", "Age"), _attachment
    ),
}
