"""Label and field selectors: parse once, match many.

Label selectors come as text ("tier in (web,db),!old") or as metav1.LabelSelector objects; field selectors as text only.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ and .../field-selectors/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

from kvtui.api.meta import LabelSelector as WireLabelSelector
from kvtui.errors import InvalidSelector

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]

_NAME = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$", re.ASCII)
_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", re.ASCII)
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", re.ASCII)
_TOKEN = re.compile(r"\s*(?:(!=|==|=|!|,|\(|\)|>|<)|([^\s!=,()<>]+))")
_COMPARED = {"=", "==", "!="}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term. `values` is empty for Exists and DoesNotExist, and has one integer for Gt and Lt."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                if value is None:
                    return False
                try:
                    number, bound = int(value), int(next(iter(self.values)))
                except ValueError:
                    return False
                return number > bound if self.operator == "Gt" else number < bound

    def __str__(self) -> str:
        if self.operator == "Exists":
            return self.key
        if self.operator == "DoesNotExist":
            return f"!{self.key}"
        if self.operator in ("Gt", "Lt"):
            return f"{self.key}{'>' if self.operator == 'Gt' else '<'}{next(iter(self.values))}"
        if self.operator == "In" and len(self.values) == 1:
            return f"{self.key}={next(iter(self.values))}"
        listed = ",".join(sorted(self.values))
        return f"{self.key} {'in' if self.operator == 'In' else 'notin'} ({listed})"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; `nothing` matches no object at all."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        present = labels or {}
        return all(requirement.matches(present) for requirement in self.requirements)

    @property
    def empty(self) -> bool:
        """Matches everything."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)


@lru_cache(maxsize=1024)
def parse_label_selector(text: str) -> LabelSelector:
    """Raises InvalidSelector ("unable to parse requirement: ...")."""
    tokens = _tokens(text)
    requirements: list[Requirement] = []
    at = 0
    while at < len(tokens):
        requirement, at = _requirement(tokens, at)
        requirements.append(requirement)
        if at == len(tokens):
            break
        if tokens[at] != ",":
            raise InvalidSelector(f"found '{tokens[at]}', expected: ',' or 'end of string'")
        at += 1
        if at == len(tokens):
            raise InvalidSelector("found '', expected: identifier after ','")
    return LabelSelector(tuple(sorted(requirements, key=lambda r: r.key)))


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise InvalidSelector(f"unable to parse requirement: found '{stripped[at:]}', expected: identifier")
        tokens.append(match[1] or match[2])
        at = match.end()
    return tokens


