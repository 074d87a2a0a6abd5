"""Endpoints of Services: EndpointSlices, and Endpoints for older clients, from the Pods that a selector matches.

Source: k8s.io/kubernetes/pkg/controller/endpointslice, pkg/controller/endpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from kvtui.api import selectors
from kvtui.api.core.network import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    Service,
    ServicePort,
)
from kvtui.api.core.pod import Pod
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import object_reference, owner_reference
from kvtui.api.wire import ObjectKey, evolve
from kvtui.controllers import indices
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.patches import write_changes
from kvtui.controllers.virtualmachineinstance.pods import is_final
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import AlreadyExists, NotFound

NAMESPACE = "namespace"
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
MOST = 1000
"""Endpoints that fit into one slice."""


def slices(service: Service, pods: Sequence[Pod]) -> list[EndpointSlice]:
    """`pods`: those that the selector matches. Pods that serve a named port elsewhere are in slices of their own."""
    families = service.spec.ip_families or ["IPv4"]
    groups: dict[tuple[str, tuple[EndpointPort, ...]], list[Endpoint]] = {}
    for pod in sorted(pods, key=lambda p: p.metadata.name):
        if is_final(pod):
            continue
        ports = _ports(service, pod)
        for family in families:
            if address := _address(pod, family):
                groups.setdefault((family, ports), []).append(_endpoint(service, pod, address))
    return [
        _slice(service, family, ports, endpoints[start : start + MOST], start // MOST)
        for (family, ports), endpoints in sorted(groups.items(), key=lambda group: repr(group[0]))
        for start in range(0, len(endpoints), MOST)
    ]


def _slice(
    service: Service, family: str, ports: Sequence[EndpointPort], endpoints: list[Endpoint], part: int
) -> EndpointSlice:
    mark = hashlib.sha256(repr((family, ports, part)).encode()).hexdigest()[:5]
    labels = {**service.metadata.labels, SERVICE_NAME: service.metadata.name, MANAGED_BY: MANAGER}
    if service.spec.cluster_ip == "None":
        labels["service.kubernetes.io/headless"] = ""
    return EndpointSlice(
        metadata=ObjectMeta(
            name=f"{service.metadata.name}-{mark}",
            namespace=service.metadata.namespace,
            labels=labels,
            owner_references=[owner_reference(service)],
        ),
        address_type=family,
        endpoints=endpoints,
        ports=list(ports),
    )


def _endpoint(service: Service, pod: Pod, address: str) -> Endpoint:
    going = pod.metadata.deletion_timestamp is not None
    serving = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    ready = bool(service.spec.publish_not_ready_addresses) or (serving and not going)
    named = pod.spec.hostname if pod.spec.subdomain == service.metadata.name else ""
    reference = evolve(object_reference(pod), api_version="", resource_version="")
    return Endpoint(
        addresses=[address],
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=going),
        hostname=named or None,
        node_name=pod.spec.node_name or None,
        target_ref=reference,
    )


def _address(pod: Pod, family: str) -> str:
    known = [i.ip for i in pod.status.pod_ips] or [pod.status.pod_ip]
    return next((ip for ip in known if ip and (":" in ip) == (family == "IPv6")), "")


def _ports(service: Service, pod: Pod) -> tuple[EndpointPort, ...]:
    found = ((port, _number(port, pod)) for port in service.spec.ports)
    return tuple(
        EndpointPort(name=port.name, protocol=port.protocol, port=number, app_protocol=port.app_protocol)
        for port, number in found
        if number
    )


def _number(port: ServicePort, pod: Pod) -> int:
    """The number of the target port; 0 when the Pod has no port of that name."""
    wanted = port.target_port or port.port
    if isinstance(wanted, int):
        return wanted
    if wanted.isdigit():
        return int(wanted)
    for container in pod.spec.containers:
        for offered in container.ports:
            if offered.name == wanted and (offered.protocol or "TCP") == port.protocol:
                return offered.container_port
    return 0


def legacy(service: Service, made: Sequence[EndpointSlice]) -> Endpoints:
    """The same as one object, as it was before there were slices."""
    subsets = []
    for each in made:
        addresses = [
            (
                e.conditions.ready,
                EndpointAddress(
                    ip=e.addresses[0], hostname=e.hostname or "", node_name=e.node_name, target_ref=e.target_ref
                ),
            )
            for e in each.endpoints
        ]
        subsets.append(
            EndpointSubset(
                addresses=[a for ready, a in addresses if ready],
                not_ready_addresses=[a for ready, a in addresses if not ready],
                ports=each.ports,
            )
        )
    meta = service.metadata
    return Endpoints(
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            # Mirroring controllers leave alone what bears this label.
            labels={**meta.labels, "endpoints.kubernetes.io/managed-by": "endpoint-controller"},
            owner_references=[owner_reference(service)],
        ),
        subsets=subsets,
    )


class EndpointsController:
    """Keeps the endpoints of every Service with a selector true."""

    def __init__(self, context: ControllerContext) -> None:
        self.client = context.client
        informers = context.informers
        self.pods = indices.pods(informers)
        informers.index(Pod, NAMESPACE, lambda p: [p.metadata.namespace])
        self.services = informers.index(Service, NAMESPACE, lambda s: [s.metadata.namespace])
        self.slices = informers.index(EndpointSlice, SERVICE_NAME, _service_of)
        self.endpoints = informers.of(Endpoints)
        self.controller: Controller[ObjectKey] = Controller(
            "endpoints",
            self.reconcile,
            informers=[self.pods, self.services, self.slices, self.endpoints],
            settings=context.settings.loop,
            workers=1,
        )
        self.services.subscribe(lambda old, new: self.controller.queue.add((new or old or Service()).key))
        self.pods.subscribe(self._pod_changed)
        self.slices.subscribe(self._slice_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        for service in self.services.store.by_index(NAMESPACE, pod.metadata.namespace):
            if any(p is not None and _selects(service, p) for p in (old, new)):
                self.controller.queue.add(service.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for each in (old, new):
            if each is not None and (name := each.metadata.labels.get(SERVICE_NAME)):
                self.controller.queue.add(ObjectKey(each.metadata.namespace, name))

    async def reconcile(self, key: ObjectKey) -> Result:
        service = self.services.get(key)
        if service is None or not service.spec.selector or service.spec.type == "ExternalName":
            # Without a selector somebody else writes them; without a Service the garbage collector takes them.
            return DONE
        pods = [p for p in self.pods.store.by_index(NAMESPACE, key.namespace) if _selects(service, p)]
        made = slices(service, pods)
        present = {
            s.metadata.name: s
            for s in self.slices.store.by_index(SERVICE_NAME, str(key))
            if s.metadata.labels.get(MANAGED_BY) == MANAGER
        }
        for each in made:
            await self._write(each, present.pop(each.metadata.name, None))
        for surplus in present.values():
            try:
                await self.client.delete(EndpointSlice, surplus.key, uid=surplus.metadata.uid)
            except NotFound:
                continue
        await self._write(legacy(service, made), self.endpoints.get(key))
        return DONE

    async def _write(self, wanted: Any, present: Any) -> None:
        if present is None:
            try:
                await self.client.create(wanted)
            except AlreadyExists:
                # The cache is behind; what is there comes by the watch and is looked at then.
                return
            return
        metadata = evolve(
            present.metadata,
            labels={**present.metadata.labels, **wanted.metadata.labels},
            owner_references=wanted.metadata.owner_references,
        )
        made = evolve(wanted, api_version=present.api_version, kind=present.kind, metadata=metadata)
        await write_changes(self.client, present, made)


def _service_of(each: EndpointSlice) -> list[str]:
    name = each.metadata.labels.get(SERVICE_NAME)
    return [f"{each.metadata.namespace}/{name}"] if name else []


def _selects(service: Service, pod: Pod) -> bool:
    matching = selectors.from_object({"matchLabels": service.spec.selector})
    return bool(service.spec.selector) and matching.matches(pod.metadata.labels)
