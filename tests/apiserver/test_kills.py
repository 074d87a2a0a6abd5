"""kill -9 under load: what was acknowledged is there, what was not is wholly there or wholly absent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PATH = "/api/v1/namespaces/default/configmaps"
WRITERS = 8


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Ledger:
    """What one writer knows: name -> value, None for gone. `doubt` is what was asked and not answered."""

    known: dict[str, str | None] = field(default_factory=dict)
    doubt: tuple[str, str | None] | None = None


class Engine:
    """The server process of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[aiohttp.ClientSession]:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.apiserver.process",
            str(self.directory),
            str(self.port),
            "2.0",
            stdout=asyncio.subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                await self._wait_ready(session)
                yield session
        finally:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()

    def tls(self) -> ssl.SSLContext:
        pki = self.directory / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        return context

    async def _wait_ready(self, session: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    async with session.get(f"{self.url}/readyz", ssl=self.tls()) as answer:
                        if answer.status == 200:
                            return
                except (aiohttp.ClientError, OSError):
                    await asyncio.sleep(0.02)  # nothing tells when a foreign process listens


async def write(engine: Engine, session: aiohttp.ClientSession, tls: ssl.SSLContext, me: int, ledger: Ledger) -> None:
    """Creates, changes and deletes its own objects until the server is gone."""
    source = random.Random(me)
    with contextlib.suppress(aiohttp.ClientError, OSError):
        while True:
            name = f"w{me}-{source.randrange(20)}"
            present = ledger.known.get(name) is not None
            value: str | None = None if present and source.random() < 0.3 else str(source.random())
            ledger.doubt = (name, value)
            if value is None:
                method, url, body = "DELETE", f"{PATH}/{name}", b""
            elif present:
                method, url, body = "PATCH", f"{PATH}/{name}", json.dumps({"data": {"v": value}}).encode()
            else:
                method, url = "POST", PATH
                body = json.dumps({"metadata": {"name": name}, "data": {"v": value}}).encode()
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            headers = {"Content-Type": kind}
            async with session.request(method, engine.url + url, data=body, headers=headers, ssl=tls) as answer:
                await answer.read()
                assert answer.status in (200, 201), await answer.text()
            ledger.known[name] = value
            ledger.doubt = None


async def check(engine: Engine, session: aiohttp.ClientSession, ledgers: list[Ledger]) -> None:
    async with session.get(engine.url + PATH, ssl=engine.tls()) as answer:
        listed: dict[str, Any] = await answer.json()
    present = {i["metadata"]["name"]: i["data"]["v"] for i in listed["items"] if i["metadata"]["name"].startswith("w")}
    for ledger in ledgers:
        if ledger.doubt is not None:
            name, value = ledger.doubt
            now = present.get(name)
            assert now in (ledger.known.get(name), value), (name, now, ledger.known.get(name), value)
            ledger.known[name] = now
            ledger.doubt = None
        for name, value in ledger.known.items():
            assert present.get(name) == value, name


async def torture(directory: Path, kills: int) -> None:
    engine = Engine(directory)
    ledgers = [Ledger() for _ in range(WRITERS)]
    source = random.Random(1)
    for _ in range(kills):
        async with engine.running() as session:
            await check(engine, session, ledgers)
            tls = engine.tls()
            async with asyncio.TaskGroup() as tasks:
                for me, ledger in enumerate(ledgers):
                    tasks.create_task(write(engine, session, tls, me, ledger))
                await asyncio.sleep(source.uniform(0.02, 0.6))  # the moment of the kill is what is random here
                assert engine.process is not None
                engine.process.kill()
    async with engine.running() as session:
        await check(engine, session, ledgers)


async def test_acknowledged_writes_survive_kills(tmp_path: Path) -> None:
    await torture(tmp_path, kills=10)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_acknowledged_writes_survive_two_hundred_kills(tmp_path: Path) -> None:
    await torture(tmp_path, kills=200)
