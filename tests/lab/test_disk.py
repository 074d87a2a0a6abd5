"""The guest image's disk: partition table and loader, byte by byte."""

from __future__ import annotations

import struct

import pytest

from kvtui.lab.image.disk import EFI_TYPE, LINUX_TYPE, MIB, RAW_TYPE, SECTOR, Layout, boot_area, layout, sectors

PARTITIONS, PARAMETERS = 446, 0x800
LOADER = bytes(range(256)) * 10
KERNEL = bytes(0x1F1) + b"\x27" + bytes(100_000)
INITRD = b"r" * 5_000


def disk() -> Layout:
    return layout(efi_size=1, boot_size=3 * MIB + 1, root_size=20 * MIB)


def area(**changes: object) -> bytes:
    wanted: dict[str, object] = {
        "loader": LOADER,
        "kernel": KERNEL,
        "initrd": INITRD,
        "arguments": "quiet",
        "signature": 0x1234,
    }
    return boot_area(disk(), **(wanted | changes))  # type: ignore[arg-type]


def test_partitions_begin_on_a_mebibyte_and_do_not_overlap() -> None:
    found = disk()
    parts = [found.efi, found.boot, found.root]
    assert all(p.start % MIB == 0 and p.size % MIB == 0 for p in parts)
    assert [p.start + p.size for p in parts] == [found.boot.start, found.root.start, found.size]


def test_the_partition_table_says_what_the_layout_says() -> None:
    raw = area()
    assert raw[510:512] == LOADER[510:512]
    entries = [struct.unpack_from("<B3sB3sII", raw, PARTITIONS + 16 * n) for n in range(3)]
    assert [e[2] for e in entries] == [EFI_TYPE, RAW_TYPE, LINUX_TYPE]
    assert [e[0] for e in entries] == [0, 0, 0x80]
    found = disk()
    assert [(e[4] * SECTOR, e[5] * SECTOR) for e in entries] == [
        (p.start, p.size) for p in (found.efi, found.boot, found.root)
    ]


def test_the_loader_learns_where_kernel_and_ram_disk_are() -> None:
    start = disk().boot.start // SECTOR
    numbers = struct.unpack_from("<7I", area(), PARAMETERS)
    assert numbers == (
        start,
        40,
        start + 40,
        sectors(KERNEL) - 40,
        start + sectors(KERNEL),
        sectors(INITRD),
        len(INITRD),
    )


def test_a_kernel_that_says_no_setup_size_has_four_sectors() -> None:
    assert struct.unpack_from("<7I", area(kernel=bytes(100_000)), PARAMETERS)[1] == 5


def test_the_arguments_end_with_a_zero() -> None:
    assert area()[PARAMETERS + 28 :].startswith(b"quiet\0")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="arguments"):
        area(arguments="x" * 0x1E4)
    with pytest.raises(ValueError, match="loader"):
        area(loader=b"short")
