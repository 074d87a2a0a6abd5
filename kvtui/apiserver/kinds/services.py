"""Services: stored and shown with an address of their own, not routed: guests are reached without them.

Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/,
https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable
from typing import Any

import msgspec

from kvtui.apiserver import status
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
RANGE = ipaddress.IPv4Network("10.96.0.0/16")
OWN = str(RANGE[1])
"""Of the Service `kubernetes`."""
HEADLESS = "None"
_ATTEMPTS = 64


class _Spec(msgspec.Struct, rename="camel"):
    cluster_ip: str = msgspec.field(default="", name="clusterIP")


class _Service(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decode = msgspec.json.Decoder(_Service).decode


class Services(Strategy):
    """An address is given on create and stays."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        for port in spec.get("ports") or ():
            if isinstance(port, dict):
                port.setdefault("protocol", "TCP")
                port.setdefault("targetPort", port.get("port"))

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        obj["status"] = {"loadBalancer": {}}
        spec = obj.get("spec")
        if not isinstance(spec, dict) or spec.get("type") == "ExternalName":
            return
        taken = _taken(context.siblings())
        wanted = spec.get("clusterIP") or ""
        if not wanted:
            spec["clusterIP"] = _free(taken)
        elif wanted != HEADLESS:
            _check(obj, wanted, taken)
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    def prepare_update(self, obj: Object, old: Object, context: WriteContext) -> None:
        spec, before = obj.get("spec"), old.get("spec") or {}
        if isinstance(spec, dict) and spec.get("type") == before.get("type"):
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not spec.get(key) and key in before:
                    spec[key] = before[key]

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec, before = obj.get("spec") or {}, (old or {}).get("spec") or {}
        had = before.get("clusterIP")
        if had and spec.get("type") != "ExternalName" and spec.get("clusterIP") != had:
            return [status.invalid_value("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set")]
        return []


def _taken(services: Iterable[bytes]) -> set[str]:
    return {_decode(data).spec.cluster_ip for data in services} | {OWN}


def _free(taken: set[str]) -> str:
    """Drawn, so that two Services made at the same moment hardly ever draw the same. Raises Failure 500."""
    for _ in range(_ATTEMPTS):
        address = str(RANGE[random.randrange(16, RANGE.num_addresses - 1)])  # noqa: S311 -- no secret
        if address not in taken:
            return address
    raise status.internal("failed to allocate a serviceIP: range is full")


def _check(obj: Object, wanted: object, taken: set[str]) -> None:
    meta = obj["metadata"]
    reserved = (meta.get("namespace"), meta.get("name")) == ("default", "kubernetes") and wanted == OWN
    if reserved:
        return
    try:
        inside = ipaddress.IPv4Address(str(wanted)) in RANGE
    except ValueError:
        inside = False
    text = ""
    if not inside:
        text = f"failed to allocate IP {wanted}: the provided IP is not in the valid range {RANGE}"
    elif wanted in taken:
        text = f"failed to allocate IP {wanted}: provided IP is already allocated"
    if text:
        cause = status.invalid_value("spec.clusterIPs", [wanted], text)
        raise status.invalid("", "Service", meta.get("name", ""), [cause])


def own() -> Object:
    """The Service by which clients inside of a cluster find the API."""
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": OWN,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    }
