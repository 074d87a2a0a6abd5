"""Asking admission: the plugins of the server and of others, in their order, and their refusals as answers."""

from __future__ import annotations

from typing import Any

from kvtui.api.admission import Admission, AdmissionRequest, Denied, Operation
from kvtui.apiserver import status
from kvtui.apiserver.options import WriteOptions
from kvtui.apiserver.record import encode
from kvtui.apiserver.resources import ResourceInfo

Object = dict[str, Any]


class Plugins:
    """All plugins; each sees the resources that it wants to see."""

    def __init__(self, plugins: tuple[Admission, ...]) -> None:
        self._plugins = plugins
        self._concerned: dict[tuple[str, str], tuple[Admission, ...]] = {}

    def concern(self, info: ResourceInfo) -> bool:
        """Whether any plugin wants to see a resource."""
        return bool(self._concerned_with(info))

    def _concerned_with(self, info: ResourceInfo) -> tuple[Admission, ...]:
        key = (info.group, info.plural)
        found = self._concerned.get(key)
        if found is None:
            found = tuple(p for p in self._plugins if key in (getattr(p, "resources", None) or {key}))
            self._concerned[key] = found
        return found

    async def mutate(
        self,
        operation: Operation,
        info: ResourceInfo,
        namespace: str,
        name: str,
        obj: Object,
        old: Object | None,
        options: WriteOptions,
        subresource: str = "",
    ) -> Object:
        """The object that the plugins make of it. Raises Failure."""
        plugins = self._concerned_with(info)
        schema = info.schema.get() if info.schema is not None and info.custom else None
        before = encode(obj) if plugins and schema is not None else b""
        for plugin in plugins:
            if getattr(plugin, "idle", False):
                continue
            request = _request(operation, info, namespace, name, obj, old, options, subresource)
            try:
                obj, warnings = await plugin.mutate(request)
            except Denied as denied:
                raise refusal(info, name, denied) from denied
            options.warnings.extend(w for w in warnings if w not in options.warnings)
        if plugins and schema is not None and encode(obj) != before:
            schema.tidy(obj)
        return obj

    async def validate(
        self,
        operation: Operation,
        info: ResourceInfo,
        namespace: str,
        name: str,
        obj: Object | None,
        old: Object | None,
        options: WriteOptions,
        subresource: str = "",
    ) -> None:
        """Lets the plugins object. Raises Failure."""
        for plugin in self._concerned_with(info):
            if getattr(plugin, "idle", False):
                continue
            request = _request(operation, info, namespace, name, obj, old, options, subresource)
            try:
                warnings = await plugin.validate(request)
            except Denied as denied:
                raise refusal(info, name, denied) from denied
            options.warnings.extend(w for w in warnings if w not in options.warnings)


def _request(
    operation: Operation,
    info: ResourceInfo,
    namespace: str,
    name: str,
    obj: Object | None,
    old: Object | None,
    options: WriteOptions,
    subresource: str,
) -> AdmissionRequest:
    return AdmissionRequest(
        operation=operation,
        group=info.group,
        version=info.version,
        resource=info.plural,
        subresource=subresource,
        namespace=namespace,
        name=name,
        object=obj,
        old_object=old,
        user=options.user,
        dry_run=options.dry_run,
    )


def refusal(info: ResourceInfo, name: str, denied: Denied) -> status.Failure:
    """Admission's no as an answer."""
    if denied.webhook:
        message = f'admission webhook "{denied.webhook}" denied the request: {denied}'
        return status.Failure(denied.code, denied.reason, message, causes=denied.causes, retry_after=denied.retry_after)
    return status.Failure(
        denied.code,
        denied.reason,
        str(denied),
        name=name,
        group=info.group,
        kind=info.plural,
        causes=denied.causes,
        retry_after=denied.retry_after,
    )
