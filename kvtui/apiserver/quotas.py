"""ResourceQuota status: what is used, for people who look.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/#viewing-and-setting-quotas.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import bootstrap
from kvtui.apiserver.backlog import Backlog
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.plugins.quota import Quota, shown
from kvtui.apiserver.store import Bucket, Event

Object = dict[str, Any]


class QuotaStatus:
    """Keeps status.used of every quota; a namespace is counted again when something in it comes or goes."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._quotas = objects.store.bucket("resourcequotas")
        self._counter = Quota(objects.store)
        self._backlog: Backlog[str] = Backlog("quota status")

    async def run(self) -> None:
        store = self._objects.store
        store.listeners.append(self._changed)
        try:
            for record in self._quotas.scan():
                self._backlog.add(record.namespace)
            await self._backlog.work(self._count)
        finally:
            store.listeners.remove(self._changed)

    def _changed(self, bucket: Bucket, event: Event) -> None:
        if self._quotas.records and event.record.namespace and self._quotas.keys_in(event.record.namespace):
            self._backlog.add(event.record.namespace)

    async def _count(self, namespace: str) -> None:
        info = self._objects.resources.find("", "v1", "resourcequotas")
        assert info is not None
        for record in self._quotas.snapshot(namespace):
            quota = record.decode()
            hard = (quota.get("spec") or {}).get("hard") or {}
            used = self._counter.used(namespace, quota)
            state = {"hard": hard, "used": {name: shown(used.get(name)) for name in hard}}
            if quota.get("status") != state:
                await self._objects.update(
                    info, namespace, record.name, _with_status(state), bootstrap.options(), subresource="status"
                )


def _with_status(state: Object) -> Any:
    def change(quota: Object) -> Object:
        quota["status"] = state
        return quota

    return change
