"""Programs of the host, run with argument lists, a deadline and their own words as errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping

from kvtui.node.network.types import NetworkFailed


async def run(
    *args: str, stdin: str = "", env: Mapping[str, str] | None = None, timeout: float = 30.0, check: bool = True
) -> tuple[int, str, str]:
    """(exit status, stdout, stderr). Raises NetworkFailed on failure (if `check`), time-out or a missing program."""
    try:
        process = await asyncio.create_subprocess_exec(
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )
    except OSError as error:
        raise NetworkFailed(f"{args[0]} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError as error:
        raise NetworkFailed(f"{' '.join(args[:4])} did not end within {timeout:.0f} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    status = process.returncode or 0
    if check and status:
        words = (err or out).decode("utf-8", "replace").strip()
        raise NetworkFailed(f"{' '.join(args[:4])} failed: {words[:500]}")
    return status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


async def ip_batch(lines: list[str], *, netns: str = "", force: bool = False) -> None:
    """Runs `ip` commands in one process; with `force` all of them even when some fail."""
    if not lines:
        return
    where = ["-n", netns] if netns else []
    args = ["ip", *where, *(["-force"] if force else []), "-batch", "-"]
    await run(*args, stdin="\n".join(lines) + "\n", check=not force)
