"""Small ISO images: Joliet and Rock Ridge, written aside and renamed.

Source: genisoimage(1); host tools are tried in order of speed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from kvtui.errors import InvalidObject
from kvtui.node.processes import ProgramMissing, run

_TOOLS = (("genisoimage",), ("mkisofs",), ("xorriso", "-as", "mkisofs"))
MAX_BYTES = 64 * 2**20


async def build(path: Path, label: str, files: Mapping[str, bytes]) -> int:
    """Writes an ISO with these files (relative paths) and returns its size in bytes."""
    if sum(map(len, files.values())) > MAX_BYTES:
        raise InvalidObject(f"more than {MAX_BYTES} bytes do not fit such a disk")
    source = Path(await asyncio.to_thread(_tree, path.parent, files))
    staging = path.with_suffix(".staging")
    try:
        for tool in _TOOLS:
            try:
                await run(*tool, "-quiet", "-J", "-r", "-V", label[:32], "-o", str(staging), str(source), timeout=10)
                break
            except ProgramMissing:
                continue
        else:
            raise ProgramMissing("no ISO maker is installed (genisoimage or xorriso)")
        staging.chmod(0o640)
        staging.replace(path)
    finally:
        await asyncio.to_thread(shutil.rmtree, source, True)
        staging.unlink(missing_ok=True)
    return (await asyncio.to_thread(path.stat)).st_size


def _tree(parent: Path, files: Mapping[str, bytes]) -> str:
    parent.mkdir(mode=0o710, parents=True, exist_ok=True)
    root = tempfile.mkdtemp(prefix=".iso-", dir=parent)
    for name, data in files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in name:
            raise InvalidObject(f"{name!r} cannot name a file")
        target = Path(root, relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    return root
