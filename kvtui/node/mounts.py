"""Bind mounts that give QEMU its short way to VM files; see `layout`. Without root they are symbolic links.

They outlive the agent, because guests do, and are made again where they are missing.
"""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from kvtui.errors import Unsupported
from kvtui.node.layout import Layout
from kvtui.node.processes import run

_NOTHING_BUT_DATA = "nosuid,nodev,noexec"
"""Guests make files of any kind in claims that they share, and every user of the node may pass here."""


async def ensure(layout: Layout) -> None:
    """Makes the directories of a node and what is missing of its mounts."""
    for directory, mode in ((layout.node, 0o700), (layout.images, 0o711), (layout.storage, 0o711), (layout.vms, 0o711)):
        await asyncio.to_thread(_directory, directory, mode)
    await asyncio.to_thread(_directory, layout.shared, 0o711)
    if not layout.mounts:
        return
    if os.geteuid() != 0:
        await asyncio.to_thread(_link, layout)
        return
    for directory in (layout.run.parent, layout.run):
        await asyncio.to_thread(_directory, directory, 0o711)
    for point, source in layout.mounts.items():
        await asyncio.to_thread(_directory, point, 0o711)
        if not await asyncio.to_thread(_same, point, source):
            await run("mount", "--bind", str(source), str(point))
            # What VMs have in common none of them may change, nor may libvirt give it to one.
            more = ",ro" if source == layout.images else ""
            await run("mount", "-o", f"remount,bind,{_NOTHING_BUT_DATA}{more}", str(point))


async def remove(layout: Layout) -> None:
    """Takes the mounts away, for a node without guests."""
    for point, source in layout.mounts.items():
        if point.is_symlink():
            point.unlink()
            continue
        if await asyncio.to_thread(_same, point, source):
            await run("umount", str(point))
        await asyncio.to_thread(_rmdir, point)
    if layout.mounts:
        await asyncio.to_thread(_rmdir, layout.run)


def _directory(path: Path, mode: int) -> None:
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    state = path.stat()
    # A mount of an earlier agent may be read-only.
    if state.st_uid == os.geteuid() and stat.S_IMODE(state.st_mode) != mode:
        path.chmod(mode)


def _link(layout: Layout) -> None:
    """Raises Unsupported where somebody else has taken the place."""
    for directory in (layout.run.parent.parent, layout.run.parent, layout.run):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = directory.lstat()
        if state.st_uid != os.geteuid() or not stat.S_ISDIR(state.st_mode):
            raise Unsupported(f"{directory} is not a directory of this user's own")
    for point, source in layout.mounts.items():
        if point.is_symlink() and not _same(point, source):
            point.unlink()
        if not point.is_symlink():
            point.symlink_to(source)


def _same(point: Path, source: Path) -> bool:
    return point.exists() and point.samefile(source)


def _rmdir(path: Path) -> None:
    try:
        path.rmdir()
    except (FileNotFoundError, OSError):
        return
