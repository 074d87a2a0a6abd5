"""ConfigMaps and Secrets.

Source: https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from kvtui.apiserver import status
from kvtui.apiserver.strategy import Strategy
from kvtui.errors import Cause

Object = dict[str, Any]
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_MAX_SECRET = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"
_TYPE_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _key_causes(keys: object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in keys if isinstance(keys, dict) else ():
        if len(key) > 253:
            causes.append(status.invalid_value(f"{field}[{key}]", key, "must be no more than 253 characters"))
        elif not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            causes.append(status.invalid_value(f"{field}[{key}]", key, _KEY_TEXT))
    return causes


def _text_map(obj: Object, key: str) -> Object:
    value = obj.get(key)
    if value is None:
        obj.pop(key, None)
        return {}
    if not isinstance(value, dict):
        raise status.bad_request(f"{key} must be an object with string values")
    for name, text in list(value.items()):
        if text is None:
            value[name] = ""
        elif not isinstance(text, str):
            raise status.bad_request(f"{key}[{name}] must be a string")
    return value


def _base64_map(obj: Object, key: str) -> Object:
    value = _text_map(obj, key)
    for name, text in value.items():
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise status.bad_request(f"{key}[{name}] is not base64: {error}") from error
    return value


def _frozen_causes(obj: Object, old: Object | None, keys: tuple[str, ...]) -> list[Cause]:
    if old is None or not old.get("immutable"):
        return []
    causes = [status.forbidden_field(k, _FROZEN) for k in keys if (obj.get(k) or {}) != (old.get(k) or {})]
    if not obj.get("immutable"):
        causes.append(status.forbidden_field("immutable", _FROZEN))
    return causes


class ConfigMaps(Strategy):
    """Text in `data`, bytes in `binaryData`, no key twice."""

    def default(self, obj: Object) -> None:
        _text_map(obj, "data")
        _base64_map(obj, "binaryData")

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        causes = _key_causes(data, "data") + _key_causes(binary, "binaryData")
        causes += [status.duplicate(f"data[{key}]", key) for key in data if key in binary]
        size = sum(len(v) for v in data.values()) + sum(len(v) for v in binary.values())
        if size > _MAX_SECRET:
            causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {_MAX_SECRET} bytes", ""))
        return causes + _frozen_causes(obj, old, ("data", "binaryData"))


class Secrets(Strategy):
    """`stringData` is a write-only way to say `data`."""

    def default(self, obj: Object) -> None:
        data = _base64_map(obj, "data")
        text = _text_map(obj, "stringData")
        if text:
            obj["data"] = {**data, **{k: base64.b64encode(v.encode()).decode() for k, v in text.items()}}
        obj.pop("stringData", None)
        if not obj.get("type"):
            obj["type"] = "Opaque"

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        data = obj.get("data") or {}
        causes = _key_causes(data, "data")
        if sum(len(v) for v in data.values()) * 3 // 4 > _MAX_SECRET:
            causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {_MAX_SECRET} bytes", "data"))
        causes += [status.required(f"data[{key}]") for key in _TYPE_KEYS.get(obj["type"], ()) if key not in data]
        if obj["type"] == "kubernetes.io/service-account-token":
            annotation = "kubernetes.io/service-account.name"
            if not (obj["metadata"].get("annotations") or {}).get(annotation):
                causes.append(status.required(f"metadata.annotations[{annotation}]"))
        if old is not None and obj["type"] != old.get("type"):
            causes.append(status.invalid_value("type", obj["type"], "field is immutable"))
        return causes + _frozen_causes(obj, old, ("data",))
