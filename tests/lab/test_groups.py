"""Control groups of a lab: found where they are mounted, made on both versions, and removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvtui.lab import groups
from kvtui.lab.groups import Hierarchy, Machine

LEGACY = """
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
52 31 0:29 / /run/elsewhere rw,relatime - cgroup cgroup rw,cpu
"""
UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hierarchies_are_those_below_the_usual_place() -> None:
    assert groups.hierarchies(LEGACY.strip()) == [
        Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), unified=False),
        Hierarchy(Path("/sys/fs/cgroup/unified"), unified=True),
    ]
    assert groups.hierarchies(UNIFIED) == [Hierarchy(Path("/sys/fs/cgroup"), unified=True)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One hierarchy of each version, as plain directories."""
    root = tmp_path / "cgroup"
    lines = []
    for name, kind in (("cpuset", "cgroup"), ("unified", "cgroup2")):
        (root / name).mkdir(parents=True)
        lines.append(f"32 31 0:29 / {root / name} rw - {kind} {kind} rw")
    (root / "cpuset/cpuset.cpus").write_text("0-3\n")
    (root / "cpuset/cpuset.mems").write_text("0\n")
    (root / "unified/cgroup.controllers").write_text("cpuset cpu misc\n")
    (root / "unified/cgroup.subtree_control").write_text("cpu\n")
    (tmp_path / "mountinfo").write_text("\n".join(lines))
    return Machine(tmp_path / "mountinfo", root)


def test_every_node_has_a_group_of_its_own_in_every_hierarchy(machine: Machine) -> None:
    for name in ("cgroup.controllers", "cgroup.subtree_control"):
        for group in ("kvtui-lab-abc", "kvtui-lab-abc/node-1"):
            (machine.root / "unified" / group).mkdir(parents=True, exist_ok=True)
            (machine.root / "unified" / group / name).write_text("")
    found = groups.make("abc", "node-1", machine)
    assert found == [(machine.root / h / "kvtui-lab-abc/node-1", machine.root / h) for h in ("cpuset", "unified")]
    assert (machine.root / "unified/cgroup.subtree_control").read_text() == "+cpuset"


def test_a_machine_that_allows_no_groups_leaves_nodes_without(machine: Machine) -> None:
    # What is no hierarchy of version 2 has no list of controllers.
    assert groups.make("abc", "node-1", machine) == []
    assert groups.remove("abc", machine) == []
    assert not (machine.root / "cpuset/kvtui-lab-abc").exists()
