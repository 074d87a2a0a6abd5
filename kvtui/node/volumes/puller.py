"""The registry client of the importer as the image cache wants it."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
import platform
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import aiohttp

from kvtui.errors import InvalidObject
from kvtui.importer.disk_layer import Extractor, in_disk_directory
from kvtui.importer.reference import Reference, parse
from kvtui.importer.registries_conf import RegistriesConf, load
from kvtui.importer.registry import Account, Image, Registry
from kvtui.node.capabilities import GO_ARCH
from kvtui.node.volumes.images import Wanted

MAX_FILE = 64 * 2**30
"""Bytes of one file of an image."""
_HUB, _HUB_ALIASES = "docker.io", ("index.docker.io", "registry-1.docker.io")
_NOT_DOCKER = "the image pull secret is not a docker configuration"


class RegistryPuller:
    """Pulls from registries, their mirrors as registries.conf names them."""

    def __init__(self, registries_conf: Path | None = None, ca_bundle: str = "") -> None:
        self._conf_path = registries_conf
        self._ca_bundle = ca_bundle
        self._architecture = GO_ARCH.get(platform.machine(), "amd64")

    async def digest(self, image: str, credentials: bytes | None) -> str:
        reference = parse(image)
        async with aiohttp.ClientSession() as session:
            return (await self._resolve(session, reference, credentials))[1].digest

    async def files(self, image: str, digest: str, wanted: Wanted, into: Path, credentials: bytes | None) -> list[Path]:
        reference = parse(image)
        pinned = Reference(reference.host, reference.path, digest=digest)
        found: dict[str, Path] = {}
        async with aiohttp.ClientSession() as session:
            registry, resolved = await self._resolve(session, pinned, credentials)
            for layer in reversed(resolved.layers):
                for want in self._wanted(wanted, found):
                    sink = _Sink(into, len(found))
                    extractor = Extractor(want, sink.write, every=not wanted.paths)
                    try:
                        async with registry.blob(resolved, layer) as chunks:
                            taken = await extractor.run(chunks)
                    finally:
                        sink.close()
                    if extractor.further:
                        raise InvalidObject(
                            f"more than one file found in folder {wanted.directory}, only one disk is allowed"
                        )
                    if taken:
                        name = PurePosixPath(extractor.found).name
                        target = into / f"{len(found)}-{name}" if (into / name).exists() else into / name
                        sink.path.rename(target)
                        found[extractor.found] = target
        if wanted.paths:
            missing = [p for p in wanted.paths if p.strip("/") not in found]
            if missing:
                raise InvalidObject(f"the image has no file {missing[0]}")
            return [found[p.strip("/")] for p in wanted.paths]
        return list(found.values())

    def _wanted(self, wanted: Wanted, found: dict[str, Path]) -> list[Callable[[str], bool]]:
        """One predicate per file that is still to be found in a layer."""
        if not wanted.paths:
            return [] if found else [in_disk_directory]
        left = [p.strip("/") for p in wanted.paths if p.strip("/") not in found]
        return [lambda name, path=path: name == path for path in left]  # type: ignore[misc]

    async def _resolve(
        self, session: aiohttp.ClientSession, reference: Reference, credentials: bytes | None
    ) -> tuple[Registry, Image]:
        conf: RegistriesConf = load(self._conf_path)
        account = account_for(credentials, reference.name)
        registry = Registry(session, conf, account=account, ca_bundle=self._ca_bundle)
        return registry, await registry.resolve(reference, self._architecture)


class _Sink:
    def __init__(self, directory: Path, number: int) -> None:
        self.path = directory / f".part{number}"
        self._file: BinaryIO | None = None
        self._written = 0

    def write(self, piece: bytes) -> None:
        if self._file is None:
            self._file = self.path.open("wb")
        self._written += len(piece)
        if self._written > MAX_FILE:
            raise InvalidObject(f"a file of the image is larger than {MAX_FILE} bytes")
        self._file.write(piece)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def account_for(config: bytes | None, image: str) -> Account | None:
    """The account for an image, host[:port]/path, in a docker configuration file: that of the closest name.

    Names are registries, maybe with the beginning of a path, and "*" stands for any part of a label of a host's name.

    Source: https://kubernetes.io/docs/concepts/containers/images/#config-json
    """
    if not config:
        return None
    try:
        document: dict[str, Any] = json.loads(config)
        table: dict[str, Any] = document.get("auths") or document
        entries = {name: entry for name, entry in table.items() if isinstance(entry, dict) and _names(name, image)}
    except (ValueError, AttributeError) as error:
        raise InvalidObject(_NOT_DOCKER) from error
    name = max(entries, key=lambda name: len(_plain(name)), default=None)
    if name is None:
        return None
    entry = entries[name]
    if auth := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidObject(_NOT_DOCKER) from error
        return Account(user, password)
    return Account(str(entry.get("username", "")), str(entry.get("password", "")))


def _plain(name: str) -> str:
    """Without what clients write around a registry: a scheme, the version of its protocol."""
    name = name.rpartition("://")[2].rstrip("/")
    for version in ("/v1", "/v2"):
        name = name.removesuffix(version)
    host, slash, path = name.partition("/")
    return f"{_HUB if host in _HUB_ALIASES else host}{slash}{path}"


def _names(name: str, image: str) -> bool:
    host, _, path = _plain(name).partition("/")
    actual, _, rest = image.partition("/")
    ours, theirs = host.split("."), actual.split(".")
    if len(ours) != len(theirs) or not all(map(fnmatch.fnmatchcase, theirs, ours)):
        return False
    return not path or rest == path or rest.startswith(f"{path}/")
