"""URL paths: what a request is about. Works on the raw path and decodes each segment exactly once.

Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from kvtui.apiserver import options, status
from kvtui.apiserver.auth.rbac import Attributes

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_OF_NAMESPACES = ("status", "finalize")
_MAX_SEGMENTS = 16
_LONG_NAMED = "subresources.kubevirt.io"
"""The group whose subresources may have two words, such as vnc/screenshot or evacuate/cancel."""
_WITH_ARGUMENTS = ("portforward",)
"""Its subresources that are followed by arguments instead: a port, a protocol."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `resource` is empty for paths that are not resources."""

    path: str
    """Decoded, without trailing slash."""
    segments: tuple[str, ...]
    verb: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: tuple[str, ...] = ()
    """What follows the subresource."""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)

    @property
    def full_subresource(self) -> str:
        """As roles name it: every word that is not an argument."""
        if self.group != _LONG_NAMED or self.subresource in _WITH_ARGUMENTS:
            return self.subresource
        return "/".join((self.subresource, *self.rest))

    def attributes(self, labels: str = "") -> Attributes:
        """For the authorizer; `labels` is the selector of a list or watch."""
        if not self.resource:
            return Attributes(verb=self.verb, path=self.path)
        return Attributes(
            verb=self.verb,
            group=self.group,
            version=self.version,
            resource=self.resource,
            subresource=self.full_subresource,
            # A namespace counts as being inside itself: a Role there may allow to read it.
            namespace=self.name if self.resource == "namespaces" and not self.group else self.namespace,
            name=self.name,
            labels=labels,
        )


def split(raw: str) -> tuple[str, ...]:
    """Decoded path segments. Raises Failure 400, 404 for segments that nothing can be called."""
    if _BAD_ESCAPE.search(raw):
        raise status.bad_request("the path has a broken percent escape")
    parts = raw.strip("/").split("/") if raw.strip("/") else []
    if len(parts) > _MAX_SEGMENTS:
        raise status.no_such_path()
    segments: list[str] = []
    for part in parts:
        try:
            text = unquote(part, errors="strict")
        except UnicodeDecodeError as error:
            raise status.bad_request("the path is not UTF-8") from error
        if text in ("", ".", "..") or "/" in text or "%" in text or "\0" in text:
            raise status.no_such_path()
        segments.append(text)
    return tuple(segments)


def route(method: str, raw_path: str, query: Mapping[str, str]) -> Target:
    """Raises Failure 400, 404, 405."""
    segments = split(raw_path)
    path = "/" + "/".join(segments)
    if segments[:1] == ("api",) and len(segments) > 2:
        group, version, rest = "", segments[1], segments[2:]
    elif segments[:1] == ("apis",) and len(segments) > 3:
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return Target(path, segments, method.lower())
    verb = _VERBS.get(method)
    if verb is None:
        raise status.Failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    if rest[0] == "watch" and len(rest) > 1:
        verb, rest = "watch", rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and (len(rest) > 3 or (len(rest) == 3 and rest[2] not in _OF_NAMESPACES)):
        namespace, rest = rest[1], rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if not name and verb == "get":
        verb = "watch" if options.is_true(query, "watch") else "list"
    elif not name and verb == "delete":
        verb = "deletecollection"
    if verb == "list" or verb == "watch":
        name = name or _name_in(query.get("fieldSelector", ""))
    return Target(path, segments, verb, group, version, namespace, resource, name, subresource, tuple(rest[3:]))


def _name_in(field_selector: str) -> str:
    """A list of one name may be allowed by a rule for that name."""
    for term in field_selector.split(","):
        key, _, value = term.partition("=")
        if key == "metadata.name" and value:
            return value.removeprefix("=")
    return ""
