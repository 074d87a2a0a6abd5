"""Runs kvtui as a user does: another process, with a kubeconfig."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.cluster import RunningServer


@dataclass
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Runs kvtui against one server."""

    server: RunningServer
    environment: dict[str, str] = field(default_factory=dict)

    async def __call__(self, *args: str, stdin: str = "", kubeconfig: Path | None = None, **environment: str) -> Ran:
        process = await self.start(*args, kubeconfig=kubeconfig, **environment)
        out, err = await process.communicate(stdin.encode())
        return Ran(process.returncode or 0, out.decode(errors="replace"), err.decode())

    async def start(self, *args: str, kubeconfig: Path | None = None, **environment: str) -> asyncio.subprocess.Process:
        """A command that goes on; end it with `terminate`."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kvtui", *args),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "KUBECONFIG": str(kubeconfig or self.server.kubeconfig),
                **self.environment,
                **environment,
            },
        )
