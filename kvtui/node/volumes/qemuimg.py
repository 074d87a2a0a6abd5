"""qemu-img, for the few things the agent needs. Images of users are read under limits and never with a backing file.

Source: https://www.qemu.org/docs/master/tools/qemu-img.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kvtui.errors import InvalidObject
from kvtui.node.processes import Limits, ProgramFailed, run

MIB = 2**20


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image says about itself; bytes."""

    format: str
    virtual_size: int
    allocated: int


async def inspect(path: Path, *, format_: str = "", memory_limit: int = 2000 * MIB) -> ImageInfo:
    """Format and size of a foreign image at an absolute path. Raises InvalidObject unless it is plain raw or qcow2.

    `format_` is what it is to be taken for; a guest may have written another format's header into its raw disk.
    """
    known = ("-f", format_) if format_ else ()
    command = ("qemu-img", "info", "--output=json", *known, "-U", str(path))
    try:
        answer = json.loads(await run(*command, timeout=30, limits=Limits(memory=memory_limit)))
    except (ProgramFailed, ValueError) as error:
        raise InvalidObject(f"the image cannot be read: {error}") from error
    if answer.get("backing-filename") or answer.get("full-backing-filename"):
        raise InvalidObject("the image has a backing file, which is not allowed")
    data = (answer.get("format-specific") or {}).get("data") or {}
    if data.get("data-file"):
        raise InvalidObject("the image has an external data file, which is not allowed")
    if answer.get("format") not in ("raw", "qcow2"):
        raise InvalidObject(f"the image format {answer.get('format')!r} is neither raw nor qcow2")
    return ImageInfo(answer["format"], int(answer["virtual-size"]), int(answer.get("actual-size") or 0))


async def create_overlay(path: Path, backing: str, backing_format: str) -> None:
    """A qcow2 over a foreign image, which only the confined program reads; `backing` is the path that QEMU will use.

    Raises InvalidObject.
    """
    info = await inspect(Path(backing), format_=backing_format)
    await _create(path, "-u", "-b", backing, "-F", backing_format, size=info.virtual_size)


async def create_empty(path: Path, size: int) -> None:
    """An empty qcow2 of `size` bytes."""
    await _create(path, size=size)


async def _create(path: Path, *options: str, size: int | None = None) -> None:
    # The final name appears only when the image is complete.
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    tail = () if size is None else (str(size),)
    await run("qemu-img", "create", "-q", "-f", "qcow2", *options, str(temporary), *tail)
    temporary.chmod(0o600)
    temporary.replace(path)


async def resize(path: Path, size: int, *, allocate: bool = False) -> None:
    """Grows a raw image that no QEMU has open. `allocate` reserves the new blocks."""
    how = "falloc" if allocate else "off"
    await run("qemu-img", "resize", "-q", "-f", "raw", f"--preallocation={how}", str(path), str(size))
