"""Stored objects: immutable JSON bytes with the few facts that reads and watches ask for again and again.

Bytes are kept, not parsed trees: they are served as they are, they take a fifth of the memory, and a writer that
decodes them has its own copy to change.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kvtui.apiserver.selectors import field_value

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class OwnerHead(msgspec.Struct, rename="camel"):
    """What the garbage collector needs of an owner reference."""

    uid: str = ""
    kind: str = ""
    api_version: str = ""
    name: str = ""
    block_owner_deletion: bool | None = None


class MetaHead(msgspec.Struct, rename="camel"):
    """What the server itself asks about an object, without decoding the rest."""

    uid: str = ""
    labels: dict[str, str] | None = None
    owner_references: list[OwnerHead] | None = None
    deletion_timestamp: str | None = None
    finalizers: list[str] | None = None


class _Head(msgspec.Struct):
    metadata: MetaHead


class _RawMeta(msgspec.Struct, rename="camel"):
    api_version: str
    metadata: msgspec.Raw


_head = msgspec.json.Decoder(_Head).decode
_raw_meta = msgspec.json.Decoder(_RawMeta).decode
_NO_LABELS: dict[str, str] = {}


def encode(obj: dict[str, Any]) -> bytes:
    """Canonical JSON: apiVersion, kind and metadata first, so that another version is a change of the first bytes."""
    ordered: dict[str, Any] = {"apiVersion": obj.get("apiVersion", ""), "kind": obj.get("kind", "")}
    if "metadata" in obj:
        ordered["metadata"] = obj["metadata"]
    for key, value in obj.items():
        if key not in ordered:
            ordered[key] = value
    return _encode(ordered)


class Record(msgspec.Struct, gc=False, eq=False):
    """One version of one object. It is in no cycle, so the collector need not look at the many that there are."""

    rv: int
    namespace: str
    name: str
    data: bytes
    schema: int = 0
    """Generation of the schema that the bytes satisfy."""
    _labels: dict[str, str] | None = None
    _fields: dict[str, str] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    def decode(self) -> dict[str, Any]:
        """A fresh copy of the object, free to change."""
        obj: dict[str, Any] = _decode(self.data)
        return obj

    def head(self) -> MetaHead:
        return _head(self.data).metadata

    @property
    def labels(self) -> dict[str, str]:
        if self._labels is None:
            self._labels = self.head().labels or _NO_LABELS
        return self._labels

    @property
    def uid(self) -> str:
        return self.head().uid

    def field(self, path: str) -> str:
        """The value that a field selector compares."""
        if path == "metadata.name":
            return self.name
        if path == "metadata.namespace":
            return self.namespace
        if self._fields is None:
            self._fields = {}
        value = self._fields.get(path)
        if value is None:
            value = self._fields[path] = field_value(self.decode(), path)
        return value

    def partial(self) -> bytes:
        """The object as PartialObjectMetadata."""
        meta = bytes(_raw_meta(self.data).metadata)
        return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":' + meta + b"}"


def in_version(data: bytes, stored: str, wanted: str) -> bytes:
    """The bytes of an object with another apiVersion; kinds whose versions differ only in that."""
    if stored == wanted:
        return data
    prefix = b'{"apiVersion":"' + stored.encode() + b'"'
    if data.startswith(prefix):
        return b'{"apiVersion":"' + wanted.encode() + b'"' + data[len(prefix) :]
    obj = _decode(data)
    obj["apiVersion"] = wanted
    return encode(obj)
