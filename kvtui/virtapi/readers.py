"""Where admission's lookups are answered: raw objects of the server itself, or any API server through the client."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from kvtui.api.registry import kind_of
from kvtui.api.wire import from_wire, to_json
from kvtui.errors import InvalidObject, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kvtui.api.meta import Resource
    from kvtui.client.rest import Client
    from kvtui.virtapi.admission.view import Right

R = TypeVar("R", bound="Resource")

REMEMBERED = 4096
"""Decoded objects kept by a RawReader."""


class RawObjects(Protocol):
    """Stored objects as JSON values; never mutated by the reader."""

    async def get(self, group: str, plural: str, namespace: str, name: str) -> Mapping[str, Any] | None: ...

    async def list(self, group: str, plural: str, namespace: str) -> Sequence[Mapping[str, Any]]:
        """Of all namespaces when that is empty."""

    async def may(self, right: Right) -> bool:
        """Whether a user has a right, as a SubjectAccessReview tells."""


def plural_of(kind: str) -> str:
    """The resource of a kind without a class; regular plurals only."""
    low = kind.lower()
    return low[:-1] + "ies" if low.endswith("y") else low + ("es" if low.endswith("s") else "s")


def group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


class RawReader:
    """Typed lookups over raw objects. Each stored revision is decoded once."""

    def __init__(self, objects: RawObjects) -> None:
        self._objects = objects
        self._typed: OrderedDict[tuple[type[Any], str, str], Any] = OrderedDict()

    async def find(self, type_: type[R], namespace: str, name: str) -> R | None:
        kind = kind_of(type_)
        found = await self._objects.get(kind.group, kind.plural, namespace if kind.namespaced else "", name)
        return None if found is None else self._decode(found, type_)

    async def all(self, type_: type[R], namespace: str) -> Sequence[R]:
        kind = kind_of(type_)
        found = await self._objects.list(kind.group, kind.plural, namespace if kind.namespaced else "")
        return [self._decode(item, type_) for item in found]

    async def find_other(self, api_version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return await self._objects.get(group_of(api_version), plural_of(kind), namespace, name)

    async def may(self, right: Right) -> bool:
        return await self._objects.may(right)

    def _decode(self, data: Mapping[str, Any], type_: type[R]) -> R:
        metadata = data.get("metadata") or {}
        uid, version = metadata.get("uid") or "", metadata.get("resourceVersion") or ""
        key = (type_, uid, version)
        known = self._typed.get(key) if uid and version else None
        if known is None:
            known = from_wire(data, type_)
            if uid and version:
                self._typed[key] = known
                if len(self._typed) > REMEMBERED:
                    self._typed.popitem(last=False)
        return cast("R", known)


class ClientReader:
    """Lookups through a client, for admission served to another API server. Reads are not cached."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, type_: type[R], namespace: str, name: str) -> R | None:
        return await self._client.find(type_, (namespace if kind_of(type_).namespaced else "", name))

    async def all(self, type_: type[R], namespace: str) -> Sequence[R]:
        return (await self._client.list(type_, namespace)).items

    async def find_other(self, api_version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        try:
            answer = (await self._client.raw("GET", f"{root}{scope}/{plural_of(kind)}/{name}")).json()
        except NotFound:
            return None
        if not isinstance(answer, dict):
            raise InvalidObject(f"{kind} {name} is no object")
        return answer

    async def may(self, right: Right) -> bool:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": right.user,
                "groups": list(right.groups),
                "resourceAttributes": {
                    "verb": right.verb,
                    "group": right.group,
                    "resource": right.resource,
                    "subresource": right.subresource,
                    "namespace": right.namespace,
                },
            },
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        answer = (await self._client.raw("POST", path, body=to_json(review))).json()
        return bool((answer.get("status") or {}).get("allowed"))
