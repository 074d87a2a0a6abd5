"""The filter language of lists: `name:web !status:stopped cpu>80 label:app=web ~^db-`; pure.

Bare words match any column; `field:value` one column; `!` negates; `>` and `<` compare numbers, sizes and ages;
`label:key=value`; `~regex`; `a|b` means or; blanks mean and.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kvtui.api.quantity import parse as parse_quantity
from kvtui.errors import InvalidQuantity, Usage

_COMPARE = re.compile(r"^([\w.\-]+)([<>]=?)(.+)$")
_AGE = re.compile(r"^(\d+(?:\.\d+)?)([smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Subject:
    """A row as filters see it."""

    texts: Mapping[str, str]
    """What stands in each column, in lower case, by column id; "" holds further words such as all addresses."""
    values: Mapping[str, float | None]
    """Numbers of the columns that have one."""
    labels: Mapping[str, str]


Test = Callable[[Subject], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter and its text; an empty one lets everything pass."""

    text: str = ""
    tests: tuple[Test, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tests)

    def __call__(self, subject: Subject) -> bool:
        return all(test(subject) for test in self.tests)


EVERYTHING = Filter()


def parse(text: str, fields: Mapping[str, str]) -> Filter:
    """`fields` maps what may be written before a colon (lower case) to column ids. Raises Usage with the reason."""
    return Filter(text.strip(), tuple(_term(word, fields) for word in text.split()))


def _term(word: str, fields: Mapping[str, str]) -> Test:
    if word.startswith("!") and len(word) > 1:
        inner = _term(word[1:], fields)
        return lambda subject: not inner(subject)
    if word.startswith("~"):
        pattern = _regex(word[1:])
        return lambda subject: any(pattern.search(t) for t in subject.texts.values())
    if match := _COMPARE.match(word):
        return _comparison(match[1].lower(), match[2], match[3], fields)
    field, colon, value = word.partition(":")
    if colon and field.lower() == "label":
        return _label(value)
    if colon and field.lower() in fields:
        return _in_column(fields[field.lower()], value.lower())
    options = tuple(word.lower().split("|"))
    return lambda subject: any(o in t for o in options for t in subject.texts.values())


def _regex(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise Usage(f"~{pattern} is not a regular expression: {error}") from error


def _in_column(column: str, value: str) -> Test:
    options = tuple(value.split("|"))
    return lambda subject: any(o in subject.texts.get(column, "") for o in options)


def _label(value: str) -> Test:
    key, equals, wanted = value.partition("=")
    if not equals:
        return lambda subject: key in subject.labels
    options = tuple(wanted.split("|"))
    return lambda subject: subject.labels.get(key) in options


def _comparison(field: str, operator: str, value: str, fields: Mapping[str, str]) -> Test:
    if field not in fields:
        raise Usage(f"no column is called {field}")
    column, limit = fields[field], number(value)

    def test(subject: Subject) -> bool:
        have = subject.values.get(column)
        if have is None:
            return False
        match operator:
            case ">":
                return have > limit
            case "<":
                return have < limit
            case ">=":
                return have >= limit
            case _:
                return have <= limit

    return test


def number(text: str) -> float:
    """A number, a size (`1Gi`) or an age in seconds (`1h`). Raises Usage."""
    if match := _AGE.match(text):
        return float(match[1]) * _SECONDS[match[2]]
    try:
        return float(parse_quantity(text.rstrip("%")))
    except InvalidQuantity as error:
        raise Usage(f"{text} is not a number, a size or an age") from error
