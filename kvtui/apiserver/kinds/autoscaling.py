"""HorizontalPodAutoscalers in both versions: v1 knows the use of processors, v2 any metric.

What v1 has no field for travels in annotations, so that nothing is lost on the way.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#api-object.
"""

from __future__ import annotations

import json
from typing import Any

from kvtui.apiserver import status
from kvtui.apiserver.strategy import Strategy
from kvtui.errors import Cause

Object = dict[str, Any]
_KEPT = {
    ("spec", "metrics"): "autoscaling.alpha.kubernetes.io/metrics",
    ("spec", "behavior"): "autoscaling.alpha.kubernetes.io/behavior",
    ("status", "currentMetrics"): "autoscaling.alpha.kubernetes.io/current-metrics",
    ("status", "conditions"): "autoscaling.alpha.kubernetes.io/conditions",
}
"""Fields of v2 and the annotation of v1 that holds them, as JSON."""
_TARGET = "targetCPUUtilizationPercentage"
_CURRENT = "currentCPUUtilizationPercentage"


class Autoscalers(Strategy):
    """Stored as v2."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if isinstance(spec, dict):
            if spec.get("minReplicas") is None:
                spec["minReplicas"] = 1
            if not spec.get("metrics"):
                spec["metrics"] = [_processor({"target": {"type": "Utilization", "averageUtilization": 80}})]

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = obj.get("spec") or {}
        least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
        least = 1 if least is None else least
        causes: list[Cause] = []
        if most < 1:
            causes.append(status.invalid_value("spec.maxReplicas", most, "must be greater than 0"))
        if least < 1:
            causes.append(status.invalid_value("spec.minReplicas", least, "must be greater than or equal to 1"))
        if 1 <= most < least:
            text = "must be greater than or equal to `minReplicas`"
            causes.append(status.invalid_value("spec.maxReplicas", most, text))
        target = spec.get("scaleTargetRef") or {}
        causes += [status.required(f"spec.scaleTargetRef.{k}") for k in ("kind", "name") if not target.get(k)]
        return causes


def _processor(of: Object) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", **of}}


def _is_processor(metric: Any) -> bool:
    return isinstance(metric, dict) and (metric.get("resource") or {}).get("name") == "cpu"


def to_v1(obj: Object) -> Object:
    """autoscaling/v2 -> v1."""
    meta = {**obj["metadata"]}
    annotations = dict(meta.get("annotations") or {})
    result = {**obj, "apiVersion": "autoscaling/v1", "metadata": meta}
    for part, number, source in (("spec", _TARGET, "target"), ("status", _CURRENT, "current")):
        if not isinstance(obj.get(part), dict):
            continue
        shown = result[part] = dict(obj[part])
        metrics = "metrics" if part == "spec" else "currentMetrics"
        for metric in shown.get(metrics) or ():
            use = (metric["resource"].get(source) or {}).get("averageUtilization") if _is_processor(metric) else None
            if use is not None:
                shown[number] = use
                shown[metrics] = [m for m in shown[metrics] if m is not metric]
        for (place, name), annotation in _KEPT.items():
            if place == part and shown.get(name):
                annotations[annotation] = json.dumps(shown[name], separators=(",", ":"))
            if place == part:
                shown.pop(name, None)
    if annotations:
        meta["annotations"] = annotations
    return result


def to_v2(obj: Object) -> Object:
    """autoscaling/v1 -> v2. Annotations that hold no JSON are dropped."""
    result = {**obj, "apiVersion": "autoscaling/v2"}
    meta = obj.get("metadata")
    given_annotations = meta.get("annotations") if isinstance(meta, dict) else None
    annotations = dict(given_annotations) if isinstance(given_annotations, dict) else {}
    for part, number, source in (("spec", _TARGET, "target"), ("status", _CURRENT, "current")):
        if not isinstance(obj.get(part), dict):
            continue
        stored = result[part] = dict(obj[part])
        for (place, name), annotation in _KEPT.items():
            if place == part and annotation in annotations:
                value = _read(annotations.pop(annotation))
                if value is not None:
                    stored[name] = value
        use = stored.pop(number, None)
        if use is not None:
            metrics = "metrics" if part == "spec" else "currentMetrics"
            amount = {"averageUtilization": use, **({"type": "Utilization"} if part == "spec" else {})}
            given = stored.get(metrics)
            stored[metrics] = [_processor({source: amount}), *(given if isinstance(given, list) else ())]
    if isinstance(meta, dict) and isinstance(given_annotations, dict):
        result["metadata"] = {k: v for k, v in meta.items() if k != "annotations"}
        if annotations:
            result["metadata"]["annotations"] = annotations
    return result


def _read(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None
