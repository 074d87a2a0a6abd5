"""The guest image's disk: an MBR with a small EFI system partition and a root partition that may grow.

Both firmwares read an MBR, and growing its last partition is four bytes (GPT would need two checksummed copies).
Sector 0 holds GRUB's boot.img, the sectors after it GRUB's core image, as `grub-install` would place them;
doing it here needs neither a block device nor root.
Sources: GRUB's grub-core/boot/i386/pc/{boot,diskboot}.S (the patched offsets), UEFI specification 5.2.1 (MBR).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SECTOR = 512
MIB = 2**20

_KERNEL_SECTOR = 0x5C
"""boot.img: the sector number of the first sector of the core image, 64 bits."""
_BLOCKLIST = SECTOR - 12
"""diskboot.img, last entry: start (64 bits), length (16 bits) in sectors, segment (16 bits)."""
_CORE_SEGMENT = 0x0820
_DISK_SIGNATURE = 0x1B8
_PARTITIONS = 0x1BE

EFI_TYPE = 0xEF
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
    root: Partition

    @property
    def size(self) -> int:
        return self.root.start + self.root.size


def layout(*, efi_size: int, root_size: int) -> Layout:
    """The first MiB is for the boot loader; both partitions begin on a MiB. Sizes in bytes, rounded up to a MiB."""
    efi = Partition(MIB, _round_up(efi_size), EFI_TYPE)
    root = Partition(efi.start + efi.size, _round_up(root_size), LINUX_TYPE, bootable=True)
    return Layout(efi, root)


def boot_area(disk: Layout, *, boot: bytes, core: bytes, signature: int) -> bytes:
    """The bytes before the first partition: MBR, partition table and GRUB's core image.

    `boot` is GRUB's boot.img, `core` what grub-mkimage made for i386-pc. Raises ValueError when they do not fit.
    """
    if len(boot) != SECTOR:
        raise ValueError(f"boot.img has {len(boot)} bytes, not {SECTOR}")
    if len(core) > disk.efi.start - SECTOR:
        raise ValueError(f"the core image has {len(core)} bytes; {disk.efi.start - SECTOR} are free")
    mbr = bytearray(boot)
    struct.pack_into("<Q", mbr, _KERNEL_SECTOR, 1)
    struct.pack_into("<I", mbr, _DISK_SIGNATURE, signature)
    for number in range(4):
        struct.pack_into("16x", mbr, _PARTITIONS + 16 * number)
    for number, partition in enumerate((disk.efi, disk.root)):
        _put_partition(mbr, number, partition)
    mbr[510:512] = b"\x55\xaa"
    patched = bytearray(core)
    sectors = -(-len(core) // SECTOR)
    struct.pack_into("<QHH", patched, _BLOCKLIST, 2, sectors - 1, _CORE_SEGMENT)
    return bytes(mbr) + bytes(patched)


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
