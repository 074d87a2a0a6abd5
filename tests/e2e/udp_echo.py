"""A program for guests that have no UDP server: it sends every datagram for its port back to where it came from."""

from __future__ import annotations

import struct

_BASE = 0x400000
_CODE = bytes.fromhex(
    "4881ec00100000"  # sub rsp, 4096
    "b829000000bf02000000be0200000031d20f05"  # socket(AF_INET, SOCK_DGRAM, 0)
    "89c3b83100000089df488d354f000000ba100000000f05"  # bind(it, address, 16)
    "c744242010000000"  # from here on and on: the sender's address may have 16 bytes
    "b82d00000089df488d742440ba000800004531d24989e04c8d4c24200f05"  # recvfrom(it, stack + 64, 2048, 0, stack, ...)
    "85c078d6"  # again after an error
    "89c2b82c00000089df488d7424404531d24989e041b9100000000f05"  # sendto(it, stack + 64, received, 0, stack, 16)
    "ebb8"
)


def program(port: int) -> bytes:
    """A static x86-64 ELF executable of 257 bytes."""
    code = _CODE + struct.pack("<H", 2) + struct.pack(">HI", port, 0) + bytes(8)
    size = 64 + 56 + len(code)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096)
    return identity + header + segment + code
