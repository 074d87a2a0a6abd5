"""Finds the disk in a layer: a tar stream, maybe compressed, read once, never unpacked.

The first layer (from the base up) with an entry under `disk` decides, and only its first such file is the disk.

Source: CDI pkg/importer/transport.go; tar by the standard library, in streaming mode.
"""

from __future__ import annotations

import asyncio
import io
import queue
import tarfile
import threading
from collections.abc import AsyncIterator, Callable

from kvtui.importer.errors import ImportFailed
from kvtui.importer.formats import HEADER, Compression, Decompressor, compression_of, decompressor

_QUEUED = 4
_WHITEOUT = ".wh."


class _Pipe(io.RawIOBase):
    """Chunks from the loop, read as a file by a thread."""

    def __init__(self, chunks: queue.Queue[bytes | None]) -> None:
        self._chunks = chunks
        self._held = b""
        self._decoder: Decompressor | None = None
        self._ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._held) < size):
            chunk = self._chunks.get()
            if chunk is None:
                self._ended = True
                if self._decoder is not None:
                    self._held += self._decoder.finish()
                break
            if self._decoder is None:
                self._decoder = decompressor(_compression(chunk))
            self._held += self._decoder.feed(chunk)
        if size < 0:
            size = len(self._held)
        data, self._held = self._held[:size], self._held[size:]
        return data


def _compression(chunk: bytes) -> Compression | None:
    return compression_of(chunk[:HEADER])


class Extractor:
    """Reads one layer in a thread and hands the wanted file to `sink` in pieces."""

    def __init__(self, wanted: Callable[[str], bool], sink: Callable[[bytes], None], *, every: bool = False) -> None:
        """`every` looks at the whole layer, for a second file that is wanted."""
        self.found = ""
        """Path of the file that was handed over."""
        self.further = ""
        """Path of another wanted file behind it, where that is looked for."""
        self._every = every
        self._wanted = wanted
        self._sink = sink
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._failure: BaseException | None = None
        self._over = threading.Event()

    async def run(self, chunks: AsyncIterator[bytes]) -> bool:
        """Whether the layer had the file. Raises ImportFailed for a damaged layer, and what the sink raises."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(None, self._read)
        try:
            async for chunk in chunks:
                # Once the file is out the rest is only read for the layer's digest.
                if not self._over.is_set():
                    await loop.run_in_executor(None, self._put, chunk)
        finally:
            await loop.run_in_executor(None, self._put, None)
            await work
        if self._failure is not None:
            raise self._failure
        return bool(self.found)

    def _put(self, chunk: bytes | None) -> None:
        while not self._over.is_set():
            try:
                self._chunks.put(chunk, timeout=0.2)
                return
            except queue.Full:
                continue

    def _read(self) -> None:
        try:
            with tarfile.open(fileobj=_Pipe(self._chunks), mode="r|", bufsize=1 << 20) as archive:
                for member in archive:
                    name = member.name.removeprefix("./").lstrip("/")
                    if member.isdir() or name.rpartition("/")[2].startswith(_WHITEOUT) or not self._wanted(name):
                        continue
                    if not member.isreg():
                        raise ImportFailed(f"Cannot locate image file: {name} is not a plain file")
                    if self.found:
                        self.further = name
                        return
                    content = archive.extractfile(member)
                    assert content is not None
                    self.found = name
                    while piece := content.read(1 << 20):
                        self._sink(piece)
                    if not self._every:
                        return
        except (tarfile.TarError, ValueError, EOFError) as error:
            self._failure = ImportFailed(f"Failed to read registry image: {error}")
        except BaseException as error:  # handed to the loop, which raises it
            self._failure = error
        finally:
            self._over.set()


def in_disk_directory(name: str) -> bool:
    """Whether a path of a layer is a candidate for the disk."""
    return name.startswith("disk/")
