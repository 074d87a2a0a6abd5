"""Sets of CPUs as the kernel and libvirt write them: "0-3,8". Pure.

Source: cpuset(7), "List format"
"""

from __future__ import annotations

from collections.abc import Iterable

from kvtui.errors import InvalidObject

MAX_CPU = 8191
"""The largest number that Linux gives a CPU."""


def parse(text: str) -> frozenset[int]:
    """The CPUs of a list; "" is none. libvirt's "^2" takes one away again. Raises InvalidObject."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        if not part:
            continue
        first, dash, last = part.removeprefix("^").partition("-")
        if not _is_cpu(first) or (dash and not _is_cpu(last)) or int(last or first) < int(first):
            raise InvalidObject(f"{text!r} is no list of CPUs such as 0-3,8")
        named = range(int(first), int(last or first) + 1)
        if part.startswith("^"):
            found.difference_update(named)
        else:
            found.update(named)
    return frozenset(found)


def _is_cpu(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= MAX_CPU


def format_list(cpus: Iterable[int]) -> str:
    """The shortest list of these CPUs."""
    runs: list[tuple[int, int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], cpu)
        else:
            runs.append((cpu, cpu))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
