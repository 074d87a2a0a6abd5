"""Images that follow their claims: a claim may grow, a disk never shrinks.

An image is raw whatever it holds: a guest that writes the header of another format into its disk changes nothing.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from kvtui.api import quantity
from kvtui.api.kubevirt.vmi import PersistentVolumeClaimInfo, VirtualMachineInstance
from kvtui.errors import KvtuiError
from kvtui.node.volumes import claims, qemuimg

log = structlog.get_logger()
OVERHEAD = 0.055
"""Share of a file system that is not for the image, where the claim does not say."""


class _Disk(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def read_only(self) -> bool: ...


D = TypeVar("D", bound=_Disk)


def growing(vmi: VirtualMachineInstance, disks: Iterable[D]) -> Iterator[tuple[D, PersistentVolumeClaimInfo]]:
    """Disks that lie on a claim and may be written, with what is known of the claim."""
    infos = {s.name: s.persistent_volume_claim_info for s in vmi.status.volume_status}
    direct = {v.name for v in vmi.spec.volumes if v.persistent_volume_claim is not None or v.data_volume is not None}
    for disk in disks:
        info = infos.get(disk.name)
        if info is not None and info.capacity and disk.name in direct and disk.source and not disk.read_only:
            yield disk, info


def wanted_size(path: str, info: PersistentVolumeClaimInfo) -> int:
    """Bytes that the disk on a file or device should have; 0 where it need not grow. Blocks."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return 0
    if stat.S_ISBLK(found.st_mode):
        return _device_size(path)
    size = possible(Path(path), info)
    return size if size > found.st_size else 0


def possible(image: Path, info: PersistentVolumeClaimInfo) -> int:
    """Bytes to which the image on a filesystem claim may grow. Blocks."""
    allocated = image.stat().st_blocks * 512
    overhead = float(info.filesystem_overhead or OVERHEAD)
    capacity = quantity.value(info.capacity.get("storage", 0))
    return claims.possible_size(capacity, allocated, claims.free_bytes(image.parent), overhead)


async def at_start(image: Path, info: PersistentVolumeClaimInfo | None) -> None:
    """Grows the image of a guest that does not run. That it cannot grow does not keep the guest from running."""
    size, allocated = await asyncio.to_thread(_growth, image, info)
    if not size:
        return
    try:
        await qemuimg.resize(image, size, allocate=allocated)
    except KvtuiError as error:
        log.warning("an image cannot grow", image=str(image), bytes=size, error=str(error))
    else:
        log.info("image grown", image=str(image), bytes=size)


def _growth(image: Path, info: PersistentVolumeClaimInfo | None) -> tuple[int, bool]:
    """The size to grow to, 0 for none, and whether all blocks of the image are allocated."""
    if info is None or not info.capacity or not image.is_file():
        return 0, False
    found = image.stat()
    size = possible(image, info)
    return size if size > found.st_size else 0, 0 < found.st_size <= found.st_blocks * 512


def _device_size(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)
