"""Where images really come from: mirrors, blocked and insecure registries, in the format of containers tools.

Source: containers-registries.conf(5), version 2.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from kvtui.errors import Permanent
from kvtui.importer.reference import Reference


class BadRegistriesConf(Permanent):
    """The file cannot be used."""


@dataclass(frozen=True, slots=True)
class Location:
    """One place to try."""

    reference: Reference
    insecure: bool


@dataclass(frozen=True, slots=True)
class _Mirror:
    location: str
    insecure: bool
    pull_from: str


@dataclass(frozen=True, slots=True)
class _Registry:
    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[_Mirror, ...]
    by_digest_only: bool


@dataclass(frozen=True, slots=True)
class RegistriesConf:
    """A parsed file; empty when there is none."""

    registries: tuple[_Registry, ...] = ()
    insecure: frozenset[str] = field(default_factory=frozenset)
    """host[:port] of further registries whose certificate is not verified (CDIConfig insecureRegistries)."""

    def locations(self, reference: Reference) -> list[Location]:
        """Mirrors first, then the image's own place. Raises BadRegistriesConf when the registry is blocked."""
        name = reference.name
        matching = [r for r in self.registries if _matches(r.prefix, name)]
        if not matching:
            return [Location(reference, reference.host in self.insecure)]
        registry = max(matching, key=lambda r: len(r.prefix))
        if registry.blocked:
            raise BadRegistriesConf(f"registry {registry.prefix} is blocked in registries.conf")
        rest = "" if registry.prefix.startswith("*.") else name[len(registry.prefix) :]
        found = [
            Location(reference.at(mirror.location + rest), mirror.insecure)
            for mirror in registry.mirrors
            if not (registry.by_digest_only or mirror.pull_from == "digest-only") or reference.digest
        ]
        own = reference.at(registry.location + rest) if registry.location else reference
        return [*found, Location(own, registry.insecure or own.host in self.insecure)]


MACHINE = Path("/etc/containers/registries.conf")
"""Used where an engine has no file of its own."""


def load(path: Path | None, insecure: frozenset[str] = frozenset()) -> RegistriesConf:
    """Reads a file, or the machine's when it is missing; None is an empty one. Raises BadRegistriesConf.

    Read at each use, so that a file that is written while an engine runs counts at once.
    """
    if path is not None and not path.exists():
        path = MACHINE
    if path is None or not path.exists():
        return RegistriesConf(insecure=insecure)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        registries = tuple(_registry(table) for table in document.get("registry", []))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, AttributeError, KeyError) as error:
        raise BadRegistriesConf(f"{path} cannot be used: {error}") from error
    return RegistriesConf(registries, insecure)


def _registry(table: dict[str, object]) -> _Registry:
    location = str(table.get("location", ""))
    prefix = str(table.get("prefix", "") or location)
    if not prefix:
        raise KeyError("a [[registry]] needs a prefix or a location")
    listed = table.get("mirror", [])
    mirrors = tuple(
        _Mirror(str(m["location"]), bool(m.get("insecure", False)), str(m.get("pull-from-mirror", "all")))
        for m in (listed if isinstance(listed, list) else [])
    )
    return _Registry(
        prefix=prefix,
        location=location if not prefix.startswith("*.") else "",
        insecure=bool(table.get("insecure", False)),
        blocked=bool(table.get("blocked", False)),
        mirrors=mirrors,
        by_digest_only=bool(table.get("mirror-by-digest-only", False)),
    )


def _matches(prefix: str, name: str) -> bool:
    if prefix.startswith("*."):
        host = name.partition("/")[0].partition(":")[0]
        return host.endswith(prefix[1:])
    return name == prefix or (name.startswith(prefix) and name[len(prefix)] in "/:@")
