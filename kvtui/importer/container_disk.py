"""containerDisks: files out of container images, kept once per content in a cache that agents share nothing of.

A file is only visible in the cache when it is whole: it is written under a temporary name and renamed.

Source: kubevirt cmd/container-disk-v2alpha (the file under /disk, or the given path).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from kvtui.importer import qemu_img
from kvtui.importer.disk_layer import Extractor, in_disk_directory
from kvtui.importer.errors import ImportFailed, TooSmall
from kvtui.importer.formats import HEADER, Format, format_of
from kvtui.importer.reference import Reference, parse
from kvtui.importer.registries_conf import RegistriesConf
from kvtui.importer.registry import Account, Image, Registry


class CachedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an image, on this node."""

    path: str
    """Where it is."""
    name: str
    """Its path in the image."""
    digest: str
    """Of the image's manifest."""
    format: str
    """raw or qcow2; "" for files that are no disks."""
    virtual_size: int


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What a volume asks for."""

    image: str
    path: str = ""
    """Path in the image; empty: the one file under /disk."""
    always: bool = True
    """imagePullPolicy Always: ask the registry even when a copy is here."""
    account: Account | None = None
    is_disk: bool = True


class ContainerDiskCache:
    """Files of images under one directory. Pulls of the same file wait for each other."""

    def __init__(
        self, directory: Path, conf: RegistriesConf, architecture: str, *, max_bytes: int = 64 * 2**30
    ) -> None:
        self._directory = directory
        self._conf = conf
        self._architecture = architecture
        self._max_bytes = max_bytes
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, request: PullRequest) -> CachedFile:
        """The file, pulled when needed. Raises PullFailed, ImportFailed, BadReference, BadRegistriesConf."""
        reference = parse(request.image)
        alias = self._directory / "names" / _hash(f"{reference} {request.path}")
        async with self._locks.setdefault(str(reference), asyncio.Lock()):
            if not request.always and (known := await asyncio.to_thread(self._load, alias)) is not None:
                return known
            async with aiohttp.ClientSession(auto_decompress=False) as session:
                registry = Registry(session, self._conf, account=request.account)
                image = await registry.resolve(reference, self._architecture)
                entry = self._directory / "content" / _hash(f"{image.digest} {request.path}")
                found = await asyncio.to_thread(self._load, entry / "meta.json")
                if found is None:
                    found = await self._pull(registry, image, request, reference, entry)
            await asyncio.to_thread(_write_atomically, alias, msgspec.json.encode(found))
            return found

    def forget_unused(self, used: set[str]) -> int:
        """Removes content of which no path is in `used`; returns the bytes freed."""
        freed = 0
        content = self._directory / "content"
        for entry in content.iterdir() if content.exists() else ():
            file = entry / "disk"
            if str(file) in used:
                continue
            freed += file.stat().st_size if file.exists() else 0
            shutil.rmtree(entry, ignore_errors=True)
        return freed

    async def _pull(
        self, registry: Registry, image: Image, request: PullRequest, reference: Reference, entry: Path
    ) -> CachedFile:
        wanted = in_disk_directory
        if request.path:
            exact = "/".join(part for part in request.path.split("/") if part not in ("", "."))

            def wanted(name: str) -> bool:
                return name == exact

        part = entry.with_suffix(".part")
        await asyncio.to_thread(_fresh, part)
        try:
            for layer in reversed(image.layers):
                with (part / "disk").open("wb") as file:
                    left = self._max_bytes

                    def sink(piece: bytes, file=file) -> None:  # type: ignore[no-untyped-def]
                        nonlocal left
                        left -= len(piece)
                        if left < 0:
                            raise TooSmall(f"the disk of {reference} is larger than {self._max_bytes} bytes")
                        file.write(piece)

                    extractor = Extractor(wanted, sink)
                    async with registry.blob(image, layer) as chunks:
                        if await extractor.run(chunks):
                            await asyncio.to_thread(_sync, file.fileno(), file.flush)
                            break
            else:
                where = request.path or "/disk"
                raise ImportFailed(f"Failed to find VM disk image file in the container image: nothing at {where}")
            found = await self._describe(part / "disk", image, extractor.found, request, entry)
            await asyncio.to_thread(_write_atomically, part / "meta.json", msgspec.json.encode(found))
            await asyncio.to_thread(_publish, part, entry)
        finally:
            await asyncio.to_thread(shutil.rmtree, part, True)
        return found

    async def _describe(self, file: Path, image: Image, name: str, request: PullRequest, entry: Path) -> CachedFile:
        path = str(entry / "disk")
        if not request.is_disk:
            return CachedFile(path=path, name=name, digest=image.digest, format="", virtual_size=0)
        header = await asyncio.to_thread(_header, file)
        format_ = format_of(header)
        if format_ not in (Format.RAW, Format.QCOW2):
            raise ImportFailed(f"a containerDisk must be raw or qcow2, this one is {format_.value}")
        size = (await qemu_img.info(file, format_)).virtual_size
        return CachedFile(path=path, name=name, digest=image.digest, format=format_.value, virtual_size=size)

    def _load(self, path: Path) -> CachedFile | None:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=CachedFile)
        except (OSError, msgspec.MsgspecError):
            return None
        return found if Path(found.path).exists() else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER)


def _fresh(part: Path) -> None:
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o755)


def _sync(descriptor: int, flush) -> None:  # type: ignore[no-untyped-def]
    flush()
    os.fchmod(descriptor, 0o644)
    os.fsync(descriptor)


def _publish(part: Path, entry: Path) -> None:
    shutil.rmtree(entry, ignore_errors=True)
    part.rename(entry)


def _write_atomically(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
