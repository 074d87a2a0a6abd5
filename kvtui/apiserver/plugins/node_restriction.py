"""Agents touch only what is theirs: their Node, the Pods and machines on it, their Lease and their events.

Roles say which kinds an agent may write; this says which objects, and what of them.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction,
k8s.io/kubernetes/plugin/pkg/admission/noderestriction.
"""

from __future__ import annotations

from collections.abc import Callable

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.api.worker import JOB_ANNOTATION
from kvtui.apiserver.auth.nodes import CLEANUP_NODE, NodeGraph, node_of
from kvtui.apiserver.plugins.base import Object, Plugin, meta, spec
from kvtui.apiserver.store import Store

_RESTRICTED = "node-restriction.kubernetes.io"
_OWN_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    )
)
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_FIXED_OF_PODS = ("labels", "ownerReferences", "finalizers")
_PROGRESS = "kvtui.io/"


class NodeRestriction(Plugin):
    """For users of group system:nodes."""

    resources = frozenset(
        (
            ("", "nodes"),
            ("", "pods"),
            ("", "events"),
            ("", "persistentvolumes"),
            ("", "serviceaccounts"),
            ("events.k8s.io", "events"),
            ("coordination.k8s.io", "leases"),
            ("kubevirt.io", "virtualmachineinstances"),
            ("kubevirt.io", "virtualmachineinstancemigrations"),
        )
    )

    def __init__(self, store: Store, graph: NodeGraph) -> None:
        self._instances = store.bucket("virtualmachineinstances.kubevirt.io")
        self._graph = graph
        self._checks: dict[str, Callable[[AdmissionRequest, str], None]] = {
            "nodes": self._check_node,
            "pods": self._check_pod,
            "leases": self._check_lease,
            "events": self._check_event,
            "persistentvolumes": self._check_volume,
            "serviceaccounts": self._check_token,
            "virtualmachineinstances": self._check_instance,
            "virtualmachineinstancemigrations": self._check_migration,
        }

    async def validate(self, request: AdmissionRequest) -> list[str]:
        if node := node_of(request.user):
            self._checks[request.resource](request, node)
        return []

    def _check_node(self, request: AdmissionRequest, node: str) -> None:
        name = request.name or meta(request.object).get("name", "")
        if name != node:
            raise _denied(request, f'node "{node}" is not allowed to modify node "{name}"')
        if request.object is None:
            return
        before, after = meta(request.old_object).get("labels") or {}, meta(request.object).get("labels") or {}
        bad = sorted(k for k in _changed(before, after) if not _is_own_label(k))
        if request.old_object is None:
            if bad:
                raise _denied(request, f"is not allowed to set the following labels: {', '.join(bad)}")
            if meta(request.object).get("ownerReferences"):
                raise _denied(request, f'node "{node}" is not allowed to set ownerReferences')
            return
        if spec(request.object).get("taints") != spec(request.old_object).get("taints"):
            raise _denied(request, f'node "{node}" is not allowed to modify taints')
        if bad:
            raise _denied(request, f"is not allowed to modify labels: {', '.join(bad)}")
        if meta(request.object).get("ownerReferences") != meta(request.old_object).get("ownerReferences"):
            raise _denied(request, f'node "{node}" is not allowed to modify ownerReferences')

    def _check_pod(self, request: AdmissionRequest, node: str) -> None:
        if request.operation == "CREATE" and not request.subresource:
            raise _denied(request, f'node "{node}" may not create pods')
        old, new = request.old_object, request.object
        if spec(old or new).get("nodeName") != node:
            raise _denied(request, f'node "{node}" can only change pods with spec.nodeName set to itself')
        if old is None or new is None or request.operation != "UPDATE":
            return
        for key in _FIXED_OF_PODS:
            if (meta(old).get(key) or None) != (meta(new).get(key) or None):
                raise _denied(request, f'node "{node}" cannot update {key} of pods')
        if _annotation(old, JOB_ANNOTATION) != _annotation(new, JOB_ANNOTATION):
            raise _denied(request, f'node "{node}" cannot update the annotation {JOB_ANNOTATION} of pods')
        if not request.subresource and spec(old) != spec(new):
            raise _denied(request, f'node "{node}" cannot update spec of pods')

    def _check_lease(self, request: AdmissionRequest, node: str) -> None:
        if request.namespace != "kube-node-lease":
            raise _denied(request, 'can only access leases in the "kube-node-lease" system namespace')
        name = request.name or meta(request.object).get("name", "")
        if name != node:
            raise _denied(request, "can only access node lease with the same name as the requesting node")

    def _check_event(self, request: AdmissionRequest, node: str) -> None:
        for event in (request.old_object, request.object):
            if event is not None and node not in _sources(event):
                raise _denied(request, f'node "{node}" can only write events with itself as the reporting instance')

    def _check_volume(self, request: AdmissionRequest, node: str) -> None:
        """The bytes of a deleted volume are gone: its finalizer goes, and nothing else changes."""
        old, new = request.old_object, request.object
        if old is None or new is None:
            raise _denied(request, f'node "{node}" can only update persistent volumes')
        if _annotation(old, CLEANUP_NODE) != node or not meta(old).get("deletionTimestamp"):
            raise _denied(request, f'node "{node}" can only release deleted volumes that it cleans up')
        if _without(old, "finalizers") != _without(new, "finalizers"):
            raise _denied(request, f'node "{node}" can only update finalizers of persistent volumes')

    def _check_token(self, request: AdmissionRequest, node: str) -> None:
        if request.subresource != "token":
            raise _denied(request, f'node "{node}" can only request tokens of service accounts')
        bound = spec(request.object).get("boundObjectRef")
        bound = bound if isinstance(bound, dict) else {}
        if bound.get("kind") != "Pod" or bound.get("apiVersion") != "v1" or not bound.get("name"):
            raise _denied(request, "node requested token not bound to a pod")
        if not bound.get("uid"):
            raise _denied(request, "node requested token with a pod binding without a uid")
        pod = self._graph.pod((request.namespace, bound["name"]))
        if pod is None or pod.node != node:
            raise _denied(request, "node requested token bound to a pod scheduled on a different node")
        if pod.uid != bound["uid"]:
            raise _denied(
                request, f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record"
            )
        if ("serviceaccounts", request.namespace, request.name) not in pod.references:
            raise _denied(request, "node requested token bound to a pod with a different service account")

    def _check_instance(self, request: AdmissionRequest, node: str) -> None:
        if request.old_object is None or not self._is_here(request.old_object, node):
            raise _denied(request, f'node "{node}" can only change virtual machine instances on it or on their way')

    def _check_migration(self, request: AdmissionRequest, node: str) -> None:
        """Progress, and nothing else."""
        old, new = request.old_object, request.object
        name = spec(old).get("vmiName")
        instance = self._instances.get((request.namespace, name)) if isinstance(name, str) else None
        if old is None or new is None or instance is None or not self._is_here(instance.decode(), node):
            raise _denied(request, f'node "{node}" can only change migrations from or to it')
        before, after = meta(old).get("annotations") or {}, meta(new).get("annotations") or {}
        if _without(old, "annotations") != _without(new, "annotations") or any(
            not key.startswith(_PROGRESS) for key in _changed(before, after)
        ):
            raise _denied(request, f'node "{node}" can only report the progress of migrations')

    def _is_here(self, instance: Object, node: str) -> bool:
        if self._graph.runs(node, meta(instance).get("uid", "")):
            return True
        state = instance.get("status") or {}
        migration = state.get("migrationState") or {}
        return node in (state.get("nodeName"), migration.get("sourceNode"), migration.get("targetNode"))


