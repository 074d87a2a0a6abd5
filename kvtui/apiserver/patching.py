"""PATCH bodies as functions from the stored object to the wanted one.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import bodies, status
from kvtui.apiserver.objects import Transform
from kvtui.apiserver.patch import json_patch, merge_patch, strategic
from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.resources import ResourceInfo

Object = dict[str, Any]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
APPLY_PATCHES = (APPLY_PATCH, "application/apply-patch+cbor")
_MAX_OPERATIONS = 10_000


def accepted(info: ResourceInfo) -> tuple[str, ...]:
    """The patch types of a resource."""
    middle = () if info.custom else (STRATEGIC_PATCH,)
    return (JSON_PATCH, MERGE_PATCH, *middle, APPLY_PATCH)


def transform_of(info: ResourceInfo, body: bytes, content_type: str) -> tuple[Transform, list[str]]:
    """The function, and duplicate keys of the body. Raises Failure 400, 413, 415; the function 422."""
    kind = bodies.media_type(content_type)
    if kind not in accepted(info) or kind in APPLY_PATCHES:
        raise status.unsupported_media_type(accepted(info))
    patch, duplicates = bodies.decode_json_value(body)
    if kind == JSON_PATCH:
        if not isinstance(patch, list):
            raise status.bad_request("a JSON patch must be a list of operations")
        if len(patch) > _MAX_OPERATIONS:
            raise status.Failure(
                413,
                "RequestEntityTooLarge",
                f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(patch)}",
            )
    elif not isinstance(patch, dict):
        raise status.bad_request("the patch must be a JSON object")

    def transform(obj: Object) -> Object:
        shown = _shown(info, obj)
        try:
            if kind == JSON_PATCH:
                result = json_patch.apply(shown, patch)
            elif kind == MERGE_PATCH:
                result = merge_patch.merge(shown, patch)
            else:
                result = strategic.merge(shown, patch, info.node)
        except PatchError as error:
            raise _failure(error) from error
        if not isinstance(result, dict):
            raise _rejected()
        return _stored(info, shown, result)

    return transform, duplicates


def _shown(info: ResourceInfo, obj: Object) -> Object:
    """The object as this version shows it: that is what a patch is written against."""
    if info.convert_out is not None:
        return info.convert_out(obj)
    obj["apiVersion"] = info.api_version
    return obj


def _stored(info: ResourceInfo, shown: Object, result: Object) -> Object:
    if result.get("apiVersion") != info.api_version or result.get("kind") != info.kind:
        raise status.bad_request(
            f"the API version in the data ({result.get('apiVersion')}) does not match the expected API version "
            f"({info.api_version})"
        )
    if info.convert_in is None:
        result["apiVersion"] = info.stored_api_version
    return result


def _failure(error: PatchError) -> status.Failure:
    if error.code == 422:
        return _rejected()
    reasons = {400: "BadRequest", 413: "RequestEntityTooLarge", 415: "UnsupportedMediaType"}
    return status.Failure(error.code, reasons.get(error.code, ""), error.message)


def _rejected() -> status.Failure:
    return status.Failure(422, "Invalid", "the server rejected our request due to an error in our request")
