"""Kinds that make Pods from a template: what their controllers rely on being filled in, and what may not change.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/.
"""

from __future__ import annotations

import copy
from typing import Any

from kvtui.apiserver import status
from kvtui.apiserver.kinds import pods
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
_UID_LABEL = "batch.kubernetes.io/controller-uid"
_NAME_LABEL = "batch.kubernetes.io/job-name"


class Workload(Strategy):
    """A selector, a template and numbers with defaults."""

    def __init__(self, *, selects: bool = True, **defaults: Any) -> None:
        """`selects`: the selector must be given, must match the template and never changes."""
        self._selects = selects
        self._defaults = defaults

    def default(self, obj: Object) -> None:
        spec = _spec(obj)
        _fill(spec, self._defaults)
        _default_template(spec.get("template"))

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = _spec(obj)
        causes = _template_causes(spec.get("template"), "spec.template")
        if self._selects:
            causes += _selector_causes(spec)
            if old is not None and spec.get("selector") != _spec(old).get("selector"):
                causes.append(status.invalid_value("spec.selector", spec.get("selector"), "field is immutable"))
        replicas = spec.get("replicas")
        if isinstance(replicas, int) and replicas < 0:
            causes.append(status.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0"))
        return causes


class ReplicationControllers(Workload):
    """Their selector is a plain map; it and their labels come from the template when they are not given."""

    def __init__(self) -> None:
        super().__init__(selects=False, replicas=1)

    def default(self, obj: Object) -> None:
        super().default(obj)
        spec, labels = _spec(obj), _labels(_spec(obj).get("template"))
        if labels and not spec.get("selector"):
            spec["selector"] = dict(labels)
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        selector = _spec(obj).get("selector")
        causes = super().validate(obj, old)
        if not selector:
            causes.append(status.required("spec.selector"))
        elif isinstance(selector, dict) and selector.items() - _labels(_spec(obj).get("template")).items():
            causes.append(_unmatched(_labels(_spec(obj).get("template"))))
        return causes


class Jobs(Workload):
    """Their Pods are found by the Job's own uid."""

    def __init__(self) -> None:
        super().__init__(
            selects=False, backoffLimit=6, completionMode="NonIndexed", suspend=False, manualSelector=False
        )

    def default(self, obj: Object) -> None:
        super().default(obj)
        spec = _spec(obj)
        if spec.get("completions") is None and spec.get("parallelism") is None:
            spec["completions"] = 1
        _fill(spec, {"parallelism": 1, "podReplacementPolicy": "Failed" if spec.get("podFailurePolicy") else None})
        if spec.get("podReplacementPolicy") is None:
            spec["podReplacementPolicy"] = "TerminatingOrFailed"

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        spec, meta = _spec(obj), obj["metadata"]
        template = spec.get("template")
        if spec.get("manualSelector") or not isinstance(template, dict):
            return
        uid, name = meta["uid"], meta.get("name", "")
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels |= {_UID_LABEL: uid, _NAME_LABEL: name, "controller-uid": uid, "job-name": name}
        spec.setdefault("selector", {}).setdefault("matchLabels", {})[_UID_LABEL] = uid

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        causes = _template_causes(_spec(obj).get("template"), "spec.template", policies=("OnFailure", "Never"))
        suspended = _spec(old or {}).get("suspend") and not (old or {}).get("status", {}).get("startTime")
        for key in ("completionMode", "selector", *(() if suspended else ("template",))):
            if old is not None and _spec(obj).get(key) != _spec(old).get(key):
                causes.append(status.invalid_value(f"spec.{key}", _spec(obj).get(key), "field is immutable"))
        return causes


class CronJobs(Strategy):
    """A schedule and the template of a Job."""

    def default(self, obj: Object) -> None:
        spec = _spec(obj)
        _fill(
            spec,
            {
                "concurrencyPolicy": "Allow",
                "suspend": False,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
            },
        )
        _default_template(_spec(spec.get("jobTemplate") or {}).get("template"))

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = _spec(obj)
        causes = [] if spec.get("schedule") else [status.required("spec.schedule")]
        template = _spec(spec.get("jobTemplate") or {}).get("template")
        return causes + _template_causes(template, "spec.jobTemplate.spec.template", policies=("OnFailure", "Never"))


class PodTemplates(Strategy):
    """A template and nothing else."""

    def default(self, obj: Object) -> None:
        _default_template(obj.get("template"))


def deployments() -> Workload:
    return Workload(
        replicas=1,
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        revisionHistoryLimit=10,
        progressDeadlineSeconds=600,
    )


def daemon_sets() -> Workload:
    return Workload(
        updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        revisionHistoryLimit=10,
    )


def stateful_sets() -> Workload:
    return Workload(
        replicas=1,
        podManagementPolicy="OrderedReady",
        updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        revisionHistoryLimit=10,
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"},
    )


def _spec(obj: Object) -> Object:
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}


def _labels(template: Any) -> dict[str, str]:
    meta = template.get("metadata") if isinstance(template, dict) else None
    labels = meta.get("labels") if isinstance(meta, dict) else None
    return labels if isinstance(labels, dict) else {}


def _fill(target: Object, defaults: Object) -> None:
    """What is not given; inside of a strategy only as far as it is of the default's type."""
    for key, value in defaults.items():
        given = target.get(key)
        if given is None and value is not None:
            target[key] = copy.deepcopy(value)
        elif isinstance(value, dict) and isinstance(given, dict) and given.get("type") in (None, value.get("type")):
            _fill(given, value)


def _default_template(template: Any) -> None:
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        pods.default_spec(template["spec"])


def _template_causes(template: Any, path: str, policies: tuple[str, ...] = ("Always",)) -> list[Cause]:
    spec = _spec(template) if isinstance(template, dict) else {}
    if not spec.get("containers"):
        return [status.required(f"{path}.spec.containers")]
    policy = spec.get("restartPolicy")
    if policy not in policies:
        return [status.not_supported(f"{path}.spec.restartPolicy", str(policy), policies)]
    return []


def _selector_causes(spec: Object) -> list[Cause]:
    selector = spec.get("selector")
    if not selector:
        return [status.required("spec.selector")]
    wanted = selector.get("matchLabels") if isinstance(selector, dict) else None
    labels = _labels(spec.get("template"))
    return [_unmatched(labels)] if isinstance(wanted, dict) and wanted.items() - labels.items() else []


def _unmatched(labels: dict[str, str]) -> Cause:
    return status.invalid_value("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
