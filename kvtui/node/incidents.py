"""What happens to a guest by itself, told as events of its VMI: a panic, and what users had done to it.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventCrashedDetailType
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controlloop.recorder import EventRecorder
from kvtui.node.hypervisor import HypervisorEvent, LifecycleChanged, LifecycleKind
from kvtui.node.state import Record

PANICKED, CRASHLOADED = 0, 1
_PANIC = {
    PANICKED: "the guest's kernel panicked",
    CRASHLOADED: "the guest's kernel panicked and goes on with its crash kernel",
}


class Level(enum.Enum):
    """How serious an event is."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Note(Protocol):
    """Records an event of the VMI that a record stands for."""

    def __call__(self, record: Record, level: Level, reason: str, message: str) -> None: ...


class Incidents:
    """Tells events of VMIs that are known here; implements Note when called."""

    def __init__(self, recorder: EventRecorder, vmi: Callable[[Record], VirtualMachineInstance | None]) -> None:
        self._recorder = recorder
        self._vmi = vmi

    def __call__(self, record: Record, level: Level, reason: str, message: str) -> None:
        vmi = self._vmi(record)
        if vmi is not None:
            write = self._recorder.warning if level is Level.WARNING else self._recorder.normal
            write(vmi, reason, message)

    def heard(self, record: Record, event: HypervisorEvent) -> None:
        """An event of the hypervisor about the record's domain."""
        if isinstance(event, LifecycleChanged) and event.kind is LifecycleKind.CRASHED:
            self(record, Level.WARNING, "GuestPanicked", _PANIC.get(event.detail, _PANIC[PANICKED]))
