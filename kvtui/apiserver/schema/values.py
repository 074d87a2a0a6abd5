"""Value validation: types, enums, patterns, limits and the logical keywords, in the words of kube-apiserver.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kvtui.apiserver.patch.json_patch import same
from kvtui.apiserver.schema.formats import FORMATS, compile_pattern
from kvtui.apiserver.schema.node import Node, compile_schema
from kvtui.apiserver.status import show
from kvtui.errors import Cause

Causes = list[Cause]
Check = Callable[[Any, str], Cause | None]

_NUMERIC_FORMATS = frozenset({"int32", "int64", "float", "double"})
_INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}


@dataclass(slots=True)
class Rules:
    """What one schema demands of its value, prepared."""

    required: tuple[str, ...] = ()
    scalar: tuple[tuple[Check, ...], ...] = ()
    """Groups of checks for strings and numbers."""
    sized: tuple[Check, ...] = ()
    """For lists and maps."""
    enum: tuple[Any, ...] | None = None
    all_of: tuple[Node, ...] = ()
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    not_: Node | None = None


def rules_of(node: Node) -> Rules:
    """The rules of a node, prepared on first use. Raises ValueError for a pattern that RE2 does not take."""
    if node.rules is None:
        node.rules = _prepare(node.raw)
    rules: Rules = node.rules
    return rules


def validate(value: Any, node: Node, path: str) -> Causes:
    """What is wrong with a value."""
    causes: Causes = []
    _validate(value, node, path, causes)
    return causes


def _validate(value: Any, node: Node, path: str, causes: Causes) -> None:
    if value is None and node.nullable:
        return
    rules = rules_of(node)
    if (node.type or node.int_or_string) and not _fits(value, node):
        causes.append(_wrong_type(value, path, node))
        if isinstance(value, float) and node.type == "integer":
            format_ = node.raw.get("format")
            detail = f"integer with format {format_}" if format_ in _INTEGERS else "integer (default format)"
            causes.append(_misformatted(detail, path))
    if rules.enum is not None and not any(same(value, allowed) for allowed in rules.enum):
        supported = ", ".join(f'"{_plain(allowed)}"' for allowed in rules.enum)
        message = f"Unsupported value: {show(value)}: supported values: {supported}"
        causes.append(Cause("FieldValueNotSupported", message, path))
    if isinstance(value, dict):
        _validate_map(value, node, rules, path, causes)
    elif isinstance(value, list):
        causes += [cause for check in rules.sized if (cause := check(value, path))]
        if node.items is not None and (not node.type or node.type == "array"):
            for index, item in enumerate(value):
                _validate(item, node.items, f"{path}[{index}]", causes)
    else:
        _validate_scalar(value, rules, path, causes)
    if rules.all_of or rules.any_of or rules.one_of or rules.not_ is not None:
        _validate_logic(value, rules, path, causes)


def _validate_scalar(value: Any, rules: Rules, path: str, causes: Causes) -> None:
    """Texts and numbers: of each group of checks only the first failure is told."""
    for group in rules.scalar:
        for check in group:
            cause = check(value, path)
            if cause is not None:
                causes.append(cause)
                break


def _validate_map(value: dict[str, Any], node: Node, rules: Rules, path: str, causes: Causes) -> None:
    causes += [cause for check in rules.sized if (cause := check(value, path))]
    for name in rules.required:
        if name not in value:
            causes.append(Cause("FieldValueRequired", "Required value", _join(path, name)))
    properties, additional = node.properties, node.additional
    for key, child in value.items():
        inner = properties.get(key) or additional
        if inner is not None:
            _validate(child, inner, f"{path}.{key}" if path else key, causes)


def _validate_logic(value: Any, rules: Rules, path: str, causes: Causes) -> None:
    if rules.all_of:
        failed = [found for node in rules.all_of if (found := validate(value, node, path))]
        causes += [cause for found in failed for cause in found]
        if len(failed) == len(rules.all_of):
            causes.append(_logic(path, "must validate all the schemas (allOf). None validated"))
        elif failed:
            causes.append(_logic(path, "must validate all the schemas (allOf)"))
    if rules.any_of:
        alternatives: list[Causes] = [validate(value, node, path) for node in rules.any_of]
        if all(alternatives):
            causes.append(_logic(path, "must validate at least one schema (anyOf)"))
            causes += _shortest(alternatives)
    if rules.one_of:
        alternatives = [validate(value, node, path) for node in rules.one_of]
        valid = sum(not found for found in alternatives)
        if valid == 0:
            causes.append(_logic(path, "must validate one and only one schema (oneOf). Found none valid"))
            causes += _shortest(alternatives)
        elif valid > 1:
            text = f"must validate one and only one schema (oneOf). Found {valid} valid alternatives"
            causes.append(_logic(path, text))
    if rules.not_ is not None and not validate(value, rules.not_, path):
        causes.append(_logic(path, "must not validate the schema (not)"))


def _shortest(alternatives: list[Causes]) -> Causes:
    return sorted(alternatives, key=len)[0]


def _logic(path: str, text: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "": "{path}" {text}', "<nil>")


def _misformatted(what: str, path: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "": Checked value must be of type {what} in {path}', "<nil>")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def sort_of(value: Any) -> str:
    """The JSON type as messages name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(value: Any, node: Node) -> bool:
    if node.int_or_string:
        return isinstance(value, str) or sort_of(value) == "integer"
    match node.type:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return sort_of(value) == "integer"
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return True


