"""Uploads over the worker's real socket: what is published, what is refused, and that the next one is taken."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import socket
import subprocess
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from kvtui.api.worker import Job, Outcome, Progress, UploadSource, Work
from kvtui.importer import upload
from tests.fakes.images import MIB, qcow2, raw_disk

TOO_SHORT = "Saving stream failed: Unable to process data: could not process image header: unexpected EOF"


@dataclass
class Worker:
    """A worker that waits, and the way to it."""

    volume: Path
    path: str
    session: aiohttp.ClientSession
    task: asyncio.Task[Outcome]

    async def post(self, verb: str, body: bytes | aiohttp.FormData) -> tuple[int, str]:
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.session.post(f"http://worker/{verb}", data=data) as answer:
            return answer.status, await answer.text()

    async def raw(self, request: bytes) -> None:
        """Sends bytes and hangs up; returns when the worker has noticed."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(request)
        await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(20):
            return await self.task

    @property
    def left(self) -> list[str]:
        return sorted(os.listdir(self.volume))


@contextlib.asynccontextmanager
async def running(tmp_path: Path, *, size: int = 16 * MIB, archive: bool = False) -> AsyncIterator[Worker]:
    volume, path = tmp_path / "volume", str(tmp_path / "s")
    volume.mkdir(exist_ok=True)
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        job = Job(uid="0a1b-2c", claim="c", size=size, overhead=0.06, archive=archive, upload=UploadSource())
        work = Work(job=job, target=str(volume), listen=os.dup(listener.fileno()))
        seen: list[Progress] = []
        task = asyncio.create_task(upload.run(work, seen.append))
        try:
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
                yield Worker(volume, path, session, task)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    async with running(tmp_path) as made:
        yield made


@pytest.mark.parametrize("verb", ["upload", "upload-async"])
@pytest.mark.parametrize("wrap", ["raw", "gzip", "qcow2"])
async def test_an_image_becomes_the_disk(worker: Worker, tmp_path: Path, verb: str, wrap: str) -> None:
    disk = raw_disk()
    body = {
        "raw": lambda: disk,
        "gzip": lambda: gzip.compress(disk),
        "qcow2": lambda: qcow2(tmp_path / "i", disk).read_bytes(),
    }
    assert await worker.post(verb, body[wrap]()) == (200, "")
    outcome = await worker.outcome()
    assert outcome.ok
    assert outcome.virtual_size == 15 * MIB
    assert worker.left == ["disk.img"]
    assert (worker.volume / "disk.img").read_bytes()[: len(disk)] == disk


async def test_a_form_has_the_image_in_its_field(worker: Worker) -> None:
    form = aiohttp.FormData()
    form.add_field("comment", "not this")
    form.add_field("file", io.BytesIO(raw_disk()), filename="disk.img")
    assert await worker.post("upload-form", form) == (200, "")
    assert (await worker.outcome()).ok
    assert (worker.volume / "disk.img").read_bytes()[: 4 * MIB] == raw_disk()


def hostile(path: Path) -> bytes:
    """A qcow2 that refers to a file of the node."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", str(path), "1M"]
    subprocess.run(command, check=True)
    return path.read_bytes()


def immense(path: Path) -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1T"], check=True)
    return path.read_bytes()


async def test_what_is_no_image_that_fits_is_refused_and_leaves_nothing(worker: Worker, tmp_path: Path) -> None:
    tries = {
        "larger than the volume": (bytes(17 * MIB), 400, "Saving stream failed: effective image size is larger than"),
        "larger once converted": (immense(tmp_path / "a"), 400, "Saving stream failed: effective image size is larger"),
        "refers elsewhere": (hostile(tmp_path / "b"), 500, "Saving stream failed: Image is invalid because it has inv"),
        "cut short": (qcow2(tmp_path / "c", raw_disk()).read_bytes()[:90_000], 500, "Saving stream failed: Image is i"),
        "too short": (b"x", 500, "Saving stream failed: Unable to process data: could not process image header"),
    }
    for verb in ("upload", "upload-async"):
        for what, (body, code, words) in tries.items():
            answered, text = await worker.post(verb, body)
            assert (answered, text[: len(words)]) == (code, words), what
            assert worker.left == [], what
    assert await worker.post("upload", raw_disk()) == (200, "")
    assert (await worker.outcome()).ok


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /upload HTTP/1.1\r\nHost: w\r\nContent-Length: 9000000\r\n\r\n" + raw_disk(),
        b"POST /upload-async HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n"
        + raw_disk()
        + b"\r\n",
        b"POST /upload-form HTTP/1.1\r\nHost: w\r\nContent-Type: multipart/form-data; boundary=snip\r\n"
        b"Content-Length: 9000000\r\n\r\n"
        b'--snip\r\nContent-Disposition: form-data; name="file"; filename="d"\r\n\r\n' + raw_disk(),
    ],
    ids=["length", "chunked", "form"],
)
async def test_a_body_that_breaks_off_is_no_image(worker: Worker, request_: bytes) -> None:
    await worker.raw(request_)
    assert await worker.post("upload", b"x") == (500, TOO_SHORT)  # once the first one is over
    assert worker.left == []
    assert not worker.task.done()
    assert await worker.post("upload", raw_disk()) == (200, "")


async def test_one_body_at_a_time(worker: Worker) -> None:
    head = b"POST /upload HTTP/1.1\r\nHost: w\r\nContent-Length: 4194304\r\nExpect: 100-continue\r\n\r\n"
    reader, writer = await asyncio.open_unix_connection(worker.path)
    writer.write(head)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    # The next byte is read by the handler, so it is busy once a second body has been refused.
    writer.write(raw_disk()[:65536])
    assert await worker.post("upload", raw_disk()) == (503, "another upload is in progress")
    writer.write(raw_disk()[65536:])
    assert b" 200 OK\r\n" in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert (await worker.outcome()).ok


async def test_a_worker_that_starts_again_knows_what_it_has_done(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        assert await first.post("upload", raw_disk()) == (200, "")
        assert (await first.outcome()).ok
    async with running(tmp_path) as again:
        assert (await again.outcome()).ok
        assert again.left == ["disk.img"]


def tar(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


async def test_an_archive_is_unpacked_and_remembered(tmp_path: Path) -> None:
    async with running(tmp_path, archive=True) as worker:
        code, text = await worker.post("upload-archive", tar(**{"..__out": b"x"}))
        assert code == 500
        assert "unable to untar" in text
        code, text = await worker.post("upload-archive", tar(bomb=bytes(17 * MIB)))
        assert (code, text[:57]) == (400, "Saving stream failed: effective image size is larger than")
        assert await worker.post("upload-archive", tar(a=b"1", dir__b=b"22")) == (200, "")
        assert (await worker.outcome()).ok
        assert (worker.volume / "dir" / "b").read_bytes() == b"22"
        assert worker.left == ["a", "dir"]
        assert not (tmp_path / "out").exists()
    async with running(tmp_path, archive=True) as again:
        assert (await again.outcome()).ok
