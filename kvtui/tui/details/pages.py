"""Which tabs the detail pane has for a row, and what stands on them."""

from __future__ import annotations

from typing import Any

from kvtui.tui.columns.cell import Line, Sight, line
from kvtui.tui.details import common, migration, other, vm
from kvtui.tui.model.rows import AnyRow, DataVolumeRow, EventRow, MigrationRow, NodeRow, VmRow
from kvtui.tui.model.views import Views

YAML = "YAML"


def title(row: AnyRow) -> str:
    """As the pane is called."""
    if isinstance(row, MigrationRow):
        return f"migration {row.object.spec.vmi_name}"
    return row.key.name


def tabs(row: AnyRow) -> tuple[str, ...]:
    match row:
        case VmRow():
            return ("Overview", "Migrations", "Conditions", "Events", YAML)
        case MigrationRow():
            return ("Progress", "Conditions", "Events", YAML)
        case EventRow():
            return ("Overview", YAML)
        case _:
            return ("Overview", "Conditions", "Events", YAML)


def page(row: AnyRow, tab: str, views: Views, sight: Sight, live: dict[str, Any] | None) -> list[Line]:
    """`live` is the object as the server has it, for the YAML tab."""
    match tab:
        case "YAML":
            return common.yaml_lines(live)
        case "Conditions":
            return common.conditions(_conditions(row), sight)
        case "Events":
            return common.events(views.events_of(*_names(row), namespace=row.key.namespace), sight)
        case "Migrations" if isinstance(row, VmRow):
            return vm.history(views.migrations_of(row.key), sight)
        case _:
            return _overview(row, views, sight)


def describe(row: AnyRow, views: Views, sight: Sight) -> list[Line]:
    """Plain text with everything: overview, conditions, events."""
    lines = [common.heading(title(row)), *_overview(row, views, sight)]
    if not isinstance(row, EventRow):
        lines += [line(""), common.heading("CONDITIONS"), *common.conditions(_conditions(row), sight)]
        events = views.events_of(*_names(row), namespace=row.key.namespace)
        lines += [line(""), common.heading("EVENTS"), *common.events(events, sight)]
    return lines


def _overview(row: AnyRow, views: Views, sight: Sight) -> list[Line]:
    match row:
        case VmRow():
            return vm.overview(row, views.events_of(*_names(row), namespace=row.key.namespace), sight)
        case DataVolumeRow():
            return other.data_volume(row, sight)
        case MigrationRow():
            others = views.migrations_of(type(row.key)(row.key.namespace, row.object.spec.vmi_name or ""))
            return migration.progress(row, others, sight)
        case NodeRow():
            here = [v for v in views.vms.rows() if v.node == row.key.name]
            return other.node(row, sorted(here, key=lambda v: v.key), sight)
        case EventRow():
            return other.event(row, sight)


def _conditions(row: AnyRow) -> list[common.AnyCondition]:
    match row:
        case VmRow():
            return vm.all_conditions(row)
        case DataVolumeRow(volume=volume) if volume is not None:
            return list(volume.status.conditions) if volume.status else []
        case MigrationRow():
            return list(row.object.status.conditions) if row.object.status else []
        case NodeRow():
            return list(row.object.status.conditions)
    return []


def _names(row: AnyRow) -> tuple[str, ...]:
    """Objects whose events belong to this row, by name."""
    if isinstance(row, MigrationRow):
        return (row.key.name, row.object.spec.vmi_name or "")
    if isinstance(row, VmRow):
        pods = row.vmi.status.active_pods if row.vmi is not None and row.vmi.status else {}
        return (row.key.name, *(f"virt-launcher-{row.key.name}" for _ in pods))
    return (row.key.name,)
