"""Discovery: which groups, versions and resources are served, in the legacy and the aggregated form.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from kvtui.apiserver import status
from kvtui.apiserver.extension import Extension
from kvtui.apiserver.http import BASE_HEADERS, Call
from kvtui.apiserver.negotiation import clauses
from kvtui.apiserver.resources import GroupVersion, ResourceInfo, Resources, Subresource

Object = dict[str, Any]
VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.4+kvtui",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.23.8",
    "compiler": "gc",
    "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
}
_AGGREGATED = "APIGroupDiscoveryList"
_VERSIONS = ("v2", "v2beta1")


@dataclass(frozen=True, slots=True)
class _Document:
    body: bytes
    content_type: str
    etag: str


class Discovery:
    """Documents, made anew when the registry changes."""

    def __init__(self, resources: Resources, extensions: Sequence[Extension]) -> None:
        self._resources = resources
        self._extensions = extensions
        self._documents: dict[tuple[str, str], _Document] = {}
        self._generation = -1

    def answer(self, call: Call) -> web.Response | None:
        """The document for a path, or None when the path is none of discovery."""
        segments = call.target.segments
        form = _form(call.request.headers.get("Accept", "")) if segments in (("api",), ("apis",)) else ""
        document = self._document(segments, form)
        if document is None:
            return None
        headers = {
            **BASE_HEADERS,
            "Cache-Control": "public",
            "ETag": document.etag,
            "Vary": "Accept",
            "Content-Type": document.content_type,
        }
        if call.request.headers.get("If-None-Match", "") == document.etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=document.body, headers=headers)

    def _document(self, segments: tuple[str, ...], form: str) -> _Document | None:
        if self._generation != self._resources.generation:
            self._documents.clear()
            self._generation = self._resources.generation
        key = ("/".join(segments), form)
        document = self._documents.get(key)
        if document is None:
            content = self._content(segments, form)
            if content is None:
                return None
            body = msgspec.json.encode(content)
            kind = "application/json"
            if form:
                kind = f"application/json;g=apidiscovery.k8s.io;v={form};as={_AGGREGATED}"
            etag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
            document = self._documents[key] = _Document(body, kind, etag)
        return document

    def _content(self, segments: tuple[str, ...], form: str) -> Object | None:
        match segments:
            case ("api",) if form:
                return self._aggregated(form, [""])
            case ("apis",) if form:
                return self._aggregated(form, self._group_names())
            case ("api",):
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
            case ("apis",):
                groups = [self._group(g) for g in self._group_names()]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ("apis", group) if group in self._group_names():
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group, own=True)}
            case ("api", version):
                return self._resource_list("", version)
            case ("apis", group, version):
                return self._resource_list(group, version)
        return None

    def _group_names(self) -> list[str]:
        names = [g for g in self._resources.groups() if g]
        return list(dict.fromkeys([*names, *(gv.group for e in self._extensions for gv in e.group_versions)]))

    def _group(self, group: str, *, own: bool = False) -> Object:
        versions = [v.version for v in self._resources.groups().get(group, ())]
        name = group
        for extension in self._extensions:
            for served in extension.group_versions:
                if served.group == group:
                    versions.append(served.version)
                    name = served.group_name or group if own else group
        listed = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions]
        return {"name": name, "versions": listed, "preferredVersion": listed[0]}

    def _resource_list(self, group: str, version: str) -> Object | None:
        for extension in self._extensions:
            for served in extension.group_versions:
                if (served.group, served.version) == (group, version):
                    return _list(f"{group}/{version}", [dict(r) for r in served.resources])
        found = self._find(group, version)
        if found is None:
            return None
        entries: list[Object] = []
        for info in found.resources.values():
            entries.append(_entry(info))
            entries += [_sub_entry(info, sub) for sub in info.subresources]
        return _list(f"{group}/{version}" if group else version, entries)

    def _find(self, group: str, version: str) -> GroupVersion | None:
        return next((v for v in self._resources.groups().get(group, ()) if v.version == version), None)

    def _aggregated(self, form: str, groups: list[str]) -> Object:
        items = []
        for group in groups:
            versions = [self._aggregated_version(v) for v in self._resources.groups().get(group, ())]
            for extension in self._extensions:
                versions += [
                    _aggregated_extension(v.version, v.group, v.resources)
                    for v in extension.group_versions
                    if v.group == group
                ]
            meta: Object = {"creationTimestamp": None}
            if group:
                meta["name"] = group
            items.append({"metadata": meta, "versions": versions})
        return {"kind": _AGGREGATED, "apiVersion": f"apidiscovery.k8s.io/{form}", "metadata": {}, "items": items}

    def _aggregated_version(self, served: GroupVersion) -> Object:
        resources = [_aggregated_resource(info) for info in served.resources.values()]
        return {"version": served.version, "resources": resources, "freshness": "Current"}


def _form(accept: str) -> str:
    """The version of aggregated discovery that a client prefers, or nothing."""
    for clause in clauses(accept):
        if clause.type != "application/json":
            continue
        if not clause.get("as"):
            return ""
        if (
            clause.get("as") == _AGGREGATED
            and clause.get("g") == "apidiscovery.k8s.io"
            and clause.get("v") in _VERSIONS
        ):
            return clause.get("v")
    return ""


def _list(group_version: str, entries: list[Object]) -> Object:
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}


def _entry(info: ResourceInfo) -> Object:
    entry: Object = {
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if "list" in info.verbs:
        digest = hashlib.sha256(info.bucket.encode()).digest()[:8]
        entry["storageVersionHash"] = msgspec.json.encode(digest).decode().strip('"')
    return entry


def _sub_entry(info: ResourceInfo, sub: Subresource) -> Object:
    entry: Object = {
        "name": f"{info.plural}/{sub.name}",
        "singularName": "",
        "namespaced": info.namespaced,
        "kind": sub.kind or info.kind,
        "verbs": list(sub.verbs),
    }
    if sub.version:
        entry["group"] = sub.group
        entry["version"] = sub.version
    return entry


def _kind(info: ResourceInfo, sub: Subresource | None = None) -> Mapping[str, str]:
    if sub is not None and sub.version:
        return {"group": sub.group, "version": sub.version, "kind": sub.kind}
    return {"group": info.group, "version": info.version, "kind": (sub.kind if sub else "") or info.kind}


def _aggregated_resource(info: ResourceInfo) -> Object:
    entry: Object = {
        "resource": info.plural,
        "responseKind": _kind(info),
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if info.subresources:
        entry["subresources"] = [
            {"subresource": s.name, "responseKind": _kind(info, s), "verbs": list(s.verbs)} for s in info.subresources
        ]
    return entry


def _aggregated_extension(version: str, group: str, entries: Sequence[Mapping[str, Any]]) -> Object:
    """Resources of an extension. Those without a kind are not listed: clients would drop them."""
    resources: dict[str, Object] = {}
    for entry in entries:
        name, _, sub = str(entry["name"]).partition("/")
        if not entry.get("kind"):
            continue
        kind = {"group": group, "version": version, "kind": entry["kind"]}
        scope = "Namespaced" if entry.get("namespaced") else "Cluster"
        resource = resources.setdefault(
            name, {"resource": name, "responseKind": kind, "scope": scope, "singularResource": "", "verbs": []}
        )
        if sub:
            resource.setdefault("subresources", []).append(
                {"subresource": sub, "responseKind": kind, "verbs": list(entry.get("verbs") or ())}
            )
        else:
            resource["verbs"] = list(entry.get("verbs") or ())
    return {"version": version, "resources": list(resources.values()), "freshness": "Current"}


def version(call: Call) -> web.Response:
    """GET /version."""
    if call.method not in ("GET", "HEAD"):
        raise status.Failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return web.Response(body=msgspec.json.encode(VERSION), headers={**BASE_HEADERS, "Content-Type": "application/json"})
