"""What a stream of bytes is, told from its first bytes, and how to undo its compression.

Source: CDI pkg/image/filefmt.go (magic numbers); text VMDK descriptors and fixed VHDs are recognised too, which
upstream takes for raw disks.
"""

from __future__ import annotations

import lzma
import zlib
from enum import StrEnum
from typing import Protocol

import zstandard

HEADER = 512
"""Bytes that must be there before a format can be told."""


class Format(StrEnum):
    """Image formats by qemu-img's names."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VDI = "vdi"
    VHD = "vpc"
    VHDX = "vhdx"


class Compression(StrEnum):
    """Compressions that may wrap an image, each once."""

    GZIP = "gzip"
    XZ = "xz"
    ZSTD = "zstd"


_COMPRESSIONS = (
    (b"\x1f\x8b", Compression.GZIP),
    (b"\xfd7zXZ\x00", Compression.XZ),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
)
_FORMATS = (
    (0, b"QFI\xfb", Format.QCOW2),
    (0, b"KDMV", Format.VMDK),
    (0, b"# Disk DescriptorFile", Format.VMDK),
    (0x40, b"\x7f\x10\xda\xbe", Format.VDI),
    (0, b"conectix", Format.VHD),
    (0, b"vhdxfile", Format.VHDX),
)


def compression_of(header: bytes) -> Compression | None:
    return next((kind for magic, kind in _COMPRESSIONS if header.startswith(magic)), None)


def format_of(header: bytes) -> Format:
    return next((kind for offset, magic, kind in _FORMATS if header[offset : offset + len(magic)] == magic), Format.RAW)


class Decompressor(Protocol):
    """Bytes in, bytes out."""

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes:
        """The rest. Raises ValueError when the stream is cut short."""


class Plain:
    """No compression."""

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class Gzip:
    """gzip, also of several members."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._fresh = True

    def feed(self, data: bytes) -> bytes:
        out = bytearray()
        while data:
            if self._inner.eof:
                self._inner, self._fresh = zlib.decompressobj(wbits=31), True
                if not data.strip(b"\0"):
                    break
            self._fresh = False
            try:
                out += self._inner.decompress(data)
            except zlib.error as error:
                raise ValueError(f"gzip: {error}") from error
            data = self._inner.unused_data
        return bytes(out)

    def finish(self) -> bytes:
        if not self._inner.eof and not self._fresh:
            raise ValueError("gzip: unexpected EOF")
        return b""


class Xz:
    """xz, bounded memory."""

    def __init__(self) -> None:
        self._inner = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=256 * 2**20)

    def feed(self, data: bytes) -> bytes:
        if self._inner.eof:
            return b""
        try:
            return self._inner.decompress(data)
        except (lzma.LZMAError, EOFError) as error:
            raise ValueError(f"xz: {error}") from error

    def finish(self) -> bytes:
        if not self._inner.eof:
            raise ValueError("xz: unexpected EOF")
        return b""


class Zstd:
    """zstd, bounded window, also of several frames."""

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=128 * 2**20)
        self._inner = self._context.decompressobj()
        self._fresh = True

    def feed(self, data: bytes) -> bytes:
        out = bytearray()
        try:
            while data:
                self._fresh = False
                out += self._inner.decompress(data)
                data = self._inner.unused_data if self._inner.eof else b""
                if self._inner.eof:
                    self._inner, self._fresh = self._context.decompressobj(), True
        except zstandard.ZstdError as error:
            raise ValueError(f"zstd: {error}") from error
        return bytes(out)

    def finish(self) -> bytes:
        if not self._fresh:
            raise ValueError("zstd: unexpected EOF")
        return b""


def decompressor(kind: Compression | None) -> Decompressor:
    match kind:
        case Compression.GZIP:
            return Gzip()
        case Compression.XZ:
            return Xz()
        case Compression.ZSTD:
            return Zstd()
        case None:
            return Plain()


class Unwrapping:
    """Feeds a stream through its compressions and tells its format once enough bytes are there."""

    def __init__(self) -> None:
        self._layers: list[Decompressor] = []
        self._seen: set[Compression] = set()
        self._held = bytearray()
        self.format: Format | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes of the image; nothing while the format is not known yet. Raises ValueError for a damaged stream."""
        for layer in self._layers:
            data = layer.feed(data)
        if self.format is not None:
            return data
        self._held += data
        while len(self._held) >= HEADER:
            kind = compression_of(bytes(self._held[:HEADER]))
            if kind is None or kind in self._seen:
                self.format = format_of(bytes(self._held[:HEADER]))
                return self._release()
            self._seen.add(kind)
            layer = decompressor(kind)
            self._layers.append(layer)
            self._held = bytearray(layer.feed(bytes(self._held)))
        return b""

    def finish(self) -> bytes:
        """The rest of the image. Raises ValueError for a stream that is cut short or smaller than a header."""
        rest = b""
        for layer in self._layers:
            rest = layer.feed(rest) + layer.finish()
        self._held += rest
        while self.format is None:
            kind = compression_of(bytes(self._held[:HEADER]))
            if kind is not None and kind not in self._seen:
                self._seen.add(kind)
                layer = decompressor(kind)
                self._held = bytearray(layer.feed(bytes(self._held)) + layer.finish())
            elif len(self._held) < HEADER:
                raise ValueError("could not process image header: unexpected EOF")
            else:
                self.format = format_of(bytes(self._held[:HEADER]))
        return self._release()

    def _release(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held
