"""Life of namespaces and of custom definitions: what each namespace must contain, and how they are emptied.

Source: https://kubernetes.io/docs/tasks/administer-cluster/namespaces/,
k8s.io/kubernetes/pkg/controller/namespace/deletion, k8s.io/apiextensions-apiserver/pkg/controller/finalizer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from kvtui.api.times import to_time
from kvtui.apiserver import bootstrap, crd, deletion
from kvtui.apiserver.backlog import Backlog
from kvtui.apiserver.database import Change
from kvtui.apiserver.kinds.namespaces import FINALIZER
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.options import DeleteOptions
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.status import Failure
from kvtui.apiserver.store import Bucket, Event

Object = dict[str, Any]
ROOT_CA = "kube-root-ca.crt"
_CRDS = "customresourcedefinitions.apiextensions.k8s.io"
_AGAIN = 1.0
"""Seconds until a namespace whose content waits for finalizers is looked at again; changes wake it earlier."""


class NamespaceLifecycle:
    """Fills new namespaces, empties terminating ones; empties terminating definitions."""

    def __init__(self, objects: Objects, ca: str) -> None:
        self._objects = objects
        self._ca = ca
        self._namespaces: Backlog[str] = Backlog("namespace")
        self._definitions: Backlog[str] = Backlog("custom resource definition")
        self._terminating: set[str] = set()

    async def fill(self) -> None:
        """Gives every namespace that is there what it must contain."""
        for record in self._objects.store.bucket("namespaces").snapshot():
            if not record.head().deletion_timestamp:
                await self._namespace(record.name)

    async def run(self) -> None:
        store = self._objects.store
        store.listeners.append(self._changed)
        try:
            for record in store.bucket("namespaces").snapshot():
                self._namespaces.add(record.name)
            for record in store.bucket(_CRDS).snapshot():
                self._definitions.add(record.name)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._namespaces.work(self._namespace), name="namespaces")
                tasks.create_task(self._definitions.work(self._definition), name="definitions")
        finally:
            store.listeners.remove(self._changed)

    def _changed(self, bucket: Bucket, event: Event) -> None:
        if bucket.name == "namespaces":
            self._namespaces.add(event.record.name)
        elif bucket.name == _CRDS:
            self._definitions.add(event.record.name)
        elif event.record.namespace in self._terminating:
            if event.change is Change.DELETED:
                self._namespaces.add(event.record.namespace)
        elif bucket.name in ("serviceaccounts", "configmaps") and event.record.name in ("default", ROOT_CA):
            self._namespaces.add(event.record.namespace)

    async def _namespace(self, name: str) -> float | None:
        record = self._objects.store.bucket("namespaces").get(("", name))
        if record is None:
            self._terminating.discard(name)
            return None
        if record.head().deletion_timestamp:
            self._terminating.add(name)
            return await self._empty(name, record.decode())
        await self._ensure("serviceaccounts", name, {"metadata": {"name": "default"}})
        await self._ensure("configmaps", name, {"metadata": {"name": ROOT_CA}, "data": {"ca.crt": self._ca}})
        return None

    async def _ensure(self, plural: str, namespace: str, obj: Object) -> None:
        info = self._objects.resources.find("", "v1", plural)
        assert info is not None
        key = (namespace, obj["metadata"]["name"])
        existing = self._objects.bucket(info).get_latest(key)
        if existing is None:
            try:
                await self._objects.create(info, namespace, obj, bootstrap.options())
            except Failure as failure:
                if failure.reason != "AlreadyExists" and failure.code != 403:
                    raise
        elif plural == "configmaps" and existing.decode().get("data") != obj["data"]:
            await self._objects.update(info, *key, lambda old: {**old, "data": obj["data"]}, bootstrap.options())

    async def _empty(self, name: str, namespace: Object) -> float | None:
        remaining: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        failures: list[str] = []
        for info in self._namespaced():
            await self._sweep(info, name, remaining, finalizers, failures)
            if info.bucket == "pods" and remaining:
                break  # what Pods use stays until they are gone
        await self._report(name, remaining, finalizers, failures)
        if remaining or failures:
            return _AGAIN
        if FINALIZER in ((namespace.get("spec") or {}).get("finalizers") or ()):
            await self._release(name)
        return None

    async def _sweep(
        self, info: ResourceInfo, name: str, remaining: Counter[str], finalizers: Counter[str], failures: list[str]
    ) -> None:
        for record in self._objects.bucket(info).snapshot(name):
            try:
                done = await deletion.delete(
                    self._objects,
                    info,
                    name,
                    record.name,
                    DeleteOptions(propagation="Background"),
                    bootstrap.options(),
                )
            except Failure as failure:
                if failure.code != 404:
                    failures.append(failure.message)
                continue
            if not done.gone:
                remaining[f"{info.plural}.{info.group}"] += 1  # with the point also for the core group
                finalizers.update(done.record.head().finalizers or ())

    def _namespaced(self) -> list[ResourceInfo]:
        """Everything that lives in namespaces, Pods first."""
        seen: dict[str, ResourceInfo] = {}
        for info in self._objects.resources.all:
            if info.namespaced and "delete" in info.verbs and info.bucket not in seen:
                seen[info.bucket] = self._objects.resources.stored(info.bucket) or info
        return sorted(seen.values(), key=lambda i: i.bucket != "pods")

    async def _release(self, name: str) -> None:
        info = self._objects.resources.find("", "v1", "namespaces")
        assert info is not None

        def change(obj: Object) -> Object:
            spec = obj.setdefault("spec", {})
            spec["finalizers"] = [f for f in spec.get("finalizers") or () if f != FINALIZER]
            return obj

        await self._objects.update(info, "", name, change, bootstrap.options(), subresource="finalize")

    async def _report(self, name: str, remaining: Counter[str], finalizers: Counter[str], failures: list[str]) -> None:
        info = self._objects.resources.find("", "v1", "namespaces")
        assert info is not None
        now = to_time(self._objects.clock())

        def change(obj: Object) -> Object:
            for kind, bad, reason, message in _conditions(remaining, finalizers, failures):
                crd.set_condition(obj, kind, "True" if bad else "False", reason, message, now)
            return obj

        await self._objects.update(info, "", name, change, bootstrap.options(), subresource="status")

    async def _definition(self, name: str) -> float | None:
        record = self._objects.store.bucket(_CRDS).get(("", name))
        if record is None:
            return None
        head = record.head()
        if not head.deletion_timestamp or crd.CLEANUP not in (head.finalizers or ()):
            return None
        waiting = 0
        for info in self._objects.resources.custom(name)[:1]:
            stored = self._objects.resources.stored(info.bucket) or info
            for instance in self._objects.bucket(info).snapshot():
                done = await deletion.delete(
                    self._objects, stored, instance.namespace, instance.name, DeleteOptions(), bootstrap.options()
                )
                waiting += not done.gone
        if waiting:
            return _AGAIN
        definitions = self._objects.resources.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        assert definitions is not None

        now = to_time(self._objects.clock())
        await self._objects.update(definitions, "", name, lambda obj: crd.terminated(obj, now), bootstrap.options())
        return None


def _conditions(
    remaining: Counter[str], finalizers: Counter[str], failures: list[str]
) -> list[tuple[str, bool, str, str]]:
    """Type, whether it is True, reason and message."""
    content = ", ".join(f"{r} has {n} resource instances" for r, n in sorted(remaining.items()))
    held = ", ".join(f"{f} in {n} resource instances" for f, n in sorted(finalizers.items()))
    return [
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            bool(failures),
            "ContentDeletionFailed" if failures else "ContentDeleted",
            "Failed to delete all resource types: " + "; ".join(failures[:3])
            if failures
            else "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(remaining),
            "SomeResourcesRemain" if remaining else "ContentRemoved",
            f"Some resources are remaining: {content}" if remaining else "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(finalizers),
            "SomeFinalizersRemain" if finalizers else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {held}"
            if finalizers
            else "All content-preserving finalizers finished",
        ),
    ]
