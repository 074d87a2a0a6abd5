"""LimitRanges: what one bound says about the others.

Source: https://kubernetes.io/docs/concepts/policy/limit-range/.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver.strategy import Strategy

Object = dict[str, Any]


class LimitRanges(Strategy):
    """For containers: no default limit is the maximum, no default request is the default limit, or the minimum."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        for item in (spec.get("limits") or ()) if isinstance(spec, dict) else ():
            if isinstance(item, dict) and item.get("type") == "Container":
                _derive(item, "default", "max")
                _derive(item, "defaultRequest", "default")
                _derive(item, "defaultRequest", "min")


def _derive(item: Object, target: str, source: str) -> None:
    values = item.get(source)
    if values and isinstance(values, dict):
        item[target] = {**values, **(item.get(target) or {})}
