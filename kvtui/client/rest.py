"""The one way to any API server: get, list, watch and write typed objects.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import io
import random
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

import aiohttp
import msgspec

from kvtui.api.meta import DeleteOptions, ListMeta, Preconditions, Resource, Status
from kvtui.api.wire import ObjectKey, Wire, evolve, from_json, to_json, to_wire
from kvtui.client.kubeconfig import Endpoint
from kvtui.client.status import error_of, from_status
from kvtui.errors import InvalidObject, NotFound, Unreachable
from kvtui.settings import ClientSettings

if TYPE_CHECKING:
    from kvtui.api.registry import Kind

R = TypeVar("R", bound=Resource)
_LARGE = 2**20

Params = Mapping[str, str | int | None]


def kind_of(type_: type[Resource]) -> Kind:
    """Where a class lives on the wire. The registry imports every kind, which raw requests need not wait for."""
    from kvtui.api import registry

    return registry.kind_of(type_)


class Patch(enum.StrEnum):
    """Sorts of patches; the value is the content type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    """Built-in kinds only."""
    APPLY = "application/apply-patch+yaml"


class Propagation(enum.StrEnum):
    """What happens to the dependents of a deleted object."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


@dataclass(frozen=True, slots=True)
class ListOf(Generic[R]):
    """A list and the revision from which it can be watched."""

    items: list[R]
    resource_version: str
    continue_: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[R]):
    """One change. A BOOKMARK has no object, only a revision."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: R | None
    resource_version: str
    initial_events_end: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A raw answer of a server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class _Event(Wire, frozen=True):
    type: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")


class _Head(Wire, frozen=True):
    metadata: _HeadMeta | None = None


class _HeadMeta(Wire, frozen=True):
    resource_version: str = ""
    annotations: dict[str, str] = {}


