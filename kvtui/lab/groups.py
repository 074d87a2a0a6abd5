"""Control groups of a lab: of every hierarchy of this machine each node has a part that it sees as the whole.

So guests of two nodes may have the same name, and their limits are real. Both versions are served: version 2, where
controllers are passed down level by level, and version 1, where a new set of CPUs is empty. Where the machine lets
nobody make groups, nodes do without.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/cpusets.html; https://libvirt.org/cgroups.html
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

DELEGATED = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")
"""Controllers that are passed down to nodes, where the machine has them."""
_SETS = ("cpuset.cpus", "cpuset.mems")
_PATIENCE = 2.0
"""Seconds in which groups become empty once their last process has ended."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where control groups are found."""

    mounts: Path = Path("/proc/self/mountinfo")
    root: Path = Path("/sys/fs/cgroup")

    def hierarchies(self) -> list[Hierarchy]:
        return hierarchies(self.mounts.read_text(), self.root)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One tree of control groups."""

    point: Path
    """Where it is mounted."""
    unified: bool
    """Version 2."""

    def lab(self, tag: str) -> Path:
        return self.point / f"kvtui-lab-{tag}"


THIS = Machine()


def hierarchies(mountinfo: str, root: Path = THIS.root) -> list[Hierarchy]:
    """Those below `root`. Source: proc_pid_mountinfo(5)"""
    found: dict[Path, Hierarchy] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point, kind = Path(before.split()[4]), after.split(" ", 1)[0]
        if kind in ("cgroup", "cgroup2") and point.is_relative_to(root):
            found[point] = Hierarchy(point, kind == "cgroup2")
    return list(found.values())


def make(tag: str, node: str, machine: Machine = THIS) -> list[tuple[Path, Path]]:
    """The groups of a node with where it is to see them; empty where it cannot have any."""
    made = []
    try:
        for hierarchy in machine.hierarchies():
            lab = hierarchy.lab(tag)
            for group in (lab, lab / node):
                group.mkdir(exist_ok=True)
                if hierarchy.unified:
                    _pass_down(group.parent)
                else:
                    _fill(group)
            if hierarchy.unified:
                _pass_down(lab / node)
            own = lab / node
            (own / own.relative_to(hierarchy.point)).mkdir(parents=True, exist_ok=True)  # where it sees itself again
            made.append((own, hierarchy.point))
    except OSError:
        remove(tag, machine)
        return []
    return made


def _pass_down(group: Path) -> None:
    """Lets the children of a group of version 2 have the controllers that it has itself."""
    given = (group / "cgroup.subtree_control").read_text().split()
    for name in (group / "cgroup.controllers").read_text().split():
        if name in DELEGATED and name not in given:
            with contextlib.suppress(OSError):  # one that cannot be had is no reason to have none
                (group / "cgroup.subtree_control").write_text(f"+{name}")


def _fill(group: Path) -> None:
    """Gives a new set of version 1 the CPUs and the memory of its parent; without them nothing could run in it."""
    for name in _SETS:
        file = group / name
        if file.exists() and not file.read_text().strip():
            file.write_text((group.parent / name).read_text())


def remove(tag: str, machine: Machine = THIS) -> list[Path]:
    """Removes all groups of a lab, from the leaves on; those that are still in use are returned."""
    labs = [h.lab(tag) for h in machine.hierarchies()]
    deadline = time.monotonic() + _PATIENCE
    while True:
        for lab in labs:
            for group in sorted((p for p in lab.rglob("*") if p.is_dir()), reverse=True) if lab.is_dir() else ():
                with contextlib.suppress(OSError):
                    group.rmdir()
            with contextlib.suppress(OSError):
                lab.rmdir()
        left = [lab for lab in labs if lab.exists()]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)  # the kernel tells nobody when the last of a killed process is gone
