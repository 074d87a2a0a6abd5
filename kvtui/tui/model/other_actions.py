"""What can be done with DataVolumes, migrations, nodes and events."""

from __future__ import annotations

from kvtui.client.rest import Client
from kvtui.tui.columns.nodes import state_of
from kvtui.tui.model import requests
from kvtui.tui.model.actions import Action, Choice, Consequences, Level
from kvtui.tui.model.rights import Right
from kvtui.tui.model.rows import DataVolumeRow, MigrationRow, NodeRow

_MIGRATIONS = "virtualmachineinstancemigrations"


# DataVolumes


def _in_use(row: DataVolumeRow) -> str | None:
    if row.used_by:
        return f"{row.key.name} is used by {', '.join(row.used_by)}; stop it first"
    return f"{row.key.name} is being deleted already" if row.object.metadata.deletion_timestamp else None


def _volume_level(row: DataVolumeRow) -> Level:
    return Level.TYPED if row.volume is None or row.phase == "Succeeded" else Level.DIALOG


def _volume_consequences(row: DataVolumeRow) -> Consequences:
    kind = "claim" if row.volume is None else "DataVolume"
    return Consequences(
        happens=(f"The {kind} {row.key.name} is deleted.",),
        lost=("The image and everything written to it.",) if _volume_level(row) is Level.TYPED else (),
        stays=("The source of the image.",) if row.volume is not None else (),
    )


async def _delete_volume(client: Client, row: DataVolumeRow, choice: Choice) -> None:
    await requests.delete(client, row.object)


# Migrations


def cannot_abort(row: MigrationRow) -> str | None:
    if not row.active:
        return f"the migration of {row.object.spec.vmi_name} is over ({row.phase})"
    if row.aborting:
        return "it is being aborted already"
    if row.transfer.verdict == "POST-COPY":
        return "post-copy cannot be aborted safely"
    return None


def cannot_run_again(row: MigrationRow) -> str | None:
    if row.active:
        return f"the migration of {row.object.spec.vmi_name} is still under way"
    return None if row.vmi is not None else f"{row.object.spec.vmi_name} is not running"


def cannot_forget(row: MigrationRow) -> str | None:
    return f"the migration of {row.object.spec.vmi_name} is under way; x aborts it" if row.active else None


async def _abort(client: Client, row: MigrationRow, choice: Choice) -> None:
    await requests.abort(client, row.object)


async def _again(client: Client, row: MigrationRow, choice: Choice) -> None:
    await requests.run_again(client, row.object)


async def _forget(client: Client, row: MigrationRow, choice: Choice) -> None:
    await requests.delete(client, row.object)


def _forget_consequences(row: MigrationRow) -> Consequences:
    return Consequences(
        happens=("The record of this migration is deleted.",), stays=(f"{row.object.spec.vmi_name} keeps running.",)
    )


# Nodes


def _is_schedulable(row: NodeRow) -> str | None:
    return None if row.object.spec.unschedulable else f"{row.key.name} is {state_of(row.object)} and takes VMs"


def _no_drain(row: NodeRow) -> str | None:
    return f"use `kubectl drain {row.key.name}` for now; C cordons the node and m moves each VM"


async def _uncordon(client: Client, row: NodeRow, choice: Choice) -> None:
    await requests.set_schedulable(client, row.object, schedulable=True)


async def _toggle(client: Client, row: NodeRow, choice: Choice) -> None:
    await requests.set_schedulable(client, row.object, schedulable=row.object.spec.unschedulable)


def _toggle_level(row: NodeRow) -> Level:
    return Level.NONE if row.object.spec.unschedulable else Level.PROMPT


_PATCH_NODES = Right("patch", "", "nodes")

OTHER_ACTIONS: tuple[Action, ...] = (
    Action("dv.new", "dvs", "n", "new", title="import, clone or make an image", needs_row=False,
           right=Right("create", "cdi.kubevirt.io", "datavolumes")),
    Action("dv.delete", "dvs", "D", "delete", level=Level.DIALOG, level_of=_volume_level, blocked=_in_use,
           consequences=_volume_consequences, run=_delete_volume, question="Delete", doing="Deleting",
           undone="Not deleted", right=Right("delete", "cdi.kubevirt.io", "datavolumes")),
    Action("migration.new", "migrations", "n", "new", title="how to start a migration", needs_row=False,
           writes=False),
    Action("migration.abort", "migrations", "x", "abort", level=Level.PROMPT, blocked=cannot_abort, run=_abort,
           question="Abort the migration", doing="Aborting", right=Right("delete", "kubevirt.io", _MIGRATIONS)),
    Action("migration.again", "migrations", "r", "run again", blocked=cannot_run_again, run=_again,
           doing="Migrating", right=Right("create", "kubevirt.io", _MIGRATIONS)),
    Action("migration.delete", "migrations", "D", "delete", level=Level.DIALOG, blocked=cannot_forget, run=_forget,
           consequences=_forget_consequences, question="Delete", doing="Deleting",
           undone="Not deleted", right=Right("delete", "kubevirt.io", _MIGRATIONS)),
    Action("node.drain", "nodes", "x", "drain", blocked=_no_drain),
    Action("node.return", "nodes", "s", "return to service", blocked=_is_schedulable, run=_uncordon,
           doing="Uncordoning", right=_PATCH_NODES),
    Action("node.cordon", "nodes", "C", "cordon", title="cordon or uncordon", level=Level.PROMPT,
           level_of=_toggle_level, run=_toggle, question="Cordon", doing="Cordoning", right=_PATCH_NODES),
    Action("node.vms", "nodes", "enter", "VMs on it", title="VMs on the node", writes=False),
    Action("event.follow", "events", "P", "pause", title="pause or follow", writes=False, needs_row=False),
    Action("event.object", "events", "enter", "go to object", writes=False),
)  # fmt: skip
