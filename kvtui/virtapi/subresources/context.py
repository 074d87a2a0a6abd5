"""What the handlers share: the client, the agents, and one request's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import yaml
from aiohttp import web

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.api.registry import kind_of
from kvtui.api.wire import Wire, from_wire, to_json
from kvtui.client.rest import Client, Patch
from kvtui.errors import ApiError, InvalidObject, NotFound
from kvtui.virtapi.admission.config import ClusterConfig
from kvtui.virtapi.admission.view import cluster_config, evaluate
from kvtui.virtapi.readers import ClientReader
from kvtui.virtapi.subresources.agents import Agents
from kvtui.virtapi.subresources.refusals import VM, VMI, bad_request, not_found, of_patch
from kvtui.virtapi.subresources.traffic import Traffic

if TYPE_CHECKING:
    from kvtui.api.admission import UserInfo

R = TypeVar("R", bound=Resource)
W = TypeVar("W", bound=Wire)

_SINGULAR: dict[type[Resource], str] = {VirtualMachine: VM, VirtualMachineInstance: VMI}


@dataclass(frozen=True, slots=True)
class Call:
    """One request below the group's version. `rest` is what follows the verb in the path."""

    request: web.Request
    user: UserInfo
    namespace: str = ""
    name: str = ""
    rest: tuple[str, ...] = ()

    async def content(self) -> dict[str, Any] | None:
        """The body, JSON or YAML; None when there is none. Raises Refused (400)."""
        text = await self.request.read()  # the server limits its size
        if not text.strip():
            return None
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise bad_request(f"Can not unmarshal Request body to struct, error: {error}") from error
        if not isinstance(found, dict):
            raise bad_request("Can not unmarshal Request body to struct, error: it is not an object")
        return found

    async def body(self, type_: type[W]) -> W | None:
        """The typed body; None when there is none. Raises Refused (400)."""
        found = await self.content()
        if found is None:
            return None
        try:
            return from_wire(found, type_)
        except InvalidObject as error:
            raise bad_request(f"Can not unmarshal Request body to struct, error: {error}") from error


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """An object, typed and as it came: patches test what is stored, fields unknown to us included."""

    object: R
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """Of one service."""

    client: Client
    agents: Agents
    traffic: Traffic = field(default_factory=Traffic)

    async def stored(self, type_: type[R], namespace: str, name: str) -> Stored[R]:
        """Raises Refused (404)."""
        try:
            answer = await self.client.raw("GET", kind_of(type_).path(namespace, name))
        except NotFound as error:
            raise not_found(_SINGULAR.get(type_, kind_of(type_).singular), name) from error
        raw = msgspec.json.decode(answer.body)
        return Stored(from_wire(raw, type_), raw)

    async def vm(self, call: Call) -> Stored[VirtualMachine]:
        return await self.stored(VirtualMachine, call.namespace, call.name)

    async def vmi(self, call: Call) -> Stored[VirtualMachineInstance]:
        return await self.stored(VirtualMachineInstance, call.namespace, call.name)

    async def find_vmi(self, call: Call) -> VirtualMachineInstance | None:
        return await self.client.find(VirtualMachineInstance, (call.namespace, call.name))

    async def patch(
        self,
        type_: type[Resource],
        call: Call,
        operations: list[dict[str, Any]],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> None:
        """Raises Refused; a change that somebody else made meanwhile is a conflict."""
        if not operations:
            return
        kind = _SINGULAR.get(type_, kind_of(type_).singular)
        try:
            await self.client.patch(
                type_,
                (call.namespace, call.name),
                operations,
                how=Patch.JSON,
                subresource=subresource,
                dry_run=dry_run,
            )
        except NotFound as error:
            raise not_found(kind, call.name) from error
        except ApiError as error:
            raise of_patch(error, kind, call.name) from error

    async def config(self) -> ClusterConfig:
        return await evaluate(cluster_config, ClientReader(self.client))


def accepted() -> web.Response:
    """Done, or to be done; nothing more to say."""
    return web.Response(status=202)


def done() -> web.Response:
    return web.Response(status=200)


def json_answer(value: Any) -> web.Response:
    return web.Response(body=to_json(value), content_type="application/json")


def is_dry(options: Any) -> bool:
    """Whether a body asks to pretend only."""
    return bool(options is not None and getattr(options, "dry_run", None))
