"""Options of writes and deletions, from query parameters and bodies.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/delete-options/,
https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kvtui.api.admission import UserInfo
from kvtui.apiserver import status

FieldValidation = Literal["Strict", "Warn", "Ignore"]
Propagation = Literal["Background", "Foreground", "Orphan"]
_MAX_MANAGER = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a write is to be done."""

    user: UserInfo
    manager: str = "unknown"
    field_validation: FieldValidation = "Warn"
    dry_run: bool = False
    force: bool = False
    warnings: list[str] = field(default_factory=list)
    """Collected on the way; sent as headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """How a deletion is to be done."""

    grace_seconds: int | None = None
    propagation: Propagation | None = None
    orphan: bool | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False


def is_true(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter: absent, `0` and `false` are false, everything else is true."""
    value = query.get(name)
    return value is not None and value != "0" and value.lower() != "false"


def integer(query: Mapping[str, str], name: str) -> int | None:
    """A whole number. Raises Failure 400."""
    value = query.get(name)
    if value is None or value == "":
        return None
    try:
        return int(value)
    except ValueError as error:
        raise status.bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax (parameter {name})') from error


def dry_run(values: object) -> bool:
    """Whether a dry run is asked for. Raises Failure 422."""
    given = [values] if isinstance(values, str) else values
    if not isinstance(given, list | tuple):
        return False
    for value in given:
        if value not in ("All", ""):
            raise status.invalid_options(f'dryRun: Unsupported value: "{value}": supported values: "All"')
    return "All" in given


def manager_of(query: Mapping[str, str], user_agent: str) -> str:
    """The field manager: as given, or the program's name. Raises Failure 422."""
    given = query.get("fieldManager", "")
    if given:
        if len(given) > _MAX_MANAGER:
            raise status.invalid_options(f"fieldManager: Too long: may not be more than {_MAX_MANAGER} bytes")
        if not given.isprintable():
            raise status.invalid_options(
                f'fieldManager: Invalid value: "{given}": should only contain printable characters'
            )
        return given
    return user_agent.partition("/")[0].strip()[:_MAX_MANAGER] or "unknown"


def field_validation(query: Mapping[str, str]) -> FieldValidation:
    """Raises Failure 422."""
    value = query.get("fieldValidation", "")
    match value:
        case "":
            return "Warn"
        case "Strict" | "Warn" | "Ignore":
            return value
    raise status.invalid_options(
        f'fieldValidation: Unsupported value: "{value}": supported values: "Ignore", "Strict", "Warn"'
    )


def delete_options(body: Mapping[str, Any] | None, query: Mapping[str, str]) -> DeleteOptions:
    """A body wins over the query. Raises Failure 400, 422."""
    given: Mapping[str, Any] = body if body else _from_query(query)
    propagation = given.get("propagationPolicy")
    orphan = given.get("orphanDependents")
    if propagation is not None and orphan is not None:
        raise status.invalid_options(
            'DeleteOptions.meta.k8s.io "" is invalid: orphanDependents and deletionPropagation cannot be both set'
        )
    if propagation is not None and propagation not in ("Background", "Foreground", "Orphan"):
        raise status.invalid_options(
            f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "{propagation}": '
            'supported values: "Foreground", "Background", "Orphan", "nil"'
        )
    grace = given.get("gracePeriodSeconds")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise status.bad_request("gracePeriodSeconds must be an integer")
    preconditions = given.get("preconditions")
    preconditions = preconditions if isinstance(preconditions, dict) else {}
    return DeleteOptions(
        grace_seconds=grace,
        propagation=propagation,
        orphan=orphan if isinstance(orphan, bool) else None,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=dry_run(given.get("dryRun")),
    )


def _from_query(query: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    grace = integer(query, "gracePeriodSeconds")
    if grace is not None:
        given["gracePeriodSeconds"] = grace
    if query.get("propagationPolicy"):
        given["propagationPolicy"] = query["propagationPolicy"]
    if "orphanDependents" in query:
        given["orphanDependents"] = is_true(query, "orphanDependents")
    if "dryRun" in query:
        given["dryRun"] = [query["dryRun"]]
    return given
