"""Memory dumps: a volume that comes to the guest for one dump and leaves again.

Source: kubevirt pkg/storage/memorydump; life-cycle facts 6.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.api.kubevirt.vm import VirtualMachineMemoryDumpRequest
from kvtui.api.kubevirt.vmi import (
    MemoryDumpVolumeSource,
    VirtualMachineInstance,
    VirtualMachineInstanceSpec,
    Volume,
    VolumeStatus,
)
from kvtui.api.times import to_time
from kvtui.api.wire import evolve
from kvtui.controllers.virtualmachine.view import View

ANNOTATION = "kubevirt.io/memory-dump"
FAILED = "Memory dump failed"


@dataclass(frozen=True, slots=True)
class Step:
    """What a dump asks of the VM's template, its instance, its request and its claim."""

    request: VirtualMachineMemoryDumpRequest | None
    template_volumes: list[Volume]
    vmi: VirtualMachineInstance | None
    claim_note: str | None = None
    """New value of the claim's annotation."""


def _volume(claim: str) -> Volume:
    return Volume(name=claim, memory_dump=MemoryDumpVolumeSource(claim_name=claim, hotpluggable=True))


def _with(volumes: list[Volume], claim: str) -> list[Volume]:
    return volumes if any(v.name == claim for v in volumes) else [*volumes, _volume(claim)]


def _without(volumes: list[Volume], claim: str) -> list[Volume]:
    return [v for v in volumes if v.name != claim or v.memory_dump is None]


def without_done(
    spec: VirtualMachineInstanceSpec, request: VirtualMachineMemoryDumpRequest | None
) -> VirtualMachineInstanceSpec:
    """The spec of a new instance: the template keeps the volume of a dump, which a start must not make again."""
    if request is None or request.phase in ("Associating", "InProgress"):
        return spec
    return evolve(spec, volumes=_without(spec.volumes, request.claim_name))


def _plug(vmi: VirtualMachineInstance | None, volumes: list[Volume]) -> VirtualMachineInstance | None:
    return None if vmi is None else evolve(vmi, spec=evolve(vmi.spec, volumes=volumes))


def next_step(view: View, vmi: VirtualMachineInstance | None) -> Step | None:
    """`vmi`: the instance with this pass's other changes. None when there is nothing to do with dumps."""
    request = view.vm.status.memory_dump_request
    if request is None:
        return None
    claim = request.claim_name
    volumes = view.template.volumes
    present = vmi.spec.volumes if vmi is not None else []
    status = next((s for s in vmi.status.volume_status if s.name == claim), None) if vmi is not None else None
    match request.phase:
        case "Associating" if vmi is not None:
            return Step(evolve(request, phase="InProgress"), _with(volumes, claim), _plug(vmi, _with(present, claim)))
        case "InProgress":
            return _in_progress(view, request, vmi, status)
        case "Unmounting":
            gone = status is None
            return Step(
                evolve(request, phase="Completed") if gone else request,
                volumes,
                _plug(vmi, _without(present, claim)),
                request.file_name if gone else None,
            )
        case "Failed" if any(v.name == claim for v in present):
            return Step(request, volumes, _plug(vmi, _without(present, claim)), FAILED)
        case "Dissociating":
            left = status is not None or any(v.name == claim for v in present)
            return Step(request if left else None, _without(volumes, claim), _plug(vmi, _without(present, claim)))
    return None


def _in_progress(
    view: View,
    request: VirtualMachineMemoryDumpRequest,
    vmi: VirtualMachineInstance | None,
    status: VolumeStatus | None,
) -> Step | None:
    volumes = view.template.volumes
    if vmi is None:
        message = "The VM stopped before its memory was dumped"
        failed = evolve(request, phase="Failed", message=message, end_timestamp=to_time(view.now))
        return Step(failed, volumes, None, FAILED)
    dump = status.memory_dump_volume if status is not None else None
    phase = status.phase if status is not None else None
    if phase == "MemoryDumpCompleted" and dump is not None:
        done = evolve(
            request,
            phase="Unmounting",
            start_timestamp=dump.start_timestamp,
            end_timestamp=dump.end_timestamp,
            file_name=dump.target_file_name,
        )
        return Step(done, volumes, vmi)
    if phase == "MemoryDumpFailed" and status is not None:
        failed = evolve(request, phase="Failed", message=status.message, end_timestamp=to_time(view.now))
        return Step(failed, volumes, _plug(vmi, _without(vmi.spec.volumes, request.claim_name)), FAILED)
    return None
