"""What one row of each view stands for: the object and what belongs to it, put together from the caches."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import Event
from kvtui.api.core.node import Node
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.wire import ObjectKey
from kvtui.tui.model.transfer import Transfer

FINAL_PHASES = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a running VM uses, with the moment (POSIX seconds) of the sample."""

    cpu: float
    """Cores."""
    memory: float
    """Bytes."""
    at: float


@dataclass(frozen=True, slots=True)
class VmRow:
    """A VirtualMachine with its instance, or an instance without a VirtualMachine."""

    key: ObjectKey
    vm: VirtualMachine | None
    vmi: VirtualMachineInstance | None
    migration: VirtualMachineInstanceMigration | None = None
    """The one that is under way."""
    usage: Usage | None = None

    @property
    def object(self) -> VirtualMachine | VirtualMachineInstance:
        found = self.vm or self.vmi
        assert found is not None
        return found

    @property
    def spec(self) -> VirtualMachineInstanceSpec:
        """The instance's spec while it runs, else the template's."""
        if self.vmi is not None and self.vmi.spec is not None:
            return self.vmi.spec
        template = self.vm.spec.template if self.vm is not None else None
        return (template.spec if template else None) or VirtualMachineInstanceSpec()

    @property
    def phase(self) -> str:
        """Phase of the instance; empty without one."""
        return (self.vmi.status.phase or "") if self.vmi is not None and self.vmi.status else ""

    @property
    def running(self) -> bool:
        return self.phase == "Running"

    @property
    def paused(self) -> bool:
        return self.condition("Paused") == "True"

    @property
    def node(self) -> str:
        return (self.vmi.status.node_name or "") if self.vmi is not None and self.vmi.status else ""

    def condition(self, type_: str) -> str:
        """Status of a condition of the instance, else of the VM: "True", "False" or empty."""
        for obj in (self.vmi, self.vm):
            for condition in obj.status.conditions if obj is not None and obj.status else ():
                if condition.type == type_:
                    return condition.status
        return ""

    @property
    def addresses(self) -> list[str]:
        """Every address of every interface, the shown one first."""
        if self.vmi is None or self.vmi.status is None:
            return []
        found: dict[str, None] = {}
        for interface in self.vmi.status.interfaces:
            for address in (interface.ip_address or "", *interface.ip_addresses):
                if address:
                    found[address] = None
        return list(found)

    @property
    def status(self) -> str:
        """The server's printable status; the phase for an instance on its own."""
        if self.vm is not None:
            return (self.vm.status.printable_status if self.vm.status else "") or "Unknown"
        if self.paused:
            return "Paused"
        return self.phase or "Unknown"


@dataclass(frozen=True, slots=True)
class DataVolumeRow:
    """A DataVolume with its claim, or a claim without one."""

    key: ObjectKey
    volume: DataVolume | None
    claim: PersistentVolumeClaim | None
    used_by: tuple[str, ...] = ()
    rate: float | None = None
    """Percent per second, from the last looks at its progress."""

    @property
    def object(self) -> DataVolume | PersistentVolumeClaim:
        found = self.volume or self.claim
        assert found is not None
        return found

    @property
    def progress(self) -> float | None:
        """Percent."""
        text = (self.volume.status.progress if self.volume and self.volume.status else "") or ""
        try:
            return max(0.0, min(100.0, float(text.rstrip("%"))))
        except ValueError:
            return 100.0 if self.phase == "Succeeded" else None

    @property
    def phase(self) -> str:
        if self.volume is None:
            return (self.claim.status.phase if self.claim else "") or "Unknown"
        return (self.volume.status.phase if self.volume.status else "") or "Pending"


@dataclass(frozen=True, slots=True)
class MigrationRow:
    """A migration with the progress that was seen of it."""

    key: ObjectKey
    object: VirtualMachineInstanceMigration
    vmi: VirtualMachineInstance | None
    transfer: Transfer

    @property
    def phase(self) -> str:
        return (self.object.status.phase if self.object.status else "") or "Pending"

    @property
    def active(self) -> bool:
        return self.phase not in FINAL_PHASES

    @property
    def aborting(self) -> bool:
        state = self.object.status.migration_state if self.object.status else None
        requested = bool(state and state.abort_requested) or self.object.metadata.deletion_timestamp is not None
        return self.active and requested

    def route(self) -> tuple[str, str]:
        """Source and target node; empty where not known yet."""
        state = self.object.status.migration_state if self.object.status else None
        live = self.vmi.status.migration_state if self.vmi is not None and self.vmi.status else None
        if live is not None and live.migration_uid != self.object.metadata.uid:
            live = None
        source = (state.source_node if state else None) or (live.source_node if live else None)
        if not source and self.active and self.vmi is not None and self.vmi.status:
            source = self.vmi.status.node_name
        return source or "", (state.target_node if state else None) or (live.target_node if live else None) or ""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node and what runs on it."""

    key: ObjectKey
    object: Node
    vms: int
    cpu: float
    """Cores that its instances ask for."""
    memory: float
    """Bytes that its instances ask for."""
    outgoing: int = 0
    incoming: int = 0


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event."""

    key: ObjectKey
    object: Event


AnyRow = VmRow | DataVolumeRow | MigrationRow | NodeRow | EventRow
