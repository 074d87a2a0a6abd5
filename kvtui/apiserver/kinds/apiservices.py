"""APIServices: which server answers for a version of a group. Here that is always this one.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/api-service-v1/.
"""

from __future__ import annotations

from typing import Any

from kvtui.api.times import to_time
from kvtui.apiserver import status
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
"""Label of those that the server makes itself."""
_ELSEWHERE = "this server forwards no requests to other API servers"
_HIGHEST_GROUP, _HIGHEST_VERSION = 20_000, 1000


class ApiServices(Strategy):
    """Local ones are available; those of other servers never are."""

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        local = not (obj.get("spec") or {}).get("service")
        reason, message = ("Local", "Local APIServices are always available")
        if not local:
            reason, message = ("ServiceAccessError", _ELSEWHERE)
        obj["status"] = {
            "conditions": [
                {
                    "type": "Available",
                    "status": "True" if local else "False",
                    "reason": reason,
                    "message": message,
                    "lastTransitionTime": to_time(context.now),
                }
            ]
        }

    def warnings(self, obj: Object) -> list[str]:
        return [_ELSEWHERE] if (obj.get("spec") or {}).get("service") else []

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        name, wanted = str(obj["metadata"].get("name", "")), f"{spec.get('version', '')}.{spec.get('group', '')}"
        if name != wanted:
            text = f'must be `spec.version+"."+spec.group`: "{wanted}"'
            causes.append(status.invalid_value("metadata.name", name, text))
        if not spec.get("version"):
            causes.append(status.required("spec.version"))
        for key, highest in (("groupPriorityMinimum", _HIGHEST_GROUP), ("versionPriority", _HIGHEST_VERSION)):
            number = spec.get(key, 0)
            if not 0 < number <= highest:
                text = f"must be positive and less than {highest}"
                causes.append(status.invalid_value(f"spec.{key}", number, text))
        if (spec.get("service") is None) and (spec.get("insecureSkipTLSVerify") or spec.get("caBundle")):
            causes.append(status.invalid_value("spec.caBundle", spec.get("caBundle"), "local APIServices have no CA"))
        return causes


def local(group: str, version: str, *, rank: int, place: int, custom: bool) -> Object:
    """The object for a version that this server serves; `rank` of its group, `place` among the group's versions."""
    return {
        "metadata": {
            "name": f"{version}.{group}",
            "labels": {AUTOMANAGED: "true" if custom else "onstart"},
        },
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 1000 if custom else max(18_000 - 100 * rank, 1100),
            "versionPriority": max(100 - place, 1) if custom else max(30 - 5 * place, 1),
        },
    }
