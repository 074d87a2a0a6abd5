"""Agents touch only what is theirs: their Node, the Pods bound to it, their Lease.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction.
"""

from __future__ import annotations

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver.plugins.base import Object, Plugin, meta, spec

NODES = "system:nodes"
_PREFIX = "system:node:"
_RESTRICTED = "node-restriction.kubernetes.io"


class NodeRestriction(Plugin):
    """For users of group system:nodes."""

    resources = frozenset((("", "nodes"), ("", "pods"), ("coordination.k8s.io", "leases")))

    async def validate(self, request: AdmissionRequest) -> list[str]:
        user = request.user
        if NODES not in user.groups or not user.username.startswith(_PREFIX):
            return []
        node = user.username[len(_PREFIX) :]
        match request.resource:
            case "nodes":
                self._check_node(request, node)
            case "pods":
                self._check_pod(request, node)
            case "leases":
                self._check_lease(request, node)
        return []

    def _check_node(self, request: AdmissionRequest, node: str) -> None:
        name = request.name or meta(request.object).get("name", "")
        if name != node:
            raise _denied(request, f'node "{node}" is not allowed to modify node "{name}"')
        if request.old_object is None or request.object is None:
            return
        if spec(request.object).get("taints") != spec(request.old_object).get("taints"):
            raise _denied(request, f'node "{node}" is not allowed to modify taints')
        before, after = meta(request.old_object).get("labels") or {}, meta(request.object).get("labels") or {}
        changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
        bad = sorted(k for k in changed if _RESTRICTED in k)
        if bad:
            raise _denied(request, f"is not allowed to modify labels: {', '.join(bad)}")

    def _check_pod(self, request: AdmissionRequest, node: str) -> None:
        subject: Object | None = request.old_object or request.object
        if request.operation == "CREATE" and not request.subresource:
            raise _denied(request, f'node "{node}" may not create pods')
        if spec(subject).get("nodeName") != node:
            raise _denied(request, f'node "{node}" can only change pods with spec.nodeName set to itself')

    def _check_lease(self, request: AdmissionRequest, node: str) -> None:
        if request.namespace != "kube-node-lease":
            raise _denied(request, 'can only access leases in the "kube-node-lease" system namespace')
        name = request.name or meta(request.object).get("name", "")
        if name != node:
            raise _denied(request, "can only access node lease with the same name as the requesting node")


def _denied(request: AdmissionRequest, detail: str) -> Denied:
    name = request.name or meta(request.object).get("name", "")
    group = f".{request.group}" if request.group else ""
    return Denied(f'{request.resource}{group} "{name}" is forbidden: {detail}')
