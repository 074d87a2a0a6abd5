"""A guest of one sector that runs a second after its start, and ends its own life when it is told to by a letter.

For what befalls a machine, not a system: which of two disks it boots, and what follows when its guest powers off,
resets or panics. See willing.S for the letters.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "willing.S"
POWER_OFF, RESET, PANIC = "p", "r", "x"
_SIZE = 1 << 20
_BOOTABLE = b"\x55\xaa"


def willing(words: str, directory: Path) -> bytes:
    """A disk, as its bytes, that boots and says the words. `directory` is for the assembler's files."""
    parts, image = directory / "willing.o", directory / "willing.bin"
    subprocess.run(["as", "--32", "-o", parts, SOURCE], check=True)
    link: list[str | Path] = ["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", image, parts]
    subprocess.run(link, check=True)
    sector = (image.read_bytes() + words.encode("ascii") + b"\r\n\0").ljust(510, b"\0")
    assert len(sector) == 510, "the words do not fit"
    return (sector + _BOOTABLE).ljust(_SIZE, b"\0")
