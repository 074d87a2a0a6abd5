"""What the stored objects and roles answer to parts that run inside of the server, such as admission.

The server is made before its store is open, so that what it is made with can ask; it opens the lookups when it starts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kvtui.api.admission import UserInfo
from kvtui.apiserver.auth.rbac import Attributes, Authorizer
from kvtui.apiserver.record import Record
from kvtui.apiserver.store import Store
from kvtui.errors import Transient

Object = Mapping[str, Any]
REMEMBERED = 2048
"""Decoded objects that are kept."""


class Right(Protocol):
    """A verb on a resource, for somebody."""

    @property
    def user(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def verb(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def resource(self) -> str: ...
    @property
    def subresource(self) -> str: ...
    @property
    def namespace(self) -> str: ...


class Lookups:
    """Committed objects in their stored version, shared: never to be changed. Raises Transient before the start."""

    def __init__(self) -> None:
        self._opened: tuple[Store, Authorizer] | None = None
        self._decoded: OrderedDict[int, tuple[Record, Object]] = OrderedDict()

    def open(self, store: Store, authorizer: Authorizer) -> None:
        self._opened = store, authorizer
        self._decoded.clear()

    async def get(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        record = self._store().bucket(_bucket(group, plural)).get((namespace, name))
        return None if record is None else self._decode(record)

    async def list(self, group: str, plural: str, namespace: str) -> Sequence[Object]:
        """Of all namespaces when that is empty."""
        return [self._decode(r) for r in self._store().bucket(_bucket(group, plural)).scan(namespace or None)]

    async def may(self, right: Right) -> bool:
        """Whether a user has a right, as a SubjectAccessReview tells."""
        wanted = Attributes(
            verb=right.verb,
            group=right.group,
            resource=right.resource,
            subresource=right.subresource,
            namespace=right.namespace,
        )
        return self._parts()[1].allows(UserInfo(right.user, groups=right.groups), wanted)

    def _store(self) -> Store:
        return self._parts()[0]

    def _parts(self) -> tuple[Store, Authorizer]:
        if self._opened is None:
            raise Transient("the API server has not started yet")
        return self._opened

    def _decode(self, record: Record) -> Object:
        # A revision is one record; the record kept beside it shows that the number was not used again.
        known = self._decoded.get(record.rv)
        if known is not None and known[0] is record:
            return known[1]
        decoded = record.decode()
        self._decoded[record.rv] = record, decoded
        if len(self._decoded) > REMEMBERED:
            self._decoded.popitem(last=False)
        return decoded


def _bucket(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural
