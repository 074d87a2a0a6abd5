"""Pages of a virtual machine: Overview, Conditions, Events, YAML."""

from __future__ import annotations

from collections.abc import Sequence

from kvtui.api.core.config import Event
from kvtui.api.kubevirt.vmi import Volume
from kvtui.tui.columns.cell import Cell, Line, Sight, Tone, clean, clock_time, duration, line, local_clock, moment, size
from kvtui.tui.columns.events import time_of
from kvtui.tui.columns.migrations import ended_after, phase_cell
from kvtui.tui.columns.vms import cores_of, memory_of, pending, run_strategy, status_cell
from kvtui.tui.details.common import AnyCondition, pair
from kvtui.tui.model.rows import MigrationRow, VmRow


def overview(row: VmRow, events: Sequence[Event], sight: Sight) -> list[Line]:
    """The page of label and value pairs."""
    return [
        _status(row, sight),
        pair("Run strategy", run_strategy(row) or "-"),
        _size(row),
        *_disks(row),
        *_networks(row),
        _guest(row),
        _migratable(row),
        _pending(row),
        _last_event(events, sight),
    ]


def _status(row: VmRow, sight: Sight) -> Line:
    parts: list[Cell | str] = [status_cell(row, sight)]
    if row.node:
        parts.append(f" on {row.node}")
    times = row.vmi.status.phase_transition_timestamps if row.vmi is not None and row.vmi.status else []
    then = moment(next((t.phase_transition_timestamp for t in reversed(times) if t.phase == row.phase), None))
    if then is not None:
        parts.append(Cell(f" since {duration((sight.now - then).total_seconds())}", Tone.DIM))
    return pair("Status", *parts)


def _size(row: VmRow) -> Line:
    cores, memory = cores_of(row.spec), memory_of(row.spec)
    matcher = row.vm.spec.instancetype if row.vm is not None else None
    prefix = f"{matcher.name}: " if matcher and matcher.name else ""
    return pair("Size", f"{prefix}{cores} vCPU, {size(memory) if memory else '-'}")


def volume_source(volume: Volume) -> str:
    """The source of a volume in a few words."""
    if volume.data_volume:
        return f"DataVolume {volume.data_volume.name}"
    if volume.persistent_volume_claim:
        return f"claim {volume.persistent_volume_claim.claim_name}"
    if volume.container_disk:
        return f"image {volume.container_disk.image}, changes are lost at stop"
    if volume.empty_disk:
        return f"empty disk {volume.empty_disk.capacity}, lost at stop"
    if volume.cloud_init_no_cloud or volume.cloud_init_config_drive:
        return "cloud-init"
    known = {"secret": volume.secret, "config map": volume.config_map, "sysprep": volume.sysprep}
    return next((word for word, value in known.items() if value is not None), "other")


def _disks(row: VmRow) -> list[Line]:
    status = {v.name: v for v in (row.vmi.status.volume_status if row.vmi is not None and row.vmi.status else [])}
    lines = []
    for index, volume in enumerate(row.spec.volumes):
        known = status.get(volume.name)
        target = f"{known.target} " if known is not None and known.target else ""
        text = f"{target}{volume.name}"
        lines.append(pair("" if index else "Disks", text, Cell(f"  {clean(volume_source(volume))}", Tone.DIM)))
    return lines or [pair("Disks", "-")]


def _networks(row: VmRow) -> list[Line]:
    live = {i.name: i for i in (row.vmi.status.interfaces if row.vmi is not None and row.vmi.status else [])}
    lines = []
    for index, interface in enumerate(row.spec.domain.devices.interfaces):
        binding = next(
            (b for b in ("masquerade", "bridge", "sriov", "slirp") if getattr(interface, b, None) is not None), ""
        )
        seen = live.get(interface.name)
        address = ", ".join(seen.ip_addresses or [seen.ip_address or ""]) if seen is not None else ""
        mac = (seen.mac if seen is not None else None) or interface.mac_address or ""
        words = " ".join(word for word in (interface.name, binding, address) if word)
        lines.append(pair("" if index else "Networks", words, Cell(f"  {mac}", Tone.DIM)))
    return lines or [pair("Networks", "-")]


def _guest(row: VmRow) -> Line:
    info = row.vmi.status.guest_os_info if row.vmi is not None and row.vmi.status else None
    name = (info.pretty_name or info.name or "") if info else ""
    agent = row.condition("AgentConnected") == "True"
    return pair("Guest", name or "-", Cell("  agent connected" if agent else "  no guest agent", Tone.DIM))


def _migratable(row: VmRow) -> Line:
    for condition in row.vmi.status.conditions if row.vmi is not None and row.vmi.status else ():
        if condition.type == "LiveMigratable":
            if condition.status == "True":
                return pair("Migratable", "yes")
            return pair("Migratable", Cell("no", Tone.WARN), f"  {clean(condition.message or condition.reason or '')}")
    return pair("Migratable", Cell("-", Tone.DIM))


def _pending(row: VmRow) -> Line:
    owed = pending(row)
    if not owed:
        return pair("Pending", "none. Nothing waits for a restart.")
    return pair("Pending", Cell(f"Changes wait for a {owed}.", Tone.WARN))


def _last_event(events: Sequence[Event], sight: Sight) -> Line:
    if not events:
        return pair("Last event", Cell("-", Tone.DIM))
    event = events[0]
    then = time_of(event)
    when = local_clock(then, sight.now.tzinfo)[:5] if then else ""
    tone = Tone.WARN if event.type == "Warning" else Tone.TEXT
    return pair("Last event", f"{when}  ", Cell(event.reason, tone), f"  {clean(' '.join(event.message.split()))}")


def all_conditions(row: VmRow) -> list[AnyCondition]:
    """Those of the VM and of its instance; of equal ones the instance's."""
    found: dict[str, AnyCondition] = {}
    for obj in (row.vm, row.vmi):
        for condition in obj.status.conditions if obj is not None and obj.status else ():
            found[condition.type] = condition
    return list(found.values())


def history(
    rows: Sequence[MigrationRow], sight: Sight, nothing: str = "No migrations yet. m starts one."
) -> list[Line]:
    """Migrations of this VM, newest first; `nothing` stands there when there are none."""
    lines = []
    for row in rows:
        then = moment(row.object.metadata.creation_timestamp)
        source, target = row.route()
        took = ended_after(row)
        lines.append(
            line(
                Cell(f"{local_clock(then, sight.now.tzinfo)[:5] if then else '-':7}", Tone.DIM),
                Cell(f"{phase_cell(row, sight).text:16}", phase_cell(row, sight).tone),
                f"{source or '-'} -> {target or '-'}",
                Cell(f"   {clock_time(took)}" if took is not None else "", Tone.DIM),
            )
        )
    return lines or [line(Cell(nothing, Tone.DIM))]
