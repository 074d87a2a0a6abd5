"""Small ISO images: Rock Ridge and, where it has room for the names, Joliet; written aside and renamed.

Source: genisoimage(1); host tools are tried in order of speed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from kvtui.errors import InvalidObject
from kvtui.node.processes import ProgramFailed, ProgramMissing, run

_TOOLS = (("genisoimage",), ("mkisofs",), ("xorriso", "-as", "mkisofs"))
# Names are as the guest shall see them, whatever the locale of this program.
_OPTIONS = ("-quiet", "-r", "-input-charset", "utf-8", "-output-charset", "utf-8")
_NO_NAME = (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG)
MAX_BYTES = 64 * 2**20


async def build(path: Path, label: str, files: Mapping[str, bytes]) -> int:
    """Writes an ISO with these files (relative paths) and returns its size in bytes."""
    if sum(map(len, files.values())) > MAX_BYTES:
        raise InvalidObject(f"more than {MAX_BYTES} bytes do not fit such a disk")
    source = await asyncio.to_thread(_place, path.parent)
    staging = path.with_suffix(".staging")
    try:
        await asyncio.to_thread(_fill, source, files)
        for tool in _TOOLS:
            try:
                await _make(tool, "-V", label[:32], "-o", str(staging), str(source))
                break
            except ProgramMissing:
                continue
        else:
            raise ProgramMissing("no ISO maker is installed (genisoimage or xorriso)")
        staging.chmod(0o600)
        staging.replace(path)
    finally:
        await asyncio.to_thread(shutil.rmtree, source, True)
        staging.unlink(missing_ok=True)
    return (await asyncio.to_thread(path.stat)).st_size


async def _make(tool: Sequence[str], *arguments: str) -> None:
    try:
        await run(*tool, *_OPTIONS, "-J", *arguments, timeout=10)
    except ProgramFailed as error:
        # To it names are 64 characters, so that long ones may be the same.
        if "Joliet" not in str(error):
            raise
        await run(*tool, *_OPTIONS, *arguments, timeout=10)


def _place(parent: Path) -> Path:
    parent.mkdir(mode=0o710, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".iso-", dir=parent))


def _fill(root: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in name:
            raise InvalidObject(f"{name!r} cannot name a file")
        target = root / relative
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            if error.errno not in _NO_NAME:
                raise
            raise InvalidObject(f"{name!r} cannot name a file beside the others: {error.strerror}") from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
