"""The life of one domain, decided: what is to be done next for a VMI, given what is true now. Pure.

"No such domain" counts only after the daemon has said so; while it cannot be asked nothing is decided at all.

Source: https://kubevirt.io/user-guide/user_workloads/lifecycle/
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.times import from_time
from kvtui.node.hypervisor import DomainState, DomainStatus, Reason
from kvtui.node.state import Record, Stage

SUCCEEDED, FAILED, RUNNING, SCHEDULED = "Succeeded", "Failed", "Running", "Scheduled"
FINAL = (SUCCEEDED, FAILED)


class Do(Enum):
    """The next step."""

    NOTHING = "nothing"
    START = "start"
    ADOPT = "adopt"
    """QEMU runs although the record does not say so: an agent died right after the start."""
    SYNC = "sync"
    """Bring the running domain into step with the spec and report it."""
    RESUME = "resume"
    SIGNAL = "signal"
    """Ask the guest to shut down."""
    KILL = "kill"
    ABORT_MIGRATION = "abort migration"
    REPORT_END = "report end"
    CLEAN_UP = "clean up"


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, and when to look again without being told (seconds)."""

    do: Do
    wake_in: float | None = None
    phase: str = ""
    """Of the VMI, for REPORT_END."""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is true of one launcher on this node."""

    node: str
    vmi: VirtualMachineInstance | None
    """None when the API says that this VMI (by UID) does not exist."""
    record: Record
    domain: DomainStatus | None
    """None when there is no such domain."""
    pod_terminating: bool = False
    now: datetime
    signal_every: float = 5.0


def plan(view: View) -> Step:
    """The next step."""
    vmi, record, domain = view.vmi, view.record, view.domain
    active = domain is not None and domain.state.active
    phase = phase_of(vmi)
    if record.stage is Stage.ENDED or phase in FINAL:
        return Step(Do.KILL) if active else Step(Do.CLEAN_UP)
    if record.incoming and record.stage in (Stage.READY, Stage.INCOMING) and not _ours(view):
        # The target room decides until the VMI is here, or the migration is over without it.
        over = vmi is None or (record.stage is Stage.INCOMING and _given_up(vmi, record))
        return Step(Do.CLEAN_UP) if over and not active else Step(Do.NOTHING, wake_in=2.0 if over else None)
    ending = vmi is None or vmi.metadata.deletion_timestamp is not None or view.pod_terminating
    ending = ending or record.condemned
    if vmi is not None and not _ours(view) and phase in (SCHEDULED, RUNNING):
        return _moved(domain)
    if record.outgoing is not None and record.outgoing.ended is None and active:
        return Step(Do.ABORT_MIGRATION, wake_in=1.0) if ending else Step(Do.NOTHING)
    if domain is not None and active:
        return _running(view, domain, ending=ending)
    return _down(view, ending=ending)


def phase_of(vmi: VirtualMachineInstance | None) -> str:
    return (vmi.status.phase or "") if vmi is not None and vmi.status is not None else ""


def _given_up(vmi: VirtualMachineInstance, record: Record) -> bool:
    """The migration for which a launcher was prepared has failed, or another one came after it."""
    state = vmi.status.migration_state if vmi.status is not None else None
    return state is None or state.migration_uid != record.incoming or bool(state.failed)


def _ours(view: View) -> bool:
    return view.vmi is not None and view.vmi.status is not None and view.vmi.status.node_name == view.node


def _moved(domain: DomainStatus | None) -> Step:
    if domain is None or not domain.state.active:
        return Step(Do.CLEAN_UP)
    return Step(Do.NOTHING, wake_in=2.0)  # never kill what may be the only copy of the guest


def _running(view: View, domain: DomainStatus, *, ending: bool) -> Step:
    record = view.record
    if domain.state is DomainState.PAUSED and domain.reason is Reason.POSTCOPY_FAILED:
        return Step(Do.KILL)
    if record.stage not in (Stage.STARTED, Stage.INCOMING):
        return Step(Do.ADOPT)
    if ending:
        return _shutdown(view, domain)
    if resumable(domain) and not record.paused:
        return Step(Do.RESUME)
    return Step(Do.SYNC)


def resumable(domain: DomainStatus) -> bool:
    """Paused, and by nobody whose business goes on: a migration, a dump, a snapshot."""
    busy = (Reason.MIGRATION, Reason.STARTING_UP, Reason.POSTCOPY, Reason.SAVE, Reason.DUMP, Reason.SNAPSHOT)
    return domain.state is DomainState.PAUSED and domain.reason not in busy


def grace_of(vmi: VirtualMachineInstance | None, record: Record) -> int:
    """Seconds that a guest gets; the spec's present value counts, the remembered one when the VMI is gone."""
    wanted = vmi.spec.termination_grace_period_seconds if vmi is not None and vmi.spec is not None else None
    return record.grace if wanted is None else max(0, wanted)


