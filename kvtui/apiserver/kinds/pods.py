"""Pods: defaults, what may change after creation, graceful deletion.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/,
https://kubernetes.io/docs/concepts/workloads/pods/#pod-update-and-replacement.
"""

from __future__ import annotations

import copy
from typing import Any

from kvtui.apiserver import names, status
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
DEFAULT_GRACE = 30
"""Seconds."""
_SPEC_DEFAULTS: dict[str, Any] = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": DEFAULT_GRACE,
    "securityContext": {},
    "enableServiceLinks": True,
}
_CONTAINER_DEFAULTS: dict[str, Any] = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "resources": {},
}
_MODE = 0o644
_VOLUME_DEFAULTS: dict[str, dict[str, Any]] = {
    "configMap": {"defaultMode": _MODE},
    "secret": {"defaultMode": _MODE},
    "downwardAPI": {"defaultMode": _MODE},
    "projected": {"defaultMode": _MODE},
    "hostPath": {"type": ""},
}
_TOLERATION_SECONDS = 300
_PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class Pods(Strategy):
    """Launcher and worker Pods are made by controllers, but anybody may make one."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        default_spec(spec)

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        spec = obj.get("spec")
        obj["status"] = {"phase": "Pending", "qosClass": _qos(spec if isinstance(spec, dict) else {})}
        if not isinstance(spec, dict):
            return
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = spec.get("serviceAccount") or "default"
        spec["serviceAccount"] = spec["serviceAccountName"]
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
        spec.setdefault("priority", 0)
        _tolerate(spec, "node.kubernetes.io/not-ready")
        _tolerate(spec, "node.kubernetes.io/unreachable")
        if spec.get("schedulingGates"):
            obj["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastProbeTime": None,
                    "lastTransitionTime": None,
                }
            ]

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = obj.get("spec")
        if not isinstance(spec, dict) or not spec.get("containers"):
            return [status.required("spec.containers")]
        causes: list[Cause] = []
        seen: set[str] = set()
        for index, container in enumerate(spec["containers"]):
            field = f"spec.containers[{index}]"
            name = container.get("name", "") if isinstance(container, dict) else ""
            if not name:
                causes.append(status.required(f"{field}.name"))
            elif not names.is_label(name):
                causes.append(status.invalid_value(f"{field}.name", name, names.LABEL_TEXT))
            elif name in seen:
                causes.append(status.duplicate(f"{field}.name", name))
            seen.add(name)
            if isinstance(container, dict) and not container.get("image"):
                causes.append(status.required(f"{field}.image"))
        if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
            causes.append(
                status.not_supported("spec.restartPolicy", spec["restartPolicy"], ("Always", "OnFailure", "Never"))
            )
        if old is not None and not _same_spec(spec, old["spec"]):
            causes.append(status.forbidden_field("spec", _IMMUTABLE))
        return causes

    def grace_period(self, obj: Object, requested: int | None) -> int:
        spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        if requested is not None:
            return 1 if requested < 0 else requested
        return int(spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE))


def default_spec(spec: Object) -> None:
    """What a Pod's specification, or that of a template, may leave out."""
    for key, value in _SPEC_DEFAULTS.items():
        if spec.get(key) is None:
            spec[key] = copy.copy(value)
    for family in ("containers", "initContainers"):
        for container in spec.get(family) or ():
            if isinstance(container, dict):
                _default_container(container)
    for volume in spec.get("volumes") or ():
        for source, defaults in _VOLUME_DEFAULTS.items():
            given = volume.get(source) if isinstance(volume, dict) else None
            if isinstance(given, dict):
                volume[source] = {**given, **{k: v for k, v in defaults.items() if given.get(k) is None}}


def _pull_policy(image: Any) -> str:
    """Images that may change under their name are looked up each time."""
    name = image.rpartition("/")[2] if isinstance(image, str) else ""
    fixed = "@" in name or (":" in name and not name.endswith(":latest"))
    return "IfNotPresent" if fixed else "Always"


def _default_container(container: Object) -> None:
    if container.get("imagePullPolicy") is None:
        container["imagePullPolicy"] = _pull_policy(container.get("image"))
    for key, value in _CONTAINER_DEFAULTS.items():
        if container.get(key) is None:
            container[key] = copy.copy(value)
    for variable in container.get("env") or ():
        reference = ((variable.get("valueFrom") or {}) if isinstance(variable, dict) else {}).get("fieldRef")
        if isinstance(reference, dict):
            reference.setdefault("apiVersion", "v1")
    for port in container.get("ports") or ():
        if isinstance(port, dict):
            port.setdefault("protocol", "TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), dict):
            for key, seconds in _PROBE_DEFAULTS.items():
                container[probe].setdefault(key, seconds)
    resources = container["resources"]
    if isinstance(resources, dict) and isinstance(resources.get("limits"), dict):
        requests = resources.setdefault("requests", {})
        if isinstance(requests, dict):
            for key, quantity in resources["limits"].items():
                requests.setdefault(key, quantity)


def _tolerate(spec: Object, key: str) -> None:
    tolerations = spec.setdefault("tolerations", [])
    for t in tolerations:
        if isinstance(t, dict) and t.get("key", key) == key and t.get("effect", "NoExecute") == "NoExecute":
            return
    tolerations.append(
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATION_SECONDS}
    )


def _qos(spec: Object) -> str:
    containers = [c for f in ("containers", "initContainers") for c in spec.get(f) or () if isinstance(c, dict)]
    asked = [c.get("resources") or {} for c in containers]
    if not any(r.get("limits") or r.get("requests") for r in asked):
        return "BestEffort"
    for resources in asked:
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for key in ("cpu", "memory"):
            if key not in limits or requests.get(key, limits[key]) != limits[key]:
                return "Burstable"
    return "Guaranteed"


def _same_spec(new: Object, old: Object) -> bool:
    """Whether only what may change on a living Pod has changed."""
    masked: list[Object] = []
    for spec in (new, old):
        spec = dict(spec)
        for key in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"):
            spec.pop(key, None)
        if (old.get("schedulingGates") or ()) and not old.get("nodeName"):
            # A gated Pod may get a narrower placement until its gates are gone.
            for key in ("nodeSelector", "affinity"):
                spec.pop(key, None)
        for family in ("containers", "initContainers"):
            if spec.get(family):
                spec[family] = [{k: v for k, v in c.items() if k != "image"} for c in spec[family]]
        spec.pop("ephemeralContainers", None)
        masked.append(spec)
    return masked[0] == masked[1]
