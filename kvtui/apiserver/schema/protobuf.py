"""Request bodies in protobuf, which typed Go clients send for built-in kinds.

The field numbers are in the same table as the schemas (kinds.txt), so every kind in it can be decoded.
Answers are always JSON.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding,
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from kvtui.apiserver import status
from kvtui.apiserver.schema import builtin

MAGIC = b"k8s\x00"
_SCHEMA = "apiextensions/v1.JSONSchemaProps"
_MAX_DEPTH = 60
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Object = dict[str, Any]


class _Malformed(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class _Member:
    """A field of a message: its JSON name and type. `inline` members put their fields into the parent."""

    name: str
    type: str
    empty: bool = False
    """Senders write its zero value where JSON would leave it out."""
    inline: bool = False


_WRAPPED = {
    24: _Member("items", "SchemaOrArray"),
    30: _Member("additionalProperties", "SchemaOrBool"),
    33: _Member("additionalItems", "SchemaOrBool"),
}
"""Fields of a JSON schema that hold one of two things, and are messages of their own here."""


@cache
def _members(type_name: str) -> dict[int, _Member]:
    type_ = builtin.types()[type_name]
    members = {f.number: _Member(f.name, f.type, f.empty) for f in type_.fields if f.number}
    members.update({number: _Member("", name, inline=True) for number, name in type_.embedded})
    if type_name == _SCHEMA:
        members.update(_WRAPPED)
    return members


def decode(body: bytes, content_type: str = "") -> Object:
    """The object in an `application/vnd.kubernetes.protobuf` body.

    Raises Failure 400 for a body that cannot be read, 415 for a kind that is not in the table.
    """
    if not body.startswith(MAGIC):
        raise status.bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        api_version, kind, raw = _envelope(body[len(MAGIC) :])
        name = builtin.type_name(api_version, kind) or builtin.type_name("v1", kind if kind == "DeleteOptions" else "")
        if name is None:
            raise status.unsupported_media_type(("application/json", "application/yaml"))
        obj = _message(raw, name, 0)
    except (_Malformed, UnicodeDecodeError, OverflowError, struct.error) as error:
        raise status.bad_request(f"couldn't decode the protobuf message: {error}") from error
    return {"apiVersion": api_version, "kind": kind, **obj}


def _envelope(data: bytes) -> tuple[str, str, bytes]:
    api_version = kind = ""
    raw = b""
    for number, wire, value in _fields(data):
        if number == 1 and wire == _BYTES:
            for inner, inner_wire, text in _fields(value):
                if inner_wire == _BYTES and inner == 1:
                    api_version = text.decode()
                elif inner_wire == _BYTES and inner == 2:
                    kind = text.decode()
        elif number == 2 and wire == _BYTES:
            raw = value
        elif number == 3 and value:
            raise _Malformed("content encodings are not supported")
    return api_version, kind, raw


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Field number, wire type and value; varints as ints, fixed and length-delimited values as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _Malformed("illegal field number 0")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _Malformed(f"wire type {wire} is not supported")
        if at + size > len(data):
            raise _Malformed("unexpected end of message")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data):
            raise _Malformed("unexpected end of message")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise _Malformed("integer overflow")


def _message(data: bytes, type_name: str, depth: int) -> Object:
    if depth > _MAX_DEPTH:
        raise _Malformed("exceeded max depth")
    members = _members(type_name)
    obj: Object = {}
    for number, wire, value in _fields(data):
        member = members.get(number)
        if member is None:
            continue
        if member.inline:
            obj.update(_message(_bytes(value, wire), member.type, depth + 1))
        elif member.type.startswith("[]"):
            inner = member.type[2:]
            items = obj.setdefault(member.name, [])
            if wire == _BYTES and inner in ("int32", "int64", "bool"):  # packed
                at = 0
                while at < len(value):
                    number_, at = _varint(value, at)
                    items.append(_scalar(inner, number_, _VARINT))
            else:
                items.append(_value(inner, value, wire, depth))
        elif member.type.startswith("{}"):
            key, item = _entry(member.type[2:], _bytes(value, wire), depth)
            obj.setdefault(member.name, {})[key] = item
        else:
            decoded = _value(member.type, value, wire, depth)
            if decoded is not None and (decoded or not member.empty):
                obj[member.name] = decoded
    return obj


def _entry(type_: str, data: bytes, depth: int) -> tuple[str, Any]:
    key, item = "", _zero(type_)
    for number, wire, value in _fields(data):
        if number == 1:
            key = _bytes(value, wire).decode()
        elif number == 2:
            item = _value(type_, value, wire, depth)
    return key, item


def _zero(type_: str) -> Any:
    if type_.startswith("[]"):
        return []
    if type_ in ("int32", "int64", "float64"):
        return 0
    return "" if type_ in ("string", "bytes", "Quantity") else {}


def _bytes(value: Any, wire: int) -> bytes:
    if wire != _BYTES:
        raise _Malformed(f"unexpected wire type {wire}")
    data: bytes = value
    return data


def _value(type_: str, value: Any, wire: int, depth: int) -> Any:
    if type_ in ("string", "Duration", "bytes", "int32", "int64", "bool", "float64"):
        return _scalar(type_, value, wire)
    data = _bytes(value, wire)
    match type_:
        case "Time" | "MicroTime":
            return _time(data, micro=type_ == "MicroTime")
        case "Quantity":
            return next((v.decode() for n, w, v in _fields(data) if n == 1 and w == _BYTES), "")
        case "IntOrString":
            return _int_or_string(data)
        case "any":
            return _raw(data)
        case "SchemaOrArray" | "SchemaOrBool":
            return _schema_or(data, 1 if type_ == "SchemaOrArray" else 2, depth)
    if type_.startswith("[]"):  # a list as a map value: ExtraValue{1 items}, or the elements themselves
        return [v.decode() for n, w, v in _fields(data) if n == 1 and w == _BYTES]
    return _message(data, type_, depth + 1)


def _schema_or(data: bytes, number: int, depth: int) -> Any:
    """The schema in the field of this number; else the boolean in the first field."""
    allowed = False
    for found, wire, value in _fields(data):
        if found == number and wire == _BYTES:
            return _message(value, _SCHEMA, depth + 1)
        if found == 1 and wire == _VARINT:
            allowed = bool(value)
    return allowed if number == 2 else None


def _scalar(type_: str, value: Any, wire: int) -> Any:
    if type_ in ("string", "bytes"):
        data = _bytes(value, wire)
        return data.decode() if type_ == "string" else base64.b64encode(data).decode()
    if type_ == "Duration":
        number = value if wire == _VARINT else next((v for n, w, v in _fields(value) if n == 1 and w == _VARINT), 0)
        return f"{_signed(number) / 1e9:g}s"
    if type_ == "float64":
        if wire != _FIXED64:
            raise _Malformed(f"unexpected wire type {wire}")
        return struct.unpack("<d", value)[0]
    if wire != _VARINT:
        raise _Malformed(f"unexpected wire type {wire}")
    return bool(value) if type_ == "bool" else _signed(value)


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _time(data: bytes, *, micro: bool) -> str | None:
    """RFC 3339; None for the zero time, which Go's encoder writes as an empty message or the year 1."""
    seconds = nanos = None
    for number, wire, value in _fields(data):
        if wire == _VARINT and number == 1:
            seconds = _signed(value)
        elif wire == _VARINT and number == 2:
            nanos = value
    if seconds is None or seconds <= -62135596800:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=(nanos or 0) // 1000)
    # strftime does not pad years before 1000
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds" if micro else "seconds") + "Z"


def _int_or_string(data: bytes) -> int | str:
    kind, number, text = 0, 0, ""
    for field, wire, value in _fields(data):
        if field == 1 and wire == _VARINT:
            kind = value
        elif field == 2 and wire == _VARINT:
            number = _signed(value)
        elif field == 3 and wire == _BYTES:
            text = value.decode()
    return text if kind == 1 else number


def _raw(data: bytes) -> Any:
    """RawExtension and FieldsV1: {1 raw JSON}."""
    for number, wire, value in _fields(data):
        if number == 1 and wire == _BYTES:
            try:
                return msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError) as error:
                raise _Malformed(str(error)) from error
    return None
