"""Short helper programs: run without a shell, with a deadline, and never left behind.

Programs that read what a user supplied are bounded in memory and CPU time by prlimit and cannot write core files. They
have no network and run as nobody, who may read every file here and write none.

Source: prlimit(1), setpriv(1), capabilities(7)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from kvtui.errors import Permanent, Transient


class ProgramMissing(Permanent):
    """A program of the distribution is not installed."""


class ProgramFailed(Permanent):
    """The program's own words."""


class ProgramSlow(Transient):
    """The program was ended because it took too long."""


_NOBODY = 65534
_READ = "dac_read_search"
"""Images belong to the users of their VMs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for a program that reads foreign data."""

    memory: int = 2000 * 2**20
    """Bytes of address space."""
    cpu: int = 10
    """Seconds of CPU time."""


def confined(limits: Limits) -> tuple[str, ...]:
    """What takes privileges, network, memory and time away from a command, as far as this user may."""
    bounds = ("prlimit", f"--as={limits.memory}", f"--cpu={limits.cpu}", "--core=0", "--")
    if os.geteuid() != 0:
        return bounds
    read = f"-all,+{_READ}"
    rights = (f"--inh-caps={read}", f"--ambient-caps={read}", f"--bounding-set={read}", "--no-new-privs")
    nobody = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", *rights, "--")
    return ("unshare", "--net", "--ipc", "--", *bounds, *nobody)


async def run(
    *command: str, timeout: float = 60.0, limits: Limits | None = None, ok: Sequence[int] = (0,), stdin: bytes = b""
) -> bytes:
    """Standard output of a program. Raises ProgramFailed with its last words, ProgramMissing, ProgramSlow."""
    if limits is not None:
        command = (*confined(limits), *command)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise ProgramMissing(f"{command[0]} is not installed") from error
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin or None)
    except TimeoutError as error:
        raise ProgramSlow(f"{command[0]} took longer than {timeout:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode not in ok:
        words = err.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"]
        raise ProgramFailed(words[-1])
    return out