def _wrong_type(value: Any, path: str, node: Node) -> Cause:
    sort = sort_of(value)
    wanted = "integer,string" if node.int_or_string else node.type
    format_ = node.raw.get("format")
    if format_ in _NUMERIC_FORMATS or (format_ in FORMATS and node.type == "string"):
        # Upstream knows the sorts of values by their formats here, and has none for these.
        if isinstance(value, bool | dict) or value is None:
            wanted, sort = format_, ""
        elif isinstance(value, float):
            wanted, sort = format_, "float64"
    text = f'Invalid value: "{sort}": {path} in body must be of type {wanted}: "{sort}"'
    return Cause("FieldValueTypeInvalid", text, path)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else show(value)


def _prepare(raw: dict[str, Any]) -> Rules:
    rules = Rules(required=tuple(raw.get("required") or ()))
    if raw.get("enum") is not None:
        rules.enum = tuple(raw["enum"])
    rules.scalar = tuple(tuple(group) for group in _scalar_checks(raw) if group)
    rules.sized = tuple(_size_checks(raw))
    rules.all_of = tuple(compile_schema(s) for s in raw.get("allOf") or ())
    rules.any_of = tuple(compile_schema(s) for s in raw.get("anyOf") or ())
    rules.one_of = tuple(compile_schema(s) for s in raw.get("oneOf") or ())
    if raw.get("not"):
        rules.not_ = compile_schema(raw["not"])
    return rules


def _invalid(value: Any, path: str, text: str) -> Cause:
    shown = _number(value) if isinstance(value, float) else show(value)
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {path} in body {text}", path)


def _scalar_checks(raw: dict[str, Any]) -> list[list[Check]]:
    text: list[Check] = []
    shortest, longest = raw.get("minLength"), raw.get("maxLength")
    if longest is not None:
        limit = f"Too long: may not be more than {longest} byte{'' if longest == 1 else 's'}"
        text.append(
            lambda v, p: Cause("FieldValueTooLong", limit, p) if isinstance(v, str) and len(v) > longest else None
        )
    if shortest:
        short = f"should be at least {shortest} chars long"
        text.append(lambda v, p: _invalid(v, p, short) if isinstance(v, str) and len(v) < shortest else None)
    if raw.get("pattern"):
        text.append(_pattern_check(raw["pattern"]))
    format_ = raw.get("format")
    formatted: list[Check] = []
    if format_ in FORMATS and raw.get("type", "string") == "string":
        formatted.append(_format_check(format_, FORMATS[format_]))
    ranged: list[Check] = []
    if format_ in _INTEGERS and raw.get("type") == "integer":
        ranged.append(_range_check(format_))
    return [text, formatted, ranged, *([check] for check in _number_checks(raw))]


def _pattern_check(pattern: str) -> Check:
    expression = compile_pattern(pattern)

    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, str) and expression.search(value) is None:
            return _invalid(value, path, f"should match '{pattern}'")
        return None

    return check


def _format_check(name: str, valid: Callable[[str], bool]) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, str) and not valid(value):
            text = f"Invalid value: {show(value)}: {path} in body must be of type {name}: {show(value)}"
            return Cause("FieldValueTypeInvalid", text, path)
        return None

    return check


def _range_check(name: str) -> Check:
    low, high = _INTEGERS[name]

    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, int) and not isinstance(value, bool) and not low <= value <= high:
            return _misformatted(f"integer with format {name}", path)
        return None

    return check


def _number_checks(raw: dict[str, Any]) -> list[Check]:
    checks: list[Check] = []

    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    low, high, step = raw.get("minimum"), raw.get("maximum"), raw.get("multipleOf")
    if low is not None:
        open_ = bool(raw.get("exclusiveMinimum"))
        below = "should be greater than " + ("" if open_ else "or equal to ") + _number(low)
        checks.append(lambda v, p: _invalid(v, p, below) if number(v) and (v <= low if open_ else v < low) else None)
    if high is not None:
        shut = bool(raw.get("exclusiveMaximum"))
        above = "should be less than " + ("" if shut else "or equal to ") + _number(high)
        checks.append(lambda v, p: _invalid(v, p, above) if number(v) and (v >= high if shut else v > high) else None)
    if step:
        uneven = f"should be a multiple of {_number(step)}"
        checks.append(
            lambda v, p: _invalid(v, p, uneven) if number(v) and abs(v / step - round(v / step)) > 1e-9 else None
        )
    return checks


def _number(value: Any) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _size_checks(raw: dict[str, Any]) -> list[Check]:
    checks: list[Check] = []
    sizes: tuple[tuple[str, type[list[Any] | dict[str, Any]], str], ...] = (
        ("Items", list, "items"),
        ("Properties", dict, "properties"),
    )
    for keyword, type_, noun in sizes:
        low, high = raw.get(f"min{keyword}"), raw.get(f"max{keyword}")
        if low:
            checks.append(_at_least(low, type_, noun))
        if high is not None:
            checks.append(_at_most(high, type_))
    return checks


def _at_least(low: int, type_: type[list[Any] | dict[str, Any]], noun: str) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, type_) and len(value) < low:
            return _invalid(len(value), path, f"should have at least {low} {noun}")
        return None

    return check


def _at_most(high: int, type_: type[list[Any] | dict[str, Any]]) -> Check:
    def check(value: Any, path: str) -> Cause | None:
        if isinstance(value, type_) and len(value) > high:
            noun = "item" if high == 1 else "items"
            return Cause("FieldValueTooMany", f"Too many: {len(value)}: must have at most {high} {noun}", path)
        return None

    return check
