"""Image references: [docker://]host[:port]/repository[:tag][@digest].

Source: https://github.com/distribution/reference (grammar).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from kvtui.errors import Permanent

_DIGEST = re.compile(r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")
_TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
_PATH = re.compile(r"^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$")
_HOST = re.compile(
    r"^(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*(?::\d{1,5})?$|^\[[0-9a-fA-F:]+\](?::\d{1,5})?$"
)
_DEFAULT_HOST = "docker.io"


class BadReference(Permanent):
    """Not the name of an image."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One image."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        return f"{self.host}/{self.path}"

    @property
    def version(self) -> str:
        """What to ask the registry for."""
        return self.digest or self.tag

    def at(self, name: str) -> Reference:
        """The same version under another name."""
        host, _, path = name.partition("/")
        return replace(self, host=host, path=path)

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Raises BadReference."""
    rest = text.removeprefix("docker://")
    rest, _, digest = rest.partition("@")
    if digest and not _DIGEST.match(digest):
        raise BadReference(f"{text!r} has an invalid digest")
    head, slash, tail = rest.rpartition("/")
    tail, _, tag = tail.partition(":")
    name = head + slash + tail
    if tag and not _TAG.match(tag):
        raise BadReference(f"{text!r} has an invalid tag")
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = _DEFAULT_HOST, name if slash else f"library/{name}"
    if len(name) > 255 or not _HOST.match(host) or not _PATH.match(path):
        raise BadReference(f"{text!r} is not the name of an image")
    return Reference(host, path, tag or ("" if digest else "latest"), digest)
