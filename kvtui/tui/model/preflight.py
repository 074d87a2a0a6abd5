"""What speaks against moving a VM: every finding, not the first one; pure.

The server's own verdict is the LiveMigratable condition; the other checks give the reasons in words and add what only
shows per target node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kvtui.api.core.node import Node
from kvtui.tui.columns.cell import size
from kvtui.tui.columns.nodes import allocatable, state_of
from kvtui.tui.columns.vms import memory_of, status_word
from kvtui.tui.model.rows import VmRow

Weight = Literal["ok", "warn", "block", "?"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the pre-flight."""

    weight: Weight
    text: str


@dataclass(frozen=True, slots=True)
class Target:
    """A node and whether it can take the VM."""

    name: str
    findings: tuple[Finding, ...]

    @property
    def blocked(self) -> bool:
        return any(f.weight == "block" for f in self.findings)


def of_vm(row: VmRow) -> list[Finding]:
    """Findings that hold for every target."""
    findings: list[Finding] = []
    if not row.running:
        findings.append(Finding("block", f"{row.key.name} is {status_word(row)}"))
    if row.migration is not None:
        findings.append(Finding("block", f"a migration is active ({row.migration.metadata.name})"))
    findings += _volumes(row)
    for interface in row.spec.domain.devices.interfaces:
        networks = {n.name: n for n in row.spec.networks}
        network = networks.get(interface.name)
        if interface.bridge is not None and network is not None and network.pod is not None:
            findings.append(Finding("block", f"interface {interface.name} uses bridge on the pod network"))
    devices = row.spec.domain.devices
    bound = [d.name for d in devices.host_devices] + [d.name for d in devices.gpus]
    findings += [Finding("block", f"host device {name} is bound to {row.node}") for name in bound]
    findings += _verdict(row)
    return findings or [Finding("?", "the server has not said yet whether this VM can move")]


def _volumes(row: VmRow) -> list[Finding]:
    status = row.vmi.status if row.vmi is not None else None
    method = (status.migration_method if status else None) or ""
    found = []
    for volume in status.volume_status if status else ():
        info = volume.persistent_volume_claim_info
        if info is not None and info.access_modes and "ReadWriteMany" not in info.access_modes:
            weight: Weight = "warn" if method == "BlockMigration" else "block"
            text = f"volume {volume.name} is {info.access_modes[0]}"
            text += " and is copied with the memory" if weight == "warn" else " and cannot be block-migrated"
            found.append(Finding(weight, text))
    return found


def _verdict(row: VmRow) -> list[Finding]:
    for condition in row.vmi.status.conditions if row.vmi is not None and row.vmi.status else ():
        if condition.type == "LiveMigratable":
            if condition.status == "True":
                return [Finding("ok", "the server says: LiveMigratable")]
            words = ": ".join(w for w in (condition.reason, condition.message) if w)
            return [Finding("block", f"the server says: {words or 'not LiveMigratable'}")]
    return []


def targets(row: VmRow, nodes: Iterable[Node], asked: dict[str, float]) -> list[Target]:
    """Every other node with its findings. `asked` is the memory (bytes) that is asked for on each node already."""
    return [
        Target(node.metadata.name, tuple(_of_target(row, node, asked.get(node.metadata.name, 0.0))))
        for node in nodes
        if node.metadata.name != row.node
    ]


def _of_target(row: VmRow, node: Node, asked: float) -> list[Finding]:
    findings: list[Finding] = []
    name, word = node.metadata.name, state_of(node)
    if word != "Ready":
        findings.append(Finding("block", f"{name} is {word}"))
    if node.metadata.labels.get("kubevirt.io/schedulable") == "false":
        findings.append(Finding("block", f"{name} takes no VMs at the moment"))
    for key, value in row.spec.node_selector.items():
        if node.metadata.labels.get(key) != value:
            findings.append(Finding("block", f"node selector {key}={value} does not match {name}"))
    whole, wanted = allocatable(node, "memory"), memory_of(row.spec)
    if whole is not None and wanted is not None and whole - asked < wanted:
        findings.append(Finding("block", f"{name} has {size(max(0.0, whole - asked))} free, {size(wanted)} needed"))
    return findings or [Finding("ok", "can take it")]


def of_targets(found: list[Target]) -> list[Finding]:
    """What the targets together mean."""
    if not found:
        return [Finding("block", "this machine is the only node")]
    if all(target.blocked for target in found):
        return [Finding("block", "no other node can take it")]
    return []