class Client:
    """A connection pool to one server. Use as an async context manager, or call `close`.

    All methods raise the errors of `kvtui.errors`: ApiError classes for what the server answered, Unreachable when
    it did not answer. None of them retries.
    """

    def __init__(self, endpoint: Endpoint, settings: ClientSettings | None = None) -> None:
        self.endpoint = endpoint
        self.settings = settings or ClientSettings()
        self._session: aiohttp.ClientSession | None = None
        self.answered: Callable[[str, str, str, float], None] | None = None
        """Told of each request: method, path, code (`<error>` when nobody answers), seconds until the answer began."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # Reading

    async def get(self, type_: type[R], key: ObjectKey | tuple[str, str]) -> R:
        """Raises NotFound."""
        namespace, name = key
        answer = await self.raw("GET", kind_of(type_).path(namespace, name))
        return from_json(answer.body, type_)

    async def find(self, type_: type[R], key: ObjectKey | tuple[str, str]) -> R | None:
        """The object, or None where there is none of that name."""
        try:
            return await self.get(type_, key)
        except NotFound:
            return None

    async def list(
        self,
        type_: type[R],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str | None = None,
    ) -> ListOf[R]:
        """All objects, fetched in pages. Raises Expired when the first page's revision went away meanwhile."""
        items: list[R] = []
        params: dict[str, str | int | None] = {
            "labelSelector": label_selector or None,
            "fieldSelector": field_selector or None,
            "limit": self.settings.page_size,
            "resourceVersion": resource_version,
        }
        while True:
            answer = await self.raw("GET", kind_of(type_).path(namespace), params=params)
            page = from_json(answer.body, _list_type(type_))
            items += page.items
            meta: ListMeta = page.metadata
            if not meta.continue_:
                return ListOf(items, meta.resource_version)
            params |= {"continue": meta.continue_, "resourceVersion": None}

    async def watch(
        self,
        type_: type[R],
        namespace: str = "",
        *,
        resource_version: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        timeout: float = 290.0,
        idle_timeout: float | None = None,
    ) -> AsyncGenerator[WatchEvent[R], None]:
        """Changes after `resource_version` (unset: first the present state) until the server ends the stream.

        Close the generator to stop early. `timeout` (seconds) is what the server is asked for; a stream that brings
        nothing for `idle_timeout` seconds is given up. Raises Expired when the revision is too old.
        """
        params: dict[str, str | int | None] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector or None,
            "fieldSelector": field_selector or None,
            "timeoutSeconds": max(1, int(timeout * random.uniform(0.9, 1.1))),  # noqa: S311  # spreads load
        }
        async with contextlib.aclosing(self.stream(kind_of(type_).path(namespace), params, idle_timeout)) as lines:
            async for line in lines:
                yield _decode_event(line, type_)

    async def stream(
        self,
        path: str,
        params: Params | None = None,
        idle_timeout: float | None = None,
        *,
        accept: str = "application/json",
    ) -> AsyncGenerator[bytes, None]:
        """The lines of a chunked answer, as they come."""
        timeout = aiohttp.ClientTimeout(sock_connect=self.settings.connect_timeout, sock_read=idle_timeout)
        headers = {"Accept": accept}
        async with self._request("GET", path, params=params, headers=headers, timeout=timeout) as response:
            buffer = bytearray()
            try:
                async for chunk in response.content.iter_any():
                    buffer += chunk
                    if len(buffer) > self.settings.max_line and b"\n" not in buffer:
                        raise InvalidObject(f"a line of more than {self.settings.max_line} bytes")
                    *lines, rest = buffer.split(b"\n")
                    buffer = bytearray(rest)
                    for line in lines:
                        if line:
                            yield bytes(line)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Unreachable(f"the stream broke: {error or type(error).__name__}") from error
            if buffer:
                yield bytes(buffer)

    # Writing

    async def create(self, obj: R, *, dry_run: bool = False, field_manager: str = "", strict: bool = False) -> R:
        """Raises AlreadyExists, Invalid."""
        kind = kind_of(type(obj))
        answer = await self.raw(
            "POST",
            kind.path(obj.metadata.namespace),
            body=_complete(obj),
            params=_write(dry_run, field_manager, strict),
        )
        return from_json(answer.body, type(obj))

    async def replace(self, obj: R, *, subresource: str = "", dry_run: bool = False) -> R:
        """PUT. Fields that our types do not know are lost, so prefer `patch`. Raises Conflict."""
        path = kind_of(type(obj)).path(obj.metadata.namespace, obj.metadata.name, subresource)
        answer = await self.raw("PUT", path, body=_complete(obj), params=_write(dry_run))
        return from_json(answer.body, type(obj))

    async def patch(
        self,
        type_: type[R],
        key: ObjectKey | tuple[str, str],
        body: Any,
        *,
        how: Patch = Patch.MERGE,
        subresource: str = "",
        dry_run: bool = False,
        field_manager: str = "",
        force: bool = False,
    ) -> R:
        """Patch with a JSON value or a typed fragment. Raises NotFound, Conflict, Invalid."""
        namespace, name = key
        params = {**_write(dry_run, field_manager), "force": "true" if force else None}
        path = kind_of(type_).path(namespace, name, subresource)
        answer = await self.raw("PATCH", path, body=to_json(body), params=params, content_type=how)
        return from_json(answer.body, type_)

    async def patch_status(self, type_: type[R], key: ObjectKey | tuple[str, str], status: Any) -> R:
        """Merge patch of `status`; through the status subresource where the kind has one."""
        subresource = "status" if kind_of(type_).status else ""
        return await self.patch(type_, key, {"status": to_wire(status)}, subresource=subresource)

    async def apply(self, obj: R, *, field_manager: str, force: bool = True, dry_run: bool = False) -> R:
        """Server-side apply. Raises Conflict when another manager owns a field and `force` is False."""
        key = obj.key
        body = msgspec.json.decode(_complete(obj))
        return await self.patch(
            type(obj), key, body, how=Patch.APPLY, field_manager=field_manager, force=force, dry_run=dry_run
        )

    async def delete(
        self,
        type_: type[Resource],
        key: ObjectKey | tuple[str, str],
        *,
        grace: int | None = None,
        propagation: Propagation | None = None,
        uid: str | None = None,
        dry_run: bool = False,
    ) -> None:
        """`grace` in seconds; `uid` guards a successor of the same name. Raises NotFound, Conflict."""
        namespace, name = key
        options = DeleteOptions(
            api_version="v1",
            kind="DeleteOptions",
            grace_period_seconds=grace,
            propagation_policy=propagation,
            preconditions=Preconditions(uid=uid) if uid else None,
            dry_run=["All"] if dry_run else [],
        )
        await self.raw("DELETE", kind_of(type_).path(namespace, name), body=to_json(options))

    # Anything else

    async def raw(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = None,
    ) -> Answer:
        """One request and its whole answer. Answers of 400 and above are raised."""
        limit = aiohttp.ClientTimeout(
            total=timeout or self.settings.request_timeout, sock_connect=self.settings.connect_timeout
        )
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        # aiohttp sends large bodies without blocking the loop only from a file.
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE else body
        async with self._request(method, path, params=params, data=data, headers=headers, timeout=limit) as response:
            try:
                return Answer(response.status, response.headers, await response.read())
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Unreachable(f"the answer broke off: {error or type(error).__name__}") from error

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, *, params: Params | None = None, protocols: tuple[str, ...] = ("plain.kubevirt.io",)
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A websocket to a streaming subresource. Raises the server's Status as an error when it refuses."""
        try:
            socket = await self._http().ws_connect(
                self.endpoint.server + path,
                params=_plain(params),
                protocols=protocols,
                headers=self._headers(),
                ssl=self._ssl(),
                server_hostname=self.endpoint.server_name,
                proxy=self.endpoint.proxy,
                max_msg_size=0,
                autoping=True,
                heartbeat=30,
                compress=0,
            )
        except aiohttp.WSServerHandshakeError:
            # The handshake error has no body, so the same URL is asked once more without an upgrade for its Status.
            await self.raw("GET", path, params=params)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(_reason(self.endpoint, error)) from error
        try:
            yield socket
        finally:
            await socket.close()

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        began, code = time.monotonic(), "<error>"
        try:
            response = await self._http().request(
                method,
                self.endpoint.server + path,
                params=_plain(params),
                headers=self._headers(headers),
                ssl=self._ssl(),
                server_hostname=self.endpoint.server_name,
                proxy=self.endpoint.proxy,
                allow_redirects=False,
                **more,
            )
            code = str(response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(_reason(self.endpoint, error)) from error
        finally:
            if self.answered is not None:
                self.answered(method, path, code, time.monotonic() - began)
        async with response:
            if response.status >= 400:
                try:
                    body = await response.read()
                except (aiohttp.ClientError, TimeoutError, OSError):
                    body = b""
                raise error_of(response.status, body, response.headers)
            yield response

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        return self._session

    def _ssl(self) -> ssl.SSLContext | bool:
        return self.endpoint.ssl_context or True

    def _headers(self, more: Mapping[str, str] | None = None) -> tuple[tuple[str, str], ...]:
        headers = {"User-Agent": self.settings.user_agent, **self.endpoint.headers, **(more or {})}
        if self.endpoint.token_file is not None:
            headers["Authorization"] = f"Bearer {self.endpoint.token_file.read_text().strip()}"
        return (*headers.items(), *(("Impersonate-Group", group) for group in self.endpoint.groups))


def handshake_header(socket: aiohttp.ClientWebSocketResponse, name: str) -> str:
    """A header of the answer that opened a websocket; empty when it has none."""
    # aiohttp keeps the answer, but offers no public way to it.
    return socket._response.headers.get(name, "")


def impersonating(endpoint: Endpoint, user: str, groups: tuple[str, ...] = ()) -> Endpoint:
    """The same server as another user."""
    return replace(endpoint, headers={**endpoint.headers, "Impersonate-User": user}, groups=groups)


def _complete(obj: Resource) -> bytes:
    kind = kind_of(type(obj))
    return to_json(evolve(obj, api_version=kind.api_version, kind=kind.kind))


def _write(dry_run: bool, field_manager: str = "", strict: bool = False) -> dict[str, str | int | None]:
    return {
        "dryRun": "All" if dry_run else None,
        "fieldManager": field_manager or None,
        "fieldValidation": "Strict" if strict else None,
    }


def _plain(params: Params | None) -> dict[str, str]:
    return {k: str(v) for k, v in (params or {}).items() if v is not None}


def _reason(endpoint: Endpoint, error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return f"{endpoint.server} did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{endpoint.server} has a certificate that this kubeconfig does not trust"
    return f"{endpoint.server} cannot be reached: {error or type(error).__name__}"


@cache
def _list_type(type_: type[Resource]) -> type[Any]:
    fields: list[tuple[str, Any, Any]] = [("metadata", ListMeta, ListMeta()), ("items", list[type_], [])]  # type: ignore[valid-type]
    return msgspec.defstruct(f"{type_.__name__}List", fields, bases=(Wire,), frozen=True, kw_only=True)


def _decode_event(line: bytes, type_: type[R]) -> WatchEvent[R]:
    event = from_json(line, _Event)
    match event.type:
        case "ADDED" | "MODIFIED" | "DELETED":
            obj = from_json(bytes(event.object), type_)
            return WatchEvent(event.type, obj, obj.metadata.resource_version)
        case "BOOKMARK":
            meta = from_json(bytes(event.object), _Head).metadata or _HeadMeta()
            end = meta.annotations.get("k8s.io/initial-events-end") == "true"
            return WatchEvent("BOOKMARK", None, meta.resource_version, initial_events_end=end)
        case "ERROR":
            raise from_status(from_json(bytes(event.object), Status))
        case other:
            raise InvalidObject(f"unknown watch event type {other!r}")
