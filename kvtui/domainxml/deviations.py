"""Where our domains differ from upstream's on purpose: the one table, with the reasons.

`convert` agrees with upstream except for the elements named CONVERT here; `finish` then makes of its output what
this node defines, as listed under FINISH.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Stage(Enum):
    """Where the difference arises."""

    CONVERT = "convert"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One deliberate difference."""

    stage: Stage
    path: str
    """Element or attribute below <domain>."""
    reason: str


DEVIATIONS = (
    Deviation(
        Stage.CONVERT,
        "metadata/kubevirt",
        "kept in the launcher's memory upstream; finish writes ours, which libvirt keeps, in a namespace of its own",
    ),
    Deviation(
        Stage.CONVERT,
        "error: amounts of memory",
        "upstream prints a structure, and multiplies the size of a huge page once too often",
    ),
    Deviation(
        Stage.FINISH,
        "uuid",
        "one libvirtd serves many VMs: the UUID is written, so that a clash is an error and not another VM",
    ),
    Deviation(
        Stage.FINISH,
        "devices/interface",
        "taps are made by libvirt on a node bridge (type bridge), or QEMU does the networking itself (type user)",
    ),
    Deviation(
        Stage.FINISH,
        "devices/serial/log",
        "the log is the agent's only source of console output, so it exists whatever logSerialConsole says",
    ),
    Deviation(
        Stage.FINISH,
        "vcpu/@cpuset",
        "a launcher's control group keeps its QEMU on its CPUs upstream; here libvirt does, as the description says",
    ),
    Deviation(
        Stage.FINISH,
        "cpu/@mode",
        "emulated guests have no host CPU: host-passthrough becomes maximum, so does host-model where libvirt has none",
    ),
    Deviation(
        Stage.FINISH,
        "features/hyperv, features/pvspinlock, features/kvm/hint-dedicated, clock/timer[@name='tsc']",
        "QEMU refuses to emulate them; upstream leaves them in and fails at start",
    ),
    Deviation(
        Stage.FINISH,
        "devices/disk/driver/iothreads",
        "libvirt before 10 ignores the list: each disk gets one thread of the pool, in turn",
    ),
    Deviation(
        Stage.FINISH,
        "devices/filesystem/@accessMode, devices/disk/source/@name, devices/hostdev/@mode, maxMemory/@slots, "
        "clock/@offset, cpu/feature/@policy",
        "written as libvirt's schema has them: upstream's spelling is ignored or refused by validation",
    ),
)
