"""Every built-in kind takes odd objects of the right types, and objects of the wrong ones: never a 5xx, in any form."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvtui.apiserver.builtin import BUILTIN
from kvtui.apiserver.resources import ResourceInfo
from tests.apiserver.api import Api, Object
from tests.fakes.cluster import running_server

KINDS = [i for i in BUILTIN if "create" in i.verbs and i.schema is not None and i.plural != "customresourcedefinitions"]
TEXTS = (
    "",
    "a",
    "b-c",
    "1Gi",
    "10m",
    "-1",
    "2026-01-01T00:00:00Z",
    "NodePort",
    "Never",
    "x" * 70,
    "\u00e9 \u0000",
    "=",
    "true",
)
NUMBERS = (-1, 0, 1, 3, 80, 30080, 2**31, 2**63 - 1)
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Maker:
    """Objects of a schema, from chance."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def value(self, schema: Object, depth: int) -> Any:
        chance = self.random.random()
        if chance < 0.04:
            return self.random.choice((None, [], {}, "odd", 7, True, [None], {"a": None}))
        if "enum" in schema and chance < 0.8:
            return self.random.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "object":
            return self.object(schema, depth)
        if kind == "array":
            return [self.value(schema.get("items") or {}, depth - 1) for _ in range(self.random.randrange(3))]
        if kind == "integer":
            return self.random.choice(NUMBERS)
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind == "number":
            return self.random.choice((0.5, -1, 1e308))
        return self.random.choice((*TEXTS, *(NUMBERS if schema.get("x-kubernetes-int-or-string") else ())))

    def object(self, schema: Object, depth: int) -> Object:
        properties = schema.get("properties") or {}
        if depth <= 0:
            return {}
        if not properties:
            inner = schema.get("additionalProperties") or {"type": "string"}
            return {self.random.choice(("a", "b/c", "cpu", "pods")): self.value(inner, depth - 1)}
        needed = set(schema.get("required") or ())
        wanted = [k for k in properties if self.random.random() < (0.9 if k in needed else 0.3)]
        return {key: self.value(properties[key], depth - 1) for key in wanted}

    def whole(self, info: ResourceInfo, name: str) -> Object:
        assert info.schema is not None
        obj = {k: v for k, v in self.object(info.schema.document, 7).items() if k != "metadata"}
        meta: Object = {"name": name}
        if self.random.random() < 0.2:
            meta["labels"] = self.value({"type": "object"}, 2)
        return {"apiVersion": info.api_version, "kind": info.kind, "metadata": meta, **obj}


class Attack:
    """One object's life, as badly as can be."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.codes: Counter[int] = Counter()

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        query = {"fieldManager": "f"} if method == "PATCH" else {}
        sent = {
            "Content-Type": headers.get("kind", "application/json"),
            "Accept": headers.get("form", "application/json"),
        }
        async with (
            asyncio.timeout(20),
            self.api.session.request(method, path, data=data, params=query, headers=sent) as answer,
        ):
            text = await answer.text()
            self.codes[answer.status] += 1
            assert answer.status < 500, (method, path, body, headers, answer.status, text[:500])
            return json.loads(text) if answer.status < 300 else None

    async def live(self, info: ResourceInfo, random: Random) -> None:
        maker = Maker(random)
        base = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
        path = f"{base}/namespaces/default/{info.plural}" if info.namespaced else f"{base}/{info.plural}"
        name = f"n{random.randrange(10**9)}"
        made = await self.send("POST", path, maker.whole(info, name))
        if "get" not in info.verbs:
            return
        await self.send("GET", path, form=TABLE)
        if made is not None:
            await self.send("PUT", f"{path}/{name}", {**made, **maker.whole(info, name), "metadata": made["metadata"]})
        await self.send("PATCH", f"{path}/{name}", maker.whole(info, name), kind=STRATEGIC)
        await self.send("PATCH", f"{path}/{name}", maker.whole(info, name), kind=APPLY)
        if info.status:
            await self.send("PATCH", f"{path}/{name}/status", maker.whole(info, name), kind=STRATEGIC)
            await self.send("GET", path, form=TABLE)
        if info.scale is not None:
            await self.send("GET", f"{path}/{name}/scale")
        await self.send("DELETE", f"{path}/{name}", {"gracePeriodSeconds": 0})


async def test_no_object_of_any_kind_makes_the_server_fail(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, crds=False) as server,
        aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=server.tls())) as session,
    ):
        attack = Attack(Api(session))
        loop = asyncio.get_running_loop()

        @settings(
            max_examples=200,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
            database=None,
        )
        @given(st.sampled_from(KINDS), st.integers(0, 2**32))
        def attempt(info: ResourceInfo, seed: int) -> None:
            asyncio.run_coroutine_threadsafe(attack.live(info, Random(seed)), loop).result(60)

        await asyncio.to_thread(attempt)
    assert {200, 201, 400, 422} <= set(attack.codes)
