"""Processes by number and start time, which together are never given to another one; in memory and in files.

Source: proc_pid_stat(5). The start time survives exec(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Pid:
    """A process that cannot be confused with a later one of the same number."""

    number: int
    started: int
    """Clock ticks since boot."""

    @classmethod
    def of(cls, number: int) -> Self | None:
        """None when there is no such process, or only its zombie."""
        try:
            text = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        return None if fields[0] == "Z" else cls(number, int(fields[19]))

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """What `str` of one gave. None for anything else."""
        words = text.split()
        if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
            return None
        return cls(int(words[0]), int(words[1]))

    def __str__(self) -> str:
        return f"{self.number} {self.started}"

    @property
    def alive(self) -> bool:
        return Pid.of(self.number) == self
