"""What can be done with virtual machines."""

from __future__ import annotations

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.meta import Resource
from kvtui.client.rest import Client
from kvtui.tui.columns.vms import run_strategy, status_word
from kvtui.tui.model import requests
from kvtui.tui.model.actions import PROTECTION, Action, Choice, Consequences, Level
from kvtui.tui.model.cluster import Cluster
from kvtui.tui.model.rights import Right
from kvtui.tui.model.rows import FINAL_PHASES, VmRow

_SUB = "subresources.kubevirt.io"
_ALIVE = ("Pending", "Scheduling", "Scheduled", "Running")


def _right(resource: str, verb: str = "update") -> Right:
    return Right(verb, _SUB, resource)


def _not_a_vm(row: VmRow) -> str | None:
    return None if row.vm is not None else f"{row.key.name} is an instance without a VirtualMachine"


def cannot_start(row: VmRow) -> str | None:
    if reason := _not_a_vm(row):
        return reason
    if row.vmi is not None and row.phase not in FINAL_PHASES:
        return f"{row.key.name} is {status_word(row)} already"
    if run_strategy(row) == "Always" and row.vmi is not None and row.phase not in FINAL_PHASES:
        return f"{row.key.name} is started by its run strategy Always"
    return None


def cannot_stop(row: VmRow) -> str | None:
    if row.vm is None:
        return f"{row.key.name} has no VirtualMachine; D deletes the instance"
    waiting = status_word(row) in ("Provisioning", "WaitingForVolumeBinding") and run_strategy(row) != "Halted"
    if row.vmi is None and not waiting and status_word(row) in ("Stopped", "Unknown"):
        return f"{row.key.name} is not running"
    return None


def cannot_force_stop(row: VmRow) -> str | None:
    if reason := _not_a_vm(row):
        return reason
    return None if row.vmi is not None else f"{row.key.name} is not running"


def _must_run(row: VmRow) -> str | None:
    return None if row.running else f"{row.key.name} is not running"


def _must_run_as_vm(row: VmRow) -> str | None:
    return _not_a_vm(row) or _must_run(row)


def cannot_pause(row: VmRow) -> str | None:
    if reason := _must_run(row):
        return reason
    return f"{row.key.name} is paused already; p u resumes it" if row.paused else None


def cannot_unpause(row: VmRow) -> str | None:
    if reason := _must_run(row):
        return reason
    return None if row.paused else f"{row.key.name} is not paused"


def cannot_migrate(row: VmRow) -> str | None:
    """Only what makes even the dialog pointless; the pre-flight lists everything else."""
    return _must_run(row)


def no_migration(row: VmRow) -> str | None:
    return None if row.migration is not None else f"{row.key.name} has no active migration"


def no_console(row: VmRow) -> str | None:
    if row.vmi is None:
        return f"{row.key.name} is stopped; s starts it"
    return None if row.phase in _ALIVE else f"{row.key.name} is {status_word(row)}"


def protected(row: VmRow) -> str | None:
    label = f"{PROTECTION}={row.object.metadata.labels.get(PROTECTION)}"
    if row.object.metadata.labels.get(PROTECTION) in ("True", "true"):
        return f"{row.key.name} is protected from deletion (label {label}). Remove the protection first."
    return f"{row.key.name} is being deleted already" if row.object.metadata.deletion_timestamp else None


def owned_volumes(cluster: Cluster, row: VmRow) -> list[Resource]:
    """DataVolumes and claims that go with the VM."""
    uid = row.object.metadata.uid
    found: list[Resource] = []
    for type_ in (DataVolume, PersistentVolumeClaim):
        found += [
            obj
            for obj in cluster.informer(type_).all(row.key.namespace)
            if any(owner.uid == uid for owner in obj.metadata.owner_references)
        ]
    return found


