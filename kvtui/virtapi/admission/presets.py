"""VirtualMachineInstancePresets (deprecated): domain fields for every instance that a selector matches.

Source: control plane facts 3.2 step 1; kubevirt pkg/virt-api/webhooks/mutating-webhook/mutators (presets).
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from kvtui.api.admission import Denied
from kvtui.api.kubevirt.domain import ClockOffsetUTC, DomainSpec, ResourceRequirements, Timer
from kvtui.api.selectors import from_object
from kvtui.api.wire import evolve, to_wire
from kvtui.virtapi.admission.amounts import exact, shown
from kvtui.virtapi.admission.causes import Path, required
from kvtui.virtapi.admission.vmi_disks import validate_disks
from kvtui.virtapi.admission.vmi_firmware import validate_firmware

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstancePreset
    from kvtui.errors import Cause

PREFIX = "virtualmachinepreset.kubevirt.io/"
EXCLUDE = "virtualmachineinstancepresets.admission.kubevirt.io/exclude"
WARNING = "kubevirt.io/v1 VirtualMachineInstancePresets is now deprecated and will be removed in v2."
_GROUPS = ("cpu", "firmware", "features", "io_threads_policy")


def validate(preset: VirtualMachineInstancePreset) -> list[Cause]:
    """Disks and firmware are looked at; the rest when an instance gets it."""
    field, domain = Path("spec.domain"), preset.spec.domain
    if domain is None:
        return [required("missing domain.", field)]
    return [
        *validate_disks(domain.devices.disks, field.child("devices", "disks")),
        *validate_firmware(domain, field),
    ]


def apply(vmi: VirtualMachineInstance, presets: Sequence[VirtualMachineInstancePreset]) -> VirtualMachineInstance:
    """The instance with all that match. Raises Denied when two of them contradict each other."""
    if vmi.metadata.annotations.get(EXCLUDE) == "true":
        return vmi
    chosen = [preset for preset in presets if from_object(preset.spec.selector).matches(vmi.metadata.labels)]
    _refuse_conflicts(chosen)
    domain, annotations = vmi.spec.domain, dict(vmi.metadata.annotations)
    for preset in chosen:
        if preset.spec.domain is None:
            continue
        domain, applied = merged(domain, preset.spec.domain)
        if applied:
            annotations[PREFIX + preset.metadata.name] = "kubevirt.io/v1"
    return evolve(vmi, metadata=evolve(vmi.metadata, annotations=annotations), spec=evolve(vmi.spec, domain=domain))


def was_applied(annotations: dict[str, str]) -> bool:
    return any("virtualmachinepreset" in key for key in annotations)


def merged(domain: DomainSpec, preset: DomainSpec) -> tuple[DomainSpec, bool]:
    """What the domain leaves open is filled; whether anything of the preset is now in force."""
    applied = False
    wanted = preset.resources.requests if preset.resources else {}
    if wanted:
        resources = domain.resources or ResourceRequirements()
        requests = {**wanted, **resources.requests}
        domain = evolve(domain, resources=evolve(resources, requests=requests))
        applied = any(exact(requests[name]) == exact(amount) for name, amount in wanted.items())
    for name in _GROUPS:
        own, other = getattr(domain, name), getattr(preset, name)
        if other is None:
            continue
        if own is None:
            domain = evolve(domain, **{name: other})
        applied = applied or getattr(domain, name) == other
    if preset.clock is not None:
        if domain.clock is None:
            domain = evolve(domain, clock=preset.clock)
        applied = applied or domain.clock == preset.clock
    if preset.devices.watchdog is not None:
        if domain.devices.watchdog is None:
            domain = evolve(domain, devices=evolve(domain.devices, watchdog=preset.devices.watchdog))
        applied = applied or domain.devices.watchdog == preset.devices.watchdog
    return domain, applied


def _refuse_conflicts(presets: Sequence[VirtualMachineInstancePreset]) -> None:
    found: list[str] = []
    for visited, preset in combinations(presets, 2):
        conflicts = list(_conflicts(preset.spec.domain or DomainSpec(), visited.spec.domain or DomainSpec()))
        if conflicts:
            pair = f"presets '{preset.metadata.name}' and '{visited.metadata.name}' conflict"
            found.append(f"{pair}: {_aggregate(conflicts)}")
    if found:
        message = f"VirtualMachinePresets cannot be applied due to conflicts: {_aggregate(found)}"
        raise Denied(message, code=422, reason="")


def _aggregate(errors: Sequence[str]) -> str:
    """Several errors as Go's aggregate prints them."""
    return errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]"


def _conflicts(one: DomainSpec, other: DomainSpec) -> Iterator[str]:
    mine = one.resources.requests if one.resources else {}
    theirs = other.resources.requests if other.resources else {}
    for name in mine.keys() & theirs.keys():
        if exact(mine[name]) != exact(theirs[name]):
            yield f"spec.resources.requests[{name}]: {shown(mine[name])} != {shown(theirs[name])}"
    if one.cpu is not None and other.cpu is not None and one.cpu != other.cpu:
        yield f"spec.cpu: {_cpu(one.cpu)} != {_cpu(other.cpu)}"
    if one.firmware is not None and other.firmware is not None and one.firmware != other.firmware:
        yield f"spec.firmware: {_loose(one.firmware)} != {_loose(other.firmware)}"
    if one.clock is not None and other.clock is not None:
        mine_offset, other_offset = (clock.utc or clock.timezone for clock in (one.clock, other.clock))
        if mine_offset != other_offset:
            yield f"spec.clock.clockoffset: {_offset(mine_offset)} != {_offset(other_offset)}"
        if one.clock.timer is not None and other.clock.timer is not None and one.clock.timer != other.clock.timer:
            yield f"spec.clock.timer: {_loose(one.clock.timer)} != {_loose(other.clock.timer)}"
    if one.features is not None and other.features is not None and one.features != other.features:
        yield f"spec.features: {_loose(one.features)} != {_loose(other.features)}"
    dogs = (one.devices.watchdog, other.devices.watchdog)
    if None not in dogs and dogs[0] != dogs[1]:
        yield f"spec.devices.watchdog: {_loose(dogs[0])} != {_loose(dogs[1])}"
    policies = (one.io_threads_policy, other.io_threads_policy)
    if None not in policies and policies[0] != policies[1]:
        yield f"spec.ioThreadsPolicy: {policies[0]} != {policies[1]}"


def _cpu(cpu: Any) -> str:
    """Go's %v of the structure: cores, sockets, maxSockets, threads, model, features, flags."""
    features = " ".join(f"{{{feature.name} {feature.policy or ''}}}" for feature in cpu.features)
    numbers = " ".join(str(number or 0) for number in (cpu.cores, cpu.sockets, cpu.max_sockets, cpu.threads))
    flags = (cpu.dedicated_cpu_placement, cpu.isolate_emulator_thread)
    dedicated, isolated = (str(bool(flag)).lower() for flag in flags)
    numa, realtime = ("<nil>" if part is None else _loose(part) for part in (cpu.numa, cpu.realtime))
    return f"&{{{numbers} {cpu.model or ''} [{features}] {dedicated} {numa} {isolated} {realtime}}}"


def _offset(offset: ClockOffsetUTC | str | None) -> str:
    return offset if isinstance(offset, str) else _loose(offset)


def _loose(value: Timer | Any) -> str:
    """Structures whose Go text holds addresses, which no two processes print alike."""
    return "<nil>" if value is None else f"&{to_wire(value)}"
