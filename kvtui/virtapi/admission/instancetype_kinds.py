"""Instancetypes and preferences themselves.

Source: life-cycle facts 8.6 (admission).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid
from kvtui.virtapi.instancetype import topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.kubevirt.instancetype import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
    from kvtui.errors import Cause


def validate_instancetype(spec: VirtualMachineInstancetypeSpec) -> Iterator[Cause]:
    percent = spec.memory.overcommit_percent
    field = "spec.memory.overcommitPercent"
    if percent is None:
        return
    if not 0 <= percent <= 100:
        yield invalid(f"{field} '{percent}': must be in range between 0 and 100.", field)
    if spec.memory.hugepages is not None:
        yield invalid(f"{field} and spec.memory.hugepages should not be requested together.", field)


def validate_preference(spec: VirtualMachinePreferenceSpec) -> Iterator[Cause]:
    cpu, field = spec.cpu, Path("spec.cpu")
    if cpu is None:
        return
    chosen = cpu.preferred_cpu_topology
    if chosen is not None and chosen not in topology.KNOWN:
        yield invalid(f"unknown preferredCPUTopology {chosen}", field.child("preferredCPUTopology"))
        return
    options = cpu.spread_options
    if options is None or topology.preferred(spec) != topology.SPREAD:
        return
    own = field.child("spreadOptions")
    if options.across is not None and options.across not in topology.ACROSS:
        yield invalid(f"across {options.across} is not supported", own.child("across"))
    if options.across == topology.CORES_THREADS and options.ratio not in (None, topology.THREADS_PER_CORE):
        message = "only a ratio of 2 (1 core 2 threads) is allowed when spreading vCPUs over cores and threads"
        yield invalid(message, own.child("ratio"))


def preference_warnings(spec: VirtualMachinePreferenceSpec) -> list[str]:
    chosen = spec.cpu.preferred_cpu_topology if spec.cpu is not None else None
    if chosen not in topology.DEPRECATED:
        return []
    advice = f"please use {topology.DEPRECATED[chosen]} instead"
    return [f"PreferredCPUTopology {chosen} is deprecated for removal in a future release, {advice}"]
