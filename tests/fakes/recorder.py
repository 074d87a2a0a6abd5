"""Puts itself in front of an extension of the API server and writes down what clients ask of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from kvtui.api.admission import UserInfo
from kvtui.apiserver.extension import Extension, GroupVersion


@dataclass(frozen=True)
class Asked:
    """One request: `path` without the group's root, the query, and the decoded body."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class Recorder:
    """An extension with a memory. `answers` are given instead of the real ones: (method, end of path) -> code, body."""

    extension: Extension
    asked: list[Asked] = field(default_factory=list)
    answers: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=dict)

    @property
    def group_versions(self) -> tuple[GroupVersion, ...]:
        return self.extension.group_versions

    def is_open(self, path: str) -> bool:
        return self.extension.is_open(path)

    async def handle(self, request: web.Request, user: UserInfo) -> web.StreamResponse:
        body = await request.read()
        path = "/" + request.path.split("/", 4)[4]
        self.asked.append(Asked(request.method, path, dict(request.query), json.loads(body) if body else None))
        for (method, end), told in self.answers.items():
            if method == request.method and path.endswith(end) and told:
                code, answer = told.pop(0)
                return web.json_response(answer, status=code)
        return await self.extension.handle(request, user)
