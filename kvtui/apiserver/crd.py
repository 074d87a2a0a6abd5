"""CustomResourceDefinitions: defaults, validation, and the status that says which names were accepted.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/,
k8s.io/apiextensions-apiserver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

from kvtui.apiserver.schema import structure
from kvtui.apiserver.schema.formats import FORMATS, HINTS
from kvtui.apiserver.status import invalid_value, not_supported, required
from kvtui.errors import Cause

Object = dict[str, Any]
Causes = list[Cause]

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
APPROVED = "api-approved.kubernetes.io"

_LABEL = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$", re.ASCII)
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", re.ASCII)
_LABEL_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")


def default(crd: Object) -> None:
    """Fills in what a definition may leave out, in place."""
    spec = crd["spec"] = _without_nulls(crd.get("spec") or {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    if kind and not names.get("singular"):
        names["singular"] = kind.lower()
    if kind and not names.get("listKind"):
        names["listKind"] = f"{kind}List"
    conversion = spec.setdefault("conversion", {})
    if not conversion.get("strategy"):
        conversion["strategy"] = "None"


def _without_nulls(value: Any) -> Any:
    """Nulls stand for absent values, also in schemas, but not in the defaults and enums there."""
    if isinstance(value, dict):
        return {
            k: structure.normalized(v) if k == "openAPIV3Schema" else _without_nulls(v)
            for k, v in value.items()
            if v is not None
        }
    if isinstance(value, list):
        return [_without_nulls(v) for v in value if v is not None]
    return value


def validate(crd: Object, old: Object | None = None) -> Causes:
    """Everything that is wrong with a definition that `default` has seen, or with its change."""
    spec, names = crd.get("spec") or {}, (crd.get("spec") or {}).get("names") or {}
    causes: Causes = []
    wanted = f"{names.get('plural', '')}.{spec.get('group', '')}"
    name = (crd.get("metadata") or {}).get("name") or ""
    if name != wanted:
        causes.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    _check_group(crd, spec.get("group") or "", causes)
    scope = spec.get("scope") or ""
    if not scope:
        causes.append(required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        causes.append(not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(invalid_value("spec.preserveUnknownFields", True, text))
    _check_names(names, causes)
    _check_versions(spec.get("versions") or [], causes)
    _check_conversion(spec.get("conversion") or {}, causes)
    if old is not None and condition(old, "Established") == "True":
        causes += _immutable(spec, old.get("spec") or {})
    return causes


def _check_group(crd: Object, group: str, causes: Causes) -> None:
    if not group:
        causes.append(required("spec.group"))
    elif not _SUBDOMAIN.match(group) or len(group) > 253:
        causes.append(invalid_value("spec.group", group, _SUBDOMAIN_TEXT))
    elif "." not in group:
        causes.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
    if protected(group) and not approval(crd):
        text = (
            f'protected groups must have approval annotation "{APPROVED}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
        causes.append(required(f"metadata.annotations[{APPROVED}]", text))


def protected(group: str) -> bool:
    """Groups that belong to the Kubernetes project."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval(crd: Object) -> str:
    """The value of the approval annotation, if it is one: a URL or "unapproved...". Empty otherwise."""
    value = ((crd.get("metadata") or {}).get("annotations") or {}).get(APPROVED) or ""
    return value if value.startswith(("unapproved", "http://", "https://")) else ""


