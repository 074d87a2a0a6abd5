"""CEL expressions of admission policies: compiled once, run over one request.

Objects are dynamic values, shaped by their schema. `variables` are computed in their order; one that fails is absent.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from kvtui.apiserver.schema.cel import plain_error
from kvtui.apiserver.schema.node import Node

VARIABLES = ("object", "oldObject", "request", "params", "namespaceObject", "variables")


class NotEvaluated(Exception):
    """An expression that could not be computed, or is of the wrong type; the text says why."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One compiled expression."""

    text: str
    program: Any

    def evaluate(self, data: dict[str, Any]) -> Any:
        """Raises NotEvaluated."""
        try:
            result = self.program.eval(data=data)
        except RuntimeError as error:
            raise NotEvaluated(plain_error(str(error))) from error
        if result.type().name() == "ERROR":
            raise NotEvaluated(plain_error(str(result.value())))
        return result.value()

    def builds(self, data: dict[str, Any], node: Node | None) -> Any:
        """What the expression makes, for a place of a schema. Raises NotEvaluated."""
        from kvtui.apiserver.schema.cel_objects import from_cel

        try:
            result = self.program.eval(data=data)
            if result.type().name() == "ERROR":
                raise NotEvaluated(plain_error(str(result.value())))
            return from_cel(result.plain_value(), node)
        except RuntimeError as error:
            raise NotEvaluated(plain_error(str(error))) from error

    def holds(self, data: dict[str, Any]) -> bool:
        """Raises NotEvaluated, also for a value that is neither true nor false."""
        value = self.evaluate(data)
        if not isinstance(value, bool):
            raise NotEvaluated("the expression must evaluate to a bool")
        return value


def compile_expression(text: str) -> Expression:
    """Raises NotEvaluated with the compiler's words."""
    try:
        return Expression(text, _environment().compile(text))
    except RuntimeError as error:
        words = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        raise NotEvaluated(f"compilation failed: {words}") from error


def compile_construction(text: str) -> Expression:
    """The same for an expression that builds objects or patches."""
    from kvtui.apiserver.schema.cel_objects import as_maps

    return Expression(text, compile_expression(as_maps(text)).program)


def with_variables(data: dict[str, Any], variables: list[tuple[str, Expression]]) -> dict[str, Any]:
    """The data, with the policy's own variables computed from it."""
    known: dict[str, Any] = {}
    result = {**data, "variables": known}
    for name, expression in variables:
        try:
            known[name] = expression.evaluate(result)
        except NotEvaluated:
            continue
    return result


@cache
def _environment() -> Any:
    from cel_expr_python import cel

    from kvtui.apiserver.schema import cel_library

    return cel.NewEnv(
        variables=dict.fromkeys(VARIABLES, cel.Type.DYN),
        extensions=cel_library.extensions(),
        functions=cel_library.functions(),
    )