async def _start(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.start(client, row.key)


async def _start_paused(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.start(client, row.key, paused=True)


async def _stop(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.stop(client, row.key)


async def _force_stop(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.force_stop(client, row.key)


async def _restart(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.restart(client, row.key)


async def _soft_reboot(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.soft_reboot(client, row.key)


async def _reset(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.reset(client, row.key)


async def _pause(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.pause(client, row.key)


async def _unpause(client: Client, row: VmRow, choice: Choice) -> None:
    await requests.unpause(client, row.key)


async def _abort(client: Client, row: VmRow, choice: Choice) -> None:
    if row.migration is not None:
        await requests.abort(client, row.migration)


def _force_stop_consequences(row: VmRow) -> Consequences:
    return Consequences(
        happens=(f"{row.key.name} is switched off at once, like pulling the plug.",),
        lost=("What the guest has not written to its disks.",),
        stays=("The VirtualMachine and its volumes.",),
    )


def _reset_consequences(row: VmRow) -> Consequences:
    return Consequences(
        happens=(f"{row.key.name} is reset in place; its instance and node stay.",),
        lost=("What the guest has not written to its disks.",),
        stays=("The instance, its address and its volumes.",),
    )


def vm_actions(cluster: Cluster) -> tuple[Action, ...]:
    """The keys of the VMs view."""

    def delete_consequences(row: VmRow) -> Consequences:
        volumes = tuple(f"{type(v).__name__} {v.metadata.name}" for v in owned_volumes(cluster, row))
        happens = [f"{row.key.name} is {'stopped and ' if row.vmi is not None else ''}deleted."]
        return Consequences(
            happens=tuple(happens),
            lost=tuple(f"{volume}, with its data" for volume in volumes),
            stays=("Volumes that the VM does not own.",),
            volumes=volumes,
        )

    def delete_level(row: VmRow) -> Level:
        return Level.TYPED if owned_volumes(cluster, row) else Level.DIALOG

    async def delete(client: Client, row: VmRow, choice: Choice) -> None:
        await requests.delete_vm(client, row, keep_volumes=choice.keep_volumes, volumes=owned_volumes(cluster, row))

    vm = "virtualmachines"
    vmi = "virtualmachineinstances"
    create_migration = Right("create", "kubevirt.io", "virtualmachineinstancemigrations")
    return (
        Action("vm.start", "vms", "s", "start", blocked=cannot_start, run=_start, right=_right(f"{vm}/start"),
               doing="Starting"),
        Action("vm.stop", "vms", "x", "stop", level=Level.PROMPT, blocked=cannot_stop, run=_stop,
               right=_right(f"{vm}/stop"), question="Stop", doing="Stopping"),
        Action("vm.restart", "vms", "r", "restart", level=Level.PROMPT, blocked=_must_run_as_vm, run=_restart,
               right=_right(f"{vm}/restart"), question="Restart", doing="Restarting"),
        Action("vm.console", "vms", "c", "console", blocked=no_console, writes=False,
               right=_right(f"{vmi}/console", "get")),
        Action("vm.migrate", "vms", "m", "migrate", blocked=cannot_migrate, right=create_migration,
               doing="Migrating"),
        Action("vm.abort", "vms", "M", "abort migration", level=Level.PROMPT, blocked=no_migration, run=_abort,
               right=Right("delete", "kubevirt.io", "virtualmachineinstancemigrations"),
               question="Abort the migration of", doing="Aborting", hint=False),
        Action("vm.power.start", "vms", "p s", "start", title="power: start", blocked=cannot_start, run=_start,
               right=_right(f"{vm}/start"), doing="Starting", hint=False),
        Action("vm.power.start-paused", "vms", "p S", "start paused", title="power: start paused",
               blocked=cannot_start, run=_start_paused, right=_right(f"{vm}/start"), doing="Starting", hint=False),
        Action("vm.power.stop", "vms", "p x", "stop", title="power: stop", level=Level.PROMPT, blocked=cannot_stop,
               run=_stop, right=_right(f"{vm}/stop"), question="Stop", doing="Stopping", hint=False),
        Action("vm.power.force-stop", "vms", "p X", "force stop", title="power: force stop", level=Level.DIALOG,
               blocked=cannot_force_stop, run=_force_stop, right=_right(f"{vm}/stop"), question="Force stop",
               doing="Switching off", undone="Not stopped", consequences=_force_stop_consequences, hint=False),
        Action("vm.power.restart", "vms", "p r", "restart", title="power: restart", level=Level.PROMPT,
               blocked=_must_run_as_vm, run=_restart, right=_right(f"{vm}/restart"), question="Restart",
               doing="Restarting", hint=False),
        Action("vm.power.soft-reboot", "vms", "p b", "soft reboot", title="power: soft reboot", level=Level.PROMPT,
               blocked=_must_run, run=_soft_reboot, right=_right(f"{vmi}/softreboot"), question="Soft reboot",
               doing="Rebooting", hint=False),
        Action("vm.power.reset", "vms", "p R", "reset", title="power: reset", level=Level.DIALOG, blocked=_must_run,
               run=_reset, right=_right(f"{vmi}/reset"), question="Reset", doing="Resetting", undone="Not reset",
               consequences=_reset_consequences, hint=False),
        Action("vm.power.pause", "vms", "p p", "pause", title="power: pause", level=Level.PROMPT,
               blocked=cannot_pause, run=_pause, right=_right(f"{vmi}/pause"), question="Pause", doing="Pausing",
               hint=False),
        Action("vm.power.unpause", "vms", "p u", "unpause", title="power: unpause", blocked=cannot_unpause,
               run=_unpause, right=_right(f"{vmi}/unpause"), doing="Resuming", hint=False),
        Action("vm.new", "vms", "n", "new", title="create a virtual machine", needs_row=False,
               right=Right("create", "kubevirt.io", vm)),
        Action("vm.delete", "vms", "D", "delete", level_of=delete_level, level=Level.DIALOG, blocked=protected,
               run=delete, right=Right("delete", "kubevirt.io", vm), question="Delete", doing="Deleting",
               undone="Not deleted", consequences=delete_consequences),
    )  # fmt: skip
