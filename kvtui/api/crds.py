"""Kind -> CustomResourceDefinition: what the embedded server loads at start and what `kvtui install` applies.

Source: apiextensions.k8s.io/v1; names, versions and labels as KubeVirt's and CDI's operators install them.
"""

from __future__ import annotations

from typing import Any

from kvtui.api.registry import CUSTOM, Column, Kind
from kvtui.api.schemas import structural

_DEPRECATED = {
    ("kubevirt.io", "v1alpha3"): "kubevirt.io/v1alpha3 is deprecated and will be removed in a future release; "
    "use kubevirt.io/v1",
    ("export.kubevirt.io", "v1beta1"): "export.kubevirt.io/v1beta1 is deprecated and will be removed in a future "
    "release; use export.kubevirt.io/v1",
}
"""Group and version -> the warning that each request for it gets."""

_STORED_OTHERWISE = {"VirtualMachineInstancePreset": "v1alpha3"}
"""Kinds that are stored in another version than the one kvtui speaks. All versions have one schema."""


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a custom kind."""
    stored = _STORED_OTHERWISE.get(kind.kind, kind.version)
    names: dict[str, Any] = {
        "plural": kind.plural,
        "singular": kind.singular,
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    if kind.categories:
        names["categories"] = list(kind.categories)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name, "labels": _labels(kind)},
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [
                _version(kind, version, stored=version == stored) for version in (kind.version, *kind.other_versions)
            ],
        },
    }


def definitions() -> list[dict[str, Any]]:
    """The definitions of every custom kind that kvtui serves."""
    return [definition(kind) for kind in CUSTOM]


def _labels(kind: Kind) -> dict[str, str]:
    operated = "operator." if kind.kind in ("KubeVirt", "CDI") else ""
    if kind.group.endswith("cdi.kubevirt.io"):
        return {f"{operated}cdi.kubevirt.io": ""}
    if kind.group.endswith("kubevirt.io"):
        return {f"{operated}kubevirt.io": ""}
    return {}


def _version(kind: Kind, name: str, *, stored: bool) -> dict[str, Any]:
    version: dict[str, Any] = {"name": name, "served": True, "storage": stored}
    warning = _DEPRECATED.get((kind.group, name))
    if warning:
        version["deprecated"] = True
        version["deprecationWarning"] = warning
    version["schema"] = {"openAPIV3Schema": structural(kind.type)}
    if kind.columns:
        version["additionalPrinterColumns"] = [_column(column) for column in kind.columns]
    subresources: dict[str, Any] = {}
    if kind.status:
        subresources["status"] = {}
    if kind.scale:
        subresources["scale"] = {
            "specReplicasPath": kind.scale.spec_replicas,
            "statusReplicasPath": kind.scale.status_replicas,
            "labelSelectorPath": kind.scale.label_selector,
        }
    if subresources:
        version["subresources"] = subresources
    return version


def _column(column: Column) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        wire["description"] = column.description
    if column.priority:
        wire["priority"] = column.priority
    return wire
