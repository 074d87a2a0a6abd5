"""Block sizes of what is behind a disk, for guests that want to see the same.

Source: Linux include/uapi/linux/fs.h (BLKSSZGET, BLKPBSZGET), Documentation/ABI/stable/sysfs-block; statvfs(3)
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from kvtui.domainxml.context import BlockSizes

BLKSSZGET, BLKPBSZGET = 0x1268, 0x127B


def measure(sources: Mapping[str, str]) -> dict[str, BlockSizes]:
    """Sizes by disk for files and devices by disk; a drive without a medium is left out. Blocks."""
    found = {}
    for name, path in sources.items():
        if path:
            found[name] = _device(path) if _is_device(path) else _file(path)
    return found


def _is_device(path: str) -> bool:
    return os.path.exists(path) and stat.S_ISBLK(os.stat(path).st_mode)


def _device(path: str) -> BlockSizes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        logical, physical = (_size(descriptor, request) for request in (BLKSSZGET, BLKPBSZGET))
        number = os.fstat(descriptor).st_rdev
    finally:
        os.close(descriptor)
    queue = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/queue/discard_granularity")
    discard = int(queue.read_text()) if queue.exists() else 0
    return BlockSizes(logical, physical, discard)


def _size(descriptor: int, request: int) -> int:
    return int(struct.unpack("I", fcntl.ioctl(descriptor, request, bytes(4)))[0])


def _file(path: str) -> BlockSizes:
    # An image that is made later lies on the file system of the directories that are there already.
    there = next(place for place in (Path(path), *Path(path).parents) if place.exists())
    size = os.statvfs(there).f_bsize
    return BlockSizes(size, size, size)
