"""An admission plugin that concerns some resources only."""

from __future__ import annotations

from typing import Any, ClassVar

from kvtui.api.admission import AdmissionRequest

Object = dict[str, Any]


class Plugin:
    """Changes and refuses nothing; subclasses override what they need."""

    resources: ClassVar[frozenset[tuple[str, str]]] = frozenset()
    """Group and plural of what it wants to see; empty for everything."""

    @property
    def idle(self) -> bool:
        """Whether nothing is configured that it could do, so that it need not be asked."""
        return False

    async def mutate(self, request: AdmissionRequest) -> tuple[Object, list[str]]:
        """Raises Denied."""
        assert request.object is not None
        return request.object, []

    async def validate(self, request: AdmissionRequest) -> list[str]:
        """Raises Denied."""
        return []


def meta(obj: Object | None) -> Object:
    value = (obj or {}).get("metadata")
    return value if isinstance(value, dict) else {}


def spec(obj: Object | None) -> Object:
    value = (obj or {}).get("spec")
    return value if isinstance(value, dict) else {}
