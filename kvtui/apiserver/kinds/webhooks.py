"""Configurations of admission webhooks: defaults, and what is wrong with them.

Source: https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/mutating-webhook-configuration-v1/.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from kvtui.apiserver import selectors, status
from kvtui.apiserver.strategy import Strategy
from kvtui.errors import Cause, InvalidSelector

Object = dict[str, Any]
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_VERSIONS = ("v1", "v1beta1")
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = re.compile(rf"{_LABEL}(\.{_LABEL}){{2,}}")
_LONGEST = 30
"""Seconds that a webhook may take."""
_HIGHEST_PORT = 65535
_MOST_CONDITIONS = 64


class WebhookConfigurations(Strategy):
    """Of validating webhooks."""

    def default(self, obj: Object) -> None:
        for hook in _hooks(obj):
            hook.setdefault("failurePolicy", "Fail")
            hook.setdefault("matchPolicy", "Equivalent")
            hook.setdefault("namespaceSelector", {})
            hook.setdefault("objectSelector", {})
            hook.setdefault("timeoutSeconds", 10)
            for rule in hook.get("rules") or ():
                if isinstance(rule, dict):
                    rule.setdefault("scope", "*")
            service = (hook.get("clientConfig") or {}).get("service")
            if isinstance(service, dict):
                service.setdefault("port", 443)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        causes: list[Cause] = []
        seen: set[str] = set()
        for index, hook in enumerate(_hooks(obj)):
            at, name = f"webhooks[{index}]", str(hook.get("name") or "")
            if name and name in seen:
                causes.append(status.duplicate(f"{at}.name", name))
            seen.add(name)
            causes += _hook_causes(hook, at)
        return causes


class MutatingWebhookConfigurations(WebhookConfigurations):
    """Those may be called again when others have changed an object after them."""

    def default(self, obj: Object) -> None:
        super().default(obj)
        for hook in _hooks(obj):
            hook.setdefault("reinvocationPolicy", "Never")


def _hooks(obj: Object) -> list[Object]:
    return [hook for hook in obj.get("webhooks") or () if isinstance(hook, dict)]


def _hook_causes(hook: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    name = str(hook.get("name") or "")
    if not name:
        causes.append(status.required(f"{at}.name"))
    elif not _QUALIFIED.fullmatch(name):
        text = "should be a domain with at least three segments separated by dots"
        causes.append(status.invalid_value(f"{at}.name", name, text))
    versions = hook.get("admissionReviewVersions") or []
    if not versions:
        text = f"must specify one of {', '.join(_VERSIONS)}"
        causes.append(status.required(f"{at}.admissionReviewVersions", text))
    elif not any(version in _VERSIONS for version in versions):
        text = f"must include at least one of {', '.join(_VERSIONS)}"
        causes.append(status.invalid_value(f"{at}.admissionReviewVersions", versions, text))
    seconds = hook.get("timeoutSeconds", 10)
    if not 1 <= seconds <= _LONGEST:
        text = f"the timeout value must be between 1 and {_LONGEST} seconds"
        causes.append(status.invalid_value(f"{at}.timeoutSeconds", seconds, text))
    for key, allowed in (
        ("failurePolicy", ("Fail", "Ignore")),
        ("matchPolicy", ("Equivalent", "Exact")),
        ("reinvocationPolicy", ("IfNeeded", "Never")),
    ):
        if hook.get(key) and hook[key] not in allowed:
            causes.append(status.not_supported(f"{at}.{key}", hook[key], allowed))
    effects = ("None", "NoneOnDryRun")
    if not hook.get("sideEffects"):
        causes.append(status.required(f"{at}.sideEffects", f"must specify one of {', '.join(effects)}"))
    elif hook["sideEffects"] not in effects:
        causes.append(status.not_supported(f"{at}.sideEffects", hook["sideEffects"], effects))
    for key in ("namespaceSelector", "objectSelector"):
        try:
            selectors.from_object(hook.get(key))
        except InvalidSelector as error:
            causes.append(status.invalid_value(f"{at}.{key}", hook.get(key), str(error)))
    for index, rule in enumerate(hook.get("rules") or ()):
        causes += _rule_causes(rule, f"{at}.rules[{index}]")
    causes += _client_causes(hook.get("clientConfig") or {}, f"{at}.clientConfig")
    return causes + _condition_causes(hook.get("matchConditions") or [], f"{at}.matchConditions")


def _rule_causes(rule: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("operations", "apiGroups", "apiVersions", "resources"):
        given = rule.get(key) or []
        if not given:
            causes.append(status.required(f"{at}.{key}"))
        elif "*" in given and len(given) > 1 and key != "resources":
            text = "if '*' is present, must not specify other values"
            causes.append(status.invalid_value(f"{at}.{key}", given, text))
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            causes.append(status.not_supported(f"{at}.operations[{index}]", operation, _OPERATIONS))
    if rule.get("scope", "*") not in ("*", "Cluster", "Namespaced"):
        causes.append(status.not_supported(f"{at}.scope", rule["scope"], ("*", "Cluster", "Namespaced")))
    return causes


def _client_causes(client: Object, at: str) -> list[Cause]:
    url, service = client.get("url"), client.get("service") or {}
    if bool(url) == bool(service):
        return [status.required(at, "exactly one of url or service is required")]
    if url:
        return _url_causes(str(url), f"{at}.url")
    causes = [status.required(f"{at}.service.{key}") for key in ("namespace", "name") if not service.get(key)]
    path, port = service.get("path"), service.get("port", 443)
    if path and not path.startswith("/"):
        causes.append(status.invalid_value(f"{at}.service.path", path, "must start with a '/'"))
    if not 1 <= port <= _HIGHEST_PORT:
        text = f"port is not valid: must be between 1 and {_HIGHEST_PORT}, inclusive"
        causes.append(status.invalid_value(f"{at}.service.port", port, text))
    return causes


def _url_causes(url: str, at: str) -> list[Cause]:
    form = "desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- looks whether it is a number
    except ValueError as error:
        return [status.invalid_value(at, url, f"url must be a valid URL: {error}; {form}")]
    problems = []
    if parts.scheme != "https":
        problems.append(f"'https' is the only allowed URL scheme; {form}")
    if not parts.hostname:
        problems.append(f"host must be specified; {form}")
    if parts.username is not None or parts.password is not None:
        problems.append("user information is not permitted in the URL")
    if parts.fragment:
        problems.append("fragments are not permitted in the URL")
    if parts.query:
        problems.append("query parameters are not permitted in the URL")
    return [status.invalid_value(at, url, text) for text in problems]


def _condition_causes(conditions: list[Object], at: str) -> list[Cause]:
    causes: list[Cause] = []
    if len(conditions) > _MOST_CONDITIONS:
        causes.append(status.invalid_value(at, len(conditions), f"must have at most {_MOST_CONDITIONS} items"))
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        name, text = str(condition.get("name") or ""), str(condition.get("expression") or "")
        if not name:
            causes.append(status.required(f"{at}[{index}].name"))
        elif name in seen:
            causes.append(status.duplicate(f"{at}[{index}].name", name))
        seen.add(name)
        if not text.strip():
            causes.append(status.required(f"{at}[{index}].expression"))
            continue
        from kvtui.apiserver.schema import cel_policy  # brings a library that most servers never need

        try:
            cel_policy.compile_expression(text)
        except cel_policy.NotEvaluated as error:
            causes.append(status.invalid_value(f"{at}[{index}].expression", text, str(error)))
    return causes
