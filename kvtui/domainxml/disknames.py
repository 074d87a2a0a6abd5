"""Target names of disks: vda, vdb, … for virtio and sda, sdb, … for SCSI, SATA and USB together.

A name that the status already reports is kept, so a disk does not change its place when others come and go.

Source: Linux sd_format_disk_name
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.errors import UnsupportedDevice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIXES = {"virtio": "vd", "sata": "sd", "scsi": "sd", "usb": "sd"}
_LETTERS = 26


def device_name(prefix: str, index: int) -> str:
    """The name with this index: 0 is a, 25 is z, 26 is aa."""
    letters = ""
    while index >= 0:
        letters = chr(ord("a") + index % _LETTERS) + letters
        index = index // _LETTERS - 1
    return prefix + letters


def device_index(name: str, prefix: str) -> int | None:
    """The index of a name with this prefix; None if it is none."""
    letters = name.removeprefix(prefix)
    if letters == name or not letters or len(letters) > 3 or not all("a" <= c <= "z" for c in letters):
        return None
    index = 0
    for letter in letters:
        index = index * _LETTERS + ord(letter) - ord("a") + 1
    return index - 1


def prefix_of(bus: str, field: str) -> str:
    """The prefix for this bus. Raises UnsupportedDevice."""
    if bus not in PREFIXES:
        raise UnsupportedDevice(f"no disk can be on bus {bus!r}", field=field)
    return PREFIXES[bus]


def assign(disks: Iterable[tuple[str, str]], kept: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Name and index of each disk, given as (name, prefix) in order; `kept` has the known targets by disk."""
    wanted = list(disks)
    names: dict[str, tuple[str, int]] = {}
    used: set[str] = set()
    for disk, prefix in wanted:
        index = device_index(kept.get(disk, ""), prefix)
        if index is not None:
            names[disk] = (kept[disk], index)
            used.add(kept[disk])
    following = dict.fromkeys(PREFIXES.values(), 0)
    for disk, prefix in wanted:
        if disk in names:
            continue
        index = following[prefix]
        while (name := device_name(prefix, index)) in used:
            index += 1
        names[disk] = (name, index)
        following[prefix] = index + 1
    return names
