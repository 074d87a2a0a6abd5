"""How objects look on the wire: the base classes and field marks that every kind shares.

Every field has a default, as in Go, where an absent field is its type's zero value; what a schema must
nevertheless demand carries REQUIRED. Marks turn into the x-kubernetes-* extensions of the generated schemas.
Structs are frozen: change an object with `msgspec.structs.replace`, or `evolve` for nested paths.
Unknown fields are dropped when decoding, so objects are never written back whole: write by patch.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/, k8s.io/apimachinery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self, TypeVar

import msgspec
from msgspec import Meta

from kvtui.errors import InvalidObject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


Quantity = str | int | float
"""A Kubernetes quantity as sent: "1Gi", 2, "500m". Parse with `kvtui.api.quantity`."""
IntOrString = int | str
Time = Annotated[str, Meta(extra={"schema": {"format": "date-time"}})]
"""RFC 3339 in UTC, such as 2026-01-31T12:00:00Z; see `kvtui.api.times`."""

REQUIRED = Meta(extra={"required": True})
ATOMIC = Meta(extra={"schema": {"x-kubernetes-list-type": "atomic"}})
SET = Meta(extra={"schema": {"x-kubernetes-list-type": "set"}})
INT32 = Meta(extra={"schema": {"format": "int32"}})
INT64 = Meta(extra={"schema": {"format": "int64"}})
UINT32 = Meta(extra={"schema": {"format": "uint32"}})
NULLABLE = Meta(extra={"schema": {"nullable": True}})
PRESERVE = Meta(extra={"schema": {"x-kubernetes-preserve-unknown-fields": True}})


def list_map(*keys: str) -> Meta:
    """Marks a list whose items are identified by these fields (server-side apply merges by them)."""
    return Meta(extra={"schema": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}})


def one_of(*values: str) -> Meta:
    """The values a string may have, for documents only: admission, not the schema, refuses others (as upstream)."""
    return Meta(extra={"values": list(values)})


def schema(**extensions: Any) -> Meta:
    """Marks a field with further schema keywords; after `x_` the underscores of a name stand for hyphens."""
    renamed = {k.replace("_", "-") if k.startswith("x_") else k: v for k, v in extensions.items()}
    return Meta(extra={"schema": renamed})


def named(name: str, default: Any) -> Any:
    """A field whose wire name is not the camel case of its Python name."""
    if default == [] or default == {}:
        return msgspec.field(default_factory=type(default), name=name)
    return msgspec.field(default=default, name=name)


def always(zero: Callable[[], Any]) -> Any:
    """A required field that is also sent when it has its zero value, such as an empty string or False."""
    return msgspec.field(default_factory=zero)


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of everything that crosses the wire."""

    schema_marks: ClassVar[dict[str, Any]] = {}
    """Schema keywords of every object of this class, such as x-kubernetes-map-type."""


class ObjectKey(NamedTuple):
    """Namespace and name; the namespace of a cluster-scoped object is empty. Prints as "ns/name"."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        namespace, _, name = text.rpartition("/")
        return cls(namespace, name)


T = TypeVar("T")
W = TypeVar("W", bound=Wire)


def without_nulls(value: Any) -> Any:
    """The JSON value without null-valued keys: to Go's decoder null and absent are the same."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value


def from_wire(data: Any, type_: type[T]) -> T:
    """Typed object from decoded JSON. Raises InvalidObject with the path of the first misfit."""
    try:
        return msgspec.convert(without_nulls(data), type_)
    except msgspec.ValidationError as error:
        raise InvalidObject(str(error)) from error


def from_json(text: bytes | str, type_: type[T]) -> T:
    """Typed object from JSON text. Raises InvalidObject. Falls back to a second pass only if there are nulls."""
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.ValidationError:
        return from_wire(msgspec.json.decode(text), type_)
    except msgspec.DecodeError as error:
        raise InvalidObject(str(error)) from error


def to_wire(value: Any) -> Any:
    """Plain JSON value (dicts, lists, scalars) of a typed object; defaults are left out."""
    return msgspec.to_builtins(value)


def to_json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def evolve(obj: W, **changes: Any) -> W:
    """The object with some fields replaced."""
    return msgspec.structs.replace(obj, **changes)


class Unstructured(dict[str, Any]):
    """An object of a kind for which there is no class: plain JSON with the few accessors everyone needs."""

    @property
    def key(self) -> ObjectKey:
        meta = self.get("metadata") or {}
        return ObjectKey(meta.get("namespace") or "", meta.get("name") or "")

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        return cls(data)
