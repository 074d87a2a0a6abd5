"""CustomResourceDefinitions in the write path.

Everything is decided in the write itself: a definition that is accepted is Established when its create returns.

Source: https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/.
"""

from __future__ import annotations

from typing import Any

from kvtui.api.times import to_time
from kvtui.apiserver import crd
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]


class Definitions(Strategy):
    """customresourcedefinitions.apiextensions.k8s.io."""

    def default(self, obj: Object) -> None:
        crd.default(obj)
        if obj["spec"].get("preserveUnknownFields") is False:
            del obj["spec"]["preserveUnknownFields"]

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        obj["status"] = {}
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if crd.CLEANUP not in finalizers:
            finalizers.append(crd.CLEANUP)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        return crd.validate(obj, old)

    def settle(self, obj: Object, old: Object | None, context: WriteContext) -> None:
        if context.subresource or (old is not None and old.get("spec") == obj.get("spec")):
            return
        obj.update(crd.with_status(obj, context.siblings(), to_time(context.now)))

    def warnings(self, obj: Object) -> list[str]:
        return crd.warnings(obj)


def is_established(obj: Object) -> bool:
    return crd.condition(obj, "Established") == "True"


def is_terminating(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))
