"""What every engine has from the start: namespaces, roles, definitions, priority classes."""

from __future__ import annotations

import msgspec

from kvtui.api import crds
from kvtui.api.admission import UserInfo
from kvtui.apiserver import status
from kvtui.apiserver.auth import roles
from kvtui.apiserver.auth.rbac import MASTERS
from kvtui.apiserver.kinds import services
from kvtui.apiserver.objects import Object, Objects
from kvtui.apiserver.options import WriteOptions
from kvtui.apiserver.resources import ResourceInfo

SYSTEM = UserInfo("system:apiserver", groups=(MASTERS,))
MANAGER = "kvtui-apiserver"
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "kubevirt", "cdi")
_PRIORITIES = (
    ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their node."),
    ("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster."),
    ("kubevirt-cluster-critical", 1_000_000_000, "Used for KubeVirt's own pods."),
)


def options() -> WriteOptions:
    """For writes of the server itself."""
    return WriteOptions(user=SYSTEM, manager=MANAGER, field_validation="Ignore")


async def install(objects: Objects, *, definitions: bool) -> None:
    """Creates what is missing and brings what is ours up to date. Raises Failure."""
    for name in NAMESPACES:
        await _ensure(objects, "", "v1", "namespaces", {"metadata": {"name": name}})
    await _ensure(objects, "", "v1", "services", services.own())
    for obj in roles.objects():
        plural = {"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"}.get(obj["kind"], "")
        plural = plural or {"Role": "roles", "RoleBinding": "rolebindings"}[obj["kind"]]
        group, _, version = obj["apiVersion"].rpartition("/")
        kept = ("aggregationRule",) if "aggregationRule" in obj else ("rules", "subjects")
        await _ensure(objects, group, version, plural, obj, update=kept)
    for name, value, text in _PRIORITIES:
        await _ensure(
            objects,
            "scheduling.k8s.io",
            "v1",
            "priorityclasses",
            {
                "metadata": {"name": name},
                "value": value,
                "description": text,
                "preemptionPolicy": "PreemptLowerPriority",
            },
        )
    if definitions:
        for crd in crds.definitions():
            await _ensure(objects, "apiextensions.k8s.io", "v1", "customresourcedefinitions", crd, update=("spec",))


async def _ensure(
    objects: Objects, group: str, version: str, plural: str, obj: Object, *, update: tuple[str, ...] = ()
) -> None:
    info = objects.resources.find(group, version, plural)
    assert info is not None
    namespace = obj["metadata"].get("namespace", "")
    name = obj["metadata"]["name"]
    existing = objects.bucket(info).get_latest((namespace, name))
    fresh: Object = msgspec.json.decode(msgspec.json.encode(obj))
    if existing is None:
        await objects.create(info, namespace, fresh, options())
        return
    if not update:
        return
    current = existing.decode()
    if all(current.get(key) == fresh.get(key) for key in update):
        return
    await _refresh(objects, info, namespace, name, fresh, update)


async def _refresh(
    objects: Objects, info: ResourceInfo, namespace: str, name: str, wanted: Object, keys: tuple[str, ...]
) -> None:
    def transform(old: Object) -> Object:
        for key in keys:
            if key in wanted:
                old[key] = wanted[key]
        if "labels" in wanted["metadata"]:
            old["metadata"]["labels"] = {**(old["metadata"].get("labels") or {}), **wanted["metadata"]["labels"]}
        return old

    try:
        await objects.update(info, namespace, name, transform, options())
    except status.Failure as failure:
        if failure.code != 404:
            raise
