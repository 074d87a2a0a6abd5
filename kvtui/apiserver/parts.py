"""Which endpoint writes which part of an object, and whether a write changed anything."""

from __future__ import annotations

from typing import Any

from kvtui.apiserver.resources import ResourceInfo

Object = dict[str, Any]


def isolate(info: ResourceInfo, obj: Object, old: Object, subresource: str) -> Object:
    """Keeps each endpoint to its part: status to /status, everything else to the main resource."""
    if subresource == "status":
        result = {**old, "metadata": dict(old["metadata"])}
        if "status" in obj or not info.custom:
            result["status"] = obj.get("status") or {}
        else:
            result.pop("status", None)
        if not info.custom:
            for key in ("labels", "annotations", "finalizers"):
                if key in obj["metadata"]:
                    result["metadata"][key] = obj["metadata"][key]
                else:
                    result["metadata"].pop(key, None)
        if "managedFields" in obj["metadata"]:
            result["metadata"]["managedFields"] = obj["metadata"]["managedFields"]
        return result
    if subresource == "finalize":
        spec = {**old.get("spec", {}), "finalizers": (obj.get("spec") or {}).get("finalizers") or []}
        return {**old, "metadata": dict(old["metadata"]), "spec": spec}
    if info.status and not subresource:
        if "status" in old:
            obj["status"] = old["status"]
        else:
            obj.pop("status", None)
    return obj


def reset_fields(info: ResourceInfo, obj: Object, subresource: str) -> tuple[str, ...]:
    """Top-level fields that an endpoint does not write."""
    if subresource == "status":
        return tuple(key for key in obj if key not in ("apiVersion", "kind", "metadata", "status"))
    return ("status",) if info.status and not subresource else ()


def unchanged(obj: Object, old: Object) -> bool:
    """Nothing is different, apart from times of managed fields."""
    if obj == old:
        return True
    for key in obj.keys() | old.keys():
        if key != "metadata" and obj.get(key) != old.get(key):
            return False
    return _comparable(obj["metadata"]) == _comparable(old["metadata"])


def _comparable(meta: Object) -> Object:
    result = dict(meta)
    entries = result.pop("managedFields", None) or ()
    result["managedFields"] = [{k: v for k, v in e.items() if k != "time"} for e in entries]
    return result


def is_finished(obj: Object) -> bool:
    """A deletion waits for nothing any more: the object goes with this write."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    if obj["kind"] == "Namespace" and obj["apiVersion"] == "v1":
        return not (obj.get("spec") or {}).get("finalizers")
    return int(meta.get("deletionGracePeriodSeconds") or 0) == 0
