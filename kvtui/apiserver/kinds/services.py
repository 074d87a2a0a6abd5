"""Services: an address of their own, and for those of type NodePort and LoadBalancer a port of every node.

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
NODE_PORTS = range(30000, 32768)
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
_ATTEMPTS = 64
_HIGHEST_PORT = 65535


class _Port(msgspec.Struct, rename="camel"):
    protocol: str | None = "TCP"
    node_port: int | None = None


class _Spec(msgspec.Struct, rename="camel"):
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    ports: list[_Port] = []


class _Meta(msgspec.Struct):
    namespace: str = ""
    name: str = ""


class _Service(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
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
        if spec["type"] in _WITH_NODE_PORTS:
            spec.setdefault("externalTrafficPolicy", "Cluster")
        for port in _ports(spec):
            port.setdefault("protocol", "TCP")
            if port.get("targetPort") is None and port.get("port") is not None:
                port["targetPort"] = port["port"]

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        obj["status"] = {"loadBalancer": {}}
        spec = obj.get("spec")
        if not isinstance(spec, dict) or spec.get("type") == "ExternalName":
            return
        siblings = [_decode(data) for data in context.siblings()]
        taken = {s.spec.cluster_ip for s in siblings} | {OWN}
        wanted = spec.get("clusterIP") or ""
        if not wanted:
            spec["clusterIP"] = _free(taken)
        elif wanted != HEADLESS:
            _check(obj, wanted, taken)
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        _give_node_ports(obj, siblings)

    def prepare_update(self, obj: Object, old: Object, context: WriteContext) -> None:
        spec, before = obj.get("spec"), old.get("spec") or {}
        if isinstance(spec, dict) and spec.get("type") == before.get("type"):
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not spec.get(key) and key in before:
                    spec[key] = before[key]
        if not isinstance(spec, dict):
            return
        if spec.get("type") in _WITH_NODE_PORTS:
            had = {(p.get("port"), p.get("protocol")): p.get("nodePort") for p in _ports(before)}
            for port in _ports(spec):
                kept = had.get((port.get("port"), port.get("protocol")))
                if not port.get("nodePort") and kept:
                    port["nodePort"] = kept
            _give_node_ports(obj, [_decode(data) for data in context.siblings()])
        elif before.get("type") in _WITH_NODE_PORTS:
            # Given by the server to the type that it was; a client that sends them back means nothing by it.
            spec.pop("externalTrafficPolicy", None)
            for port in _ports(spec):
                port.pop("nodePort", None)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec, before = obj.get("spec") or {}, (old or {}).get("spec") or {}
        had = before.get("clusterIP")
        if had and spec.get("type") != "ExternalName" and spec.get("clusterIP") != had:
            return [status.invalid_value("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set")]
        return _port_causes(_ports(spec))


def _port_causes(ports: list[Object]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        field = f"spec.ports[{index}]"
        name, number = port.get("name") or "", port.get("port") or 0
        if len(ports) > 1 and not name:
            causes.append(status.required(f"{field}.name"))
        elif name and name in seen:
            causes.append(status.duplicate(f"{field}.name", name))
        seen.add(name)
        if not 1 <= number <= _HIGHEST_PORT:
            text = f"must be between 1 and {_HIGHEST_PORT}, inclusive"
            causes.append(status.invalid_value(f"{field}.port", number, text))
    return causes


def _ports(spec: Object) -> list[Object]:
    return [p for p in spec.get("ports") or () if isinstance(p, dict)]


def _give_node_ports(obj: Object, services: Iterable[_Service]) -> None:
    """Each port of a Service of these types gets a port of the nodes. Raises Failure 422, or 500 when all are taken."""
    spec, meta = obj["spec"], obj["metadata"]
    if spec.get("type") not in _WITH_NODE_PORTS:
        return
    own = (meta.get("namespace"), meta.get("name"))
    taken = {
        (p.protocol, p.node_port)
        for s in services
        if (s.metadata.namespace, s.metadata.name) != own
        for p in s.spec.ports
        if p.node_port
    }
    causes = []
    wanting = []
    for number, port in enumerate(_ports(spec)):
        wanted, protocol = port.get("nodePort"), str(port.get("protocol", "TCP"))
        if not wanted:
            wanting.append(port)
            continue
        text = ""
        if wanted not in NODE_PORTS:
            text = f"provided port is not in the valid range. The range of valid ports is 30000-{NODE_PORTS[-1]}"
        elif (protocol, wanted) in taken:
            text = "provided port is already allocated"
        if text:
            causes.append(status.invalid_value(f"spec.ports[{number}].nodePort", wanted, text))
        taken.add((protocol, wanted))
    if causes:
        raise status.invalid("", "Service", meta.get("name", ""), causes)
    for port in wanting:
        protocol = str(port.get("protocol", "TCP"))
        free = [n for n in NODE_PORTS if (protocol, n) not in taken]
        if not free:
            raise status.internal("failed to allocate a nodePort: range is full")
        port["nodePort"] = random.choice(free)  # noqa: S311 -- no secret
        taken.add((protocol, port["nodePort"]))


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
