"""x-kubernetes-validations: CEL rules, checked against the schema when a definition is made, run when an object is.

The library (Google's CEL in C++) brings the type checker, which finds undefined fields, and a budget of iterations.
It is imported when the first rule is met.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from kvtui.apiserver.patch.json_patch import same
from kvtui.apiserver.patch.typed import NotTyped, item_step
from kvtui.apiserver.schema.node import Node
from kvtui.apiserver.status import invalid_value, not_supported, required, show
from kvtui.errors import Cause

Causes = list[Cause]
RULES = "x-kubernetes-validations"
WRONG_TYPE = "wrong type"
"""What the check says of an expression whose value is not what its place asks for."""
_ABSENT: Any = object()
_WORDS = (
    "true false null in as break const continue else for function if import let loop package namespace return var void "
    "while"
)
_KEYWORDS = frozenset(_WORDS.split())
_REASONS = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule."""

    text: str
    program: Any
    message: str
    message_program: Any
    reason: str
    field_path: str
    transition: bool
    """Speaks of oldSelf, so it only runs when there is one."""
    optional_old: bool


def compile_problems(node: Node, path: str) -> Causes:
    """What is wrong with the rules of a schema: for the definition's validation."""
    causes: Causes = []
    for where, inner in _places(node, path):
        for index, raw in enumerate(inner.raw.get(RULES) or ()):
            at = f"{where}.{RULES}[{index}]"
            rule = raw.get("rule") or ""
            if not rule.strip():
                causes.append(required(f"{at}.rule", "rule is not specified"))
                continue
            causes += _expression_problems(raw, inner, at)
            message, path_ = raw.get("message"), raw.get("fieldPath")
            if message and (not message.strip() or "\n" in message):
                text = "must be non-empty if specified" if not message.strip() else "must not contain line breaks"
                causes.append(invalid_value(f"{at}.message", message, text))
            if path_ and not _leads_somewhere(path_, inner):
                causes.append(invalid_value(f"{at}.fieldPath", path_, "must be a valid path"))
            if raw.get("reason") and raw["reason"] not in _REASONS:
                causes.append(not_supported(f"{at}.reason", raw["reason"], sorted(_REASONS)))
    return causes


def _expression_problems(raw: dict[str, Any], node: Node, at: str) -> Causes:
    causes: Causes = []
    for name, want, said in (
        ("rule", "bool", "cel expression must evaluate to a bool"),
        ("messageExpression", "string", "messageExpression must evaluate to a string"),
    ):
        text = raw.get(name)
        if not text:
            continue
        problem = _check(with_optional_old(text) if raw.get("optionalOldSelf") else text, node, want=want)
        if problem:
            failed = "compilation failed" if name == "rule" else "messageExpression compilation failed"
            detail = said if problem == WRONG_TYPE else f"{failed}: {problem}"
            causes.append(invalid_value(f"{at}.{name}", _as_go(raw), detail))
    return causes


def _as_go(raw: dict[str, Any]) -> dict[str, Any]:
    """A rule as the server's messages show it: by the names of Go."""
    return {
        "Rule": raw.get("rule") or "",
        "Message": raw.get("message") or "",
        "MessageExpression": raw.get("messageExpression") or "",
        "Reason": raw.get("reason"),
        "FieldPath": raw.get("fieldPath") or "",
        "OptionalOldSelf": raw.get("optionalOldSelf"),
    }


def _leads_somewhere(path: str, node: Node | None) -> bool:
    for dotted, quoted in re.findall(r"\.([^.\['\]]+)|\['([^']+)'\]", path):
        node = node.child(dotted or quoted) if node is not None else None
    return node is not None


