"""Continue tokens: where a list goes on, and in which state of the world.

A token names a revision and the last key that was sent; the state at that revision is rebuilt from history, so a
token outlives a restart.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec

from kvtui.apiserver import status


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    revision: int
    namespace: str
    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Continuation:
    """A place in a list."""

    revision: int
    """0: go on in the current state."""
    namespace: str
    name: str
    query: str
    """Digest of the selection that the list was started with."""


def encode(place: Continuation) -> str:
    wire = _Wire(1, place.revision, place.namespace, place.name, place.query)
    return base64.urlsafe_b64encode(msgspec.json.encode(wire)).decode().rstrip("=")


def decode(token: str, query: str) -> Continuation:
    """Raises Failure 400 for anything that this server did not make for this selection."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        wire = msgspec.json.decode(raw, type=_Wire)
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise status.bad_request("continue key is not valid: cannot be decoded") from error
    if wire.version != 1 or wire.revision < 0:
        raise status.bad_request("continue key is not valid: unknown version")
    for part in (wire.namespace, wire.name):
        if "/" in part or "\0" in part or part in (".", "..") or len(part) > 512:
            raise status.bad_request("continue key is not valid")
    if wire.query != query:
        raise status.bad_request("continue key is not valid: it belongs to another list")
    return Continuation(wire.revision, wire.namespace, wire.name, wire.query)
