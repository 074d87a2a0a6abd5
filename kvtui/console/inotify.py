"""Changes of files in watched directories, from the kernel, as calls on the event loop.

Source: inotify(7). There is no binding in the standard library, so libc is called directly.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

_MODIFY, _MOVED, _CREATE, _DELETE = 0x2, 0xC0, 0x100, 0x200
_MASK = _MODIFY | _MOVED | _CREATE | _DELETE
_HEADER = struct.Struct("iIII")
_OVERFLOW = 0x4000
_IGNORED = 0x8000


class Watcher:
    """One inotify descriptor on the running loop. A handler is called once per burst, without details."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._handlers: dict[int, Callable[[], None]] = {}

    def __enter__(self) -> Self:
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify is not available")
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._handlers.clear()

    def watch(self, directory: Path, handler: Callable[[], None]) -> Callable[[], None]:
        """Calls the handler after changes of files in the directory; returns what ends the watch. Raises OSError."""
        number = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK)
        if number < 0:
            raise OSError(ctypes.get_errno(), f"{directory} cannot be watched")
        self._handlers[number] = handler

        def stop() -> None:
            if self._handlers.pop(number, None) is not None and self._fd >= 0:
                self._libc.inotify_rm_watch(self._fd, number)

        return stop

    def _readable(self) -> None:
        touched: set[int] = set()
        everything = False
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            number, mask, _, length = _HEADER.unpack_from(data, position)
            position += _HEADER.size + length
            everything = everything or bool(mask & _OVERFLOW)
            if not mask & _IGNORED:
                touched.add(number)
        for number in list(self._handlers) if everything else touched:
            handler = self._handlers.get(number)
            if handler is not None:
                handler()
