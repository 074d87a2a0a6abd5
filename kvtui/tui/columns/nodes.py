"""Nodes as rows."""

from __future__ import annotations

from kvtui.api.core.node import Node
from kvtui.api.quantity import parse
from kvtui.errors import InvalidQuantity
from kvtui.tui.columns.cell import NONE, Cell, Column, Sight, Tone, newest_first, since, size, state
from kvtui.tui.model.rows import NodeRow

ACCELERATOR = "kvtui.io/accelerator"
TONES = {"Ready": Tone.OK, "Cordoned": Tone.HOLD, "NotReady": Tone.FAIL, "Unknown": Tone.UNKNOWN}


def state_of(node: Node) -> str:
    """Ready, Cordoned, NotReady, or Unknown when its agent is silent."""
    ready = next((c.status for c in node.status.conditions if c.type == "Ready"), "")
    if ready == "True":
        return "Cordoned" if node.spec.unschedulable else "Ready"
    return "NotReady" if ready == "False" else "Unknown"


def accelerator_of(node: Node) -> str:
    """`KVM`, `emulation`, or empty where the node does not say."""
    label = node.metadata.labels.get(ACCELERATOR, "")
    return "KVM" if label == "kvm" else label


def allocatable(node: Node, resource: str) -> float | None:
    wanted = node.status.allocatable.get(resource)
    try:
        return float(parse(wanted)) if wanted is not None else None
    except InvalidQuantity:
        return None


def _cpu(row: NodeRow, sight: Sight) -> Cell:
    whole = allocatable(row.object, "cpu")
    return NONE if whole is None else Cell(f"{row.cpu:g}/{whole:g}")


def _memory(row: NodeRow, sight: Sight) -> Cell:
    whole = allocatable(row.object, "memory")
    return NONE if whole is None else Cell(f"{size(row.memory).replace(' ', '')}/{size(whole).replace(' ', '')}")


def _moves(row: NodeRow, sight: Sight) -> Cell:
    return Cell(f"{row.outgoing}/{row.incoming}", Tone.MOVE if row.outgoing or row.incoming else Tone.DIM)


def _model(row: NodeRow, sight: Sight) -> Cell:
    prefix = "host-model-cpu.node.kubevirt.io/"
    name = next((k.removeprefix(prefix) for k in row.object.metadata.labels if k.startswith(prefix)), "")
    return Cell(name) if name else NONE


def _kvm(row: NodeRow, sight: Sight) -> Cell:
    devices = allocatable(row.object, "devices.kubevirt.io/kvm")
    word = accelerator_of(row.object)
    if devices:
        return Cell(f"{max(0, int(devices) - row.vms)}/{int(devices)}")
    return Cell(word, Tone.WARN if word == "emulation" else Tone.TEXT) if word else NONE


def _labels(row: NodeRow, sight: Sight) -> Cell:
    labels = {
        k: v for k, v in row.object.metadata.labels.items() if not k.startswith(("cpu-", "host-", "kubernetes.io/"))
    }
    return Cell(",".join(f"{k}={v}" for k, v in sorted(labels.items())), Tone.DIM) if labels else NONE


def _address(row: NodeRow, sight: Sight) -> Cell:
    address = next((a.address for a in row.object.status.addresses if a.type == "InternalIP"), "")
    return Cell(address) if address else NONE


COLUMNS: tuple[Column[NodeRow], ...] = (
    Column("name", "NAME", 16, lambda row, sight: Cell(row.key.name), lambda row: row.key.name, core=True, grows=2),
    Column("state", "STATE", 12,
           lambda row, sight: state(state_of(row.object), TONES[state_of(row.object)], sight),
           lambda row: state_of(row.object), core=True),
    Column("vms", "VMS", 4, lambda row, sight: Cell(str(row.vms)), lambda row: row.vms, right=True, core=True),
    Column("cpu", "CPU", 9, _cpu, lambda row: row.cpu, right=True, core=True),
    Column("mem", "MEM", 16, _memory, lambda row: row.memory, right=True, core=True),
    Column("moves", "MIGR out/in", 11, _moves, lambda row: row.outgoing + row.incoming, right=True),
    Column("kvm", "KVM", 9, _kvm, core=True),
    Column("model", "CPU MODEL", 16, _model),
    Column("address", "ADDRESS", 15, _address),
    Column("age", "AGE", 4, lambda row, sight: since(row.object.metadata.creation_timestamp, sight),
           lambda row: newest_first(row.object.metadata.creation_timestamp), right=True),
    Column("labels", "LABELS", 24, _labels, grows=3),
)  # fmt: skip