def _is_own_label(key: str) -> bool:
    """Whether a kubelet may set a label: all but those of Kubernetes' own domains, with some exceptions."""
    domain, slash, _ = key.partition("/")
    if not slash:
        return True
    if domain == _RESTRICTED or domain.endswith(f".{_RESTRICTED}"):
        return False
    if key in _OWN_LABELS or any(domain == own or domain.endswith(f".{own}") for own in _OWN_DOMAINS):
        return True
    return not any(domain == own or domain.endswith(f".{own}") for own in ("kubernetes.io", "k8s.io"))


def _changed(before: Object, after: Object) -> set[str]:
    return {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}


def _annotation(obj: Object | None, key: str) -> object:
    return (meta(obj).get("annotations") or {}).get(key)


def _sources(event: Object) -> tuple[object, ...]:
    """The names under which either kind of Event says who reports."""
    source = event.get("source") or event.get("deprecatedSource") or {}
    return (event.get("reportingInstance"), source.get("host"))


def _without(obj: Object, key: str) -> Object:
    """An object apart from one field of its metadata, and from what every write changes."""
    kept = {k: v for k, v in meta(obj).items() if k not in (key, "managedFields", "resourceVersion")}
    return {**obj, "metadata": kept}


def _denied(request: AdmissionRequest, detail: str) -> Denied:
    name = request.name or meta(request.object).get("name", "")
    group = f".{request.group}" if request.group else ""
    return Denied(f'{request.resource}{group} "{name}" is forbidden: {detail}')
