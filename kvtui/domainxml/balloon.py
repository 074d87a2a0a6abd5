"""Memory balloon: statistics and pages the guest does not use -> <memballoon>.

Source: https://libvirt.org/formatdomain.html#memory-balloon-device
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element, on_off
from kvtui.domainxml.launchsecurity import iommu_driver

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

NO_REPORTING = "kubevirt.io/free-page-reporting-disabled"


def build(guest: Guest) -> list[Element]:
    if guest.devices.autoattach_mem_balloon is False:
        return [element("memballoon", model="none")]
    period = guest.context.cluster.balloon_stats_period
    stats = [element("stats", period=period)] if period else []
    return [
        element(
            "memballoon",
            *stats,
            *iommu_driver(guest),
            model=guest.virtio,
            freePageReporting=on_off(_reports_free_pages(guest)),
        )
    ]


def _reports_free_pages(guest: Guest) -> bool:
    """Not for guests that must not lose a page they once had."""
    wanted = guest.context.cluster.free_page_reporting and guest.annotation(NO_REPORTING) != "true"
    return wanted and not guest.high_performance
