"""Observed conversions of upstream KubeVirt, and how to compare ours with them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kvtui.api.kubevirt.config import KubeVirtConfiguration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.domainxml import Context, HostCell, cluster_of
from kvtui.domainxml.deviations import DEVIATIONS, Stage
from kvtui.domainxml.firmware import Firmware

Element = ElementTree.Element

_ROOT = Path(__file__).parents[2]
CASES = Path(os.environ.get("KVTUI_DOMAIN_CASES") or _ROOT.parent / "shared" / "data" / "domain-cases")
_FORMATTING = frozenset({"bios", "baseBoard", "chassis", "system", "source", "features", "entry"})
"""Elements that say nothing when they are empty. A feature such as <acpi/> does say something."""


@dataclass(frozen=True, slots=True)
class Case:
    """One VMI with the domain, or the error, that upstream makes of it."""

    name: str
    vmi: VirtualMachineInstance
    context: Context
    domains: tuple[str, ...]
    """Accepted documents: the release's and the later branch's."""
    error: str
    """First line of the conversion error."""


def load() -> list[Case]:
    """All cases; none if the directory is not there."""
    return [
        _case(json.loads(line))
        for file in sorted(CASES.glob("*.jsonl"))
        for line in file.read_text().splitlines()
        if line.strip()
    ]


def _case(data: dict[str, Any]) -> Case:
    domains = tuple(data[key] for key in ("domain", "domainLater") if key in data)
    vmi = from_wire(data["vmi"], VirtualMachineInstance)
    return Case(data["name"], vmi, _context(data), domains, data.get("error", ""))


def _context(data: dict[str, Any]) -> Context:
    given = data.get("context") or {}
    config = from_wire(data.get("config") or {}, KubeVirtConfiguration)
    environment = given.get("deviceEnv") or {}
    return Context(
        kvm=given.get("kvm", True),
        allow_emulation=given.get("allowEmulation", False),
        cpu_set=tuple(given.get("cpuSet") or ()),
        numa=_numa(given.get("numaTopology") or {}),
        firmware=Firmware() if given.get("noFirmwareFiles") else None,
        block_volumes=frozenset(given.get("blockVolumes") or ()),
        container_disk_formats=given.get("containerDisks") or {},
        preallocated_volumes=frozenset(given.get("preallocatedVolumes") or ()),
        changed_block_tracking=given.get("changedBlockTracking") or {},
        device_env=environment,
        sriov_addresses=_functions(given.get("networkInfo")),
        launcher_verbosity=int(environment.get("VIRT_LAUNCHER_LOG_VERBOSITY", "0")),
        cluster=cluster_of(config),
    )


def _numa(topology: dict[str, Any]) -> tuple[HostCell, ...]:
    return tuple(
        HostCell.of(
            cell.get("id", 0),
            {cpu.get("id", 0): cpu.get("siblings") or () for cpu in cell.get("cpus") or ()},
            {far.get("id", 0): far["value"] for far in cell.get("distances") or ()},
        )
        for cell in topology.get("numa_cells") or ()
    )


def _functions(info: Any) -> dict[str, str]:
    """PCI addresses by network out of Multus' network information: as text or decoded, a list or a map by network."""
    if isinstance(info, str):
        info = json.loads(info) if info else {}
    entries = info.get("interfaces", info) if isinstance(info, dict) else info
    if isinstance(entries, dict):
        pairs = list(entries.items())
    else:
        pairs = [(entry["network"], entry) for entry in entries or ()]
    found = {network: entry if isinstance(entry, str) else _address(entry) for network, entry in pairs}
    return {network: address for network, address in found.items() if address}


def _address(entry: Any) -> str:
    """The PCI address somewhere in what is told of one network."""
    if not isinstance(entry, dict):
        return ""
    found = entry.get("pci-address") or entry.get("pciAddress")
    return str(found) if found else next((a for part in entry.values() if (a := _address(part))), "")


def comparable(error: str) -> str:
    """The first line of an error, without the amounts of memory that deviate."""
    first = error.splitlines()[0]
    return re.sub(r"\{?\d+( b\})?", "#", first) if "numa" in first else first


def difference(ours: Element, theirs: Element) -> str:
    """The first place where the trees differ; empty if they agree but for the deliberate deviations."""
    for root in (ours, theirs):
        for deviation in DEVIATIONS:
            if deviation.stage is Stage.CONVERT:
                _remove(root, deviation.path)
    return _differs(ours, theirs, "")


def _remove(root: Element, path: str) -> None:
    parent_path, _, tag = path.rpartition("/")
    for parent in root.findall(parent_path) if parent_path else [root]:
        for child in list(parent):
            if _local(child) == tag:
                parent.remove(child)
        if not len(parent) and parent is not root:
            root.remove(parent)


def _local(node: Element) -> str:
    return node.tag.rpartition("}")[2]


def _says_something(node: Element) -> bool:
    meaningful = node.attrib or (node.text or "").strip() or any(_says_something(child) for child in node)
    return bool(meaningful) or node.tag not in _FORMATTING


def _differs(ours: Element, theirs: Element, path: str) -> str:
    path = f"{path}/{theirs.tag}"
    if ours.attrib != theirs.attrib:
        return f"{path}: attributes {ours.attrib} instead of {theirs.attrib}"
    if (ours.text or "").strip() != (theirs.text or "").strip():
        return f"{path}: text {ours.text!r} instead of {theirs.text!r}"
    groups = _by_tag(ours), _by_tag(theirs)
    for tag in sorted(set(groups[0]) | set(groups[1])):
        left, right = groups[0].get(tag, []), groups[1].get(tag, [])
        if len(left) != len(right):
            return f"{path}/{tag}: {len(left)} elements instead of {len(right)}"
        for mine, other in zip(left, right, strict=True):
            if found := _differs(mine, other, path):
                return found
    return ""


def _by_tag(node: Element) -> dict[str, list[Element]]:
    groups: dict[str, list[Element]] = {}
    for child in node:
        if _says_something(child):
            groups.setdefault(child.tag, []).append(child)
    return groups
