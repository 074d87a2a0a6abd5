"""Which endpoint answers what."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from aiohttp import web

from kvtui.apiserver import status
from kvtui.apiserver.auth.tokens import ISSUER, Tokens
from kvtui.apiserver.endpoints import (
    accounts,
    backup,
    components,
    discovery,
    logs,
    openapi,
    pods,
    rest,
    scale,
    scraping,
    watching,
)
from kvtui.apiserver.endpoints.discovery import Discovery
from kvtui.apiserver.endpoints.health import Check, Metrics, health
from kvtui.apiserver.endpoints.reviews import KINDS, Reviews
from kvtui.apiserver.endpoints.usage import Usage
from kvtui.apiserver.extension import Extension
from kvtui.apiserver.http import Call, json_response
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.watch import WatchHub
from kvtui.controlloop.exposition import Family

_HEALTH = ("healthz", "livez", "readyz")
_JWKS = "application/jwk-set+json"


class Application:
    """Sends each request to its endpoint."""

    def __init__(
        self,
        objects: Objects,
        hub: WatchHub,
        tokens: Tokens,
        reviews: Reviews,
        metrics: Metrics,
        agents: logs.Agents,
        *,
        extensions: Sequence[Extension],
        checks: Mapping[str, Check],
        gauges: Callable[[], Iterable[Family]],
        scraped: Mapping[str, scraping.Source] = scraping.NOTHING,
    ) -> None:
        """`scraped`: metrics of other parts by name, those without name beside the server's own."""
        self._objects = objects
        self._hub = hub
        self._tokens = tokens
        self._reviews = reviews
        self._metrics = metrics
        self._agents = agents
        self._usage = Usage(objects, agents)
        self._checks = checks
        self._gauges = gauges
        self._scraped = scraped
        self.extensions: tuple[Extension, ...] = (*extensions, self._usage)
        self._extensions = {gv.group: e for e in self.extensions for gv in e.group_versions}
        self._discovery = Discovery(objects.resources, self.extensions)
        self._openapi = openapi.OpenApi(objects.resources)

    async def warm(self) -> None:
        """Prepares what the first clients will ask for."""
        await self._openapi.warm()
        gc.freeze()  # all of it stays

    async def handle(self, call: Call) -> web.StreamResponse:
        """Raises Failure."""
        target = call.target
        if target.is_resource:
            extension = self._extensions.get(target.group)
            if extension is not None:
                return await extension.handle(call.request, call.user)
            return await self._resource(call)
        return await self._path(call)

    async def _path(self, call: Call) -> web.StreamResponse:
        segments = call.target.segments
        if call.method not in ("GET", "HEAD"):
            raise status.Failure(
                405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
            )
        match segments:
            case ():
                return json_response({"paths": self._paths()})
            case ("version",):
                return discovery.version(call)
            case (kind, *_) if kind in _HEALTH:
                return health(call, {} if kind == "livez" else self._checks)
            case ("metrics",):
                more = self._scraped.get(scraping.OWN)
                return scraping.answer(self._metrics.text(self._gauges()) + (await more() if more else ""))
            case ("metrics", name):
                return await scraping.part(self._scraped, name)
            case ("openapi", *rest_):
                return await self._openapi.answer(call, tuple(rest_))
            case ("kvtui", "backup"):
                return await backup.download(call, self._objects.store)
            case (".well-known", "openid-configuration"):
                return json_response(_openid())
            case ("openid", "v1", "jwks"):
                return json_response(msgspec.json.encode(self._tokens.key_set()), content_type=_JWKS)
        answer = self._discovery.answer(call)
        if answer is not None:
            return answer
        if segments[:1] == ("apis",) and len(segments) > 1 and segments[1] in self._extensions:
            return await self._extensions[segments[1]].handle(call.request, call.user)
        raise status.no_such_path()

    def _paths(self) -> list[str]:
        paths = ["/api", "/api/v1", "/apis"]
        for group, versions in self._objects.resources.groups().items():
            if group:
                paths += [f"/apis/{group}", *(f"/apis/{group}/{v.version}" for v in versions)]
        paths += [f"/metrics/{name}" for name in self._scraped if name]
        paths += ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
        return sorted(paths)

    async def _resource(self, call: Call) -> web.StreamResponse:
        target = call.target
        info = self._objects.resources.find(target.group, target.version, target.resource)
        if info is None:
            raise status.no_such_path()
        proxied = target.subresource == "proxy" and info.plural == "nodes" and not info.group
        if target.rest and not proxied:
            raise status.no_such_path()
        if info.warning:
            call.warnings.append(info.warning)
        if target.subresource:
            return await self._subresource(call, info)
        named = len(target.segments) and target.segments[-1] == target.name and target.verb not in ("list",)
        if info.namespaced:
            if not target.namespace and (target.verb not in ("list", "watch") or (named and target.verb == "get")):
                raise status.no_such_path()
        elif target.namespace:
            raise status.no_such_path()
        if target.verb not in info.verbs:
            raise status.method_not_allowed(info.group, info.plural, target.verb)
        if info.plural == "componentstatuses" and not info.group:
            await components.refresh(self._objects, info)
        match target.verb:
            case "get":
                return await rest.get(call, self._objects, info)
            case "list":
                return await rest.list_objects(call, self._objects, info)
            case "watch":
                return await watching.watch(call, self._objects, info, self._hub)
            case "create":
                if target.name:
                    raise status.method_not_allowed(info.group, info.plural, "create")
                if info.kind in KINDS:
                    return await self._reviews.create(call, info)
                if info.plural == "bindings" and not info.group:
                    return await self._bind(call)
                return await rest.create(call, self._objects, info)
            case "update":
                return await rest.update(call, self._objects, info)
            case "patch":
                return await rest.patch(call, self._objects, info)
            case "delete":
                return await rest.delete(call, self._objects, info)
            case "deletecollection":
                return await rest.delete_collection(call, self._objects, info)
        raise status.method_not_allowed(info.group, info.plural, target.verb)

    async def _bind(self, call: Call) -> web.StreamResponse:
        info = self._objects.resources.find("", "v1", "pods")
        assert info is not None
        return await pods.bind(call, self._objects, info)

    async def _subresource(self, call: Call, info: ResourceInfo) -> web.StreamResponse:
        target = call.target
        sub = info.subresource(target.subresource)
        if sub is None or not target.name:
            raise status.no_such_path()
        if info.namespaced and not target.namespace:
            raise status.no_such_path()
        if target.verb not in sub.verbs:
            raise status.method_not_allowed(info.group, info.plural, target.verb)
        match target.subresource:
            case "scale":
                return await scale.scale(call, self._objects, info)
            case "token":
                return await accounts.token(call, self._objects, info, self._tokens)
            case "binding":
                return await pods.bind(call, self._objects, info)
            case "eviction":
                return await pods.evict(call, self._objects, info)
            case "log":
                return await logs.log(call, self._objects, info, self._agents)
            case "proxy" if info.plural == "nodes":
                return await scraping.node(call, self._objects, info, self._agents)
            case "exec" | "attach" | "portforward" | "proxy":
                raise status.bad_request(
                    f"{target.subresource} is not available: nodes of this engine run virtual machines, not containers"
                )
        match target.verb:
            case "get":
                return await rest.get(call, self._objects, info)
            case "update":
                return await rest.update(call, self._objects, info, target.subresource)
            case "patch":
                return await rest.patch(call, self._objects, info, target.subresource)
        raise status.method_not_allowed(info.group, info.plural, target.verb)


def _openid() -> dict[str, object]:
    return {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
