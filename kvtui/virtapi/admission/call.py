"""One admission request as rules see it: typed objects, and the chance and time that a rule may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kvtui.api.wire import without_nulls
from kvtui.virtapi.admission.decode import decode, read
from kvtui.virtapi.admission.recheck import recheck

if TYPE_CHECKING:
    from kvtui.api.admission import AdmissionRequest, UserInfo
    from kvtui.api.meta import Resource

R = TypeVar("R", bound="Resource")


@dataclass(frozen=True, slots=True)
class Chance:
    """What is drawn once per request, so that a rule that runs again decides the same."""

    uuids: tuple[str, str]
    suffix: str
    """Five letters and digits."""
    now: str
    """RFC 3339."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request with its chance. Decoded objects are kept, since rules may run several times."""

    request: AdmissionRequest
    chance: Chance
    _decoded: dict[tuple[str, type[Any]], Any] = field(default_factory=dict)

    @property
    def user(self) -> UserInfo:
        return self.request.user

    @property
    def creates(self) -> bool:
        return self.request.operation == "CREATE"

    @property
    def data(self) -> dict[str, Any]:
        """The new object's JSON; empty on DELETE."""
        return self.request.object or {}

    def new(self, type_: type[R]) -> R:
        """Raises Denied (400) when it does not decode."""
        return self._object("new", self.data, type_)

    def checked(self, type_: type[R]) -> R:
        """As `new`, after the schema's own check. Raises Denied."""
        if ("new", type_) not in self._decoded:
            recheck(without_nulls(self.data), type_)
        return self.new(type_)

    def old(self, type_: type[R]) -> R:
        """Raises Denied (400) when it does not decode."""
        return self._object("old", self.request.old_object or {}, type_)

    @property
    def keeps_spec(self) -> bool:
        """Whether this update is of something else, as most are: of a status."""
        old = self.request.old_object or {}
        return "spec" in self.data and self.data["spec"] == old.get("spec")

    def update(self, type_: type[R]) -> tuple[R, R]:
        """The new object, as `checked`, and the old one. Raises Denied.

        A spec is several times as large as the rest, and was looked at when it came: where it is kept, both come
        without it, as they are written.
        """
        if not self.keeps_spec:
            return self.checked(type_), self.old(type_)
        key = ("both", type_)
        if key not in self._decoded:
            new, old = _without_spec(self.data), _without_spec(self.request.old_object or {})
            recheck(without_nulls(new), type_, left_out=("spec",))
            self._decoded[key] = read(new, type_), read(old, type_)
        return cast("tuple[R, R]", self._decoded[key])

    def _object(self, which: str, data: dict[str, Any], type_: type[R]) -> R:
        key = (which, type_)
        if key not in self._decoded:
            self._decoded[key] = decode(data, type_)
        return cast("R", self._decoded[key])

    def with_metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """The new object's JSON with some members of its metadata replaced."""
        return {**self.data, "metadata": {**(self.data.get("metadata") or {}), **metadata}}


def _without_spec(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "spec"}
