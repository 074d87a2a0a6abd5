"""Where the image goes: a hidden file beside `disk.img`, published by one rename, or a block device.

The published file carries the uid of the work that made it, so that a crash between the rename and the report is
recognised and the work is not done twice.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from kvtui.importer.errors import ImportFailed, TooSmall

DISK = "disk.img"
MIB = 2**20
_MARK = "user.kvtui.uid"
_HOLE = 64 * 1024
_SYNC_EVERY = 64 * MIB


def usable(available: int, overhead: float) -> int:
    """Bytes of a file system that a disk may use: rounded down to MiB.

    Source: CDI util.GetUsableSpace: 1 GiB with 0.06 is 966 MiB.
    """
    return math.ceil(available / (1 + overhead)) // MIB * MIB


class SparseWriter:
    """Writes a stream into a file, leaving out blocks of zeros. Use as a context manager; `close` makes it durable."""

    def __init__(self, path: Path, limit: int, *, sparse: bool = True) -> None:
        """`limit`: bytes after which the image does not fit."""
        flags = os.O_WRONLY | os.O_CLOEXEC | (0 if _is_block(path) else os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
        self._descriptor = os.open(path, flags, 0o600)
        self._limit = limit
        self._sparse = sparse and not _is_block(path)
        self.size = 0
        self._synced = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, data: bytes) -> None:
        """Raises TooSmall when the limit is passed or the disk is full."""
        if self.size + len(data) > self._limit:
            raise TooSmall(
                f"virtual image size is larger than the reported available storage {self._limit}. "
                "A larger PVC is required"
            )
        view = memoryview(data)
        try:
            while view:
                block, view = view[:_HOLE], view[_HOLE:]
                if not (self._sparse and not any(block[:64]) and bytes(block).count(0) == len(block)):
                    _write_all(self._descriptor, block, self.size)
                self.size += len(block)
        except OSError as error:
            raise _no_room(error) from error
        if self.size - self._synced >= _SYNC_EVERY:
            # Written back as it comes, so that the end is no long stall.
            os.posix_fadvise(self._descriptor, self._synced, self.size - self._synced, os.POSIX_FADV_DONTNEED)
            self._synced = self.size

    def close(self) -> None:
        """Sets the length and waits until everything is on disk."""
        try:
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.ftruncate(self._descriptor, self.size)
            os.fsync(self._descriptor)
        except OSError as error:
            raise _no_room(error) from error
        os.close(self._descriptor)
        self._descriptor = -1


class Target:
    """One claim as this work sees it."""

    def __init__(self, path: Path, *, uid: str, size: int, overhead: float, block: bool) -> None:
        if not uid or not all(c.isalnum() or c == "-" for c in uid):
            raise ImportFailed(f"not a uid: {uid!r}")
        self.path = path
        self.block = block
        self._uid = uid
        self._size = size
        self._overhead = overhead

    @property
    def part(self) -> Path:
        """The unfinished image."""
        return self.path if self.block else self.path / f".kvtui-{self._uid}.part"

    @property
    def spool(self) -> Path:
        """The image as downloaded, when it must be converted."""
        directory = self.path.parent if self.block else self.path
        return directory / f".kvtui-{self._uid}.spool"

    @property
    def disk(self) -> Path:
        return self.path if self.block else self.path / DISK

    @property
    def capacity(self) -> int:
        """Bytes that an image may have: what was asked for, or less when the file system has less."""
        if self.block:
            return _block_size(self.path)
        space = os.statvfs(self.path)
        return min(space.f_bavail * space.f_frsize, self._size)

    @property
    def room(self) -> int:
        """Bytes that an archive may unpack to: what was asked for."""
        return self._size

    @property
    def full_size(self) -> int:
        """Bytes that the finished disk gets at least."""
        return self._size if self.block else usable(self._size, self._overhead)

    def finished(self) -> bool:
        """Whether this very work has already published its disk or its files."""
        return not self.block and any(self._marked(path) for path in (self.disk, self.path))

    def _marked(self, path: Path) -> bool:
        try:
            return os.getxattr(path, _MARK) == self._uid.encode()
        except OSError:
            return False

    def virtual_size(self) -> int:
        """Bytes of the published disk; 0 where there are only files."""
        try:
            return self.disk.stat().st_size
        except FileNotFoundError:
            return 0

    def clean(self) -> None:
        """Removes what an earlier attempt left."""
        if not self.block:
            self.part.unlink(missing_ok=True)
        self.spool.unlink(missing_ok=True)

    def resize(self) -> int:
        """Grows the image to the full size; never shrinks. Returns its size in bytes."""
        if self.block:
            return _block_size(self.path)
        current = self.part.stat().st_size
        if current < self.full_size:
            os.truncate(self.part, self.full_size)
        return max(current, self.full_size)

    def preallocate(self) -> None:
        """Reserves every block. Raises TooSmall."""
        if self.block:
            return
        with self.part.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, os.fstat(file.fileno()).st_size))
            except OSError as error:
                raise _no_room(error) from error

    def publish(self) -> None:
        """fsync, mark, rename, fsync of the directory: afterwards the disk is there, whole, whatever happens."""
        if self.block:
            return
        with self.part.open("rb") as file:
            os.fchmod(file.fileno(), 0o600)
            # Without attributes a crash right after the rename costs one more import, nothing else.
            with contextlib.suppress(OSError):
                os.setxattr(file.fileno(), _MARK, self._uid.encode())
            os.fsync(file.fileno())
        self.part.replace(self.disk)
        _flush(self.path)

    def publish_files(self, files: Iterable[Path]) -> None:
        """fsync of what was unpacked, then the mark: on the directory, because there is no one file to carry it."""
        for path in files:
            if not path.is_symlink():
                _flush(path)
        self.spool.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.setxattr(self.path, _MARK, self._uid.encode())
        _flush(self.path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_FICLONE = 0x40049409


def copy_sparse(source: Path, destination: Path) -> int:
    """Copies a disk: by reference where the file system can, else only its data. Returns its size in bytes."""
    with (
        source.open("rb") as reader,
        open(os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as writer,
    ):
        size = reader.seek(0, os.SEEK_END)
        if stat.S_ISREG(os.fstat(writer.fileno()).st_mode):
            try:
                fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
                return size
            except OSError:
                os.ftruncate(writer.fileno(), size)
        try:
            for start, end in data_ranges(reader.fileno(), size):
                _copy_range(reader.fileno(), writer.fileno(), start, end)
            os.fsync(writer.fileno())
        except OSError as error:
            raise _no_room(error) from error
    return size


def data_ranges(descriptor: int, size: int) -> list[tuple[int, int]]:
    """Where a file has data: (start, end) pairs."""
    ranges, position = [], 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
            position = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            return [(0, size)]
        ranges.append((start, min(position, size)))
    return ranges


def _copy_range(reader: int, writer: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(reader, writer, min(end - start, 128 * MIB), start, start)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            data = os.pread(reader, min(end - start, MIB), start)
            _write_all(writer, memoryview(data), start)
            done = len(data)
        if done == 0:
            return
        start += done


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done


def _no_room(error: OSError) -> ImportFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return TooSmall(f"unable to write to file: {os.strerror(error.errno).lower()}")
    return ImportFailed(f"unable to write to file: {error.strerror}")


def _is_block(path: Path) -> bool:
    try:
        return stat.S_ISBLK(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _block_size(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)
