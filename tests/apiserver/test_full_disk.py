"""A disk that fills up under a server: writes are told so, reads go on, nothing acknowledged is lost, and room heals.

The disk is a small tmpfs in a mount namespace that ends with the test. Needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from kvtui.apiserver.database import Change
from kvtui.apiserver.pki import Pki, ensure_pki
from tests.apiserver.api import CONFIG_MAPS, Answer, Api, config_map
from tests.apiserver.test_kills import free_port

ROOT = Path(__file__).parents[2]
MB = 2**20
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting a tmpfs needs root"),
    pytest.mark.timeout(120),
]


@dataclass
class Disk:
    """A tmpfs that only processes in its namespace see."""

    place: Path
    holder: int

    @property
    def files(self) -> Path:
        """The tmpfs from here."""
        return Path(f"/proc/{self.holder}/root{self.place}/apiserver")

    @property
    def room(self) -> int:
        found = os.statvfs(self.files)
        return found.f_bavail * found.f_frsize

    def leave(self, room: int) -> Path:
        """A file that takes all but so many bytes."""
        filler = self.files / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(self.room - room, 1))
        return filler


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    (tmp_path / "apiserver").mkdir()
    script = f"mount -t tmpfs -o size={24 * MB},mode=700 tmpfs '{tmp_path}/apiserver' && echo && exec sleep infinity"
    holder = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "--propagation", "private", "sh", "-c", script, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        if await holder.stdout.readline() != b"\n":
            pytest.skip("this machine lets nobody mount a tmpfs")
        yield Disk(tmp_path, holder.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            holder.kill()
        await holder.wait()


@contextlib.asynccontextmanager
async def served(disk: Disk, min_free: int = 0) -> AsyncIterator[Api]:
    """A server whose database is on the disk; killed in the end, as a crash would."""
    pki = Pki(disk.place / "pki")
    ensure_pki(disk.place / "pki", ("127.0.0.1", "localhost"))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("nsenter", f"--mount=/proc/{disk.holder}/ns/mnt", "--", sys.executable, "-m", "tests.apiserver.process"),
        *(str(disk.place), str(port), "600", str(min_free)),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    tls = ssl.create_default_context(cafile=str(pki.ca.cert))
    tls.load_cert_chain(pki.admin.cert, pki.admin.key)
    try:
        async with aiohttp.ClientSession(
            f"https://127.0.0.1:{port}", connector=aiohttp.TCPConnector(ssl=tls)
        ) as session:
            api = Api(session)
            while True:
                assert process.returncode is None
                with contextlib.suppress(aiohttp.ClientError):
                    if (await api.get("/readyz")).code == 200:
                        break
                await asyncio.sleep(0.05)  # nothing tells that a process has begun to listen
            yield api
    finally:
        process.kill()
        await process.wait()


def is_told(answer: Answer) -> bool:
    """The refusal of a write for want of room, in full."""
    if answer.code == 201:
        return False
    assert (answer.code, answer.reason) == (507, "InsufficientStorage"), answer.body
    assert (answer.body["kind"], answer.body["status"]) == ("Status", "Failure")
    assert "disk" in answer.message or "database" in answer.message
    assert answer.headers["Retry-After"] == "10"
    return True


async def create(api: Api, name: str) -> Answer:
    return await api.post(CONFIG_MAPS, config_map(name, filler="x" * 400_000))


async def create_until_told(api: Api, prefix: str, stored: set[str]) -> None:
    for number in range(2000):
        name = f"{prefix}{number}"
        if is_told(await create(api, name)):
            return
        stored.add(name)
    raise AssertionError("the disk never became full")


async def names(api: Api) -> set[str]:
    return {n for n in (await api.get(CONFIG_MAPS)).names if n != "kube-root-ca.crt"}


def written(disk: Disk) -> set[str]:
    """The objects in the file itself."""
    for suffix in ("", "-wal"):  # SQLite would follow the link to this namespace's root
        shutil.copyfile(disk.files / f"state.db{suffix}", disk.place / f"copy.db{suffix}")
    with contextlib.closing(sqlite3.connect(disk.place / "copy.db")) as db:
        rows = db.execute(
            "SELECT name, change FROM record WHERE resource='configmaps' AND namespace='default' ORDER BY rv"
        )
        latest = dict(rows.fetchall())
    return {name for name, change in latest.items() if change != Change.DELETED and name != "kube-root-ca.crt"}


async def test_a_disk_that_is_full(disk: Disk) -> None:
    stored: set[str] = set()
    filler = disk.leave(6 * MB)
    async with served(disk) as api:
        await create_until_told(api, "a", stored)
        assert stored
        assert await names(api) == stored
        assert (await api.get(f"{CONFIG_MAPS}/a0")).code == 200
        async with api.watch(CONFIG_MAPS, resourceVersion="0") as watch:
            assert {name for _, name in await watch.take(len(stored) + 1)} - {"kube-root-ca.crt"} == stored
        await create_until_told(api, "b", stored)
    async with served(disk) as api:  # killed, and still full: it starts, and shows everything
        assert await names(api) == stored
        await create_until_told(api, "c", stored)
        filler.unlink()
        for number in range(10):
            assert (await create(api, f"d{number}")).code == 201
            stored.add(f"d{number}")
        assert await names(api) == stored
    assert written(disk) == stored


async def test_a_disk_that_is_nearly_full(disk: Disk) -> None:
    """New objects are refused while deletions still have room; both without a restart."""
    async with served(disk, min_free=4 * MB) as api:
        assert (await create(api, "a")).code == 201
        assert (await create(api, "b")).code == 201
        filler = disk.leave(2 * MB)
        while not is_told(answer := await api.post(CONFIG_MAPS, config_map("small"))):
            await api.delete(f"{CONFIG_MAPS}/small")
            await asyncio.sleep(0.2)  # the disk is looked at every few seconds
        assert "the disk is nearly full" in answer.message
        assert (await api.delete(f"{CONFIG_MAPS}/a")).code == 200
        assert await names(api) == {"b"}
        filler.unlink()
        while is_told(await api.post(CONFIG_MAPS, config_map("small"))):
            await asyncio.sleep(0.2)
        assert await names(api) == {"b", "small"}
