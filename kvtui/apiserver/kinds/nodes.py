"""Nodes.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import status
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class Nodes(Strategy):
    """An agent may create its Node with status, as kubelets do."""

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        if not isinstance(obj.get("spec"), dict):
            obj["spec"] = {}

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        causes: list[Cause] = []
        seen: set[tuple[Any, Any]] = set()
        spec = obj.get("spec")
        for index, taint in enumerate((spec if isinstance(spec, dict) else {}).get("taints") or ()):
            field = f"spec.taints[{index}]"
            key, effect = taint.get("key"), taint.get("effect")
            if not key:
                causes.append(status.required(f"{field}.key"))
            if effect not in _EFFECTS:
                causes.append(status.not_supported(f"{field}.effect", effect or "", _EFFECTS))
            if (key, effect) in seen:
                causes.append(status.duplicate(field, taint))
            seen.add((key, effect))
        return causes
