"""URLs as Go's net/url reads them, which is what decides whether a source URL is sound.

Source: https://pkg.go.dev/net/url#Parse.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>\"]|[^\x00-\x7f]|%25|%[89a-fA-F][0-9a-fA-F])*")
_PORT = re.compile(r"(?::\d*)?", re.ASCII)
_USER = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*", re.ASCII)


class Url(NamedTuple):
    """The parts that rules look at."""

    scheme: str
    host: str


def parse(text: str) -> Url | None:
    """None when Go would refuse the text."""
    if _CONTROL.search(text) or text.startswith(":"):
        return None
    rest, _, fragment = text.partition("#")
    if _BAD_ESCAPE.search(fragment):
        return None
    match = _SCHEME.match(rest)
    scheme = match[1].lower() if match else ""
    rest = rest[match.end() :] if match else rest
    rest, _, _ = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, "")  # opaque, such as mailto:a
        return None if ":" in rest.partition("/")[0] or _BAD_ESCAPE.search(rest) else Url("", "")
    host = ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        user, at, host = authority.rpartition("@")
        if (at and not _USER.fullmatch(user)) or not _is_host(host):
            return None
    return None if _BAD_ESCAPE.search(rest) else Url(scheme, host)


def _is_host(host: str) -> bool:
    if not _HOST.fullmatch(host):
        return False
    if host.startswith("["):
        _, bracket, port = host.rpartition("]")
        return bool(bracket) and bool(_PORT.fullmatch(port))
    colon = host.rfind(":")
    return colon < 0 or bool(_PORT.fullmatch(host[colon:]))
