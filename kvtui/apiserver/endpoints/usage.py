"""metrics.k8s.io: how much nodes and Pods use, asked of the agents when somebody wants to know.

Source: https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/,
https://github.com/kubernetes/metrics (NodeMetrics, PodMetrics).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from kvtui.api.admission import UserInfo
from kvtui.api.times import to_time
from kvtui.apiserver import selection, status
from kvtui.apiserver.endpoints.logs import Agents
from kvtui.apiserver.extension import GroupVersion
from kvtui.apiserver.http import json_response, parse_query
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.record import Record
from kvtui.apiserver.router import route

Object = dict[str, Any]
GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_TIMEOUT = 5.0
_FRESH = 10.0
"""Seconds for which a sample is used again; CPU rates need two samples."""
_LINE = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})?\s+(?P<value>[-+.0-9eE]+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(slots=True)
class Sample:
    """What one agent said: CPU seconds since some start, and memory in bytes."""

    at: float
    node_cpu: float = 0.0
    node_memory: float = 0.0
    pods: dict[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)
    """Namespace, Pod, container -> CPU seconds, memory."""


def parse(text: str, at: float) -> Sample:
    """A kubelet's /metrics/resource."""
    sample = Sample(at)
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        value = float(match["value"])
        labels = dict(_LABEL.findall(match["labels"] or ""))
        key = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
        match match["name"]:
            case "node_cpu_usage_seconds_total":
                sample.node_cpu = value
            case "node_memory_working_set_bytes":
                sample.node_memory = value
            case "container_cpu_usage_seconds_total":
                sample.pods[key] = (value, sample.pods.get(key, (0.0, 0.0))[1])
            case "container_memory_working_set_bytes":
                sample.pods[key] = (sample.pods.get(key, (0.0, 0.0))[0], value)
    return sample


class Usage:
    """Serves metrics.k8s.io/v1beta1."""

    def __init__(self, objects: Objects, agents: Agents) -> None:
        self._objects = objects
        self._agents = agents
        self._samples: dict[str, tuple[Sample | None, Sample]] = {}
        """Node -> the last sample but one, and the last."""

    @property
    def group_versions(self) -> tuple[GroupVersion, ...]:
        entries: tuple[Mapping[str, Any], ...] = (
            {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get", "list"]},
            {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
        )
        return (GroupVersion(GROUP, "v1beta1", entries),)

    def is_open(self, path: str) -> bool:
        return False

    async def handle(self, request: web.Request, user: UserInfo) -> web.StreamResponse:
        """Raises Failure 404, 405."""
        raw_path, _, raw_query = request.raw_path.partition("?")
        query = parse_query(raw_query)
        target = route(request.method, raw_path, query)
        if target.resource not in ("nodes", "pods") or target.subresource:
            raise status.no_such_path()
        if target.verb not in ("get", "list"):
            raise status.method_not_allowed(GROUP, target.resource, target.verb)
        if target.resource == "nodes":
            return await self._nodes(target.name if target.verb == "get" else "", query)
        return await self._pods(target.namespace, target.name if target.verb == "get" else "", query)

    async def _nodes(self, name: str, query: Mapping[str, str]) -> web.Response:
        records = self._records("nodes", "", query)
        await self._refresh([r.name for r in records if not name or r.name == name])
        items = [item for r in records if (item := self._node_item(r)) is not None]
        return self._answer(items, "NodeMetrics", "nodes", name)

    async def _pods(self, namespace: str, name: str, query: Mapping[str, str]) -> web.Response:
        records = [r for r in self._records("pods", namespace, query) if not name or r.name == name]
        nodes = {r.field("spec.nodeName") for r in records}
        await self._refresh([n for n in nodes if n])
        items = [item for r in records if (item := self._pod_item(r)) is not None]
        return self._answer(items, "PodMetrics", "pods", name)

    def _records(self, plural: str, namespace: str, query: Mapping[str, str]) -> list[Record]:
        info = self._objects.resources.find("", "v1", plural)
        assert info is not None
        chosen = selection.parse(
            info, namespace or None, query.get("labelSelector", ""), query.get("fieldSelector", "")
        )
        return [r for r in self._objects.bucket(info).scan(namespace or None) if chosen.matches(r)]

    def _answer(self, items: list[Object], kind: str, plural: str, name: str) -> web.Response:
        if name:
            found = next((i for i in items if i["metadata"]["name"] == name), None)
            if found is None:
                raise status.not_found(GROUP, plural, name)
            return json_response(found)
        return json_response({"kind": f"{kind}List", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": items})

    async def _refresh(self, nodes: list[str]) -> None:
        now = time.monotonic()
        stale = [n for n in nodes if n not in self._samples or now - self._samples[n][1].at > _FRESH]
        async with asyncio.TaskGroup() as tasks:
            for node in stale:
                tasks.create_task(self._sample(node), name=f"metrics of {node}")

    async def _sample(self, node: str) -> None:
        try:
            url = f"{self._agents.url(self._objects, node)}/metrics/resource"
            async with asyncio.timeout(_TIMEOUT), self._agents.session.get(url) as answer:
                if answer.status != 200:
                    return
                sample = parse(await answer.text(), time.monotonic())
        except (aiohttp.ClientError, TimeoutError, status.Failure):
            return  # an agent that is away has no metrics; `kubectl top` says unknown
        previous = self._samples.get(node)
        self._samples[node] = (previous[1] if previous else None, sample)

    def _node_item(self, record: Record) -> Object | None:
        samples = self._samples.get(record.name)
        if samples is None:
            return None
        before, last = samples
        rate = _rate(before.node_cpu if before else None, last.node_cpu, before, last)
        return self._item("NodeMetrics", record, usage=_usage(rate, last.node_memory))

    def _pod_item(self, record: Record) -> Object | None:
        samples = self._samples.get(record.field("spec.nodeName"))
        if samples is None:
            return None
        before, last = samples
        containers = []
        for (namespace, pod, container), (cpu, memory) in last.pods.items():
            if (namespace, pod) != record.key:
                continue
            earlier = before.pods.get((namespace, pod, container)) if before else None
            rate = _rate(earlier[0] if earlier else None, cpu, before, last)
            containers.append({"name": container, "usage": _usage(rate, memory)})
        return self._item("PodMetrics", record, containers=containers) if containers else None

    def _item(self, kind: str, record: Record, **more: Any) -> Object:
        now = to_time(self._objects.clock())
        meta: Object = {"name": record.name, "creationTimestamp": now, "labels": record.labels}
        if record.namespace:
            meta["namespace"] = record.namespace
        return {
            "kind": kind,
            "apiVersion": f"{GROUP}/v1beta1",
            "metadata": meta,
            "timestamp": now,
            "window": f"{int(_FRESH)}s",
            **more,
        }


def _rate(earlier: float | None, later: float, before: Sample | None, last: Sample) -> float:
    if earlier is None or before is None or last.at <= before.at:
        return 0.0
    return max(later - earlier, 0.0) / (last.at - before.at)


def _usage(cores: float, memory: float) -> Object:
    return {"cpu": f"{int(cores * 1e9)}n", "memory": f"{int(memory) // 1024}Ki"}
