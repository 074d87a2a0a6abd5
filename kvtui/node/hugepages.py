"""Huge pages of the node, as a kubelet counts them.

Source: https://www.kernel.org/doc/html/latest/admin-guide/mm/hugetlbpage.html,
https://kubernetes.io/docs/tasks/manage-hugepages/scheduling-hugepages/
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path

from kvtui.api import quantity

PAGES = Path("/sys/kernel/mm/hugepages")
MOUNTS = Path("/proc/self/mounts")
_SIZE = re.compile(r"pagesize=(\d+)([KMG])")
_UNITS = {"K": 1024, "M": 2**20, "G": 2**30}


def reserved(directory: Path = PAGES) -> dict[int, int]:
    """Bytes that are set aside for huge pages, by the size of a page in bytes; sizes without pages are there too."""
    found = {}
    for place in directory.glob("hugepages-*kB"):
        match = re.fullmatch(r"hugepages-(\d+)kB", place.name)
        try:
            pages = int((place / "nr_hugepages").read_text())
        except (OSError, ValueError):
            continue
        if match is not None:
            size = int(match[1]) * 1024
            found[size] = pages * size
    return found


def mounted(mounts: Path = MOUNTS) -> frozenset[int]:
    """Sizes of page for which a hugetlbfs is mounted: libvirt starts guests with no others."""
    found = set()
    for line in mounts.read_text().splitlines():
        _, _, kind, options, *_ = line.split(" ")
        match = _SIZE.search(options) if kind == "hugetlbfs" else None
        if match is not None:
            found.add(int(match[1]) * _UNITS[match[2]])
    return frozenset(found)


def resources(pages: Mapping[int, int], usable: Container[int]) -> dict[str, str]:
    """The resources of a Node: hugepages-2Mi and its like, none of those that are not usable."""
    return {
        f"hugepages-{quantity.binary(size)}": quantity.binary(pages[size] if size in usable else 0)
        for size in sorted(pages)
    }
