"""Which fields of which kind a field selector may name, and how their values read.

Source: kube-apiserver's field label conversions, https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from kvtui.api.selectors import (
    EVERYTHING,
    NOTHING,
    FieldSelector,
    LabelSelector,
    from_object,
    parse_field_selector,
    parse_label_selector,
)
from kvtui.errors import InvalidSelector

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "FieldSelector",
    "LabelSelector",
    "field_value",
    "from_object",
    "matches_fields",
    "parse_fields",
    "parse_label_selector",
]

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_BUILTIN: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    ("", "nodes"): ("spec.unschedulable",),
    ("", "namespaces"): ("status.phase",),
    ("", "secrets"): ("type",),
    ("", "services"): ("spec.clusterIP", "spec.type"),
    ("", "events"): (
        *(f"involvedObject.{field}" for field in _INVOLVED),
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    ("events.k8s.io", "events"): (
        *(f"regarding.{field}" for field in _INVOLVED),
        "reason",
        "reportingController",
        "type",
    ),
    ("certificates.k8s.io", "certificatesigningrequests"): ("spec.signerName",),
    ("apps", "replicasets"): ("status.replicas",),
    ("batch", "jobs"): ("status.successful",),
    ("", "replicationcontrollers"): ("status.replicas",),
}
_ALIASES = {
    "source": ("source.component", "reportingComponent"),
    "reportingController": ("reportingController", "reportingComponent"),
}
_METADATA = ("metadata.name", "metadata.namespace")


def parse_fields(
    text: str, group: str, resource: str, *, namespaced: bool = True, selectable: Collection[str] = ()
) -> FieldSelector:
    """`selectable` are the selectableFields of a custom kind, as written there (".spec.host").

    Raises InvalidSelector with the words of a real server for a field that this kind does not offer.
    """
    metadata = _METADATA if namespaced else _METADATA[:1]
    further = (*_BUILTIN.get((group, resource), ()), *(path.lstrip(".") for path in selectable))
    selector = parse_field_selector(text)
    for requirement in selector.requirements:
        if requirement.path in metadata or requirement.path in further:
            continue
        if further or ("." in group and not group.endswith(".k8s.io")):
            raise InvalidSelector(f"field label not supported: {requirement.path}")
        raise InvalidSelector(
            f'"{requirement.path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
    return selector


def matches_fields(selector: FieldSelector, obj: dict[str, Any]) -> bool:
    return selector.matches(lambda path: field_value(obj, path))


def field_value(obj: dict[str, Any], path: str) -> str:
    """The value that a field selector compares: "" for a missing field, "true" and "false" for booleans."""
    for alias in _ALIASES.get(path, (path,)):
        value = _walk(obj, alias)
        if value is None:
            continue
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, list):  # status.podIPs
            return ",".join(str(item.get("ip", "")) if isinstance(item, dict) else str(item) for item in value)
        return str(value)
    return "false" if path in ("spec.hostNetwork", "spec.unschedulable") else ""


def _walk(obj: Any, path: str) -> Any:
    for step in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj
