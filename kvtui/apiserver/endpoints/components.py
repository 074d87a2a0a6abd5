"""ComponentStatuses: whether the store, the controllers and the scheduler are at work, asked when somebody looks.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/component-status-v1/.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kvtui.api.times import from_time
from kvtui.apiserver import bootstrap
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.status import Failure

Object = dict[str, Any]
LEASE = ("kubevirt", "virt-controller")
"""Held by the process that runs controllers and scheduler."""
_STORE = "etcd-0"


async def refresh(objects: Objects, info: ResourceInfo, now: datetime | None = None) -> None:
    """Writes what has changed since somebody looked. A store that takes nothing is told by the old state."""
    leading = _leading(objects, now or datetime.now(UTC))
    states = {_STORE: "", "controller-manager": leading, "scheduler": leading}
    for name, error in states.items():
        condition = {"type": "Healthy", "status": "True", "message": "ok"}
        if error:
            condition = {"type": "Healthy", "status": "False", "error": error}
        found = objects.bucket(info).get_latest(("", name))
        try:
            if found is None:
                obj = {"metadata": {"name": name}, "conditions": [condition]}
                await objects.create(info, "", obj, bootstrap.options())
            elif found.decode().get("conditions") != [condition]:
                await objects.update(info, "", name, _with(condition), bootstrap.options())
        except Failure as failure:
            if failure.code not in (409, 507):
                raise


def _with(condition: Object) -> Any:
    def change(obj: Object) -> Object:
        return {**obj, "conditions": [condition]}

    return change


def _leading(objects: Objects, now: datetime) -> str:
    """Why the controllers are not at work, or nothing."""
    info = objects.resources.find("coordination.k8s.io", "v1", "leases")
    assert info is not None
    record = objects.bucket(info).get_latest(LEASE)
    if record is None:
        return "no process has run the controllers yet"
    spec = record.decode().get("spec") or {}
    renewed, lasts = spec.get("renewTime"), spec.get("leaseDurationSeconds") or 0
    if not renewed or not spec.get("holderIdentity"):
        return "no process runs the controllers"
    if (silent := (now - from_time(renewed)).total_seconds()) > lasts:
        return f"the controllers have been silent for {silent:.0f}s"
    return ""
