"""Jobs for workers come from the controllers alone: an agent does what they say, with whatever Secrets they name.

A Pod of anybody else that looked like a worker could read claims of other namespaces.
"""

from __future__ import annotations

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.api.worker import JOB_ANNOTATION, WORKER_LABEL
from kvtui.apiserver.auth.nodes import node_of
from kvtui.apiserver.auth.rbac import MASTERS
from kvtui.apiserver.auth.roles import CONTROLLER_USER
from kvtui.apiserver.plugins.base import Object, Plugin, meta


class WorkerPods(Plugin):
    """Guards the label and the annotation that make a Pod a worker."""

    resources = frozenset((("", "pods"),))

    async def validate(self, request: AdmissionRequest) -> list[str]:
        user = request.user
        if request.object is None or request.subresource not in ("", "status"):
            return []
        if _marks(request.object) == _marks(request.old_object):
            return []
        if user.username == CONTROLLER_USER or MASTERS in user.groups or node_of(user):
            return []  # agents have their own rule
        name = request.name or meta(request.object).get("name", "")
        raise Denied(
            f'pods "{name}" is forbidden: only controllers may set the label {WORKER_LABEL} and the annotation '
            f"{JOB_ANNOTATION}"
        )


def _marks(obj: Object | None) -> tuple[object, object]:
    labels, annotations = meta(obj).get("labels") or {}, meta(obj).get("annotations") or {}
    return labels.get(WORKER_LABEL), annotations.get(JOB_ANNOTATION)
