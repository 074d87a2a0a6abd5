"""How vCPUs spread over sockets, cores and threads.

Source: life-cycle facts 8.2; kubevirt pkg/instancetype/apply (cpu).
"""

from __future__ import annotations

from typing import NamedTuple

from kvtui.api.kubevirt.instancetype import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec

InstancetypeSpec = VirtualMachineInstancetypeSpec
PreferenceSpec = VirtualMachinePreferenceSpec

SOCKETS, CORES, THREADS, SPREAD, ANY = "sockets", "cores", "threads", "spread", "any"
DEPRECATED = {
    "preferSockets": SOCKETS,
    "preferCores": CORES,
    "preferThreads": THREADS,
    "preferSpread": SPREAD,
    "preferAny": ANY,
}
"""Old spellings, still accepted."""
KNOWN = (SOCKETS, CORES, THREADS, SPREAD, ANY, *DEPRECATED)

SOCKETS_CORES, CORES_THREADS, SOCKETS_CORES_THREADS = "SocketsCores", "CoresThreads", "SocketsCoresThreads"
ACROSS = (SOCKETS_CORES_THREADS, SOCKETS_CORES, CORES_THREADS)
DEFAULT_RATIO = 2
THREADS_PER_CORE = 2
_RATIO_OWNER = "Spec.PreferSpreadSocketToCoreRatio or Spec.CPU.PreferSpreadOptions.Ratio"


class Topology(NamedTuple):
    """Numbers of each level."""

    sockets: int
    cores: int
    threads: int


def preferred(preference: PreferenceSpec | None) -> str:
    """The level that gets the vCPUs, in its present spelling."""
    chosen = preference.cpu.preferred_cpu_topology if preference is not None and preference.cpu is not None else None
    return DEPRECATED.get(chosen or SOCKETS, chosen or SOCKETS)


def spread(preference: PreferenceSpec | None) -> tuple[int, str]:
    """Ratio, and the levels over which vCPUs spread."""
    ratio, across = DEFAULT_RATIO, SOCKETS_CORES
    if preference is None:
        return ratio, across
    ratio = preference.prefer_spread_socket_to_core_ratio or ratio
    options = preference.cpu.spread_options if preference.cpu is not None else None
    if options is not None:
        ratio, across = options.ratio or ratio, options.across or across
    return ratio, across


def split(vcpus: int, preference: PreferenceSpec | None) -> Topology:
    """The guest's topology."""
    if vcpus == 1:
        return Topology(1, 1, 1)
    match preferred(preference):
        case "cores":
            return Topology(1, vcpus, 1)
        case "threads":
            return Topology(1, 1, vcpus)
        case "spread":
            return _spread(vcpus, *spread(preference))
        case _:
            return Topology(vcpus, 1, 1)


def _spread(vcpus: int, ratio: int, across: str) -> Topology:
    match across:
        case "CoresThreads":
            return Topology(1, vcpus // ratio, ratio)
        case "SocketsCoresThreads":
            return Topology(vcpus // THREADS_PER_CORE // ratio, ratio, THREADS_PER_CORE)
        case _:
            return Topology(vcpus // ratio, ratio, 1)


def spread_problem(instancetype: InstancetypeSpec | None, preference: PreferenceSpec | None) -> str:
    """Why the instancetype's vCPUs cannot spread as preferred; empty when they can."""
    if instancetype is None or preference is None or preferred(preference) != SPREAD:
        return ""
    vcpus = instancetype.cpu.guest
    ratio, across = spread(preference)
    start = f"{vcpus} vCPUs provided by the instance type are not divisible by the"
    match across:
        case "SocketsCores" if vcpus % ratio:
            return f"{start} {_RATIO_OWNER} of {ratio} provided by the preference"
        case "CoresThreads" if vcpus % THREADS_PER_CORE:
            return f"{start} number of threads per core {THREADS_PER_CORE}"
        case "SocketsCoresThreads" if vcpus % THREADS_PER_CORE or vcpus // THREADS_PER_CORE % ratio:
            return f"{start} number of threads per core {THREADS_PER_CORE} and {_RATIO_OWNER} of {ratio}"
        case _:
            return ""