def _check_names(names: Object, causes: Causes) -> None:
    for field in ("plural", "singular"):
        value = names.get(field) or ""
        if not value and field == "plural":
            causes.append(required("spec.names.plural"))
        elif value and not _is_label(value):
            causes.append(invalid_value(f"spec.names.{field}", value, _LABEL_TEXT))
    for field in ("kind", "listKind"):
        value = names.get(field) or ""
        if not value and field == "kind":
            causes.append(required("spec.names.kind"))
        elif value and not _is_label(value.lower()):
            text = f"may have mixed case, but should otherwise match: {_LABEL_TEXT}"
            causes.append(invalid_value(f"spec.names.{field}", value, text))
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        causes.append(invalid_value("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    for field in ("shortNames", "categories"):
        for index, value in enumerate(names.get(field) or ()):
            if not _is_label(value):
                causes.append(invalid_value(f"spec.names.{field}[{index}]", value, _LABEL_TEXT))


def _is_label(text: str) -> bool:
    return bool(_LABEL.match(text)) and len(text) <= 63


def _check_versions(versions: list[Object], causes: Causes) -> None:
    stored = [version.get("name") for version in versions if version.get("storage")]
    shown = [
        {"name": v.get("name", ""), "served": bool(v.get("served")), "storage": bool(v.get("storage"))}
        for v in versions
    ]
    if len({version.get("name") for version in versions}) != len(versions):
        causes.append(invalid_value("spec.versions", shown, "must contain unique version names"))
    if len(stored) != 1:
        text = "must have exactly one version marked as storage version"
        causes.append(invalid_value("spec.versions", shown, text))
    alike = all(_details(version) == _details(versions[0]) for version in versions)
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        name = version.get("name") or ""
        if not _is_label(name):
            causes.append(invalid_value(f"{at}.name", name, _LABEL_TEXT))
        warning = version.get("deprecationWarning")
        if warning is not None and not version.get("deprecated"):
            causes.append(invalid_value(f"{at}.deprecationWarning", warning, "can only be set for deprecated versions"))
        elif warning == "":
            causes.append(invalid_value(f"{at}.deprecationWarning", warning, "must not be an empty string"))
        if not isinstance((version.get("schema") or {}).get("openAPIV3Schema"), dict):
            causes.append(required(f"{at}.schema.openAPIV3Schema"))
        elif not (alike and index):
            _check_details(version, "spec" if alike else at, alike, causes)


def _details(version: Object) -> Object:
    return {k: version.get(k) for k in ("schema", "subresources", "additionalPrinterColumns", "selectableFields")}


def _check_details(version: Object, at: str, alike: bool, causes: Causes) -> None:
    """Schema, columns and subresources; what all versions share upstream reports under `spec` itself."""
    schema = version["schema"]["openAPIV3Schema"]
    causes += structure.problems(schema, f"{at}.{'validation' if alike else 'schema'}.openAPIV3Schema")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        where = f"{at}.additionalPrinterColumns[{index}]"
        path = column.get("jsonPath") or ""
        if not column.get("name"):
            causes.append(required(f"{where}.name"))
        if not column.get("type"):
            causes.append(required(f"{where}.type"))
        elif column["type"] not in _COLUMN_TYPES:
            text = f"must be one of {','.join(_COLUMN_TYPES)}"
            causes.append(invalid_value(f"{where}.type", column["type"], text))
        if not path:
            causes.append(required(f"{where}.JSONPath"))
        elif not path.startswith("."):
            causes.append(invalid_value(f"{where}.JSONPath", path, "must be a simple json path starting with ."))
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        _check_scale(scale, f"{at}.subresources.scale", causes)
    for index, field in enumerate(version.get("selectableFields") or ()):
        _check_selectable(field.get("jsonPath") or "", schema, f"{at}.selectableFields[{index}].jsonPath", causes)


def _check_scale(scale: Object, at: str, causes: Causes) -> None:
    for field, below in (("specReplicasPath", "spec"), ("statusReplicasPath", "status"), ("labelSelectorPath", "")):
        path = scale.get(field) or ""
        if not path:
            if below:
                causes.append(required(f"{at}.{field}"))
            continue
        places = (below,) if below else ("spec", "status")
        if not re.match(rf"^\.({'|'.join(places)})(\.[^.\[\]]+)+$", path):
            where = " or ".join(f".{place}" for place in places)
            causes.append(invalid_value(f"{at}.{field}", path, f"should be a json path under {where}"))


def _check_selectable(path: str, schema: Object, at: str, causes: Causes) -> None:
    if not path:
        causes.append(required(at))
        return
    current: Any = schema
    for step in path.lstrip(".").split("."):
        current = (current.get("properties") or {}).get(step) if isinstance(current, dict) else None
    if not path.startswith(".") or current is None:
        causes.append(invalid_value(at, path, "is an invalid path: does not refer to a valid field"))
    elif current.get("type") not in ("string", "boolean", "integer"):
        text = (
            "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are "
            "allowed."
        )
        causes.append(invalid_value(at, path, text))


def _check_conversion(conversion: Object, causes: Causes) -> None:
    strategy = conversion.get("strategy")
    if strategy not in ("None", "Webhook"):
        causes.append(not_supported("spec.conversion.strategy", strategy or "", ("None", "Webhook")))
    elif strategy == "Webhook":
        webhook = conversion.get("webhook") or {}
        if not webhook.get("clientConfig"):
            text = "required when strategy is set to Webhook"
            causes.append(required("spec.conversion.webhookClientConfig", text))
        if not webhook.get("conversionReviewVersions"):
            causes.append(required("spec.conversion.conversionReviewVersions"))


def _immutable(spec: Object, old: Object) -> Causes:
    causes: Causes = []
    for path in (("group",), ("scope",), ("names", "kind"), ("names", "plural")):
        new_value, old_value = _walk(spec, path), _walk(old, path)
        if new_value != old_value:
            causes.append(invalid_value("spec." + ".".join(path), new_value, "field is immutable"))
    return causes


def _walk(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        value = (value or {}).get(step)
    return value


def warnings(crd: Object) -> list[str]:
    """What a client should hear about a definition that is accepted: formats that are not checked."""
    found: list[str] = []
    for index, version in enumerate((crd.get("spec") or {}).get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        _format_warnings(schema, f"spec.versions[{index}].schema.openAPIV3Schema", found)
    return found


def _format_warnings(schema: Object, path: str, found: list[str]) -> None:
    format_ = schema.get("format")
    if format_ and format_ not in FORMATS and format_ not in HINTS:
        found.append(f'unrecognized format "{format_}"')
    for name, child in (schema.get("properties") or {}).items():
        _format_warnings(child, f"{path}.properties[{name}]", found)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            _format_warnings(schema[keyword], f"{path}.{keyword}", found)


def condition(crd: Object, type_: str) -> str:
    """The status of a condition, or nothing."""
    conditions = (crd.get("status") or {}).get("conditions") or []
    return next((c.get("status", "") for c in conditions if c.get("type") == type_), "")


def with_status(crd: Object, others: Iterable[Object], now: str) -> Object:
    """The definition with the status that its names deserve beside the other definitions of the server.

    `now` is the time of a condition that changes. The argument is not changed.
    """
    crd = deepcopy(crd)
    spec, status = crd["spec"], crd.setdefault("status", {})
    accepted, conflict = _accepted(crd, [o for o in others if _same_group(o, crd)])
    status["acceptedNames"] = accepted
    stored = next((v["name"] for v in spec.get("versions") or () if v.get("storage")), "")
    versions = status.get("storedVersions") or []
    status["storedVersions"] = versions if stored in versions or not stored else [*versions, stored]
    if protected(spec.get("group") or ""):
        set_condition(crd, *_approval_condition(crd), now)
    if conflict:
        reason, message = conflict
        set_condition(crd, "NamesAccepted", "False", reason, message, now)
        if condition(crd, "Established") != "True":
            text = "not all names are accepted"
            set_condition(crd, "Established", "False", "NotAccepted", text, now)
    else:
        text = "the initial names have been accepted"
        set_condition(crd, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        set_condition(crd, "Established", "True", "InitialNamesAccepted", text, now)
    return crd


def _approval_condition(crd: Object) -> tuple[str, str, str, str]:
    type_ = "KubernetesAPIApprovalPolicyConformant"
    value = approval(crd)
    if value.startswith("http"):
        return type_, "True", "ApprovedAnnotation", f"approved in {value}"
    return type_, "False", "UnapprovedAnnotation", f'not approved: "{value}"'


def _same_group(other: Object, crd: Object) -> bool:
    if other["metadata"]["name"] == crd["metadata"]["name"]:
        return False
    return bool(other["spec"].get("group") == crd["spec"].get("group"))


def _accepted(crd: Object, others: list[Object]) -> tuple[Object, tuple[str, str] | None]:
    """The names that are free, and the first clash: reason and message."""
    names = crd["spec"].get("names") or {}
    before = (crd.get("status") or {}).get("acceptedNames") or {}
    taken_resources: set[str] = set()
    taken_kinds: set[str] = set()
    for other in others:
        theirs = (other.get("status") or {}).get("acceptedNames") or {}
        taken_resources |= {theirs.get("plural", ""), theirs.get("singular", ""), *(theirs.get("shortNames") or ())}
        taken_kinds |= {theirs.get("kind", ""), theirs.get("listKind", "")}
    accepted: Object = {}
    conflict: tuple[str, str] | None = None
    for field, reason, taken in (
        ("plural", "PluralConflict", taken_resources),
        ("singular", "SingularConflict", taken_resources),
        ("shortNames", "ShortNamesConflict", taken_resources),
        ("kind", "KindConflict", taken_kinds),
        ("listKind", "ListKindConflict", taken_kinds),
    ):
        wanted = names.get(field)
        clashes = sorted({w for w in (wanted if isinstance(wanted, list) else [wanted or ""]) if w and w in taken})
        if clashes:
            conflict = conflict or (reason, f'"{clashes[0]}" is already in use')
            wanted = before.get(field)
        if wanted or field in ("plural", "kind"):
            accepted[field] = wanted or ""
    if names.get("categories"):
        accepted["categories"] = names["categories"]
    return accepted, conflict


def set_condition(crd: Object, type_: str, status: str, reason: str, message: str, now: str) -> None:
    """Sets one condition in place; its time changes only with its status."""
    conditions = crd.setdefault("status", {}).setdefault("conditions", [])
    present = next((c for c in conditions if c.get("type") == type_), None)
    if present is None:
        present = {"type": type_, "lastTransitionTime": now}
        conditions.append(present)
    elif present.get("status") != status:
        present["lastTransitionTime"] = now
    present.update(status=status, reason=reason, message=message)


def terminating(crd: Object, now: str, *, in_progress: bool) -> Object:
    """The definition with the condition that says its instances are being deleted."""
    crd = deepcopy(crd)
    if in_progress:
        text = "CustomResource deletion is in progress"
        set_condition(crd, "Terminating", "True", "InstanceDeletionInProgress", text, now)
    else:
        text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        set_condition(crd, "Terminating", "True", "InstanceDeletionPending", text, now)
    return crd


def terminated(crd: Object, now: str) -> Object:
    """The definition after its last instance went: nothing holds it any more."""
    crd = deepcopy(crd)
    set_condition(crd, "Terminating", "False", "InstanceDeletionCompleted", "removed all instances", now)
    metadata = crd.setdefault("metadata", {})
    metadata["finalizers"] = [f for f in metadata.get("finalizers") or () if f != CLEANUP]
    return crd


def check_scale(obj: Object, spec_replicas: Sequence[str]) -> Causes:
    """The replicas of an object with a scale subresource cannot be negative."""
    value = _at(obj, spec_replicas)
    path = "." + ".".join(spec_replicas)
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        return [invalid_value(path, value, "should be a non-negative integer")]
    return []


def _at(obj: Any, path: Sequence[str]) -> Any:
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj
