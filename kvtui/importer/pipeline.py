"""One import from source to published disk.

Raw images, also compressed ones, are written straight into place, in one pass; others are spooled beside the target
and converted. Nothing is visible as `disk.img` before it is whole, checked and on disk.

Source: CDI pkg/importer/data-processor.go (stages, messages); the scratch round trip is not needed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from kvtui.api.worker import Outcome, Progress, Work
from kvtui.importer import http, qemu_img, registries_conf
from kvtui.importer.disk_layer import Extractor, in_disk_directory
from kvtui.importer.errors import ChecksumMismatch, ImportFailed, PullFailed, TooSmall, simplified
from kvtui.importer.formats import Format, Unwrapping
from kvtui.importer.reference import BadReference, parse
from kvtui.importer.registry import Account, Registry, labels_of
from kvtui.importer.target import DISK, MIB, SparseWriter, Target, copy_sparse

Report = Callable[[Progress], None]
_CHECKSUM = re.compile(r"^\s*(md5|sha1|sha256|sha512):([0-9a-fA-F]+)\s*$")
_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


async def run(work: Work, report: Report) -> Outcome:
    """Does the work; never raises for what can go wrong with images and servers."""
    try:
        return await _run(work, report)
    except ImportFailed as error:
        return Outcome(message=simplified(str(error)), reason=error.reason, fatal=error.fatal)
    except BadReference as error:
        return Outcome(message=simplified(f"Unable to process data: {error}"), reason="Error")
    except OSError as error:
        return Outcome(message=simplified(f"Unable to process data: {error}"), reason="Error")


async def _run(work: Work, report: Report) -> Outcome:
    job = work.job
    target = Target(Path(work.target), uid=job.uid, size=job.size, overhead=job.overhead, block=job.block)
    if target.finished():
        return Outcome(ok=True, reason="Completed", virtual_size=target.virtual_size())
    target.clean()
    labels: dict[str, str] = {}
    try:
        if job.archive:
            await _archive(work, target, report)
            return Outcome(ok=True, reason="Completed")
        if job.blank is not None:
            await asyncio.to_thread(_blank, target)
        elif job.clone is not None:
            await _clone(work, target, report)
        elif job.http is not None:
            await _http(work, target, report)
        elif job.registry is not None:
            labels = await _registry(work, target, report)
        else:
            raise ImportFailed("Unable to process data: the job names no source that this worker knows")
        size = await finish(target, report, preallocate=job.preallocate)
    finally:
        target.clean()
    return Outcome(ok=True, reason="Completed", virtual_size=size, labels=labels)


async def finish(target: Target, report: Report, *, preallocate: bool) -> int:
    """Grows the image that is in place and publishes it; its size in bytes. Raises ImportFailed."""
    report(Progress(percent=100.0, stage="Resize"))
    size = await asyncio.to_thread(target.resize)
    if preallocate:
        await asyncio.to_thread(target.preallocate)
    await asyncio.to_thread(target.publish)
    return size


def _blank(target: Target) -> None:
    if target.block:
        # A recycled device must not show the next owner what the last one wrote.
        with SparseWriter(target.part, target.capacity, sparse=False) as writer:
            zeros = bytes(MIB)
            while writer.size + MIB <= target.capacity:
                writer.write(zeros)
            writer.close()
        return
    if target.full_size > target.capacity:
        raise TooSmall("Unable to create blank image: no space left on device")
    with SparseWriter(target.part, target.full_size) as writer:
        writer.close()


async def _clone(work: Work, target: Target, report: Report) -> None:
    disk, size = await asyncio.to_thread(_source_disk, Path(work.source))
    if size > target.capacity:
        raise TooSmall(
            f"virtual image size {size} is larger than the reported available storage {target.capacity}. "
            "A larger PVC is required"
        )
    report(Progress(stage="Copy", bytes_total=size))
    await asyncio.to_thread(copy_sparse, disk, target.part)
    report(Progress(percent=100.0, stage="Copy", bytes_done=size, bytes_total=size))


def _source_disk(source: Path) -> tuple[Path, int]:
    disk = source / DISK if source.is_dir() else source
    try:
        descriptor = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ImportFailed("Unable to clone: the source claim holds no disk") from error
    try:
        return disk, os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


async def _http(work: Work, target: Target, report: Report) -> None:
    async with _http_stream(work) as (stream, length):
        await _store(stream, length, target, report)


@contextlib.asynccontextmanager
async def _http_stream(work: Work) -> AsyncIterator[tuple[AsyncIterator[bytes], int]]:
    """The checked body and its length (0 when unknown)."""
    source, credentials = work.job.http, work.credentials
    if source is None or urlsplit(source.url).scheme not in ("http", "https"):
        raise ImportFailed("Unable to connect to http data source: Invalid source URL scheme")
    async with contextlib.AsyncExitStack() as stack:
        try:
            session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
            response = await stack.enter_async_context(
                http.fetch(
                    session,
                    source.url,
                    context=http.tls(credentials.ca_bundle, insecure=source.insecure_skip_verify),
                    headers={
                        **http.basic(credentials.access_key, credentials.secret_key),
                        **http.header_pairs([*source.extra_headers, *credentials.header_lines]),
                    },
                    proxy=work.job.proxy,
                )
            )
        except ImportFailed as error:
            raise type(error)(f"Unable to connect to http data source: {error}") from error
        yield _checked(http.chunks(response), source.checksum), response.content_length or 0


async def _checked(chunks: AsyncIterator[bytes], checksum: str) -> AsyncIterator[bytes]:
    """Passes the bytes on and compares their digest at the end."""
    match = _CHECKSUM.match(checksum) if checksum else None
    if checksum and match is None:
        raise ChecksumMismatch(f"checksum validation failed: invalid checksum {checksum!r}")
    hasher = hashlib.new(match[1], usedforsecurity=False) if match else None
    async for chunk in chunks:
        if hasher is not None:
            hasher.update(chunk)
        yield chunk
    if match is not None and hasher is not None and hasher.hexdigest() != match[2].lower():
        raise ChecksumMismatch(
            f"checksum validation failed: checksum mismatch: expected {match[1]}:{match[2].lower()}, "
            f"calculated {match[1]}:{hasher.hexdigest()}"
        )


async def _store(chunks: AsyncIterator[bytes], length: int, target: Target, report: Report) -> None:
    """A stream into the target: straight when raw, else through a spool file and qemu-img."""
    format_ = await receive(chunks, length, target, report)
    if format_ is not Format.RAW:
        await convert(format_, target, report)


async def receive(chunks: AsyncIterator[bytes], length: int, target: Target, report: Report) -> Format:
    """A raw image is in place afterwards, another one in the spool. `length` is 0 when unknown. Raises ImportFailed."""
    sink = _Sink(target)
    received = 0
    try:
        async for chunk in chunks:
            received += len(chunk)
            await asyncio.to_thread(sink.write, chunk)
            percent = min(100.0, received * 100 / length) if length else 0.0
            report(Progress(percent=percent, stage="Transfer", bytes_done=received, bytes_total=length))
        await asyncio.to_thread(sink.finish)
    finally:
        sink.close()
    return sink.format


async def inspect(format_: Format, target: Target) -> qemu_img.Info:
    """Whether the spooled image is sound and fits. Raises ImportFailed."""
    found = await qemu_img.info(target.spool, format_)
    if found.virtual_size > target.capacity:
        raise TooSmall(
            f"virtual image size {found.virtual_size} is larger than the reported available storage "
            f"{target.capacity}. A larger PVC is required"
        )
    return found


async def convert(format_: Format, target: Target, report: Report, found: qemu_img.Info | None = None) -> None:
    """The spooled image into place; `found` is what `inspect` said of it. Raises ImportFailed."""
    try:
        found = found or await inspect(format_, target)
        await asyncio.to_thread(_prepare, target, found.virtual_size)
        await qemu_img.convert(
            target.spool,
            format_,
            target.part,
            found.virtual_size,
            lambda percent: report(Progress(percent=percent, stage="Convert")),
        )
    except ImportFailed as error:
        raise type(error)(f"Unable to process data: Unable to convert source data to target format: {error}") from error


def _prepare(target: Target, size: int) -> None:
    if target.block:
        _blank(target)
        return
    descriptor = os.open(target.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


class _Sink:
    """Takes the bytes of an image file, finds out what it is, and writes it where that belongs."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._stream = Unwrapping()
        self._writer: SparseWriter | None = None

    @property
    def format(self) -> Format:
        return self._stream.format or Format.RAW

    def write(self, chunk: bytes) -> None:
        try:
            self._put(self._stream.feed(chunk))
        except ValueError as error:
            raise ImportFailed(f"Unable to process data: {error}") from error

    def finish(self) -> None:
        try:
            self._put(self._stream.finish())
        except ValueError as error:
            raise ImportFailed(f"Unable to process data: {error}") from error
        if self._writer is not None:
            self._writer.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.__exit__()

    def _put(self, data: bytes) -> None:
        if not data and self._writer is not None:
            return
        if self._writer is None and self._stream.format is not None:
            if self._stream.format is Format.RAW:
                self._writer = SparseWriter(self._target.part, self._target.capacity)
            else:
                # No sane image file is much larger than the disk that it describes.
                limit = self._target.capacity + self._target.capacity // 8 + 64 * MIB
                self._writer = SparseWriter(self._target.spool, limit, sparse=False)
        if self._writer is not None and data:
            self._writer.write(data)


