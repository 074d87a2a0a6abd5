"""CPU and memory of running VMs, from the metrics API where there is one; asked every few seconds.

Source: https://github.com/kubernetes-sigs/metrics-server (metrics.k8s.io/v1beta1 PodMetrics)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kvtui.api.quantity import parse
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.errors import InvalidQuantity, KvtuiError, Permanent
from kvtui.tui.columns.cell import moment
from kvtui.tui.model.cluster import Cluster
from kvtui.tui.model.rows import Usage

_PATH = "/apis/metrics.k8s.io/v1beta1/pods"
_LAUNCHER, _VM_LABEL, _VM_ANNOTATION = "kubevirt.io=virt-launcher", "vm.kubevirt.io/name", "kubevirt.io/domain"
_EVERY, _EVERY_WITHOUT = 5.0, 60.0


class Metrics:
    """Asks and tells. `available` is None until the first answer."""

    def __init__(self, client: Client, cluster: Cluster, tell: Callable[[dict[ObjectKey, Usage]], None]) -> None:
        self._client = client
        self._cluster = cluster
        self._tell = tell
        self.available: bool | None = None

    async def run(self) -> None:
        while True:
            try:
                answer = await self._client.raw("GET", _PATH, params={"labelSelector": _LAUNCHER}, timeout=10.0)
                self._tell(parse_metrics(answer.json()))
                self.available = True
            except Permanent:
                self.available = False
            except KvtuiError:
                self._tell({})
            await asyncio.sleep(_EVERY if self.available else _EVERY_WITHOUT)


def parse_metrics(data: Any) -> dict[ObjectKey, Usage]:
    """Usage by VM. Items that make no sense are left out."""
    found: dict[ObjectKey, Usage] = {}
    for item in (data.get("items") if isinstance(data, dict) else None) or ():
        meta = item.get("metadata") or {}
        labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
        name = labels.get(_VM_LABEL) or annotations.get(_VM_ANNOTATION)
        then = moment(item.get("timestamp"))
        if not name or then is None:
            continue
        try:
            usages = [c.get("usage") or {} for c in item.get("containers") or () if c.get("name") == "compute"]
            cpu = sum(float(parse(u.get("cpu", 0))) for u in usages)
            memory = sum(float(parse(u.get("memory", 0))) for u in usages)
        except InvalidQuantity:
            continue
        found[ObjectKey(meta.get("namespace", ""), name)] = Usage(cpu, memory, then.timestamp())
    return found
