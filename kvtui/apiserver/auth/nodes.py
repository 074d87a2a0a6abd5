"""Rights of node agents: what the Pods bound to their node, and the machines in those Pods, name; nothing else.

A graph follows the stored Pods and instances; a question is one look into it. It only ever adds to what roles give.

Source: https://kubernetes.io/docs/reference/access-authn-authz/node/.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from kvtui.api.admission import UserInfo
from kvtui.apiserver import selectors
from kvtui.apiserver.auth import references
from kvtui.apiserver.auth.references import InstanceFacts, PodFacts, Reference
from kvtui.apiserver.database import Change
from kvtui.apiserver.store import Event, Key, Store
from kvtui.errors import InvalidSelector

if TYPE_CHECKING:
    from kvtui.apiserver.auth.rbac import Attributes

NODES = "system:nodes"
PREFIX = "system:node:"
VOLUMES = "persistentvolumes"
CLEANUP_NODE = "kvtui.io/node"
"""Label and annotation of a volume: the node that removes its bytes."""
STATE_OF = "persistent-state-for"
"""Label of a claim: the instance whose firmware variables and TPM state it keeps; its Pods do not name it."""
INSTANCES = "virtualmachineinstances"
ON_NODE = ("kubevirt.io/nodeName", "kubevirt.io/migrationTargetNodeName")
"""Labels of an instance: where it is, and where it is going."""
_READ = ("get", "list", "watch")
_NAMED = (references.SECRETS, references.CONFIG_MAPS, references.CLAIMS)


def node_of(user: UserInfo) -> str:
    """The node that a user is the agent of; empty for everybody else."""
    if NODES in user.groups and user.username.startswith(PREFIX):
        return user.username[len(PREFIX) :]
    return ""


class NodeGraph:
    """Which node needs what. Counts, because several Pods of a node may name the same thing."""

    def __init__(self, store: Store) -> None:
        """Reads what is stored, once; from then on it hears of changes."""
        self._pods: dict[Key, PodFacts] = {}
        self._instances: dict[str, InstanceFacts] = {}
        self._keys: dict[Key, str] = {}
        """Instance -> its UID."""
        self._pods_of: dict[str, dict[Key, str]] = {}
        """UID of an instance -> its Pods and their nodes."""
        self._reached: dict[str, Counter[Reference]] = {}
        pods, instances = store.bucket("pods"), store.bucket("virtualmachineinstances.kubevirt.io")
        for record in instances.scan():
            self._put_instance(record.key, references.of_instance(record.data))
        for record in pods.scan():
            self._put_pod(record.key, references.of_pod(record.data))
        pods.listeners.append(self._pod_changed)
        instances.listeners.append(self._instance_changed)

    def reaches(self, node: str, reference: Reference) -> bool:
        """Whether something on a node names an object."""
        return reference in self._reached.get(node, ())

    def runs(self, node: str, instance: str) -> bool:
        """Whether a Pod of an instance, given by its UID, is bound to a node."""
        return node in self._pods_of.get(instance, {}).values()

    def runs_named(self, node: str, key: Key) -> bool:
        """The same for an instance given by its namespace and name."""
        return self.runs(node, self._keys.get(key, ""))

    def pod(self, key: Key) -> PodFacts | None:
        """A Pod that is bound to some node."""
        return self._pods.get(key)

    def _pod_changed(self, event: Event) -> None:
        gone = event.change is Change.DELETED
        self._put_pod(event.record.key, None if gone else references.of_pod(event.record.data))

    def _instance_changed(self, event: Event) -> None:
        gone = event.change is Change.DELETED
        self._put_instance(event.record.key, None if gone else references.of_instance(event.record.data))

    def _put_pod(self, key: Key, facts: PodFacts | None) -> None:
        before = self._pods.get(key)
        if before == facts:
            return
        if before is not None:
            del self._pods[key]
            self._remove(before.node, before.references)
            if before.instance:
                pods = self._pods_of[before.instance]
                del pods[key]
                if not pods:
                    del self._pods_of[before.instance]
                self._remove(before.node, self._references_of(before.instance))
        if facts is not None:
            self._pods[key] = facts
            self._add(facts.node, facts.references)
            if facts.instance:
                self._pods_of.setdefault(facts.instance, {})[key] = facts.node
                self._add(facts.node, self._references_of(facts.instance))

    def _put_instance(self, key: Key, facts: InstanceFacts | None) -> None:
        before = self._instances.get(self._keys.get(key, ""))
        if before == facts:
            return
        if before is not None:
            for node in self._pods_of.get(before.uid, {}).values():
                self._remove(node, before.references)
            del self._instances[before.uid]
            del self._keys[key]
        if facts is not None:
            self._instances[facts.uid] = facts
            self._keys[key] = facts.uid
            for node in self._pods_of.get(facts.uid, {}).values():
                self._add(node, facts.references)

    def _references_of(self, instance: str) -> frozenset[Reference]:
        facts = self._instances.get(instance)
        return facts.references if facts is not None else frozenset()

    def _add(self, node: str, found: frozenset[Reference]) -> None:
        if found:
            self._reached.setdefault(node, Counter()).update(found)

    def _remove(self, node: str, found: frozenset[Reference]) -> None:
        if not found:
            return
        reached = self._reached[node]
        for reference in found:
            if reached[reference] == 1:
                del reached[reference]
            else:
                reached[reference] -= 1
        if not reached:
            del self._reached[node]


class _ClaimReference(msgspec.Struct):
    namespace: str | None = None
    name: str | None = None


class _VolumeSpec(msgspec.Struct, rename="camel"):
    claim_ref: _ClaimReference | None = None


class _VolumeMeta(msgspec.Struct):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Volume(msgspec.Struct):
    metadata: _VolumeMeta
    spec: _VolumeSpec | None = None


_volume = msgspec.json.Decoder(_Volume).decode


class NodeAuthorizer:
    """Answers for agents."""

    def __init__(self, store: Store) -> None:
        self.graph = NodeGraph(store)
        self._volumes = store.bucket(VOLUMES)
        self._claims = store.bucket(references.CLAIMS)

    def allows(self, user: UserInfo, wanted: Attributes) -> bool:
        return bool(node := node_of(user)) and not self._objection(node, wanted)

    def why_not(self, user: UserInfo, wanted: Attributes) -> str:
        """What to tell an agent whose question was answered with no; empty for others."""
        node = node_of(user)
        return self._objection(node, wanted) if node and _concerns(wanted) else ""

    def _objection(self, node: str, wanted: Attributes) -> str:
        if not _concerns(wanted):
            return "not a right of nodes"
        if wanted.group:
            return _instances_objection(node, wanted)
        if wanted.resource == references.ACCOUNTS:
            if wanted.verb != "create" or wanted.subresource != "token":
                return "can only create tokens for individual service accounts"
        elif wanted.resource == VOLUMES and wanted.verb == "patch" and not wanted.subresource:
            return "" if self._cleans_up(node, wanted.name) else _unrelated(node)
        elif wanted.verb not in _READ or wanted.subresource:
            return "can only read resources of this type"
        if wanted.resource == VOLUMES:
            return self._volume_objection(node, wanted)
        if wanted.resource == references.CLAIMS:
            return self._claim_objection(node, wanted)
        if not wanted.name:
            return "can only read namespaced object of this type" if not wanted.namespace else "No Object name found"
        reached = self.graph.reaches(node, (wanted.resource, wanted.namespace, wanted.name))
        return "" if reached else _unrelated(node)

    def _claim_objection(self, node: str, wanted: Attributes) -> str:
        if wanted.name:
            return "" if self._reaches_claim(node, wanted.namespace, wanted.name) else _unrelated(node)
        owner = _required(wanted.labels, STATE_OF)
        if owner and self.graph.runs_named(node, (wanted.namespace, owner)):
            return ""
        return f"can only list claims with the label {STATE_OF} of a virtual machine instance on this node"

    def _reaches_claim(self, node: str, namespace: str, name: str) -> bool:
        if self.graph.reaches(node, (references.CLAIMS, namespace, name)):
            return True
        record = self._claims.get((namespace, name))
        owner = record.labels.get(STATE_OF) if record is not None else None
        return bool(owner) and self.graph.runs_named(node, (namespace, owner or ""))

    def _volume_objection(self, node: str, wanted: Attributes) -> str:
        if not wanted.name:
            mine = _required(wanted.labels, CLEANUP_NODE) == node
            return "" if mine else f"can only list and watch volumes with the label {CLEANUP_NODE}={node}"
        record = self._volumes.get(("", wanted.name))
        if record is None:
            return _unrelated(node)
        volume = _volume(record.data)
        claim = volume.spec.claim_ref if volume.spec is not None else None
        if claim is not None and self._reaches_claim(node, claim.namespace or "", claim.name or ""):
            return ""
        return "" if self._cleans_up(node, wanted.name) else _unrelated(node)

    def _cleans_up(self, node: str, name: str) -> bool:
        record = self._volumes.get(("", name))
        meta = _volume(record.data).metadata if record is not None else None
        return meta is not None and (meta.annotations or {}).get(CLEANUP_NODE) == node


def _unrelated(node: str) -> str:
    return f"no relationship found between node '{node}' and this object"


def _instances_objection(node: str, wanted: Attributes) -> str:
    """What a node may do with a named instance is in its role."""
    if not wanted.name and any(_required(wanted.labels, label) == node for label in ON_NODE):
        return ""
    return f"can only list and watch instances with one of the labels {' and '.join(ON_NODE)} of this node"


def _concerns(wanted: Attributes) -> bool:
    if wanted.group == "kubevirt.io":
        return wanted.resource == INSTANCES and wanted.verb in ("list", "watch") and not wanted.subresource
    return not wanted.group and wanted.resource in (*_NAMED, VOLUMES, references.ACCOUNTS)


def _required(selector: str, label: str) -> str:
    """The only value of a label that a selector lets through; empty when there is no such."""
    try:
        requirements = selectors.parse_label_selector(selector).requirements
    except InvalidSelector:
        return ""
    found = [r.values for r in requirements if r.key == label and r.operator == "In" and len(r.values) == 1]
    return next(iter(found[0])) if found else ""
