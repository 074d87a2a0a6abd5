"""A plain HTTP client for tests of the server: exact requests in, exact answers out."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

Object = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """One response."""

    code: int
    body: Any
    headers: Any

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def rv(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])

    @property
    def warnings(self) -> list[str]:
        return [w.partition('"')[2][:-1].replace('\\"', '"') for w in self.headers.getall("Warning", [])]

    @property
    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.body["items"]]


class Api:
    """Requests of one user."""

    def __init__(self, session: aiohttp.ClientSession, headers: dict[str, str] | None = None) -> None:
        self.session = session
        self.headers = headers or {}

    def acting_as(self, user: str, *groups: str) -> Api:
        """The same connection, impersonating somebody."""
        return Impersonator(self.session, user, groups)

    async def request(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any
    ) -> Answer:
        sent: dict[str, str] = {"Accept": "application/json", **self.headers, **(headers or {})}
        data: io.BytesIO | None = None
        if body is not None:
            data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
            sent.setdefault("Content-Type", "application/json")
        params = {k: str(v) for k, v in query.items()}
        async with self.session.request(method, path, data=data, headers=self._all(sent), params=params) as response:
            raw = await response.read()
            kind = response.headers.get("Content-Type", "")
            parsed = json.loads(raw) if raw and "json" in kind else raw.decode(errors="replace")
            return Answer(response.status, parsed, response.headers)

    def _all(self, headers: dict[str, str]) -> Any:
        return headers

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.request("GET", path, **query)

    async def post(self, path: str, body: Any, **query: Any) -> Answer:
        return await self.request("POST", path, body, **query)

    async def put(self, path: str, body: Any, **query: Any) -> Answer:
        return await self.request("PUT", path, body, **query)

    async def delete(self, path: str, body: Any = None, **query: Any) -> Answer:
        return await self.request("DELETE", path, body, **query)

    async def merge(self, path: str, body: Any, **query: Any) -> Answer:
        return await self._patch("application/merge-patch+json", path, body, **query)

    async def json_patch(self, path: str, body: Any, **query: Any) -> Answer:
        return await self._patch("application/json-patch+json", path, body, **query)

    async def strategic(self, path: str, body: Any, **query: Any) -> Answer:
        return await self._patch("application/strategic-merge-patch+json", path, body, **query)

    async def apply(self, path: str, body: Any, *, manager: str = "test", **query: Any) -> Answer:
        return await self._patch("application/apply-patch+yaml", path, body, fieldManager=manager, **query)

    async def _patch(self, kind: str, path: str, body: Any, **query: Any) -> Answer:
        return await self.request("PATCH", path, body, headers={"Content-Type": kind}, **query)

    @contextlib.asynccontextmanager
    async def watch(self, path: str, **query: Any) -> AsyncIterator[Watch]:
        """An open watch; raises AssertionError when it is refused."""
        params = {"watch": "true", **{k: str(v) for k, v in query.items()}}
        async with self.session.get(path, params=params, headers=self._all({"Accept": "application/json"})) as response:
            assert response.status == 200, await response.text()
            yield Watch(response)


class Impersonator(Api):
    def __init__(self, session: aiohttp.ClientSession, user: str, groups: tuple[str, ...]) -> None:
        super().__init__(session)
        self._identity = [("Impersonate-User", user), *(("Impersonate-Group", g) for g in groups)]

    def _all(self, headers: dict[str, str]) -> Any:
        return [*headers.items(), *self._identity]


class Watch:
    """Events of a watch, one at a time."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self, timeout: float = 10.0) -> Object:
        async with asyncio.timeout(timeout):
            line = await self._response.content.readline()
        if not line:
            raise EOFError
        event: Object = json.loads(line)
        return event

    async def take(self, count: int) -> list[tuple[str, str]]:
        """Type and name of the next events."""
        return [(e["type"], e["object"]["metadata"].get("name", "")) for e in [await self.next() for _ in range(count)]]

    async def rest(self, timeout: float = 10.0) -> list[Object]:
        """Everything until the server ends the stream."""
        events: list[Object] = []
        with contextlib.suppress(EOFError):
            while True:
                events.append(await self.next(timeout))
        return events


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    meta: Object = {"name": name}
    if labels:
        meta["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def widget_definition(**spec: Any) -> Object:
    """A CRD with a status and scale subresource, defaults and printer columns."""
    schema: Object = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "replicas": {"type": "integer", "default": 1, "minimum": 0},
                    "size": {"type": "string", "enum": ["small", "large"]},
                    "selector": {"type": "string"},
                    "ports": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                        },
                    },
                },
            },
            "status": {
                "type": "object",
                "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}},
            },
        },
    }
    version: Object = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [{"name": "Size", "type": "string", "jsonPath": ".spec.size"}],
        "selectableFields": [{"jsonPath": ".spec.size"}],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [version],
            **spec,
        },
    }


def widget(name: str, **spec: Any) -> Object:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
