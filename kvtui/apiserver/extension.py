"""What else may be mounted in the server: API groups whose requests another package answers.

The server authenticates and authorizes each request before the extension sees it, as an aggregator does; the RBAC
resource is `<resource>/<subresource>` of the path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from kvtui.api.admission import Admission, AdmissionRequest, UserInfo

__all__ = ["Admission", "AdmissionRequest", "Extension", "GroupVersion", "UserInfo"]


@dataclass(frozen=True, slots=True)
class GroupVersion:
    """One version that an extension serves."""

    group: str
    version: str
    resources: tuple[Mapping[str, Any], ...] = ()
    """Entries of its APIResourceList."""
    group_name: str = ""
    """How the group calls itself in its own APIGroup document, if not by its name."""


class Extension(Protocol):
    """Serves some API groups."""

    @property
    def group_versions(self) -> tuple[GroupVersion, ...]:
        """In order of preference."""

    def is_open(self, path: str) -> bool:
        """Whether a path needs no authorization, only to be reached (such as `.../version`)."""

    async def handle(self, request: web.Request, user: UserInfo) -> web.StreamResponse:
        """Answers a request below /apis/<group>/<version>/. Raises KvtuiError or answers with a Status itself."""
