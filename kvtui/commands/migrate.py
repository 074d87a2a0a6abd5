"""`kvtui migrate`: asks for a live migration, and follows it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import click
import msgspec

from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.commands import complete
from kvtui.commands.connection import merged, run_async
from kvtui.commands.progress import Progress, waiting
from kvtui.commands.targets import VM, Target, call, for_each
from kvtui.commands.verb import Verb, example, verb_options, vm_arguments
from kvtui.errors import NotFound, Permanent, Usage

PROGRESS = "kvtui.io/migration-progress"
FINAL = ("Succeeded", "Failed")


@click.command("migrate", cls=Verb, epilog=example("kvtui migrate web", "kvtui migrate web --to node-b --follow"))
@vm_arguments
@click.option("--to", "node", metavar="NODE", help="The node to move to.", shell_complete=complete.nodes)
@click.option("--addedNodeSelector", "selector_text", metavar="KEY=VALUE,...", help="Labels that the node must have.")
@click.option("--follow", is_flag=True, help="Print progress until it has ended (implies --wait).")
@verb_options
@click.pass_context
def migrate(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Move running VMs to another node."""
    options = merged(ctx, options)
    added = _selector(options["selector_text"])
    if options["node"]:
        added["kubernetes.io/hostname"] = options["node"]
    body: dict[str, Any] = {"addedNodeSelector": added} if added else {}
    if options["dry_run"]:
        body["dryRun"] = ["All"]

    async def work(client: Client, target: Target) -> str:
        before = {m.metadata.uid for m in await _of(client, target.key)}
        await call(client, target, "migrate", body)
        if (options["wait"] or options["follow"]) and not options["dry_run"]:
            await _follow(client, target.key, before, options)
            return f"VM {target.key.name} was migrated"
        return f"VM {target.key.name} was scheduled to migrate"

    ctx.exit(run_async(for_each(names, options, VM, work, "migrate")))


@click.command("migrate-cancel", cls=Verb, epilog=example("kvtui migrate-cancel web"))
@vm_arguments
@verb_options
@click.pass_context
def cancel(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Stop the migration of VMs; they stay where they are."""

    async def work(client: Client, target: Target) -> str:
        active = [m for m in await _of(client, target.key) if m.status.phase not in FINAL]
        if not active:
            raise Permanent(f"Found no migration to cancel for {target.key.name}")
        await client.delete(VirtualMachineInstanceMigration, active[0].key, uid=active[0].metadata.uid)
        return f"VM {target.key.name} was scheduled to migrate-cancel"

    ctx.exit(run_async(for_each(names, merged(ctx, options), VM, work, "migrate-cancel")))


@click.command("evacuate-cancel", cls=Verb, epilog=example("kvtui evacuate-cancel vm web"))
@vm_arguments
@verb_options
@click.pass_context
def evacuate_cancel(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Withdraw the wish to move VMs off their node."""

    async def work(client: Client, target: Target) -> str:
        vmi = await client.get(VirtualMachineInstance, target.key)
        if not vmi.status.node_name:
            raise NotFound(f"VMI {target.key.name} is on no node", code=404)
        await call(client, target, "evacuate/cancel", {"evacuationNodeName": vmi.status.node_name})
        return f"VM {target.key} was canceled evacuation"

    ctx.exit(run_async(for_each(names, merged(ctx, options), VM, work, "evacuate-cancel")))


def _selector(text: str | None) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in (text or "").split(",") if pair]
    if any(not equals or not key for key, equals, _ in pairs):
        raise Usage("--addedNodeSelector takes KEY=VALUE,...")
    return {key: value for key, _, value in pairs}


async def _of(client: Client, key: ObjectKey) -> list[VirtualMachineInstanceMigration]:
    listed = await client.list(VirtualMachineInstanceMigration, key.namespace)
    return [m for m in listed.items if m.spec.vmi_name == key.name]


async def _follow(client: Client, key: ObjectKey, before: set[str], options: dict[str, Any]) -> None:
    """Until the new migration of this VM has ended. Raises Permanent when it failed, TimeoutError."""
    try:
        async with (
            asyncio.timeout(options["timeout"]),
            waiting(f"migrating {key.name}", quiet=options["follow"]) as line,
        ):
            while True:
                listed = await client.list(VirtualMachineInstanceMigration, key.namespace)
                for migration in listed.items:
                    if _shown(migration, key, before, options, line):
                        return
                stream = client.watch(
                    VirtualMachineInstanceMigration, key.namespace, resource_version=listed.resource_version
                )
                async with contextlib.aclosing(stream) as events:
                    async for event in events:
                        if event.object is not None and _shown(event.object, key, before, options, line):
                            return
    except TimeoutError as error:
        raise TimeoutError(f"timed out waiting for the migration of {key} (it goes on)") from error


def _shown(
    migration: VirtualMachineInstanceMigration,
    key: ObjectKey,
    before: set[str],
    options: dict[str, Any],
    line: Progress,
) -> bool:
    if migration.spec.vmi_name != key.name or migration.metadata.uid in before:
        return False
    phase = migration.status.phase or "Pending"
    sample = _sample(migration.metadata.annotations.get(PROGRESS, ""))
    left = f", {sample['remaining'] / 2**20:.0f} MiB left" if "remaining" in sample else ""
    line.say(f"migrating {key.name}: {phase}{left}")
    if options["follow"] and options["format_"] == "json":
        told = {"object": f"virtualmachine/{key.name}", "migration": migration.metadata.name, "phase": phase, **sample}
        click.echo(msgspec.json.encode(told).decode())
    elif options["follow"]:
        click.echo(f"{key.name}: {phase}{left}", err=True)
    if phase == "Failed":
        state = migration.status.migration_state
        reason = (state.failure_reason if state is not None else None) or "see its events"
        raise Permanent(
            f"the migration of {key} failed: {reason}", hint=f"kvtui events --for vmim/{migration.metadata.name}"
        )
    return phase == "Succeeded"


def _sample(text: str) -> dict[str, Any]:
    """The numbers that the source's agent publishes; empty before the first."""
    try:
        sample = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return {}
    usable = isinstance(sample, dict) and isinstance(sample.get("remaining"), (int, float))
    return dict(sample) if usable else {}
