"""Who is connected to which guest, counted for metrics.

Source: kubevirt pkg/monitoring/metrics/virt-api; control plane facts 10.2
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kvtui.controlloop.exposition import Family, gauge

MOST = 4096
"""Guests that are remembered; those that nobody has used for longest are forgotten first."""
FAMILIES = {
    "console": ("kubevirt_console_active_connections", "Open connections to serial consoles."),
    "vnc": ("kubevirt_vnc_active_connections", "Open connections to screens."),
    "usbredir": ("kubevirt_usbredir_active_connections", "Open redirections of USB devices."),
    "portforward": ("kubevirt_portforward_active_tunnels", "Open tunnels to ports."),
}
LAST = "kubevirt_vmi_last_api_connection_timestamp_seconds"


@dataclass(slots=True)
class _Used:
    open: Counter[str] = field(default_factory=Counter)
    """By kind; those that were open once stay with 0."""
    last: float = 0.0
    """Seconds since 1970 at which a connection ended or, while one is open, began."""


class Traffic:
    """The connections of one server."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now` is in seconds since 1970."""
        self._now = now
        self._guests: OrderedDict[tuple[str, str], _Used] = OrderedDict()

    @contextlib.contextmanager
    def connected(self, kind: str, namespace: str, name: str) -> Iterator[None]:
        """Counts a connection for as long as the block lasts."""
        key = (namespace, name)
        used = self._guests.setdefault(key, _Used())
        self._guests.move_to_end(key)
        used.open[kind] += 1
        used.last = self._now()
        self._forget()
        try:
            yield
        finally:
            used.open[kind] -= 1
            used.last = self._now()
            self._guests[key] = used
            self._guests.move_to_end(key)

    def _forget(self) -> None:
        spare = len(self._guests) - MOST
        if spare > 0:
            idle = (key for key, used in self._guests.items() if not used.open.total())
            for key in [key for key, _ in zip(idle, range(spare), strict=False)]:
                del self._guests[key]

    def families(self) -> list[Family]:
        known = [({"namespace": key[0], "vmi": key[1]}, used) for key, used in self._guests.items()]
        text = "When somebody was last connected to a guest: console, screen, port or USB device."
        return [
            *(
                gauge(name, help_, [(who, used.open[kind]) for who, used in known if kind in used.open])
                for kind, (name, help_) in FAMILIES.items()
            ),
            gauge(LAST, text, [(who, used.last) for who, used in known]),
        ]