def _places(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    if not node.cel_below:
        return
    if node.raw.get(RULES):
        yield path, node
    for name, child in node.properties.items():
        yield from _places(child, f"{path}.properties[{name}]")
    if node.additional is not None:
        yield from _places(node.additional, f"{path}.additionalProperties")
    if node.items is not None:
        yield from _places(node.items, f"{path}.items")


def evaluate(obj: Any, old: Any, node: Node) -> Causes:
    """The rules that an object breaks. A rule over an unchanged part is not held against an update."""
    causes: Causes = []
    _walk(obj, _ABSENT if old is None else old, node, "", causes)
    return causes


def _walk(value: Any, old: Any, node: Node, path: str, causes: Causes) -> None:
    if value is None or not node.cel_below:
        return
    if node.raw.get(RULES):
        unchanged = old is not _ABSENT and same(value, old)
        for rule in rules_of(node):
            if rule.transition or not unchanged:
                _run(rule, value, old, node, path, causes)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for key, child in value.items():
            inner = node.child(key)
            if inner is not None:
                _walk(child, before.get(key, _ABSENT), inner, f"{path}.{key}" if path else key, causes)
    elif isinstance(value, list) and node.items is not None:
        keyed = _keyed(old, node)
        for index, item in enumerate(value):
            earlier = keyed.get(_step(item, node), _ABSENT) if keyed else _ABSENT
            _walk(item, earlier, node.items, f"{path}[{index}]", causes)


def _keyed(old: Any, node: Node) -> dict[str, Any]:
    """Items of a keyed list by key; items of other lists do not correspond."""
    if not isinstance(old, list) or node.list_type != "map":
        return {}
    return {_step(item, node): item for item in old}


def _step(item: Any, node: Node) -> str:
    try:
        return item_step(item, node)
    except NotTyped:
        return ""


def _run(rule: Rule, value: Any, old: Any, node: Node, path: str, causes: Causes) -> None:
    if rule.transition and old is _ABSENT and not rule.optional_old:
        return
    field = f"{path}{rule.field_path}" if path else rule.field_path.lstrip(".")
    data: dict[str, Any] = {"self": to_cel(value, node)}
    if rule.optional_old:
        data["previous"] = [] if old is _ABSENT else [to_cel(old, node)]
    elif rule.transition:
        data["oldSelf"] = to_cel(old, node)
    try:
        result = rule.program.eval(data=data)
        outcome = result.value()
        failure = "" if isinstance(outcome, bool) else str(outcome)
    except RuntimeError as error:
        outcome, failure = None, str(error)
    if failure:
        sort = (
            show(value) if not isinstance(value, dict | list) else '"object"' if isinstance(value, dict) else '"array"'
        )
        text = f"Invalid value: {sort}: {plain_error(failure)} evaluating rule: {rule.text}"
        causes.append(Cause("FieldValueInvalid", text, path))
    elif outcome is False:
        causes.append(Cause(rule.reason, _failure_text(rule, value, data), field))


def _failure_text(rule: Rule, value: Any, data: dict[str, Any]) -> str:
    detail = rule.message or f"failed rule: {rule.text.strip()}"
    if rule.message_program is not None:
        try:
            said = rule.message_program.eval(data=data).value()
            if isinstance(said, str) and said.strip() and "\n" not in said:
                detail = said.strip()
        except RuntimeError:
            pass  # upstream too falls back to the fixed message
    match rule.reason:
        case "FieldValueForbidden":
            return f"Forbidden: {detail}"
        case "FieldValueRequired":
            return f"Required value: {detail}"
        case "FieldValueDuplicate":
            return "Duplicate value" if isinstance(value, dict | list) else f"Duplicate value: {show(value)}"
    if isinstance(value, dict | list):
        return f"Invalid value: {detail}"
    return f"Invalid value: {show(value)}: {detail}"


def plain_error(text: str) -> str:
    """What the library says went wrong, in the words of Kubernetes."""
    missing = re.search(r'Key not found in map : "([^"]*)"', text)
    if missing:
        return f"no such key: {missing[1]}"
    if "divide by zero" in text or "division by zero" in text:
        return "division by zero"
    if "teration budget" in text:
        return "operation cancelled: actual cost limit exceeded"
    return text.partition(": ")[2].split("[")[0].strip() or text


def rules_of(node: Node) -> list[Rule]:
    """The rules of a node, compiled once. Rules that do not compile are left out: their definition said so."""
    if node.cel_rules is None:
        node.cel_rules = [rule for raw in node.raw.get(RULES) or () if (rule := _compile(raw)) is not None]
    rules: list[Rule] = node.cel_rules
    return rules


def _compile(raw: dict[str, Any]) -> Rule | None:
    text = raw.get("rule") or ""
    optional_old = bool(raw.get("optionalOldSelf"))
    environment = _environment()
    try:
        program = environment.compile(with_optional_old(text) if optional_old else text)
        expression = raw.get("messageExpression")
        said = environment.compile(expression) if expression else None
    except RuntimeError:
        return None
    return Rule(
        text=text,
        program=program,
        message=raw.get("message") or "",
        message_program=said,
        reason=raw.get("reason") or "FieldValueInvalid",
        field_path=raw.get("fieldPath") or "",
        transition=bool(re.search(r"\boldSelf\b", text)),
        optional_old=optional_old,
    )


def with_optional_old(text: str) -> str:
    """A rule in which oldSelf is an optional; the value comes in as `previous`, a list of none or one."""
    optional = "previous.size() == 0 ? optional.none() : optional.of(previous[0])"
    return f"cel.bind(oldSelf, {optional}, {text}\n)"


@cache
def _environment() -> Any:
    """Where rules run: values are dynamic there, since the check against the schema was made before."""
    from cel_expr_python import cel

    from kvtui.apiserver.schema import cel_library

    return cel.NewEnv(
        variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN, "previous": cel.Type.List(cel.Type.DYN)},
        extensions=cel_library.extensions(),
        functions=cel_library.functions(),
    )


def _check(text: str, node: Node, *, want: str) -> str:
    """Why an expression does not compile against the schema, or nothing."""
    from kvtui.apiserver.schema import cel_types

    return cel_types.check(text, node, want)


def escaped(name: str) -> str:
    """A property name as rules write it: my-field is my__dash__field."""
    if name in _KEYWORDS:
        return f"__{name}__"
    return (
        name.replace("__", "__underscores__").replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")
    )


def to_cel(value: Any, node: Node) -> Any:
    """A value as rules see it: property names escaped, numbers and times by their schema."""
    if isinstance(value, dict):
        return {
            escaped(k) if k in node.properties else k: to_cel(v, inner) if (inner := node.child(k)) is not None else v
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [to_cel(item, node.items) for item in value] if node.items is not None else value
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and node.type == "number":
        return float(value)
    if isinstance(value, float) and node.type == "integer":
        return int(value)
    if isinstance(value, str) and node.type == "string":
        return _text(value, node.raw.get("format"))
    return value


def _text(value: str, format_: str | None) -> Any:
    if format_ not in ("date-time", "datetime", "date"):
        return value
    from google.protobuf.timestamp_pb2 import Timestamp

    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    stamp = Timestamp()
    stamp.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return stamp
