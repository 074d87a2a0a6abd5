"""What is special about one kind: hooks around the generic write path, pure functions over plain objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from kvtui.api.admission import UserInfo
from kvtui.errors import Cause

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteContext:
    """About the request, for the hooks."""

    user: UserInfo
    now: datetime
    subresource: str = ""
    siblings: Callable[[], Iterable[bytes]] = tuple
    """All objects of the resource as of the latest writes, encoded."""


class Strategy:
    """The hooks of a kind that has no peculiarities; subclasses override what they need."""

    settles_alone: ClassVar[bool] = False
    """`settle` gives nothing out that another write could take meanwhile: it may run beside the event loop."""

    def default(self, obj: Object) -> None:
        """Fills in what the client may leave out; on create and update."""

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        """Sets what the server decides on create. Raises Failure."""

    def prepare_update(self, obj: Object, old: Object, context: WriteContext) -> None:
        """Carries over what a client may not change. Raises Failure."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Everything that is wrong with the object, or with the change."""
        return []

    def settle(self, obj: Object, old: Object | None, context: WriteContext) -> None:
        """What the server derives from an object that is valid."""

    def warnings(self, obj: Object) -> list[str]:
        """What a client should hear about an object that is accepted."""
        return []

    def grace_period(self, obj: Object, requested: int | None) -> int:
        """Seconds between a DELETE and the removal, 0 for at once."""
        return 0
