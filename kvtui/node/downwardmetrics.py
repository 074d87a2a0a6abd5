"""Downward metrics: what a guest may know of its node and of itself, as a small disk and over a serial channel. Pure,
but for the disk's file.

The disk is a header and an XML document; the header says "busy" while the document is written, and holds its length
and the sum of its bytes. On the channel a guest asks as if by HTTP and is answered with the document.

Source: https://github.com/vhostmd/vhostmd (vhostmd(8), the virtio transport)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

DISK_BYTES = 262144
_HEADER = struct.Struct(">4siii")
_SIGNATURE = b"mvbd"
_ROOM = 24
"""Bytes of the disk that are never the document's."""
REQUEST = b"GET /metrics/XML\n\n"
INVALID = b"INVALID REQUEST\n\n"
MAX_REQUEST = 4096
"""Bytes without an end after which a request is given up."""
KIB = 1024


@dataclass(frozen=True, slots=True)
class Metric:
    """One number or word."""

    name: str
    value: str
    type: str
    context: str
    """host or vm."""
    unit: str = ""


def host_metrics(
    *,
    hostname: str,
    cpus: int,
    version: str,
    now: int,
    busy: float,
    memory: Mapping[str, int],
    swapped: tuple[int, int],
) -> list[Metric]:
    """`busy` is seconds of CPU time, `memory` /proc/meminfo in KiB, `swapped` pages in and out in KiB."""
    free, total = memory.get("MemFree", 0), memory.get("MemTotal", 0)
    swap_free, swap_total = memory.get("SwapFree", 0), memory.get("SwapTotal", 0)
    return [
        Metric("HostName", hostname, "string", "host"),
        Metric("HostSystemInfo", "linux", "string", "host"),
        Metric("VirtualizationVendor", "kubevirt.io", "string", "host"),
        Metric("VirtProductInfo", version, "string", "host"),
        Metric("Time", str(now), "int64", "host", "s"),
        Metric("NumberOfPhysicalCPUs", str(cpus), "int64", "host"),
        Metric("TotalCPUTime", f"{busy:.6f}", "real64", "host", "s"),
        Metric("FreePhysicalMemory", str(free), "uint64", "host", "KiB"),
        Metric("MemoryAllocatedToVirtualServers", str(total - free), "uint64", "host", "KiB"),
        Metric("FreeVirtualMemory", str(free + swap_free), "uint64", "host", "KiB"),
        Metric("UsedVirtualMemory", str(total - free + swap_total - swap_free), "uint64", "host", "KiB"),
        Metric("PagedInMemory", str(swapped[0]), "uint64", "host", "KiB"),
        Metric("PagedOutMemory", str(swapped[1]), "uint64", "host", "KiB"),
    ]


def guest_metrics(stats: Mapping[str, object]) -> list[Metric]:
    """Of one domain, out of libvirt's statistics of it."""

    def number(name: str) -> int:
        found = stats.get(name)
        return found if isinstance(found, int) else 0

    return [
        Metric("TotalCPUTime", f"{number('cpu.time') / 1e9:.6f}", "real64", "vm", "s"),
        Metric("ResourceProcessorLimit", str(number("vcpu.current")), "uint64", "vm"),
        Metric("PhysicalMemoryAllocatedToVirtualSystem", str(number("balloon.current")), "uint64", "vm", "KiB"),
        Metric("ResourceMemoryLimit", str(number("balloon.maximum")), "uint64", "vm", "KiB"),
    ]


def document(metrics: Iterable[Metric]) -> bytes:
    """The XML document."""
    root = Element("metrics")
    for metric in metrics:
        attributes = {"type": metric.type, "context": metric.context}
        entry = SubElement(root, "metric", attributes | ({"unit": metric.unit} if metric.unit else {}))
        SubElement(entry, "name").text = metric.name
        SubElement(entry, "value").text = metric.value
    indent(root)
    return tostring(root, encoding="unicode").encode() + b"\n"


def header(body: bytes, *, busy: bool) -> bytes:
    """In front of a document on the disk."""
    return _HEADER.pack(_SIGNATURE, int(busy), sum(body) & 0x7FFFFFFF, len(body))


def create(path: Path) -> None:
    """An empty disk, unless there is one. Blocks."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes((header(b"", busy=False)).ljust(DISK_BYTES, b"\0"))
    temporary.chmod(0o600)
    temporary.replace(path)


def update(path: Path, body: bytes) -> None:
    """Puts another document on the disk, under the eyes of the guest, unless it is too long. Blocks."""
    if len(body) > DISK_BYTES - _ROOM:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.pwrite(descriptor, header(body, busy=True), 0)
        os.pwrite(descriptor, body, _HEADER.size)
        os.pwrite(descriptor, header(body, busy=False), 0)
    finally:
        os.close(descriptor)


def answers(buffer: bytearray, body: bytes) -> Sequence[bytes]:
    """What to answer to the requests in the buffer, which is left with the beginning of the next."""
    given = []
    while (end := buffer.find(b"\n\n")) >= 0:
        request = bytes(buffer[: end + 2])
        del buffer[: end + 2]
        given.append(body + b"\n" if request == REQUEST else INVALID)
    if len(buffer) > MAX_REQUEST:
        buffer.clear()
        given.append(INVALID)
    return given