def _shutdown(view: View, domain: DomainStatus) -> Step:
    record, now = view.record, view.now
    grace = grace_of(view.vmi, record)
    if grace == 0:
        return Step(Do.KILL)
    if record.shutdown_since is None:
        return Step(Do.SIGNAL, wake_in=min(view.signal_every, grace))
    left = (from_time(record.shutdown_since) + timedelta(seconds=grace) - now).total_seconds()
    if left <= 0:
        return Step(Do.KILL)
    signalled = from_time(record.signalled or record.shutdown_since)
    pause = (signalled + timedelta(seconds=view.signal_every) - now).total_seconds()
    if domain.state is DomainState.SHUTDOWN:
        return Step(Do.NOTHING, wake_in=left)
    if pause <= 0:
        return Step(Do.SIGNAL, wake_in=min(view.signal_every, left))
    return Step(Do.NOTHING, wake_in=min(pause, left))


def _down(view: View, *, ending: bool) -> Step:
    vmi, record, domain = view.vmi, view.record, view.domain
    if record.stage in (Stage.STARTED, Stage.INCOMING):
        if domain is not None and domain.state is DomainState.SHUTOFF and domain.reason is Reason.MIGRATED:
            return Step(Do.NOTHING if vmi is not None else Do.CLEAN_UP, wake_in=5.0)
        if vmi is None:
            return Step(Do.CLEAN_UP)
        return _end(vmi, record, domain)
    if vmi is None:
        return Step(Do.CLEAN_UP)
    if ending:
        if phase_of(vmi) not in (SCHEDULED, RUNNING):
            return Step(Do.NOTHING)  # the controller ends what was never handed to this node
        return Step(Do.REPORT_END, phase=FAILED, message="deleted before the guest was started")
    if record.stage in (Stage.READY, Stage.STARTING) and _ours(view) and phase_of(vmi) == SCHEDULED:
        return Step(Do.START)
    return Step(Do.NOTHING)


def _end(vmi: VirtualMachineInstance, record: Record, domain: DomainStatus | None) -> Step:
    if domain is None:
        return Step(Do.REPORT_END, phase=FAILED, reason="DomainVanished", message="the domain no longer exists")
    phase, message = end_phase(vmi, record, domain)
    return Step(Do.REPORT_END, phase=phase, message=message)


def end_phase(vmi: VirtualMachineInstance, record: Record, domain: DomainStatus) -> tuple[str, str]:
    """How the life of a domain that is down ended, and words for it."""
    match domain.reason:
        case Reason.SHUTDOWN | Reason.SAVED | Reason.FROM_SNAPSHOT:
            return SUCCEEDED, "The VirtualMachineInstance was shut down."
        case Reason.CRASHED | Reason.PANICKED:
            return FAILED, "The VirtualMachineInstance crashed."
        case Reason.DESTROYED:
            killed_after_grace = record.acpi and grace_of(vmi, record) != 0
            return (FAILED if killed_after_grace else SUCCEEDED), "The VirtualMachineInstance was stopped."
        case Reason.DAEMON if record.killed:
            killed_after_grace = record.acpi and grace_of(vmi, record) != 0
            return (FAILED if killed_after_grace else SUCCEEDED), "The VirtualMachineInstance was stopped."
        case _:
            return FAILED, "The guest is gone although nobody stopped it: the node or its QEMU process died."
