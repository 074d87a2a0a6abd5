"""JSON merge patch: null deletes, objects merge, everything else replaces.

Source: RFC 7386.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver.patch.errors import PatchError


def merge(target: dict[str, Any], patch: Any) -> dict[str, Any]:
    """The patched object; the target is not changed. Raises PatchError for a patch that is not an object."""
    if not isinstance(patch, dict):
        raise PatchError(400, "error decoding patch: a merge patch must be an object")
    return _merged(target, patch)


def _merged(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _merged(result.get(key), value)
        else:
            result[key] = value
    return result
