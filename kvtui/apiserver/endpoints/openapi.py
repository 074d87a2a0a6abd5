"""/openapi/v2 and /openapi/v3.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition.
"""

from __future__ import annotations

from aiohttp import web

from kvtui.apiserver import status
from kvtui.apiserver.http import Call
from kvtui.apiserver.resources import Resources


class OpenApi:
    """Documents, made anew when the registry changes."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def answer(self, call: Call, rest: tuple[str, ...]) -> web.StreamResponse:
        """Raises Failure 404."""
        raise status.no_such_path()
