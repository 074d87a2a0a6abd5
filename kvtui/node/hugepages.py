"""Huge pages of the node, as a kubelet counts them.

Source: https://www.kernel.org/doc/html/latest/admin-guide/mm/hugetlbpage.html,
https://kubernetes.io/docs/tasks/manage-hugepages/scheduling-hugepages/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from kvtui.api import quantity

PAGES = Path("/sys/kernel/mm/hugepages")


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


def resources(pages: Mapping[int, int]) -> dict[str, str]:
    """The resources of a Node: hugepages-2Mi and its like."""
    return {f"hugepages-{quantity.binary(size)}": quantity.binary(pages[size]) for size in sorted(pages)}
