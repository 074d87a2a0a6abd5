"""qemu-img on foreign images: with the format given, without network, without privileges, with limits.

Images are handed over as open files (/proc/self/fd/N), so the program needs no right to any directory.

Source: https://www.qemu.org/docs/master/tools/qemu-img.html
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kvtui.importer.errors import ImportFailed, TooSmall
from kvtui.importer.formats import Format

_NOBODY = 65534
_MEMORY = 2 * 2**30
_INFO_SECONDS = 30
_PERCENT = re.compile(rb"\((\d+\.\d+)/100%\)")


@dataclass(frozen=True, slots=True)
class Info:
    """What qemu-img says of an image."""

    format: str
    virtual_size: int


def confined(cpu_seconds: int) -> list[str]:
    """The prefix that takes network, privileges, memory and time away from a command, as far as this user may."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        prefix += ["unshare", "--net", "--ipc", "--"]
    prefix += ["prlimit", f"--as={_MEMORY}", f"--cpu={cpu_seconds}", "--core=0", "--"]
    if os.geteuid() == 0 and shutil.which("setpriv"):
        prefix += ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs", "--"]
    return prefix


async def info(path: Path, format_: Format) -> Info:
    """Raises ImportFailed for a damaged image and for any that refers to other files."""
    with _lent(path, os.O_RDONLY) as descriptor:
        status, out, err = await _run(
            ["qemu-img", "info", "--output=json", "-f", format_.value, f"/proc/self/fd/{descriptor}"],
            (descriptor,),
            cpu_seconds=_INFO_SECONDS,
        )
    if status:
        raise ImportFailed(f"Image is invalid: {_words(err)}")
    try:
        document = json.loads(out)
        size = int(document["virtual-size"])
    except (ValueError, KeyError, TypeError) as error:
        raise ImportFailed("qemu-img gave no usable description of the image") from error
    backing = document.get("full-backing-filename") or document.get("backing-filename")
    if backing:
        raise ImportFailed(f"Image is invalid because it has invalid backing file {backing}")
    specific = (document.get("format-specific") or {}).get("data") or {}
    if specific.get("data-file"):
        raise ImportFailed(f"Image is invalid because it has an external data file {specific['data-file']}")
    if any(
        len(str(extent.get("filename", ""))) and len(specific.get("extents", [])) > 1
        for extent in specific.get("extents", [])
    ):
        raise ImportFailed("Image is invalid because it has external extents")
    if format_ is Format.QCOW2:
        await _check(path)
    return Info(str(document.get("format", format_.value)), size)


async def _check(path: Path) -> None:
    """Refuses a truncated or corrupt qcow2, of which `info` and `convert` would make zeros without a word."""
    with _lent(path, os.O_RDONLY) as descriptor:
        command = ["qemu-img", "check", "--output=json", "-f", "qcow2", f"/proc/self/fd/{descriptor}"]
        status, out, err = await _run(command, (descriptor,), cpu_seconds=600)
    # 3 means leaked clusters, which waste room and nothing else.
    if status in (0, 3):
        return
    try:
        corruptions = int(json.loads(out).get("corruptions", 0))
    except ValueError:
        raise ImportFailed(f"Image is invalid: {_words(err)}") from None
    raise ImportFailed(f"Image is invalid: truncated or damaged ({corruptions} corruptions)")


async def convert(source: Path, format_: Format, target: Path, size: int, progress: Callable[[float], None]) -> None:
    """Converts to raw into an existing file or device of at least `size` bytes that reads as zeros."""
    with _lent(source, os.O_RDONLY) as reader, _lent(target, os.O_RDWR) as writer:
        command = [
            "qemu-img",
            "convert",
            "-p",
            "-n",
            "--target-is-zero",
            "-W",
            "-m",
            "8",
            "-f",
            format_.value,
            "-O",
            "raw",
        ]
        command += [f"/proc/self/fd/{reader}", f"/proc/self/fd/{writer}"]
        status, _, err = await _run(command, (reader, writer), cpu_seconds=24 * 3600, progress=progress)
    if status:
        words = _words(err)
        if "No space left" in words or "quota" in words:
            raise TooSmall(f"could not convert image to raw: {words}")
        raise ImportFailed(f"could not convert image to raw: {words}")


async def _run(
    command: list[str],
    descriptors: tuple[int, ...],
    *,
    cpu_seconds: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[int, bytes, bytes]:
    try:
        process = await asyncio.create_subprocess_exec(
            *confined(cpu_seconds),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
        )
    except OSError as error:
        raise ImportFailed(f"qemu-img cannot be run: {error.strerror}", hint="install qemu-utils") from error
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.TaskGroup() as tasks:
            errors = tasks.create_task(process.stderr.read(64 * 1024), name="qemu-img stderr")
            out = bytearray()
            # -p redraws its line with "\r", so readline() would stay silent until the end.
            while chunk := await process.stdout.read(4096):
                if progress is None:
                    out += chunk
                elif found := _PERCENT.findall(chunk):
                    progress(float(found[-1]))
        await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, bytes(out), errors.result()


@contextlib.contextmanager
def _lent(path: Path, flags: int):  # type: ignore[no-untyped-def]  # a generator of one int
    """An open file that the confined user may open again through /proc."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    state = os.fstat(descriptor)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, _NOBODY, _NOBODY)
        yield descriptor
    finally:
        if os.geteuid() == 0:
            os.fchown(descriptor, state.st_uid, state.st_gid)
        os.close(descriptor)


def _words(err: bytes) -> str:
    text = err.decode("utf-8", "replace").strip()
    return (
        re.sub(r"/proc/self/fd/\d+", "image", text.removeprefix("qemu-img: ")) or "qemu-img was stopped by its limits"
    )
