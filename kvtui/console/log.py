"""A serial console's output on disk, addressed by offsets that never go back.

QEMU appends each byte to a file. The offset of a byte counts from the guest's first boot on, whatever happens to the
file: it may be rotated by virtlogd (renamed, a new one begun), truncated, or begun anew on another node after a
migration, where the bytes printed before come along as a piece of history. What is kept is bounded by punching holes
into the beginning of the file, which neither disturbs the writer nor loses a byte.

Pieces, oldest first; only the last one grows:

    history of another node | rotated files, as long as they are held open | the present file
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from kvtui.api.wire import Wire, from_json, to_json
from kvtui.errors import InvalidObject

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_BLOCK = 4096
HISTORY = "history.log"
ROTATED = 5
"""How many rotated files are looked at to find where an agent stopped reading."""


class _State(Wire, frozen=True):
    base: int = -1
    """Offset of the first byte of the present file; -1 until it is known."""
    inode: int = 0
    seen: int = 0
    """Bytes of the present file that were known when this was written."""
    history: int = -1
    """Offset of the first byte of the history file; -1 without one."""


@dataclass(slots=True)
class _Piece:
    start: int
    descriptor: int
    size: int
    hole: int = 0
    """Bytes at the beginning that are gone."""

    @property
    def end(self) -> int:
        return self.start + self.size


class ConsoleLog:
    """Reads one console's log. Not a task: call `refresh` when the file may have changed."""

    def __init__(self, path: Path, *, limit: int, incoming: bool = False) -> None:
        """Keeps about `limit` bytes. `incoming`: offsets are unknown until `join` brings the source's history."""
        self._path = path
        self._limit = max(limit, 4 * _BLOCK)
        self._state_path = path.with_name("offsets.json")
        self._pieces: list[_Piece] = []
        self._inode = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        state = self._load()
        self._base = state.base if state.base >= 0 else -1 if incoming else 0
        if state.history >= 0:
            self._open_history(state.history)
        self._resume(state)
        self.refresh()

    @property
    def joined(self) -> bool:
        """Whether offsets are known."""
        return self._base >= 0

    @property
    def start(self) -> int:
        """Offset of the oldest byte that is still there."""
        return next((p.start + p.hole for p in self._pieces if p.size > p.hole), self.end)

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        return self._pieces[-1].end if self._pieces else max(self._base, 0)

    def refresh(self) -> bool:
        """Looks at the file again; whether there are new bytes."""
        if not self.joined:
            return False
        before = self.end
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        current = self._pieces[-1] if self._pieces and self._inode else None
        if current is not None:
            size = os.fstat(current.descriptor).st_size
            if size < current.size:  # truncated by somebody else: what follows continues the count
                current.start, current.hole = current.end, 0
                current.size = size
                self._base = current.start
                self._save()
            else:
                current.size = size
        if found is not None and found.st_ino != self._inode:
            self._base = self.end
            self._open_current()
            self._save()
        self._trim()
        return self.end > before

    def read(self, offset: int, size: int) -> tuple[int, bytes]:
        """Bytes from `offset` on, or from the oldest kept one if that is later; with the offset of the first."""
        offset = max(offset, self.start)
        for piece in self._pieces:
            if piece.start + piece.hole <= offset < piece.end:
                length = min(size, piece.end - offset)
                return offset, os.pread(piece.descriptor, length, offset - piece.start)
            if offset < piece.start + piece.hole and piece.size > piece.hole:
                offset = piece.start + piece.hole
                length = min(size, piece.end - offset)
                return offset, os.pread(piece.descriptor, length, piece.hole)
        return offset, b""

    def join(self, start: int, data: bytes) -> None:
        """Puts what another node printed before in front; `start` is the offset of its first byte."""
        temporary = self._path.with_name(f".{HISTORY}.new")
        temporary.write_bytes(data)
        temporary.replace(self._path.with_name(HISTORY))
        for piece in self._pieces:
            os.close(piece.descriptor)
        self._pieces.clear()
        self._base, self._inode = start + len(data), 0
        self._open_history(start)
        self._save()
        self.refresh()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._save()
        for piece in self._pieces:
            os.close(piece.descriptor)
        self._pieces.clear()
        self._inode = 0

    def _open_history(self, start: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self._path.with_name(HISTORY), os.O_RDONLY | os.O_CLOEXEC)
            self._pieces.append(_Piece(start, descriptor, os.fstat(descriptor).st_size))

    def _open_current(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        found = os.fstat(descriptor)
        self._inode = found.st_ino
        self._pieces.append(_Piece(self._base, descriptor, found.st_size, _first_data(descriptor, found.st_size)))

    def _resume(self, state: _State) -> None:
        """Finds the file that an earlier agent was reading, and those that were begun since."""
        if not state.inode:
            return
        names = [self._path, *(Path(f"{self._path}.{n}") for n in range(ROTATED))]
        chain: list[int] = []
        for name in names:
            try:
                descriptor = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                break
            chain.append(descriptor)
            if os.fstat(descriptor).st_ino == state.inode:
                break
        else:
            for descriptor in chain:
                os.close(descriptor)
            chain = []
        start = self._base
        if chain and os.fstat(chain[-1]).st_ino != state.inode:
            # What was read last is gone; the count goes on behind what is known of it.
            start += state.seen
        for position, descriptor in enumerate(reversed(chain)):
            found = os.fstat(descriptor)
            if position == 0 and found.st_ino == state.inode and found.st_size < state.seen:
                start += state.seen  # truncated while nobody looked
            piece = _Piece(start, descriptor, found.st_size, _first_data(descriptor, found.st_size))
            self._pieces.append(piece)
            self._base, self._inode = start, found.st_ino
            start = piece.end
        if not chain:
            self._base += state.seen

    def _trim(self) -> None:
        kept = sum(p.size - p.hole for p in self._pieces)
        while len(self._pieces) > 1 and kept - (self._pieces[0].size - self._pieces[0].hole) >= self._limit:
            piece = self._pieces.pop(0)
            kept -= piece.size - piece.hole
            os.close(piece.descriptor)
        if not self._pieces or not self._inode or kept <= 2 * self._limit:
            return
        current = self._pieces[-1]
        hole = (current.size - self._limit) // _BLOCK * _BLOCK
        if hole > current.hole and self._punch(current.descriptor, hole):
            current.hole = hole

    def _punch(self, descriptor: int, length: int) -> bool:
        if self._libc.fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, 0, length) == 0:
            return True
        if ctypes.get_errno() in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False  # such a file system keeps the whole log
        raise OSError(ctypes.get_errno(), "the console log cannot be shortened")

    def _load(self) -> _State:
        try:
            return from_json(self._state_path.read_bytes(), _State)
        except (FileNotFoundError, InvalidObject):
            return _State()

    def _save(self) -> None:
        history = -1
        if self._pieces and self._path.with_name(HISTORY).exists():
            history = self._pieces[0].start if self._pieces[0].start < self._base else self._load().history
        seen = self._pieces[-1].size if self._pieces and self._inode else 0
        temporary = self._state_path.with_suffix(".new")
        temporary.write_bytes(to_json(_State(base=self._base, inode=self._inode, seen=seen, history=history)))
        temporary.replace(self._state_path)


def _first_data(descriptor: int, size: int) -> int:
    """Bytes at the beginning of a file that are a hole."""
    if size == 0:
        return 0
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole
            return size
        raise
