"""PersistentVolumeClaims, DataVolumes and hostDisks: an image file that outlives the VM, or a block device.

A missing disk.img is created, sparse, as large as the claim allows; an existing one is only ever grown.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

from __future__ import annotations

import asyncio
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from kvtui.api import quantity
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim
from kvtui.api.kubevirt.vmi import HostDisk, Volume
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.errors import InvalidObject, Transient, Unsupported
from kvtui.node.layout import Layout

MIB = 2**20
RESERVE = 131072
"""Bytes of a volume that are never used."""
TOLERATION = 10
"""Per cent by which a volume may be smaller than asked."""
DISK = "disk.img"


class ClaimPending(Transient):
    """The claim has no volume yet, or its directory is not there."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim with what it is bound to."""

    name: str
    block: bool
    shared: bool
    """Its access mode allows several nodes."""
    path: Path
    """Directory of a filesystem volume, device of a block volume."""
    ours: bool
    """Below a root of this node's provisioner, so that a missing directory may be made."""
    request: int
    capacity: int

    @property
    def image(self) -> Path:
        return self.path if self.block else self.path / DISK

    @property
    def size(self) -> int:
        """Bytes for a new image: the request where it is smaller than the capacity or that is unknown."""
        size = self.request if self.request and (not self.capacity or self.request < self.capacity) else self.capacity
        return size // MIB * MIB


def claim_name(volume: Volume) -> str:
    """The claim of a volume; empty when it has none."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    if volume.data_volume is not None:
        return volume.data_volume.name
    if volume.ephemeral is not None and volume.ephemeral.persistent_volume_claim is not None:
        return volume.ephemeral.persistent_volume_claim.claim_name
    if volume.memory_dump is not None:
        return volume.memory_dump.claim_name
    return ""


async def resolve(client: Client, layout: Layout, namespace: str, name: str) -> Claim:
    """Where a claim's bytes are. Raises ClaimPending, NotFound, Unsupported."""
    claim = await client.get(PersistentVolumeClaim, ObjectKey(namespace, name))
    if not claim.spec.volume_name or claim.status.phase not in ("", "Bound"):
        raise ClaimPending(f"PersistentVolumeClaim {name} is not bound yet")
    volume = await client.get(PersistentVolume, ObjectKey("", claim.spec.volume_name))
    return bound(layout, claim, volume)


def bound(layout: Layout, claim: PersistentVolumeClaim, volume: PersistentVolume) -> Claim:
    """The pair as one. Raises Unsupported for volumes that this node cannot reach."""
    source = volume.spec.local or volume.spec.host_path
    if source is None or not source.path.startswith("/"):
        raise Unsupported(f"PersistentVolume {volume.metadata.name} is neither local nor hostPath")
    path, ours = Path(source.path), False
    try:
        path, ours = layout.volume(source.path), True
    except InvalidObject:
        # Such volumes are made by administrators only, who may name any directory of the node.
        if ".." in path.parts:
            raise
    requests = claim.spec.resources.requests if claim.spec.resources else {}
    capacity = claim.status.capacity or volume.spec.capacity
    return Claim(
        name=claim.metadata.name,
        block=claim.spec.volume_mode == "Block",
        shared="ReadWriteMany" in claim.spec.access_modes,
        path=path,
        ours=ours,
        request=quantity.value(requests.get("storage", 0)),
        capacity=quantity.value(capacity.get("storage", 0)),
    )


@dataclass(frozen=True, slots=True)
class Created:
    """A new image; `tolerated` is set when it is smaller than asked."""

    size: int
    tolerated: bool


async def ensure_image(claim: Claim) -> Created | None:
    """Makes the directory and the image of a claim that have none. Raises ClaimPending, InvalidObject."""
    if claim.block:
        if not await asyncio.to_thread(_is_block, claim.path):
            raise ClaimPending(f"the device of PersistentVolumeClaim {claim.name} is not there")
        return None
    created = await asyncio.to_thread(_ensure, claim.path, claim.image, claim.size, claim.ours)
    if created is None and claim.ours:
        await asyncio.to_thread(_keep_to_owner, claim.image)
    return created


def _keep_to_owner(image: Path) -> None:
    """libvirt gives an image to its guest's user, whose group is that of all guests."""
    if stat.S_IMODE(image.stat().st_mode) & 0o077:
        image.chmod(0o600)


def _is_block(path: Path) -> bool:
    try:
        return stat.S_ISBLK(path.stat().st_mode)
    except FileNotFoundError:
        return False


async def ensure_directory(claim: Claim) -> None:
    """The directory of a claim whose files are shared with a guest. Raises ClaimPending, InvalidObject."""
    if claim.block:
        raise InvalidObject(f"PersistentVolumeClaim {claim.name} is a block device, which holds no files to share")
    await asyncio.to_thread(_directory, claim.path, claim.ours)


def _directory(directory: Path, may_create: bool) -> None:
    if may_create:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    elif not directory.is_dir():
        raise ClaimPending(f"the directory {directory} is not there")


def _ensure(directory: Path, image: Path, size: int, may_create: bool) -> Created | None:
    _directory(directory, may_create)
    if image.is_symlink():
        raise InvalidObject(f"{image.name} is a symbolic link")
    if image.exists():
        return None
    if size <= 0:
        raise InvalidObject(f"unable to create {image.name}: the volume has no size")
    usable, tolerated = fitting(size, free_bytes(directory))
    _sparse(image, usable)
    return Created(usable, tolerated)


def free_bytes(directory: Path) -> int:
    """Bytes that images in this directory may still take. Blocks."""
    answer = os.statvfs(directory)
    return answer.f_bavail * answer.f_frsize - RESERVE


def fitting(size: int, available: int) -> tuple[int, bool]:
    """Bytes for a new image, and whether that is less than asked. Raises InvalidObject when far too little is free."""
    if size <= available:
        return size, False
    if size * (100 - TOLERATION) // 100 <= available:
        return available // MIB * MIB, True
    raise InvalidObject(
        f"unable to create a disk image, not enough space, demanded size {size} B is bigger than "
        f"available space {available} B"
    )


def _sparse(image: Path, size: int) -> None:
    temporary = image.with_name(f".{image.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(image)


def possible_size(capacity: int, actual: int, free: int, overhead: float) -> int:
    """Bytes to which an image may grow."""
    return math.floor((1 - overhead) * min(capacity, actual + free)) // MIB * MIB


async def ensure_host_disk(disk: HostDisk) -> Path:
    """The image of a hostDisk. Raises InvalidObject, ClaimPending."""
    path = Path(disk.path)
    if not path.is_absolute() or ".." in path.parts:
        raise InvalidObject(f"hostDisk path {disk.path!r} is not absolute and plain")
    if disk.type == "Disk":
        await asyncio.to_thread(_check_file, path)
        return path
    size = quantity.value(disk.capacity or 0) // MIB * MIB
    await asyncio.to_thread(_ensure, path.parent, path, size, True)
    return path


def _check_file(path: Path) -> None:
    if not path.exists():
        raise InvalidObject(f"hostDisk {path} does not exist")
    if not path.is_file():
        raise InvalidObject(f"hostDisk {path} is not a file")
