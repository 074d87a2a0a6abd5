"""The string formats that schemas may name. Formats that are not listed here are not checked.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import urllib.parse
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import re2

_LABEL = r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_HOSTNAME = re.compile(rf"^(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?$")
_MAC = re.compile(
    r"^([0-9a-fA-F]{2}([:-])([0-9a-fA-F]{2}\2){4,6}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.){2,3}[0-9a-fA-F]{4})$", re.ASCII
)
_UUID = re.compile(r"^[0-9a-f]{8}-?[0-9a-f]{4}-?([0-9a-f])[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$", re.IGNORECASE)
_EMAIL = re.compile(r"^[^\s@<>\"(),:;\[\\\]]+@[^\s@<>\"(),:;\[\\\]]+$")
_DATE_TIME = re.compile(r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}([.,]\d+)?([Zz]|[+-]\d{2}:?\d{2})$", re.ASCII)
_STEP = r"(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"^[+-]?{_STEP}({_STEP})*$", re.ASCII)
_WORDS = re.compile(
    r"^\s*\d+\s*(ns|us|µs|ms|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?|w|wk|weeks?)\s*$", re.IGNORECASE
)
_HEX_COLOR = re.compile(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")
_RGB_COLOR = re.compile(r"^rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)$")
_OBJECT_ID = re.compile(r"^[0-9a-fA-F]{24}$")
_SSN = re.compile(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$", re.ASCII)
_SHORT_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_LONG_NAME = re.compile(r"^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")


def compile_pattern(pattern: str) -> Any:
    """A regular expression that runs in linear time. Raises ValueError for one that RE2 does not take."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        raise ValueError(said.decode() if isinstance(said, bytes) else str(said)) from error


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _uuid(version: str = "") -> Callable[[str], bool]:
    def check(text: str) -> bool:
        match = _UUID.match(text)
        return match is not None and (not version or match[1] == version)

    return check


def _base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _uri(text: str) -> bool:
    if re.search(r"[\x00-\x20\x7f]", text):
        return False
    try:
        parsed = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return bool(parsed.scheme) or text.startswith("/")


def _cidr(text: str) -> bool:
    return "/" in text and _parses(lambda t: ipaddress.ip_network(t, strict=False))(text)


def _isbn(*lengths: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        digits = re.sub(r"[\s-]", "", text)
        if len(digits) not in lengths:
            return False
        if len(digits) == 10 and re.fullmatch(r"\d{9}[\dXx]", digits, re.ASCII):
            total = sum((10 - i) * (10 if c in "Xx" else int(c)) for i, c in enumerate(digits))
            return total % 11 == 0
        if len(digits) == 13 and re.fullmatch(r"\d{13}", digits, re.ASCII):
            return sum(int(c) * (3 if i % 2 else 1) for i, c in enumerate(digits)) % 10 == 0
        return False

    return check


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"\d{13,19}", digits, re.ASCII):
        return False
    doubled = [int(c) * (2 if i % 2 else 1) for i, c in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _date_time(text: str) -> bool:
    if not _DATE_TIME.match(text):
        return False
    return _parses(datetime.fromisoformat)(re.sub(r"[.,]\d+", "", text).upper().replace("Z", "+00:00"))


def _rgb(text: str) -> bool:
    match = _RGB_COLOR.match(text)
    return match is not None and all(int(part) < 256 for part in match.groups())


FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": lambda t: bool(_OBJECT_ID.match(t)),
    "uri": _uri,
    "email": lambda t: bool(_EMAIL.match(t)),
    "hostname": lambda t: bool(_HOSTNAME.match(t)),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _cidr,
    "mac": lambda t: bool(_MAC.match(t)),
    "uuid": _uuid(),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
    "isbn": _isbn(10, 13),
    "isbn10": _isbn(10),
    "isbn13": _isbn(13),
    "creditcard": _credit_card,
    "ssn": lambda t: bool(_SSN.match(t)),
    "hexcolor": lambda t: bool(_HEX_COLOR.match(t)),
    "rgbcolor": _rgb,
    "byte": _base64,
    "password": lambda t: True,
    "date": lambda t: bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", t, re.ASCII)) and _parses(date.fromisoformat)(t),
    "duration": lambda t: t == "0" or bool(_DURATION.match(t) or _WORDS.match(t)),
    "datetime": _date_time,
    "date-time": _date_time,
    "k8s-short-name": lambda t: bool(_SHORT_NAME.match(t)),
    "k8s-long-name": lambda t: bool(_LONG_NAME.match(t)),
}
HINTS = frozenset({"int32", "int64", "float", "double", "int-or-string", "quantity"})
"""Formats of numbers, and those that say nothing about the text."""
