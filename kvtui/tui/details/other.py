"""Overview pages of DataVolumes, nodes and events."""

from __future__ import annotations

from collections.abc import Iterable

from kvtui.tui.columns.cell import Cell, Line, Sight, Tone, clean, line, local_clock, size, state
from kvtui.tui.columns.datavolumes import STEPS, bytes_of, phase_tone, reason, restarts, source_of
from kvtui.tui.columns.events import count_of, object_of, time_of, type_cell
from kvtui.tui.columns.events import source_of as reporter_of
from kvtui.tui.columns.nodes import TONES, accelerator_of, allocatable, state_of
from kvtui.tui.columns.vms import status_cell
from kvtui.tui.details.common import heading, pair, wrapped
from kvtui.tui.model.rows import DataVolumeRow, EventRow, NodeRow, VmRow


def data_volume(row: DataVolumeRow, sight: Sight) -> list[Line]:
    share = row.progress
    count = bytes_of(row)
    lines = [
        pair("Phase", state(row.phase, phase_tone(row), sight), Cell(f"  {STEPS.get(row.phase, '')}", Tone.DIM)),
        pair("Source", clean(source_of(row))),
        pair("Size", size(count) if count is not None else "-"),
    ]
    if share is not None and row.phase != "Succeeded":
        lines.append(pair("Progress", Cell(sight.glyphs.bar(share / 100, 30), Tone.BUSY), f"  {share:.0f} %"))
    if row.claim is not None:
        spec = row.claim.spec
        lines += [
            pair("Claim", f"{row.claim.metadata.name}  {row.claim.status.phase}"),
            pair("Class", spec.storage_class_name or "-"),
            pair("Access", f"{', '.join(spec.access_modes) or '-'}  {spec.volume_mode or 'Filesystem'}"),
            pair("Volume", spec.volume_name or "-"),
        ]
    lines.append(pair("Used by", ", ".join(row.used_by) or "-"))
    if text := reason(row):
        prefix = f"failed {restarts(row)} times: " if restarts(row) else ""
        lines += [pair("Reason", Cell(part, Tone.FAIL)) for part in wrapped(prefix + text, 90)]
    return lines


def node(row: NodeRow, vms: Iterable[VmRow], sight: Sight) -> list[Line]:
    info = row.object.status.node_info
    word = state_of(row.object)
    cpu, memory = allocatable(row.object, "cpu"), allocatable(row.object, "memory")
    lines = [
        pair("State", state(word, TONES[word], sight)),
        pair("Runs VMs by", accelerator_of(row.object) or "-"),
        pair("CPU", f"{row.cpu:g} of {cpu:g} vCPU asked for" if cpu else "-"),
        pair("Memory", f"{size(row.memory)} of {size(memory)} asked for" if memory else "-"),
        pair("Addresses", ", ".join(f"{a.address} ({a.type})" for a in row.object.status.addresses) or "-"),
        pair("System", clean(" ".join(w for w in (info.os_image, info.kernel_version, info.architecture) if w))),
        pair("Taints", ", ".join(f"{t.key}={t.value}:{t.effect}" for t in row.object.spec.taints) or "none"),
        line(""),
        heading(f"VMs on {row.key.name}"),
    ]
    for vm in vms:
        cell = status_cell(vm, sight)
        lines.append(line(f"  {vm.key!s:32} ", cell))
    return lines


def event(row: EventRow, sight: Sight) -> list[Line]:
    found = row.object
    then = time_of(found)
    about = found.involved_object
    return [
        pair("Time", local_clock(then, sight.now.tzinfo) if then else "-"),
        pair("Type", type_cell(found)),
        pair("Object", f"{about.namespace}/{object_of(found)}  (enter goes there)"),
        pair("Reason", found.reason),
        pair("Count", str(count_of(found))),
        pair("Source", reporter_of(found) or "-"),
        line(""),
        *(line(part) for part in wrapped(found.message, 100)),
    ]
