"""Whether KVM runs guests here, found out by running one.

Neither /dev/kvm nor libvirt's capabilities nor a firmware's banner prove it: nested hypervisors exist that run 16-bit
code and never reach long mode. The probe is a ROM of its own that turns on paging and 64-bit mode, works for a moment,
and ends QEMU through its exit device; that takes a tenth of a second where KVM works.
"""

from __future__ import annotations

import asyncio
import base64
import enum
import os
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_ROM = (
    "eNrtyiFLQ2EUBuAzBmJwfDeZLwvmO3+HyR/xZYvFNFiVsSRisq8sekHwNmczLi4NNovgkkz0Iob9AOPzwAvvezif1/PxYtCMm/HrY1zMzlfr3VMU"
    "edDUcZQ/pif5+SCKbhnx28pu9deqUUTk1Dm+j1Qu82hepv4yP0QRkfqLXA8jmnSae9FpD1Uqm9xr2zD1m7y5ihSHMTtbrevhzW18v1zuZsVqu337"
    "ypPYd1e2n5M2AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/LdNm/e9/QOKpzfz"
)
"""64 KiB, packed. At the reset vector: prints R on port 0xe9, goes to 64-bit paged code, prints L, loops, then writes
0x10 to port 0xf4."""

_WORKS = 33
"""The exit device gives 2 * 0x10 + 1."""
_TIMEOUT = 5.0


class Accelerator(enum.StrEnum):
    """How guests run on this node."""

    KVM = "kvm"
    EMULATION = "emulation"


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe found; `reason` says why it is not KVM."""

    accelerator: Accelerator
    reason: str = ""

    @property
    def kvm(self) -> bool:
        return self.accelerator is Accelerator.KVM


async def probe_kvm(
    *, device: Path = Path("/dev/kvm"), qemu: str = "qemu-system-x86_64", accel: str = "kvm", cpu: str = "host"
) -> Probe:
    """Runs the probe; never raises for what it finds. `accel` and `cpu` are QEMU's names."""
    if accel == "kvm" and (obstacle := await asyncio.to_thread(_obstacle, device)):
        return _no(obstacle)
    if shutil.which(qemu) is None:
        return _no(f"{qemu} is not installed")
    with tempfile.NamedTemporaryFile(prefix="kvtui-probe-", suffix=".rom") as rom:
        await asyncio.to_thread(_fill, rom)
        status, printed, complaint = await _run(
            *("prlimit", "--core=0", qemu, "-nodefaults", "-no-user-config", "-machine", f"q35,accel={accel}"),
            *("-cpu", cpu, "-m", "16", "-display", "none", "-no-reboot", "-debugcon", "stdio"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios", rom.name),
        )
    if status == _WORKS:
        return Probe(Accelerator.KVM if accel == "kvm" else Accelerator.EMULATION)
    if status is None:
        return _no(f"a guest hangs {'in' if 'L' in printed else 'before'} 64-bit code")
    return _no(f"QEMU ends at once: {complaint or f'exit status {status}'}")


def _obstacle(device: Path) -> str:
    if not device.exists():
        return f"there is no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be opened by this user"
    return ""


def _fill(rom: IO[bytes]) -> None:
    rom.write(zlib.decompress(base64.b64decode(_ROM)))
    rom.flush()


def _no(reason: str) -> Probe:
    return Probe(Accelerator.EMULATION, reason)


async def _run(*command: str) -> tuple[int | None, str, str]:
    """Exit status, stdout, last line of stderr; no status for one that had to be ended."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    reading = asyncio.gather(process.stdout.read(), process.stderr.read())
    status: int | None = None
    try:
        async with asyncio.timeout(_TIMEOUT):
            await asyncio.shield(reading)
            status = await process.wait()
    except TimeoutError:
        await _end(process)
    except asyncio.CancelledError:
        await _end(process)
        reading.cancel()
        raise
    try:
        async with asyncio.timeout(_TIMEOUT):
            stdout, stderr = await reading
    except TimeoutError:
        return None, "", ""  # stuck in the kernel, with its pipes open
    lines = stderr.decode(errors="replace").strip().splitlines()
    return status, stdout.decode(errors="replace"), lines[-1] if lines else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, then SIGKILL; a process stuck in the kernel is left to it."""
    for send in (process.terminate, process.kill):
        if process.returncode is None:
            send()
        try:
            async with asyncio.timeout(1.0):
                await process.wait()
        except TimeoutError:
            continue
        return
