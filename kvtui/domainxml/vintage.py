"""What an older libvirt does not know and would ignore in silence, said so that it has the same effect.

Source: https://libvirt.org/news.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.disknames import device_index

if TYPE_CHECKING:
    from kvtui.domainxml.elements import Element

Version = tuple[int, ...]

NEWEST: Version = (999,)
"""Knows everything that is here."""
THREAD_LISTS: Version = (10, 0, 0)
"""The first that serves one disk with several I/O threads."""


def version_of(text: str) -> Version:
    """Of libvirt's own text, such as 9.0.0; one that says nothing counts as the newest."""
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isascii() and part.isdigit() for part in parts) else NEWEST


def fit_domain(domain: Element, libvirt: Version) -> None:
    """Makes a domain one that this libvirt understands, in place."""
    for disk in domain.findall("devices/disk"):
        fit_disk(disk, libvirt)


def fit_disk(disk: Element, libvirt: Version) -> None:
    """Likewise one disk: of a pool of I/O threads it gets one, its neighbours the next ones."""
    driver, target = disk.find("driver"), disk.find("target")
    threads = None if driver is None else driver.find("iothreads")
    if driver is None or target is None or threads is None or libvirt >= THREAD_LISTS:
        return
    ids = [thread.get("id", "") for thread in threads]
    driver.remove(threads)
    if ids:
        driver.set("iothread", ids[(device_index(target.get("dev", ""), "vd") or 0) % len(ids)])
