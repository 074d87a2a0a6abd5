"""Names, addresses and lists as Go checks and prints them, with the messages that users know.

Source: k8s.io/apimachinery/pkg/util/validation, Go's net and fmt packages.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_MAC = re.compile(
    r"(?:[0-9a-fA-F]{2}:)+[0-9a-fA-F]{2}|(?:[0-9a-fA-F]{2}-)+[0-9a-fA-F]{2}|(?:[0-9a-fA-F]{4}\.)+[0-9a-fA-F]{4}",
    re.ASCII,
)
_PCI = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]", re.ASCII)
_SERVICE_NAME = re.compile(r"[-a-z0-9]+", re.ASCII)
MAC_OCTETS = (6, 8, 20)
"""Lengths that Go's net.ParseMAC takes: EUI-48, EUI-64 and InfiniBand."""


def _example(message: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples).removesuffix(", ")
    return f"{message} (e.g. {shown}, regex used for validation is '{pattern}')"


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def dns_label(value: str) -> list[str]:
    """Complaints about an RFC 1123 label, at most 63 characters."""
    found = [_too_long(63)] if len(value) > 63 else []
    if not re.fullmatch(_LABEL, value, re.ASCII):
        if re.fullmatch(_SUBDOMAIN, value, re.ASCII):
            found.append("must not contain dots")
        else:
            found.append(
                _example(
                    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                    "and must start and end with an alphanumeric character",
                    _LABEL,
                    "my-name",
                    "123-abc",
                )
            )
    return found


def dns_subdomain(value: str) -> list[str]:
    """Complaints about an RFC 1123 subdomain, at most 253 characters."""
    found = [_too_long(253)] if len(value) > 253 else []
    if not re.fullmatch(_SUBDOMAIN, value, re.ASCII):
        found.append(
            _example(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
                "and must start and end with an alphanumeric character",
                _SUBDOMAIN,
                "example.com",
            )
        )
    return found


def qualified_name(value: str) -> list[str]:
    """Complaints about a label key such as example.com/name."""
    found: list[str] = []
    parts = value.split("/")
    if len(parts) > 2:
        return [
            "a qualified name "
            + _example(
                "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character",
                _QUALIFIED,
                "MyName",
                "my.name",
                "123-abc",
            )
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    if len(parts) == 2:
        if not parts[0]:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {complaint}" for complaint in dns_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part " + _too_long(63))
    if not re.fullmatch(_QUALIFIED, name, re.ASCII):
        found.append(
            "name part "
            + _example(
                "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character",
                _QUALIFIED,
                "MyName",
                "my.name",
                "123-abc",
            )
        )
    return found


def label_value(value: str) -> list[str]:
    """Complaints about the value of a label."""
    found = [_too_long(63)] if len(value) > 63 else []
    if not re.fullmatch(_VALUE, value, re.ASCII):
        found.append(
            _example(
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
                "and must start and end with an alphanumeric character",
                _VALUE,
                "MyValue",
                "my_value",
                "12345",
            )
        )
    return found


def is_port_name(value: str) -> bool:
    """At most 15 of a-z, 0-9 and single inner hyphens, with at least one letter."""
    return (
        len(value) <= 15
        and bool(_SERVICE_NAME.fullmatch(value))
        and any(c.isalpha() for c in value)
        and "--" not in value
        and not value.startswith("-")
        and not value.endswith("-")
    )


def is_ip(value: str) -> bool:
    """What net.ParseIP takes: no zone, no leading zeros."""
    try:
        return not getattr(ipaddress.ip_address(value), "scope_id", None)
    except ValueError:
        return False


def is_ipv4(value: str) -> bool:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True


def mac_octets(value: str) -> int:
    """Octets of a hardware address in one of Go's notations; 0 when it is none."""
    if not _MAC.fullmatch(value):
        return 0
    octets = len(re.sub(r"[^0-9a-fA-F]", "", value)) // 2
    return octets if octets in MAC_OCTETS else 0


def is_pci_address(value: str) -> bool:
    """dddd:bb:ss.f"""
    return bool(_PCI.fullmatch(value))


def go_list(values: Iterable[object]) -> str:
    """Go's %v of a slice: [a b c]."""
    return "[" + " ".join(str(value) for value in values) + "]"


def quoted(value: str) -> str:
    """Go's %q for plain text."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
