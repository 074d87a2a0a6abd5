"""Namespaces: their own label, finalizer and phase.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver.strategy import Strategy, WriteContext

Object = dict[str, Any]
NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"


class Namespaces(Strategy):
    """A namespace goes when both finalizer lists are empty."""

    def default(self, obj: Object) -> None:
        meta = obj["metadata"]
        if meta.get("name"):
            meta.setdefault("labels", {})[NAME_LABEL] = meta["name"]

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        self.default(obj)
        spec = obj.get("spec")
        spec = obj["spec"] = spec if isinstance(spec, dict) else {}
        finalizers = spec.get("finalizers")
        spec["finalizers"] = [*(f for f in finalizers or () if f != FINALIZER), FINALIZER]
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, obj: Object, old: Object, context: WriteContext) -> None:
        if context.subresource == "finalize":
            return
        spec = obj.get("spec")
        obj["spec"] = {**(spec if isinstance(spec, dict) else {}), **old.get("spec", {})}
