"""One VM and everything that decisions about it depend on, with the questions that they ask.

Source: control plane facts 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import ControllerRevision
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachine, VirtualMachineStateChangeRequest
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.meta import ObjectMeta
from kvtui.api.times import from_time
from kvtui.controllers.clusterconfig import Configuration

FINAL = ("Succeeded", "Failed")
BACKOFF_STRATEGIES = ("Always", "RerunOnFailure", "Once")
DV_READY = ("Succeeded", "WaitForFirstConsumer", "PendingPopulation")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A VM as it is now."""

    vm: VirtualMachine
    now: datetime
    vmi: VirtualMachineInstance | None = None
    """The VM's own; one of the same name that belongs to somebody else counts as none."""
    foreign: bool = False
    """Whether there is such a stranger."""
    data_volumes: Mapping[str, DataVolume] = field(default_factory=dict)
    """Those of the VM's templates that exist."""
    claims: Mapping[str, PersistentVolumeClaim] = field(default_factory=dict)
    """Claims with the names of the VM's templates and volumes."""
    revisions: Sequence[ControllerRevision] = ()
    """All that the VM owns."""
    creating: bool = False
    """A VMI was made and has not been seen yet."""
    deleting: bool = False
    """The VMI was deleted and that has not been seen yet."""
    config: Configuration = field(default_factory=Configuration)

    @property
    def strategy(self) -> str:
        return strategy_of(self.vm)

    @property
    def template(self) -> VirtualMachineInstanceSpec:
        template = self.vm.spec.template
        return (template.spec if template else None) or VirtualMachineInstanceSpec()

    @property
    def template_metadata(self) -> ObjectMeta:
        template = self.vm.spec.template
        return (template.metadata if template else None) or ObjectMeta()

    @property
    def request(self) -> VirtualMachineStateChangeRequest | None:
        """Only the first one counts."""
        requests = self.vm.status.state_change_requests
        return requests[0] if requests else None

    @property
    def start_requested(self) -> bool:
        return self.request is not None and self.request.action == "Start"

    @property
    def stop_requested(self) -> bool:
        """For this very VMI."""
        request = self.request
        if request is None or request.action != "Stop" or self.vmi is None:
            return False
        return request.uid == self.vmi.metadata.uid

    @property
    def backoff_left(self) -> float:
        """Seconds until the next start may be tried."""
        failure = self.vm.status.start_failure
        if failure is None or not failure.retry_after_timestamp:
            return 0.0
        return max(0.0, (from_time(failure.retry_after_timestamp) - self.now).total_seconds())

    @property
    def data_volumes_ready(self) -> bool:
        """Whether nothing of the templates holds up a start."""
        for template in self.vm.spec.data_volume_templates:
            name = template.metadata.name if template.metadata else ""
            volume = self.data_volumes.get(name)
            if volume is None:
                if name not in self.claims:
                    return False
            elif (volume.status.phase or "") not in DV_READY:
                return False
        return True


def strategy_of(vm: VirtualMachine) -> str:
    if vm.spec.run_strategy:
        return vm.spec.run_strategy
    return "Always" if vm.spec.running else "Halted"


def is_final(vmi: VirtualMachineInstance) -> bool:
    return (vmi.status.phase or "") in FINAL


def has_run(vmi: VirtualMachineInstance) -> bool:
    return any(t.phase == "Running" for t in vmi.status.phase_transition_timestamps)


def is_migrating(vmi: VirtualMachineInstance, now: datetime) -> bool:
    state = vmi.status.migration_state
    if state is None or not state.start_timestamp:
        return False
    return not state.end_timestamp or from_time(state.end_timestamp) > now
