"""What an older libvirt gets instead of what it does not know."""

from __future__ import annotations

import pytest

from kvtui.domainxml import Context, Placement, convert, disk_xml, finish, ownership_of
from kvtui.domainxml.vintage import NEWEST, Version, version_of

from .builders import vmi

POOL = vmi(
    domain={"ioThreadsPolicy": "supplementalPool", "ioThreads": {"supplementalPoolThreadCount": 2}},
    devices={"disks": [{"name": n, "disk": {"bus": b}} for n, b in (("a", "virtio"), ("s", "sata"), ("b", "virtio"))]},
)


@pytest.mark.parametrize(
    ("libvirt", "threads", "lists"),
    [((9, 0, 0), ["1", None, "2"], 0), ((10, 0, 0), [None, None, None], 2), (NEWEST, [None, None, None], 2)],
)
def test_a_pool_of_threads_is_dealt_out_where_a_disk_has_but_one(
    libvirt: Version, threads: list[str | None], lists: int
) -> None:
    domain = finish(convert(POOL, Context()), Placement(ownership=ownership_of(POOL), libvirt=libvirt))
    drivers = domain.findall("devices/disk/driver")
    assert [driver.get("iothread") for driver in drivers] == threads
    assert sum(len(driver.findall("iothreads")) for driver in drivers) == lists
    assert domain.findtext("iothreads") == "2"
    plugged = disk_xml(POOL, Context(libvirt=libvirt), "b").find("driver")
    assert plugged is not None
    assert plugged.get("iothread") == threads[2]


@pytest.mark.parametrize(
    ("text", "version"), [("9.0.0", (9, 0, 0)), ("11.10.0", (11, 10, 0)), ("", NEWEST), ("x.1", NEWEST)]
)
def test_versions_are_numbers(text: str, version: Version) -> None:
    assert version_of(text) == version
    assert version_of("10.0.0") > version_of("9.10.0")