def _requirement(tokens: list[str], at: int) -> tuple[Requirement, int]:
    def peek(position: int) -> str:
        return tokens[position] if position < len(tokens) else ""

    absent = peek(at) == "!"
    if absent:
        at += 1
    key = peek(at)
    if not key or not _is_word(key):
        raise InvalidSelector(f"unable to parse requirement: found '{key}', expected: identifier")
    at += 1
    if absent:
        return _checked(key, "DoesNotExist", frozenset()), at
    operator = peek(at)
    if operator in ("", ","):
        return _checked(key, "Exists", frozenset()), at
    if operator in _COMPARED:
        value = peek(at + 1)
        if value in ("", ","):
            value, at = "", at + 1
        elif _is_word(value):
            at += 2
        else:
            raise InvalidSelector(f"unable to parse requirement: found '{value}', expected: identifier")
        return _checked(key, "NotIn" if operator == "!=" else "In", frozenset({value})), at
    if operator in (">", "<"):
        value = peek(at + 1)
        if not _is_word(value):
            raise InvalidSelector(f"unable to parse requirement: found '{value}', expected: identifier")
        return _checked(key, "Gt" if operator == ">" else "Lt", frozenset({value})), at + 2
    if operator in ("in", "notin"):
        values, at = _value_list(tokens, at + 1)
        return _checked(key, "In" if operator == "in" else "NotIn", values), at
    raise InvalidSelector(f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt")


def _value_list(tokens: list[str], at: int) -> tuple[frozenset[str], int]:
    if at >= len(tokens) or tokens[at] != "(":
        found = tokens[at] if at < len(tokens) else ""
        raise InvalidSelector(f"unable to parse requirement: found '{found}', expected: '('")
    at += 1
    values: set[str] = set()
    word_expected = True
    while at < len(tokens):
        word = tokens[at]
        at += 1
        if word == ")":
            if word_expected:
                values.add("")
            return frozenset(values), at
        if word == ",":
            if word_expected:
                values.add("")
            word_expected = True
        elif _is_word(word) and word_expected:
            values.add(word)
            word_expected = False
        else:
            raise InvalidSelector(f"unable to parse requirement: found '{word}', expected: ',', or ')'")
    raise InvalidSelector("unable to parse requirement: found '', expected: ',' or ')'")


def _is_word(token: str) -> bool:
    return bool(token) and token[0] not in "!=,()<>"


def _checked(key: str, operator: Operator, values: frozenset[str]) -> Requirement:
    problem = label_key_problem(key)
    if problem:
        raise InvalidSelector(f'unable to parse requirement: <nil>: Invalid value: "{key}": {problem}')
    for value in sorted(values):
        if operator in ("Gt", "Lt"):
            if not re.fullmatch(r"[+-]?\d{1,18}", value, re.ASCII):
                raise InvalidSelector(
                    f'unable to parse requirement: values[0][{key}]: Invalid value: "{value}": '
                    "for 'Gt', 'Lt' operators, the value must be an integer"
                )
            continue
        problem = label_value_problem(value)
        if problem:
            raise InvalidSelector(f'unable to parse requirement: values[0][{key}]: Invalid value: "{value}": {problem}')
    return Requirement(key, operator, values)


def label_key_problem(key: str) -> str:
    """Why this is not a qualified name, or nothing."""
    prefix, slash, name = key.rpartition("/")
    if slash:
        if not prefix:
            return "prefix part must be non-empty"
        if "/" in prefix:
            return (
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
                "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
                "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and "
                "'/' (e.g. 'example.com/MyName')"
            )
        if len(prefix) > 253:
            return "prefix part must be no more than 253 bytes"
        if not _SUBDOMAIN.match(prefix):
            return (
                "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' "
                "or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
                r"validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            )
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 bytes"
    if not _NAME.match(name):
        return (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )
    return ""


def label_value_problem(value: str) -> str:
    """Why this is not a label value, or nothing."""
    if len(value) > 63:
        return "must be no more than 63 bytes"
    if not _VALUE.match(value):
        return (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
            "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )
    return ""


def from_object(selector: WireLabelSelector | Mapping[str, Any] | None) -> LabelSelector:
    """A metav1.LabelSelector, typed or as a plain object. None matches nothing, an empty one everything.

    Raises InvalidSelector.
    """
    if selector is None:
        return NOTHING
    if isinstance(selector, WireLabelSelector):
        pairs: Mapping[str, str] = selector.match_labels
        expressions = [(e.key, e.operator, e.values) for e in selector.match_expressions]
    else:
        pairs = selector.get("matchLabels") or {}
        expressions = [
            (e.get("key") or "", e.get("operator") or "", e.get("values") or [])
            for e in selector.get("matchExpressions") or []
        ]
    requirements = [_checked(key, "In", frozenset({value})) for key, value in sorted(pairs.items())]
    for key, operator, values in expressions:
        if operator in ("In", "NotIn"):
            if not values:
                raise InvalidSelector("for 'in', 'notin' operators, values set can't be empty")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                raise InvalidSelector("values set must be empty for exists and does not exist")
        else:
            raise InvalidSelector(f'"{operator}" is not a valid label selector operator')
        requirements.append(_checked(key, cast("Operator", operator), frozenset(values)))
    return LabelSelector(tuple(requirements))


def from_flexible(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A selector given as a plain map of labels or as a metav1.LabelSelector. None matches everything.

    MigrationPolicy's selectors are plain maps upstream, but many manifests write {matchLabels: ...}.
    Raises InvalidSelector.
    """
    if not selector:
        return EVERYTHING
    if isinstance(selector.get("matchLabels"), Mapping) or isinstance(selector.get("matchExpressions"), list):
        return from_object(selector)
    return from_object({"matchLabels": selector})


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """`path` equals, or does not equal, `value`."""

    path: str
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All requirements must hold. A missing field is the empty string, booleans are "true" and "false"."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, value_of: Callable[[str], str]) -> bool:
        return all((value_of(r.path) == r.value) is not r.negated for r in self.requirements)

    @property
    def empty(self) -> bool:
        return not self.requirements

    def exact(self, path: str) -> str | None:
        """The value that `path` must have, if the selector says so: for an index."""
        return next((r.value for r in self.requirements if r.path == path and not r.negated), None)

    def __str__(self) -> str:
        return ",".join(f"{r.path}{'!=' if r.negated else '='}{_escape(r.value)}" for r in self.requirements)


def parse_field_selector(text: str, allowed: Collection[str] | None = None) -> FieldSelector:
    """Raises InvalidSelector, also for a path outside `allowed` ("field label not supported: ...")."""
    requirements: list[FieldRequirement] = []
    for term in _split_terms(text):
        if not term:
            continue
        path, operator, value = _split_term(term)
        if not operator:
            raise InvalidSelector(f"invalid selector: '{text}'; can't understand '{term}'")
        path = path.strip()
        if allowed is not None and path not in allowed:
            raise InvalidSelector(f"field label not supported: {path}")
        requirements.append(FieldRequirement(path, _unescape(value), negated=operator == "!="))
    return FieldSelector(tuple(requirements))


def _split_terms(text: str) -> list[str]:
    terms, current, escaped = [], "", False
    for char in text:
        if escaped:
            current, escaped = f"{current}\\{char}", False
        elif char == "\\":
            escaped = True
        elif char == ",":
            terms.append(current)
            current = ""
        else:
            current += char
    if escaped:
        current += "\\"
    return [*terms, current]


def _split_term(term: str) -> tuple[str, str, str]:
    for at in range(len(term)):
        rest = term[at:]
        for operator in ("!=", "==", "="):
            if rest.startswith(operator):
                return term[:at], operator, term[at + len(operator) :]
    return term, "", ""


def _unescape(value: str) -> str:
    out, escaped = "", False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise InvalidSelector(f"invalid field selector: invalid escape sequence: '\\{char}'")
            out, escaped = out + char, False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise InvalidSelector(f"invalid field selector: unescaped character in value: '{char}'")
        else:
            out += char
    if escaped:
        raise InvalidSelector("invalid field selector: unterminated escape sequence")
    return out


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)
