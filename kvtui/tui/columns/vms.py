"""VirtualMachines as rows."""

from __future__ import annotations

from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.api.quantity import value as quantity_value
from kvtui.errors import InvalidQuantity
from kvtui.tui.columns.cell import NONE, Cell, Column, Sight, Tone, newest_first, since, size, state
from kvtui.tui.model.rows import VmRow

TONES = {
    "Stopped": Tone.OFF,
    "Provisioning": Tone.BUSY,
    "Starting": Tone.BUSY,
    "Running": Tone.OK,
    "Paused": Tone.HOLD,
    "Stopping": Tone.BUSY,
    "Terminating": Tone.BUSY,
    "Migrating": Tone.MOVE,
    "WaitingForReceiver": Tone.MOVE,
    "WaitingForVolumeBinding": Tone.HOLD,
    "CrashLoopBackOff": Tone.FAIL,
    "ErrorUnschedulable": Tone.FAIL,
    "ErrImagePull": Tone.FAIL,
    "ImagePullBackOff": Tone.FAIL,
    "ErrorPvcNotFound": Tone.FAIL,
    "DataVolumeError": Tone.FAIL,
    "Pending": Tone.BUSY,
    "Scheduling": Tone.BUSY,
    "Scheduled": Tone.BUSY,
    "Succeeded": Tone.OFF,
    "Failed": Tone.FAIL,
}
ATTENTION = 0.9
"""Share of guest memory from which on a running VM wants a look."""


def status_word(row: VmRow) -> str:
    """The printable status; a migration under way is said even before the server's status says it."""
    word = row.status
    return "Migrating" if row.migration is not None and word == "Running" else word


def status_cell(row: VmRow, sight: Sight) -> Cell:
    word = status_word(row)
    tone = TONES.get(word, Tone.UNKNOWN)
    wanted = memory_of(row.spec)
    if word == "Running" and row.usage is not None and wanted and row.usage.memory > ATTENTION * wanted:
        return state(word, Tone.WARN, sight)
    return state(word, tone, sight)


def cores_of(spec: VirtualMachineInstanceSpec) -> int:
    """vCPUs of a guest."""
    cpu = spec.domain.cpu
    return (cpu.sockets or 1) * (cpu.cores or 1) * (cpu.threads or 1) if cpu is not None else 1


def memory_of(spec: VirtualMachineInstanceSpec) -> int | None:
    """Bytes of guest memory."""
    memory, resources = spec.domain.memory, spec.domain.resources
    wanted = (memory.guest if memory else None) or (resources.requests.get("memory") if resources else None)
    try:
        return quantity_value(wanted) if wanted is not None else None
    except InvalidQuantity:
        return None


def _name(row: VmRow, sight: Sight) -> Cell:
    return Cell(row.key.name if row.vm is not None else f"{row.key.name} (vmi)")


def _node(row: VmRow, sight: Sight) -> Cell:
    return Cell(row.node) if row.node else NONE


def _cpu_share(row: VmRow) -> float | None:
    return 100 * row.usage.cpu / max(1, cores_of(row.spec)) if row.usage is not None else None


def _cpu(row: VmRow, sight: Sight) -> Cell:
    share = _cpu_share(row)
    return NONE if share is None else Cell(f"{share:.0f}%")


def _memory(row: VmRow, sight: Sight) -> Cell:
    wanted = memory_of(row.spec)
    if wanted is None or not row.phase:
        return NONE
    whole = size(wanted).replace(" ", "")
    if row.usage is None:
        return Cell(f"-/{whole}")
    used = size(row.usage.memory).replace(" ", "")
    return Cell(f"{used[:-2] if used[-2:] == whole[-2:] else used}/{whole}")


def _ip(row: VmRow, sight: Sight) -> Cell:
    addresses = row.addresses
    return Cell(addresses[0]) if addresses else NONE


def _age(row: VmRow, sight: Sight) -> Cell:
    return since(row.object.metadata.creation_timestamp, sight)


def _ready(row: VmRow, sight: Sight) -> Cell:
    return {"True": Cell("yes"), "False": Cell("no")}.get(row.condition("Ready"), NONE)


def run_strategy(row: VmRow) -> str:
    """Always, Manual, ...; empty for an instance without a VM."""
    if row.vm is None:
        return ""
    spec = row.vm.spec
    return spec.run_strategy or ("Always" if spec.running else "Halted")


def _run(row: VmRow, sight: Sight) -> Cell:
    word = run_strategy(row)
    return Cell(word) if word else NONE


def _guest(row: VmRow, sight: Sight) -> Cell:
    info = row.vmi.status.guest_os_info if row.vmi is not None and row.vmi.status else None
    name = (info.pretty_name or info.name) if info else None
    return Cell(name) if name else NONE


def _type(row: VmRow, sight: Sight) -> Cell:
    matcher = row.vm.spec.instancetype if row.vm is not None else None
    return Cell(matcher.name) if matcher and matcher.name else NONE


def pending(row: VmRow) -> str:
    """What is owed: a restart or a migration, as the conditions say."""
    if row.condition("RestartRequired") == "True":
        return "restart"
    return "migration" if row.condition("VolumesChange") == "True" else ""


def _pending(row: VmRow, sight: Sight) -> Cell:
    word = pending(row)
    return Cell(word, Tone.WARN) if word else NONE


def _labels(row: VmRow, sight: Sight) -> Cell:
    labels = row.object.metadata.labels
    return Cell(",".join(f"{k}={v}" for k, v in sorted(labels.items())), Tone.DIM) if labels else NONE


def words(row: VmRow) -> list[str]:
    """What filters find besides the columns."""
    return row.addresses


COLUMNS: tuple[Column[VmRow], ...] = (
    Column("namespace", "NAMESPACE", 12, lambda row, sight: Cell(row.key.namespace), core=True),
    Column("name", "NAME", 16, _name, lambda row: row.key.name, core=True, grows=3),
    Column("status", "STATUS", 14, status_cell, status_word, core=True),
    Column("node", "NODE", 8, _node, lambda row: row.node or None, core=True, grows=1),
    Column("cpu", "CPU", 4, _cpu, _cpu_share, right=True, core=True),
    Column("mem", "MEM", 10, _memory, lambda row: row.usage.memory if row.usage else None, right=True, core=True),
    Column("ip", "IP", 13, _ip, lambda row: next(iter(row.addresses), None), core=True),
    Column("age", "AGE", 4, _age, lambda row: newest_first(row.object.metadata.creation_timestamp), right=True,
           core=True),
    Column("ready", "READY", 5, _ready),
    Column("run", "RUN", 14, _run),
    Column("os", "GUEST OS", 16, _guest),
    Column("type", "TYPE", 12, _type),
    Column("pending", "PENDING", 9, _pending),
    Column("labels", "LABELS", 24, _labels, grows=2),
)  # fmt: skip
