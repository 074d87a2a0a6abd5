"""CustomResourceDefinitions: defaults, validation and their life cycle in status.

Everything is decided in the write itself: a definition that is accepted is Established when its create returns.

Source: https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/,
k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from kvtui.api.times import to_time
from kvtui.apiserver import names, status
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
API_APPROVED = "api-approved.kubernetes.io"
_VERSION = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")


class Definitions(Strategy):
    """customresourcedefinitions.apiextensions.k8s.io."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        given = spec.get("names")
        if isinstance(given, dict):
            kind = given.get("kind")
            if isinstance(kind, str) and kind:
                if not given.get("singular"):
                    given["singular"] = kind.lower()
                if not given.get("listKind"):
                    given["listKind"] = f"{kind}List"
        if not isinstance(spec.get("conversion"), dict):
            spec["conversion"] = {"strategy": "None"}
        if spec.get("preserveUnknownFields") is False:
            del spec["preserveUnknownFields"]

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        obj["status"] = {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if CLEANUP not in finalizers:
            finalizers.append(CLEANUP)
        self._settle(obj, context)

    def prepare_update(self, obj: Object, old: Object, context: WriteContext) -> None:
        if context.subresource != "status":
            self._settle(obj, context)

    def _settle(self, obj: Object, context: WriteContext) -> None:
        """Names accepted, versions noted, conditions set."""
        spec = obj.get("spec")
        if not isinstance(spec, dict) or not isinstance(spec.get("names"), dict) or spec_causes(obj, None):
            return  # refused by validate()
        state = obj.setdefault("status", {})
        stored = state.setdefault("storedVersions", [])
        stored += [v["name"] for v in spec["versions"] if v.get("storage") and v["name"] not in stored]
        now = to_time(context.now)
        siblings = [
            c
            for c in context.siblings()
            if c["spec"]["group"] == spec["group"] and c["metadata"]["name"] != obj["metadata"].get("name")
        ]
        clash = _clash(spec["names"], siblings)
        conditions = state.setdefault("conditions", [])
        if clash:
            set_condition(conditions, "NamesAccepted", "False", *clash, now)
            set_condition(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
            return
        state["acceptedNames"] = dict(spec["names"])
        set_condition(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        set_condition(
            conditions, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now
        )
        self._note_approval(obj, conditions, now)

    def _note_approval(self, obj: Object, conditions: list[Object], now: str) -> None:
        group = obj["spec"]["group"]
        if not (group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")):
            return
        approval = (obj["metadata"].get("annotations") or {}).get(API_APPROVED, "")
        kind = "KubernetesAPIApprovalPolicyConformant"
        if approval.startswith("https://"):
            set_condition(conditions, kind, "True", "ApprovedAnnotation", f'approved in "{approval}"', now)
        elif approval.startswith("unapproved"):
            set_condition(conditions, kind, "False", "UnapprovedAnnotation", f"not approved: {approval!r}", now)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        causes = spec_causes(obj, old)
        if causes:
            return causes
        if old is not None and is_established(old):
            for path in (("group",), ("scope",), ("names", "plural"), ("names", "kind")):
                new_value, old_value = _at(obj["spec"], path), _at(old["spec"], path)
                if new_value != old_value:
                    field = "spec." + ".".join(path)
                    causes.append(status.invalid_value(field, new_value, "field is immutable"))
        return causes


def _at(value: Any, path: Iterable[str]) -> Any:
    for step in path:
        value = value.get(step)
    return value


def set_condition(conditions: list[Object], kind: str, state: str, reason: str, message: str, now: str) -> None:
    """Adds or changes a condition in place; the transition time moves only with the status."""
    for condition in conditions:
        if condition.get("type") == kind:
            if condition.get("status") != state:
                condition["lastTransitionTime"] = now
            condition.update(status=state, reason=reason, message=message)
            return
    conditions.append({"type": kind, "status": state, "lastTransitionTime": now, "reason": reason, "message": message})


def condition_is(obj: Object, kind: str, state: str = "True") -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == kind and c.get("status") == state for c in conditions)


def is_established(obj: Object) -> bool:
    return condition_is(obj, "Established")


def is_terminating(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _clash(wanted: Object, siblings: list[Object]) -> tuple[str, str] | None:
    """Reason and message when another definition of the group has one of the names."""
    taken: set[str] = set()
    kinds: set[str] = set()
    for sibling in siblings:
        accepted = (sibling.get("status") or {}).get("acceptedNames") or {}
        taken |= {accepted.get("plural", ""), accepted.get("singular", ""), *(accepted.get("shortNames") or ())}
        kinds |= {accepted.get("kind", ""), accepted.get("listKind", "")}
    taken.discard("")
    kinds.discard("")
    for key, reason in (("plural", "PluralConflict"), ("singular", "SingularConflict")):
        if wanted.get(key) in taken:
            return reason, f'"{wanted[key]}" is already in use'
    for short in wanted.get("shortNames") or ():
        if short in taken:
            return "ShortNamesConflict", f'"{short}" is already in use'
    for key, reason in (("kind", "KindConflict"), ("listKind", "ListKindConflict")):
        if wanted.get(key) in kinds:
            return reason, f'"{wanted[key]}" is already in use'
    return None


def spec_causes(obj: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a definition, its schemas apart."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return [status.required("spec")]
    causes: list[Cause] = []
    group = spec.get("group")
    if not isinstance(group, str) or not group:
        causes.append(status.required("spec.group"))
    elif not names.is_subdomain(group):
        causes.append(status.invalid_value("spec.group", group, names.SUBDOMAIN_TEXT))
    elif "." not in group:
        causes.append(status.invalid_value("spec.group", group, "should be a domain with at least one dot"))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        causes.append(status.not_supported("spec.scope", spec.get("scope") or "", ("Cluster", "Namespaced")))
    if spec.get("preserveUnknownFields"):
        causes.append(
            status.invalid_value(
                "spec.preserveUnknownFields",
                True,
                "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
                "spec.versions[*].schema instead",
            )
        )
    causes += _names_causes(spec.get("names"))
    causes += _version_causes(spec.get("versions"))
    if not causes:
        wanted = f"{spec['names']['plural']}.{group}"
        if obj["metadata"].get("name") != wanted:
            causes.append(
                status.invalid_value(
                    "metadata.name", obj["metadata"].get("name", ""), 'must be spec.names.plural+"."+spec.group'
                )
            )
        approved = (obj["metadata"].get("annotations") or {}).get(API_APPROVED)
        if isinstance(group, str) and group.endswith((".k8s.io", ".kubernetes.io")) and old is None and not approved:
            causes.append(
                status.required(
                    f"metadata.annotations[{API_APPROVED}]",
                    "protected groups must have approval annotation "
                    f'"{API_APPROVED}", see https://github.com/kubernetes/enhancements/pull/1111',
                )
            )
    return causes


def _names_causes(given: object) -> list[Cause]:
    if not isinstance(given, dict):
        return [status.required("spec.names.plural"), status.required("spec.names.kind")]
    causes: list[Cause] = []
    for key in ("plural", "singular", "kind", "listKind"):
        value = given.get(key)
        field = f"spec.names.{key}"
        if not isinstance(value, str) or not value:
            causes.append(status.required(field))
            continue
        checked = value.lower() if key in ("kind", "listKind") else value
        if not names.is_label_1035(checked):
            causes.append(status.invalid_value(field, value, names.LABEL_1035_TEXT))
    for key in ("shortNames", "categories"):
        for index, value in enumerate(given.get(key) or ()):
            if not isinstance(value, str) or not names.is_label_1035(value):
                causes.append(status.invalid_value(f"spec.names.{key}[{index}]", value, names.LABEL_1035_TEXT))
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        causes.append(
            status.invalid_value("spec.names.listKind", given["kind"], "kind and listKind may not be the same")
        )
    return causes


def _version_causes(versions: object) -> list[Cause]:
    if not isinstance(versions, list) or not versions:
        return [status.required("spec.versions", "must have exactly one version marked as storage version")]
    causes: list[Cause] = []
    seen: set[str] = set()
    stored = 0
    for index, version in enumerate(versions):
        field = f"spec.versions[{index}]"
        if not isinstance(version, dict):
            causes.append(status.invalid_value(field, version, "must be an object"))
            continue
        name = version.get("name")
        if not isinstance(name, str) or not _VERSION.fullmatch(name):
            causes.append(status.invalid_value(f"{field}.name", name, names.LABEL_1035_TEXT))
        elif name in seen:
            causes.append(status.duplicate(f"{field}.name", name))
        else:
            seen.add(name)
        stored += version.get("storage") is True
        schema = version.get("schema")
        root = schema.get("openAPIV3Schema") if isinstance(schema, dict) else None
        if not isinstance(root, dict):
            causes.append(status.required(f"{field}.schema.openAPIV3Schema", "schemas are required"))
        elif root.get("type") != "object":
            causes.append(
                status.invalid_value(
                    f"{field}.schema.openAPIV3Schema.type", root.get("type", ""), "must be object at the root"
                )
            )
        for number, column in enumerate(version.get("additionalPrinterColumns") or ()):
            if column.get("type") not in _COLUMN_TYPES:
                causes.append(
                    status.not_supported(
                        f"{field}.additionalPrinterColumns[{number}].type", column.get("type", ""), _COLUMN_TYPES
                    )
                )
            if not str(column.get("jsonPath", "")).startswith("."):
                causes.append(
                    status.invalid_value(
                        f"{field}.additionalPrinterColumns[{number}].jsonPath",
                        column.get("jsonPath", ""),
                        "must be a simple json path starting with .",
                    )
                )
    if stored != 1:
        causes.append(
            status.invalid_value("spec.versions", "", "must have exactly one version marked as storage version")
        )
    return causes
