"""Which kinds a server has, and which one a word of the user means.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from kvtui.client.rest import Client
from kvtui.errors import NotFound, Usage

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """One resource of the server."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def printed(self) -> str:
        """As kubectl prints it before a name: virtualmachine.kubevirt.io."""
        return f"{self.singular or self.kind.lower()}{'.' + self.group if self.group else ''}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{tail}"


class Discovery:
    """The resources of one server, read once."""

    def __init__(self, resources: list[ResourceInfo]) -> None:
        self.resources = resources

    @classmethod
    async def load(cls, client: Client) -> Discovery:
        found: list[ResourceInfo] = []
        for root in ("/api", "/apis"):
            answer = await client.raw("GET", root, accept=f"{_AGGREGATED},application/json")
            found += _parse(msgspec.json.decode(answer.body))
        return cls(found)

    def find(self, word: str) -> ResourceInfo:
        """By plural, singular, kind or short name, with or without `.group`. Raises Usage."""
        name, _, group = word.lower().partition(".")
        for resource in self.resources:
            known = (resource.plural, resource.singular, resource.kind.lower(), *resource.short_names)
            if name in known and (not group or resource.group.startswith(group) or group == resource.version):
                return resource
        raise Usage(f'the server doesn\'t have a resource type "{word}"')

    def of_kind(self, api_version: str, kind: str) -> ResourceInfo:
        """Raises NotFound with kubectl's words."""
        for resource in self.resources:
            if resource.kind == kind and resource.group_version == api_version:
                return resource
        raise NotFound(f'no matches for kind "{kind}" in version "{api_version}"', code=404, reason="NotFound")


def _parse(document: dict[str, object]) -> list[ResourceInfo]:
    found = []
    items = document.get("items")
    for group in items if isinstance(items, list) else []:
        for version in group.get("versions") or []:
            for resource in version.get("resources") or []:
                kind = resource.get("responseKind") or {}
                found.append(
                    ResourceInfo(
                        group=(group.get("metadata") or {}).get("name", ""),
                        version=version["version"],
                        plural=resource["resource"],
                        singular=resource.get("singularResource", ""),
                        kind=kind.get("kind", ""),
                        namespaced=resource.get("scope") == "Namespaced",
                        short_names=tuple(resource.get("shortNames") or ()),
                        verbs=tuple(resource.get("verbs") or ()),
                        subresources=tuple(s["subresource"] for s in resource.get("subresources") or []),
                    )
                )
    return found
