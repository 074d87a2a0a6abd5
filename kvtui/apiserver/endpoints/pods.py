"""Subresources of Pods that are not plain writes: binding, eviction, logs.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/,
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kvtui.api import quantity
from kvtui.apiserver import bodies, deletion, selectors, status
from kvtui.apiserver.http import Call, json_response
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.options import WriteOptions, delete_options
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import ResourceInfo
from kvtui.errors import Cause, InvalidQuantity, InvalidSelector

Object = dict[str, Any]
_ATTEMPTS = 8


def _set_condition(state: Object, kind: str, value: str, now: str, **more: str) -> None:
    conditions = [c for c in state.get("conditions") or () if c.get("type") != kind]
    conditions.append({"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": now, **more})
    state["conditions"] = conditions


async def bind(call: Call, objects: Objects, info: ResourceInfo, name: str = "") -> web.StreamResponse:
    """POST …/binding: puts an unbound Pod on a node. Raises Failure 400, 404, 409."""
    options = call.write_options()
    binding, _ = bodies.decode(await call.body(), call.content_type)
    target = binding.get("target")
    node = target.get("name") if isinstance(target, dict) else None
    if not isinstance(node, str) or not node:
        raise status.bad_request("target.name is required")
    meta = binding.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = call.target.name or str(meta.get("name") or "")

    def transform(pod: Object) -> Object:
        return _bound(info, pod, meta, node, objects)

    await write_direct(objects, info, call.target.namespace, name, transform, options)
    return json_response(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201},
        code=201,
        warnings=call.warnings,
    )


def _bound(info: ResourceInfo, pod: Object, meta: Object, node: str, objects: Objects) -> Object:
    from kvtui.api.times import to_time

    name = pod["metadata"]["name"]
    wanted_uid = meta.get("uid")
    if wanted_uid and wanted_uid != pod["metadata"]["uid"]:
        raise status.uid_mismatch(info.group, info.plural, name, str(wanted_uid), pod["metadata"]["uid"])
    if pod["metadata"].get("deletionTimestamp"):
        raise status.conflict(
            info.group, "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host"
        )
    spec = pod.setdefault("spec", {})
    if spec.get("nodeName"):
        raise status.conflict(
            info.group, "pods/binding", name, f'pod {name} is already assigned to node "{spec["nodeName"]}"'
        )
    if spec.get("schedulingGates"):
        raise status.conflict(info.group, "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    for key in ("annotations", "labels"):
        if isinstance(meta.get(key), dict):
            pod["metadata"].setdefault(key, {}).update(meta[key])
    _set_condition(pod.setdefault("status", {}), "PodScheduled", "True", to_time(objects.clock()))
    return pod


async def write_direct(
    objects: Objects, info: ResourceInfo, namespace: str, name: str, transform: Any, options: WriteOptions
) -> Record:
    """A change that the server itself makes, beside the rules of the main resource. Raises Failure."""
    from kvtui.apiserver.database import Change
    from kvtui.apiserver.record import encode
    from kvtui.apiserver.store import Stale

    bucket = objects.bucket(info)
    for _ in range(_ATTEMPTS):
        record = bucket.get_latest((namespace, name))
        if record is None:
            raise status.not_found(info.group, info.plural, name)
        obj = transform(record.decode())
        if options.dry_run:
            return Record(record.rv, namespace, name, encode(obj))
        try:
            future = objects.store.submit(bucket, (namespace, name), Change.UPDATED, obj, expected=record)
        except Stale:
            continue
        return await future
    raise status.conflict(info.group, info.plural, name)


async def evict(call: Call, objects: Objects, info: ResourceInfo) -> web.StreamResponse:
    """POST …/eviction: a deletion that respects disruption budgets. Raises Failure 404, 409, 429."""
    eviction, _ = bodies.decode(await call.body(), call.content_type)
    given = eviction.get("deleteOptions")
    options = delete_options(given if isinstance(given, dict) else None, call.query)
    base = call.write_options()
    write = WriteOptions(
        user=base.user,
        manager=base.manager,
        dry_run=base.dry_run or options.dry_run,
        warnings=base.warnings,
    )
    namespace, name = call.target.namespace, call.target.name
    record = objects.get(info, namespace, name)
    await objects.admit_subresource(info, record, "eviction", eviction, write)
    pod = record.decode()
    phase = (pod.get("status") or {}).get("phase")
    if phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp"):
        await _disrupt(objects, pod, write)
    await deletion.delete(objects, info, namespace, name, options, write)
    return json_response(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201},
        code=201,
        warnings=call.warnings,
    )


async def _disrupt(objects: Objects, pod: Object, write: WriteOptions) -> None:
    """Takes one disruption out of the budget that covers a Pod. Raises Failure 429, 500."""
    info = objects.resources.find("policy", "v1", "poddisruptionbudgets")
    assert info is not None
    namespace = pod["metadata"]["namespace"]
    covering = [b for r in objects.bucket(info).scan(namespace) if _covers(b := r.decode(), pod)]
    if not covering:
        return
    if len(covering) > 1:
        raise status.Failure(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )
    budget = covering[0]
    name = budget["metadata"]["name"]

    def spend(current: Object) -> Object:
        state = current.setdefault("status", {})
        allowed = _allowed(objects, current)
        if allowed <= 0:
            raise _refused(name, current)
        state["disruptionsAllowed"] = allowed - 1
        state.setdefault("disruptedPods", {})[pod["metadata"]["name"]] = _now(objects)
        return current

    await write_direct(objects, info, namespace, name, spend, write)


def _now(objects: Objects) -> str:
    from kvtui.api.times import to_time

    return to_time(objects.clock())


def _covers(budget: Object, pod: Object) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    if not isinstance(selector, dict):
        return False
    try:
        return selectors.from_object(selector).matches(pod["metadata"].get("labels") or {})
    except InvalidSelector:
        return False


def _allowed(objects: Objects, budget: Object) -> int:
    """Disruptions that the Pods of a budget stand right now."""
    pods = [
        p
        for r in objects.store.bucket("pods").scan(budget["metadata"]["namespace"])
        if _covers(budget, p := r.decode())
    ]
    disrupted = (budget.get("status") or {}).get("disruptedPods") or {}
    healthy = sum(
        1
        for p in pods
        if p["metadata"]["name"] not in disrupted
        and not p["metadata"].get("deletionTimestamp")
        and any(
            c.get("type") == "Ready" and c.get("status") == "True"
            for c in (p.get("status") or {}).get("conditions") or ()
        )
    )
    spec = budget.get("spec") or {}
    if spec.get("minAvailable") is not None:
        return healthy - _count(spec["minAvailable"], len(pods))
    unavailable = spec.get("maxUnavailable")
    return healthy - (len(pods) - _count(unavailable if unavailable is not None else 1, len(pods)))


def _count(value: object, total: int) -> int:
    text = str(value)
    if text.endswith("%") and text[:-1].isdigit():
        return -(-int(text[:-1]) * total // 100)
    try:
        return quantity.value(text)
    except InvalidQuantity:
        return total


def _refused(name: str, budget: Object) -> status.Failure:
    state = budget.get("status") or {}
    detail = (
        f"The disruption budget {name} needs {state.get('desiredHealthy', 0)} healthy pods and has "
        f"{state.get('currentHealthy', 0)} currently"
    )
    return status.Failure(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        causes=(Cause("DisruptionBudget", detail),),
    )
