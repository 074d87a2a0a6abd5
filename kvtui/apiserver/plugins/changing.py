"""Objects that others change on their way: shown in the version that they want, and made sound again afterwards."""

from __future__ import annotations

from typing import Any

import msgspec

from kvtui.api.admission import AdmissionRequest
from kvtui.apiserver import metadata, status
from kvtui.apiserver.plugins.base import Object, meta
from kvtui.apiserver.record import encode
from kvtui.apiserver.resources import ResourceInfo, Subresource
from kvtui.apiserver.schema import decoding

_IDENTITY = ("name", "namespace", "uid", "generateName")
_OWN = ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion")
"""What only the server decides about an object."""


class NotSound(Exception):
    """The change cannot be taken; the text says what it does."""


def foreign(request: AdmissionRequest, info: ResourceInfo) -> Subresource | None:
    """The subresource, if what is created there is of another kind than the resource, such as an eviction."""
    sub = info.subresource(request.subresource) if request.subresource and request.operation == "CREATE" else None
    return sub if sub is not None and sub.version else None


def shown(obj: Object | None, request: AdmissionRequest, info: ResourceInfo) -> Object | None:
    """A stored object in the version of `info`."""
    if obj is None or foreign(request, info) is not None:
        return obj
    if info.convert_out is not None:
        obj = info.convert_out(msgspec.json.decode(encode(obj)))
    return {**obj, "apiVersion": info.api_version}


def sound(before: Object, made: Any, request: AdmissionRequest, info: ResourceInfo) -> Object:
    """The changed object in the stored version. `before` is what `shown` gave. Raises NotSound."""
    assert request.object is not None
    if not isinstance(made, dict) or any(meta(made).get(k) != meta(before).get(k) for k in _IDENTITY):
        raise NotSound("makes another object of it")
    try:
        given = metadata.coerce(made)
    except status.Failure as failure:
        raise NotSound(f"makes no valid object: {failure.message}") from failure
    metadata.drop_unknown(given)
    for key in _OWN:
        given.pop(key, None)
        if key in meta(before):
            given[key] = meta(before)[key]
    if info.convert_in is not None:
        made = info.convert_in(made)
    made["apiVersion"], made["kind"] = request.object["apiVersion"], request.object["kind"]
    if info.schema is not None and not info.custom:
        decoding.fill_nulls(made, info.node)
        if problem := decoding.misfit(made, info.node, info.kind, info.api_version):
            raise NotSound(f"makes no valid object: {problem}")
        info.schema.get().prune(made)
    return {**made}
