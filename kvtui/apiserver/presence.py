"""What the server shows of itself as objects: the endpoints of the Service `kubernetes`, and its APIServices.

Source: https://kubernetes.io/docs/concepts/architecture/control-plane-node-communication/,
https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from kvtui.apiserver import bootstrap, deletion
from kvtui.apiserver.backlog import Backlog
from kvtui.apiserver.extension import Extension
from kvtui.apiserver.kinds import apiservices
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.options import DeleteOptions
from kvtui.apiserver.status import Failure
from kvtui.apiserver.store import Event

log = structlog.get_logger()
Object = dict[str, Any]
_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
_SERVICES = "apiservices.apiregistration.k8s.io"
_ENDPOINTS = "endpoints"
_KEY = ("default", "kubernetes")


def advertised(hosts: Iterable[str]) -> str:
    """The address that others reach the server by: the first one that is not of this machine alone."""
    given = list(hosts)
    return next((host for host in given if not _is_loopback(host)), given[0])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Presence:
    """Keeps the server's own objects true."""

    def __init__(self, objects: Objects, extensions: Sequence[Extension], address: str, port: int) -> None:
        self._objects = objects
        self._extensions = [(v.group, v.version) for e in extensions for v in e.group_versions]
        self._address = address
        self._port = port
        self._backlog: Backlog[str] = Backlog("API services")

    async def settle(self) -> None:
        """Brings everything up to date; what cannot be written now is tried again by `run`."""
        for key in (_ENDPOINTS, _SERVICES):
            try:
                await self._work(key)
            except Failure as failure:
                log.info("presence is told later", about=key, error=failure.message)
                self._backlog.add(key)

    async def run(self) -> None:
        buckets = [self._objects.store.bucket(name) for name in (_DEFINITIONS, _SERVICES)]
        for bucket in buckets:
            bucket.listeners.append(self._changed)
        try:
            await self._backlog.work(self._work)
        finally:
            for bucket in buckets:
                bucket.listeners.remove(self._changed)

    def _changed(self, event: Event) -> None:
        self._backlog.add(_SERVICES)

    async def _work(self, key: str) -> None:
        await (self._endpoints() if key == _ENDPOINTS else self._services())

    async def _endpoints(self) -> None:
        port: Object = {"name": "https", "port": self._port, "protocol": "TCP"}
        subsets = [{"addresses": [{"ip": self._address}], "ports": [port]}]
        namespace, name = _KEY
        skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        legacy = {"metadata": {"name": name, "namespace": namespace, "labels": skip}, "subsets": subsets}
        await self._keep("", "endpoints", legacy, ("subsets",))
        meta = {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}}
        made = {
            "metadata": meta,
            "addressType": "IPv6" if ":" in self._address else "IPv4",
            "endpoints": [{"addresses": [self._address], "conditions": {"ready": True}}],
            "ports": [port],
        }
        await self._keep("discovery.k8s.io", "endpointslices", made, ("endpoints", "ports"))
        await self._target_port()

    async def _target_port(self) -> None:
        """The Service says which port its endpoints have."""
        info = self._objects.resources.find("", "v1", "services")
        assert info is not None
        found = self._objects.bucket(info).get_latest(_KEY)
        ports = (found.decode().get("spec") or {}).get("ports") or [] if found is not None else []
        if not ports or ports[0].get("targetPort") == self._port:
            return

        def change(service: Object) -> Object:
            service["spec"]["ports"][0]["targetPort"] = self._port
            return service

        await self._objects.update(info, *_KEY, change, bootstrap.options())

    async def _keep(self, group: str, plural: str, wanted: Object, keys: tuple[str, ...]) -> None:
        info = self._objects.resources.find(group, "v1", plural)
        assert info is not None
        found = self._objects.bucket(info).get_latest(_KEY)
        if found is None:
            await self._objects.create(info, _KEY[0], wanted, bootstrap.options())
            return
        current = found.decode()
        if all(current.get(key) == wanted[key] for key in keys):
            return
        if current.get("addressType", "") != wanted.get("addressType", ""):
            keys = (*keys, "addressType")

        def change(obj: Object) -> Object:
            return {**obj, **{key: wanted[key] for key in keys}}

        await self._objects.update(info, *_KEY, change, bootstrap.options())

    async def _services(self) -> None:
        """An APIService for each version that is served, and none of ours beyond."""
        info = self._objects.resources.find("apiregistration.k8s.io", "v1", "apiservices")
        assert info is not None
        wanted = {obj["metadata"]["name"]: obj for obj in self._served()}
        bucket = self._objects.bucket(info)
        present = {r.name: r for r in bucket.snapshot()}
        surplus = [
            name
            for name, record in present.items()
            if name not in wanted and apiservices.AUTOMANAGED in (record.decode()["metadata"].get("labels") or {})
        ]
        await asyncio.gather(
            *(self._objects.create(info, "", obj, bootstrap.options()) for n, obj in wanted.items() if n not in present)
        )
        for name in surplus:
            await deletion.delete(self._objects, info, "", name, DeleteOptions(), bootstrap.options())

    def _served(self) -> list[Object]:
        resources = self._objects.resources
        found: list[Object] = []
        for rank, (group, versions) in enumerate(resources.groups().items()):
            for place, served in enumerate(versions):
                custom = all(info.custom for info in served.resources.values())
                found.append(apiservices.local(group, served.version, rank=rank, place=place, custom=custom))
        for place, (group, version) in enumerate(self._extensions):
            found.append(apiservices.local(group, version, rank=0, place=place, custom=True))
        return found
