"""What came of applying a changed template to a running instance."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controllers.virtualmachine.status import SyncError

NOT_LIVE = "a non-live-updatable field was changed in the template spec"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The instance as it should be now, or why it needs a restart, or why it has to wait."""

    vmi: VirtualMachineInstance
    restart: str | None = None
    error: SyncError | None = None
