"""containerDisk images: pulled by digest into a cache that all VMs of the node share.

An image is one directory named after its digest and the files that were asked for. It appears by rename when it is
complete and checked, is world-readable and is never written again, so several domains may use it as backing file.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from kvtui.api.wire import Wire, from_json, to_json
from kvtui.errors import InvalidObject, KvtuiError, Permanent
from kvtui.node.volumes import qemuimg

log = structlog.get_logger()

ALWAYS, IF_NOT_PRESENT, NEVER = "Always", "IfNotPresent", "Never"


class ImageMissing(Permanent):
    """The policy forbids pulling and the image is not here."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files of an image: one directory's only file, or named files."""

    directory: str = "/disk"
    paths: tuple[str, ...] = ()


class ImagePuller(Protocol):
    """A client of OCI registries. Errors are ours: Transient ones are tried again, NotFound and Forbidden are told."""

    async def digest(self, image: str, credentials: bytes | None) -> str:
        """The digest that a reference names now; `credentials` is a docker configuration file."""

    async def files(self, image: str, digest: str, wanted: Wanted, into: Path, credentials: bytes | None) -> list[Path]:
        """Writes the wanted regular files below `into`, following no link out of the image; returns them."""


class _Meta(Wire, frozen=True):
    image: str = ""
    digest: str = ""
    files: list[str] = []
    format: str = ""
    virtual_size: int = 0


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An image of the cache."""

    digest: str
    files: tuple[Path, ...]
    format: str
    """Of the first file: raw or qcow2; empty for kernels."""
    virtual_size: int


def default_policy(image: str) -> str:
    """As in Kubernetes: a moving tag is looked up each time."""
    name = image.rpartition("/")[2]
    if "@" in name:
        return IF_NOT_PRESENT
    return ALWAYS if ":" not in name or name.endswith(":latest") else IF_NOT_PRESENT


class ImageCache:
    """The images of a node."""

    def __init__(self, directory: Path, puller: ImagePuller, *, limit: int) -> None:
        self.directory = directory
        self._puller = puller
        self._limit = limit
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(
        self,
        image: str,
        wanted: Wanted,
        *,
        policy: str = "",
        credentials: bytes | None = None,
        digest: str = "",
        disk: bool = True,
    ) -> CachedImage:
        """The image, pulled if need be. `digest` pins it, as a migration target must; `disk` checks that it is one.

        Raises ImageMissing, InvalidObject, and what the registry client raises.
        """
        policy = policy or default_policy(image)
        async with self._locks.setdefault(image, asyncio.Lock()):
            if not digest and policy != ALWAYS:
                digest = self._known(image)
            if not digest:
                if policy == NEVER:
                    raise ImageMissing(f"{image} is not on this node and its pull policy is Never")
                digest = await self._puller.digest(image, credentials)
            target = self.directory / _name(digest, wanted)
            cached = self._read(target)
            if cached is None:
                if policy == NEVER:
                    raise ImageMissing(f"{image} is not on this node and its pull policy is Never")
                cached = await self._pull(image, digest, wanted, target, credentials, disk)
            self._remember(image, digest)
            os.utime(target)
            return cached

    async def _pull(
        self, image: str, digest: str, wanted: Wanted, target: Path, credentials: bytes | None, disk: bool
    ) -> CachedImage:
        staging = target.with_name(f".{target.name}.new")
        await asyncio.to_thread(shutil.rmtree, staging, True)
        staging.mkdir(mode=0o755, parents=True)
        staging.chmod(0o755)
        try:
            files = await self._puller.files(image, digest, wanted, staging, credentials)
            if disk and not wanted.paths:
                _only_one(files, wanted.directory)
            if not files:
                raise InvalidObject(f"no file found in folder {wanted.directory}, no disk present")
            info = qemuimg.ImageInfo("", 0, 0)
            if disk:
                info = await qemuimg.inspect(files[0])
            for file in files:
                file.chmod(0o644)
            names = [str(f.relative_to(staging)) for f in files]
            meta = _Meta(image=image, digest=digest, files=names, format=info.format, virtual_size=info.virtual_size)
            (staging / "meta.json").write_bytes(to_json(meta))
            await asyncio.to_thread(_sync, [*files, staging / "meta.json", staging])
            staging.rename(target)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, staging, True)
            raise
        log.info("image pulled", image=image, digest=digest)
        cached = self._read(target)
        assert cached is not None
        return cached

    def _read(self, target: Path) -> CachedImage | None:
        try:
            meta = from_json((target / "meta.json").read_bytes(), _Meta)
        except (FileNotFoundError, InvalidObject):
            return None
        return CachedImage(meta.digest, tuple(target / f for f in meta.files), meta.format, meta.virtual_size)

    def _tag(self, image: str) -> Path:
        return self.directory / f"tag-{hashlib.sha256(image.encode()).hexdigest()[:24]}"

    def _known(self, image: str) -> str:
        try:
            return self._tag(image).read_text().strip()
        except FileNotFoundError:
            return ""

    def _remember(self, image: str, digest: str) -> None:
        if self._known(image) != digest:
            temporary = self._tag(image).with_suffix(".new")
            temporary.write_text(digest)
            temporary.replace(self._tag(image))

    async def sweep(self, used: frozenset[str]) -> None:
        """Removes the images that were used longest ago until the unused ones fit the limit; `used` are digests."""
        kept = 0
        found = [(p.stat().st_mtime, p) for p in self.directory.glob("i-*") if p.is_dir()]
        for _, path in sorted(found, reverse=True):
            cached = self._read(path)
            if cached is not None and cached.digest in used:
                continue
            kept += sum(f.stat().st_blocks * 512 for f in path.rglob("*") if f.is_file())
            if kept > self._limit and time.time() - path.stat().st_mtime > 60:
                log.info("image removed", path=str(path))
                await asyncio.to_thread(shutil.rmtree, path, True)


def _only_one(files: list[Path], directory: str) -> None:
    if not files:
        raise InvalidObject(f"no file found in folder {directory}, no disk present")
    if len(files) > 1:
        raise InvalidObject(f"more than one file found in folder {directory}, only one disk is allowed")


def _name(digest: str, wanted: Wanted) -> str:
    key = "\0".join((digest, wanted.directory, *wanted.paths))
    return f"i-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _sync(paths: list[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class NoPuller:
    """Stands in where this installation has no registry client: says so instead of pulling."""

    async def digest(self, image: str, credentials: bytes | None) -> str:
        raise ImageMissing(f"{image} cannot be pulled: this node has no registry client")

    async def files(self, image: str, digest: str, wanted: Wanted, into: Path, credentials: bytes | None) -> list[Path]:
        raise ImageMissing(f"{image} cannot be pulled: this node has no registry client")


def pull_reason(error: KvtuiError) -> str:
    """The waiting reason of a container whose image could not be had."""
    if isinstance(error, ImageMissing):
        return "ErrImageNeverPull"
    return "InvalidImageName" if isinstance(error, InvalidObject) and "reference" in str(error) else "ErrImagePull"
