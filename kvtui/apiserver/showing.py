"""Stored objects as a version of their kind shows them."""

from __future__ import annotations

from kvtui.apiserver.record import Record, encode, in_version
from kvtui.apiserver.resources import ResourceInfo


def shown_bytes(info: ResourceInfo, record: Record) -> bytes:
    """A stored object as this version shows it."""
    renew(info, record)
    if info.convert_out is not None:
        return encode(info.convert_out(record.decode()))
    return in_version(record.data, info.stored_api_version, info.api_version)


def renew(info: ResourceInfo, record: Record) -> None:
    """An object that was stored under another schema gets today's defaults, and loses what is no longer known."""
    if record.schema == info.schema_generation:
        return
    if info.schema is not None and info.custom:
        obj = record.decode()
        schema = info.schema.get()
        schema.tidy(obj)
        record.data = encode(obj)
    record.schema = info.schema_generation
