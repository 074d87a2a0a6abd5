"""Cache and I/O mode of a disk where the spec leaves them open.

Direct I/O is used where the file system can do it; native asynchronous I/O where, besides, no block of the image has
to be allocated while writing, which would block.

Source: KubeVirt's driver cache and I/O mode; https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.names import name_of

if TYPE_CHECKING:
    from kvtui.domainxml.elements import Element
    from kvtui.domainxml.placement import DiskFacts


def apply(disk: Element, facts: DiskFacts | None) -> None:
    """Fills in cache and io in place. Raises ConversionError for cache none where direct I/O is impossible."""
    driver, source = disk.find("driver"), disk.find("source")
    path = "" if source is None else source.get("file") or source.get("dev") or ""
    if driver is None or facts is None or not path:
        return
    cache = driver.get("cache")
    if cache == "none" and not facts.direct_io:
        raise ConversionError(
            f"Unable to use 'none' cache mode, file system where {path} is stored does not support direct I/O",
            field=f"spec.domain.devices.disks[{name_of(disk)}].cache",
        )
    if cache is None:
        cache = "none" if facts.direct_io else "writethrough"
        driver.set("cache", cache)
    if driver.get("io") is None and cache == "none" and facts.allocated:
        driver.set("io", "native")
