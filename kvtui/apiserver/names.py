"""Syntax of names, labels, annotations and finalizers.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/,
k8s.io/apimachinery/pkg/util/validation.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from kvtui.apiserver import status
from kvtui.apiserver.resources import NameRule
from kvtui.errors import Cause

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_ANNOTATIONS_LIMIT = 256 * 1024
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_BASE = 58
_SUFFIX = 5


def generate(base: str) -> str:
    """A name from metadata.generateName: base cut to 58 characters and 5 random ones."""
    return base[:_GENERATED_BASE] + "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX))


def is_generated(name: str, base: str) -> bool:
    """Whether the name may have been made from that metadata.generateName."""
    start = base[:_GENERATED_BASE]
    return name.startswith(start) and len(name) == len(start) + _SUFFIX


def is_label(text: str) -> bool:
    return len(text) <= 63 and _LABEL.fullmatch(text) is not None


def is_label_1035(text: str) -> bool:
    return len(text) <= 63 and _LABEL_1035.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def name_error(rule: NameRule, name: str) -> str:
    """What is wrong with a name; empty when nothing is."""
    if rule is NameRule.PATH_SEGMENT:
        if name in (".", ".."):
            return f"may not be '{name}'"
        for bad in ("/", "%"):
            if bad in name:
                return f"may not contain '{bad}'"
        return "" if name.isprintable() else "may not contain control characters"
    limit = 253 if rule is NameRule.SUBDOMAIN else 63
    if len(name) > limit:
        return f"must be no more than {limit} bytes"
    pattern, text = {
        NameRule.SUBDOMAIN: (_SUBDOMAIN, SUBDOMAIN_TEXT),
        NameRule.LABEL: (_LABEL, LABEL_TEXT),
        NameRule.LABEL_1035: (_LABEL_1035, LABEL_1035_TEXT),
    }[rule]
    return "" if pattern.fullmatch(name) else text


def qualified_error(key: str) -> str:
    """What is wrong with a label key, annotation key or finalizer; empty when nothing is."""
    prefix, slash, name = key.rpartition("/")
    if slash:
        if not prefix:
            return "prefix part must be non-empty"
        if not is_subdomain(prefix):
            return "prefix part " + SUBDOMAIN_TEXT
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 bytes"
    return "" if _QUALIFIED.fullmatch(name) else _QUALIFIED_TEXT


def label_value_error(value: str) -> str:
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return "" if value == "" or _QUALIFIED.fullmatch(value) else _VALUE_TEXT


def label_causes(labels: Mapping[str, Any], field: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in labels.items():
        if error := qualified_error(key):
            causes.append(status.invalid_value(field, key, error))
        if error := label_value_error(value):
            causes.append(status.invalid_value(field, value, error))
    return causes


def annotation_causes(annotations: Mapping[str, Any], field: str) -> list[Cause]:
    causes: list[Cause] = []
    total = 0
    for key, value in annotations.items():
        if error := qualified_error(key.lower()):
            causes.append(status.invalid_value(field, key, error))
        total += len(key.encode()) + len(value.encode())
    if total > _ANNOTATIONS_LIMIT:
        causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes", field))
    return causes
