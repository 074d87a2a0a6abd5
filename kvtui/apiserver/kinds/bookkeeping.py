"""Events in their two spellings, ControllerRevisions, PriorityClasses and migrations of storage.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import status
from kvtui.apiserver.strategy import Strategy
from kvtui.errors import Cause

Object = dict[str, Any]
_HIGHEST = 1_000_000_000
_SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")
_SPELLINGS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
)


class Events(Strategy):
    """Stored in the core spelling."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        involved = obj.get("involvedObject")
        namespace = obj["metadata"].get("namespace", "")
        given = involved.get("namespace", "") if isinstance(involved, dict) else ""
        if given and given != namespace:
            return [status.invalid_value("involvedObject.namespace", given, "does not match event.namespace")]
        if not given and namespace != "default" and obj.get("eventTime") is None:
            return [status.invalid_value("involvedObject.namespace", given, "does not match event.namespace")]
        return []


class ControllerRevisions(Strategy):
    """Their data never changes."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        if old is not None and obj.get("data") != old.get("data"):
            return [status.invalid_value("data", obj.get("data"), "field is immutable")]
        return []


class PriorityClasses(Strategy):
    """What Pods were given by a class stays true."""

    def default(self, obj: Object) -> None:
        if not obj.get("preemptionPolicy"):
            obj["preemptionPolicy"] = "PreemptLowerPriority"

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        causes: list[Cause] = []
        name, value = str(obj["metadata"].get("name", "")), obj.get("value", 0)
        if name.startswith("system-") and name not in _SYSTEM_CLASSES:
            text = "priority class names with 'system-' prefix are reserved for system use only"
            causes.append(status.forbidden_field("metadata.name", text))
        elif isinstance(value, int) and value > _HIGHEST and name not in _SYSTEM_CLASSES:
            text = f"maximum allowed value of a user defined priority is {_HIGHEST}"
            causes.append(status.forbidden_field("value", text))
        if old is not None and value != old.get("value", 0):
            causes.append(status.forbidden_field("value", "may not be changed in an update."))
        if old is not None and obj.get("preemptionPolicy") != old.get("preemptionPolicy", "PreemptLowerPriority"):
            text = "field is immutable"
            causes.append(status.invalid_value("preemptionPolicy", obj.get("preemptionPolicy"), text))
        return causes


class Migrations(Strategy):
    """What is asked for never changes."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        if old is not None and obj.get("spec") != old.get("spec"):
            return [status.invalid_value("spec", obj.get("spec"), "field is immutable")]
        return []


def to_regarding(obj: Object) -> Object:
    """core/v1 Event -> events.k8s.io/v1."""
    result = {k: v for k, v in obj.items() if k not in {core for core, _ in _SPELLINGS}}
    for core, new in _SPELLINGS:
        if core in obj:
            result[new] = obj[core]
    result["apiVersion"] = "events.k8s.io/v1"
    return result


def to_involved(obj: Object) -> Object:
    """events.k8s.io/v1 -> core/v1 Event."""
    result = {k: v for k, v in obj.items() if k not in {new for _, new in _SPELLINGS}}
    for core, new in _SPELLINGS:
        if new in obj:
            result[core] = obj[new]
    result["apiVersion"] = "v1"
    return result
