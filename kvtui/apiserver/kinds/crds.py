"""CustomResourceDefinitions in the write path.

Everything is decided in the write itself: a definition that is accepted is Established when its create returns.

Source: https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from kvtui.api.times import to_time
from kvtui.apiserver import crd
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
_MEMORY = 1000


class _Spec(msgspec.Struct):
    group: str


class _Status(msgspec.Struct, rename="camel", frozen=True):
    accepted_names: dict[str, Any] = {}


class _Name(msgspec.Struct):
    name: str


class _Other(msgspec.Struct):
    """What one definition must know of another; schemas, which are long, are skipped."""

    metadata: _Name
    spec: _Spec
    status: _Status = _Status()


_other = msgspec.json.Decoder(_Other).decode


class Definitions(Strategy):
    """customresourcedefinitions.apiextensions.k8s.io."""

    settles_alone = True

    def __init__(self) -> None:
        self._valid: set[bytes] = set()

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
        # Checking a large schema takes long, and the same definitions come again and again.
        read = msgspec.json.encode((_identity(obj["metadata"]), obj["spec"]))
        digest = hashlib.blake2b(read, digest_size=16).digest()
        if old is None and digest in self._valid:
            return []
        causes = crd.validate(obj, old)
        if old is None and not causes:
            if len(self._valid) >= _MEMORY:
                self._valid.clear()
            self._valid.add(digest)
        return causes

    def settle(self, obj: Object, old: Object | None, context: WriteContext) -> None:
        if context.subresource or (old is not None and old.get("spec") == obj.get("spec")):
            return
        others = [msgspec.to_builtins(_other(data)) for data in context.siblings()]
        obj.update(crd.with_status(obj, others, to_time(context.now)))

    def warnings(self, obj: Object) -> list[str]:
        return crd.warnings(obj)


def _identity(meta: Object) -> tuple[Any, Any]:
    """What validation reads of the metadata."""
    return meta.get("name"), meta.get("annotations")


def is_established(obj: Object) -> bool:
    return crd.condition(obj, "Established") == "True"


def is_terminating(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))