async def _registry(work: Work, target: Target, report: Report) -> dict[str, str]:
    source = work.job.registry
    assert source is not None
    if not source.url.startswith("docker://"):
        raise ImportFailed("Unable to process data: Illegal registry source URL scheme")
    reference = parse(source.url)
    conf = registries_conf.load(Path(work.registries_conf) if work.registries_conf else None)
    credentials = work.credentials
    architecture = source.architecture or _ARCH.get(os.uname().machine, os.uname().machine)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        registry = Registry(
            session,
            conf,
            account=Account(credentials.access_key, credentials.secret_key),
            ca_bundle=credentials.ca_bundle,
            insecure=source.insecure,
            proxy=work.job.proxy,
        )
        try:
            image = await registry.resolve(reference, architecture)
            total = sum(layer.size for layer in image.layers)
            done = 0

            async def counted(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
                nonlocal done
                async for chunk in chunks:
                    done += len(chunk)
                    percent = min(100.0, done * 100 / total) if total else 0.0
                    report(Progress(percent=percent, stage="Transfer", bytes_done=done, bytes_total=total))
                    yield chunk

            for layer in image.layers:
                sink = _Sink(target)
                try:
                    extractor = Extractor(in_disk_directory, sink.write)
                    async with registry.blob(image, layer) as chunks:
                        if await extractor.run(counted(chunks)):
                            await asyncio.to_thread(sink.finish)
                            break
                finally:
                    sink.close()
            else:
                raise ImportFailed("Failed to find VM disk image file in the container image")
        except (PullFailed, TooSmall):
            raise
        except ImportFailed as error:
            raise ImportFailed(
                f"Unable to process data: Unable to transfer source data to scratch space: {error}"
            ) from error
    if sink.format is not Format.RAW:
        await convert(sink.format, target, report)
    return labels_of(image.environment)


async def _archive(work: Work, target: Target, report: Report) -> None:
    """A tar over HTTP, unpacked into the volume; links and special files that leave it are refused."""
    async with _http_stream(work) as (stream, length):
        await receive_archive(stream, length, target, report)


async def receive_archive(chunks: AsyncIterator[bytes], length: int, target: Target, report: Report) -> None:
    """Spools a tar and unpacks it into the volume. Raises ImportFailed."""
    with SparseWriter(target.spool, target.capacity, sparse=False) as writer:
        async for chunk in chunks:
            await asyncio.to_thread(writer.write, chunk)
            report(Progress(stage="Transfer", bytes_done=writer.size, bytes_total=length))
        writer.close()
    try:
        await asyncio.to_thread(_unpack, target)
    except (tarfile.TarError, OSError) as error:
        raise ImportFailed(f"Unable to process data: unable to untar files from endpoint: {error}") from error


def _unpack(target: Target) -> None:
    """Raises TooSmall before the archive fills more than its volume, however well it was packed."""
    size, files = 0, []
    with tarfile.open(target.spool, mode="r:*") as archive:
        for member in archive:
            size += member.size
            if size > target.room:
                raise TooSmall(f"the archive is larger than the reported available storage {target.room}")
            archive.extract(member, target.path, filter="data")
            if member.isreg():
                files.append(target.path / member.name.lstrip("/"))
    target.publish_files(files)
