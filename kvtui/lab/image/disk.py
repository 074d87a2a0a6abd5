"""The guest image's disk: an MBR, a small EFI system partition, kernel and RAM disk as they are, a root that may grow.

Both firmwares read an MBR, and growing its last partition is four bytes (GPT would need two checksummed copies).
The loader of files/boot/loader.S lies before the first partition and finds kernel and RAM disk by sector number.
Sources: UEFI specification 5.2.1 (MBR), Linux Documentation/arch/x86/boot.rst (setup_sects).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SECTOR = 512
MIB = 2**20

_DISK_SIGNATURE = 0x1B8
_PARTITIONS = 0x1BE
_PARAMETERS = 0x800
"""In the loader: seven numbers of 32 bits, then the kernel's arguments."""
_ARGUMENTS_SIZE = 0x1E4
_SETUP_SECTORS = 0x1F1
"""In the kernel: sectors of its real-mode part after the first; 0 stands for 4."""

EFI_TYPE = 0xEF
RAW_TYPE = 0xDA
LINUX_TYPE = 0x83


@dataclass(frozen=True, slots=True)
class Partition:
    """A primary partition; `start` and `size` are bytes."""

    start: int
    size: int
    type: int
    bootable: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies on the disk, in bytes."""

    efi: Partition
    boot: Partition
    """Kernel and initial RAM disk, one after the other, each from a sector on. From a file system GRUB would read them
    in so small pieces that an emulated machine spends seconds on it."""
    root: Partition

    @property
    def size(self) -> int:
        return self.root.start + self.root.size


def layout(*, efi_size: int, boot_size: int, root_size: int) -> Layout:
    """The first MiB is for the boot loader; partitions begin on a MiB. Sizes in bytes, rounded up to a MiB."""
    efi = Partition(MIB, _round_up(efi_size), EFI_TYPE)
    boot = Partition(efi.start + efi.size, _round_up(boot_size), RAW_TYPE)
    root = Partition(boot.start + boot.size, _round_up(root_size), LINUX_TYPE, bootable=True)
    return Layout(efi, boot, root)


def sectors(data: bytes) -> int:
    """Sectors that the bytes fill, the last one perhaps in part."""
    return -(-len(data) // SECTOR)


def boot_area(disk: Layout, *, loader: bytes, kernel: bytes, initrd: bytes, arguments: str, signature: int) -> bytes:
    """The bytes before the first partition: the loader with the partition table and its parameters filled in.

    Kernel and RAM disk lie one after the other in the boot partition. Raises ValueError when something does not fit.
    """
    if not _PARAMETERS < len(loader) <= disk.efi.start:
        raise ValueError(f"the loader has {len(loader)} bytes")
    if len(arguments) >= _ARGUMENTS_SIZE:
        raise ValueError(f"the kernel's arguments have {len(arguments)} characters; {_ARGUMENTS_SIZE - 1} fit")
    area = bytearray(loader)
    struct.pack_into("<I", area, _DISK_SIGNATURE, signature)
    for number, partition in enumerate((disk.efi, disk.boot, disk.root)):
        _put_partition(area, number, partition)
    start = disk.boot.start // SECTOR
    real_mode = 1 + (kernel[_SETUP_SECTORS] or 4)
    struct.pack_into(
        f"<7I{_ARGUMENTS_SIZE}s",
        area,
        _PARAMETERS,
        start,
        real_mode,
        start + real_mode,
        sectors(kernel) - real_mode,
        start + sectors(kernel),
        sectors(initrd),
        len(initrd),
        arguments.encode("ascii"),
    )
    return bytes(area)


def _put_partition(mbr: bytearray, number: int, partition: Partition) -> None:
    # Cylinders, heads and sectors mean nothing on such a disk; this is the value for "use the sector number".
    beyond = b"\xfe\xff\xff"
    entry = struct.pack(
        "<B3sB3sII",
        0x80 if partition.bootable else 0,
        beyond,
        partition.type,
        beyond,
        partition.start // SECTOR,
        partition.size // SECTOR,
    )
    at = _PARTITIONS + 16 * number
    mbr[at : at + 16] = entry


def _round_up(size: int) -> int:
    return -(-size // MIB) * MIB
