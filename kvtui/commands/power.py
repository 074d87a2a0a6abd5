"""Power verbs: start, stop, restart, pause, unpause, soft-reboot, reset; as virtctl has them, for many VMs at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.commands.connection import merged, run_async, server_options
from kvtui.commands.targets import Target, call, for_each, wait_for
from kvtui.errors import Usage

F = TypeVar("F", bound=Callable[..., Any])
VM, VMI = "virtualmachines", "virtualmachineinstances"


def verb_options(function: F) -> F:
    """What all verbs take."""
    for option in (
        click.option("-l", "--selector", metavar="LABELS", help="All VMs with these labels."),
        click.option("--wait", is_flag=True, help="Return when the VM is in the wanted state."),
        click.option(
            "--timeout", type=float, default=300.0, show_default=True, metavar="SECONDS", help="How long to wait."
        ),
        click.option("--dry-run", is_flag=True, help="Ask the server, change nothing."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing on success."),
        click.option("-o", "--output", "format_", type=click.Choice(["json"]), help="Results as JSON."),
    ):
        function = option(function)
    return server_options(function)


def _body(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {k: v for k, v in more.items() if v is not None}
    if options.get("dry_run"):
        click.echo("Dry Run execution", err=True)
        body["dryRun"] = ["All"]
    return body


def _running(vmi: VirtualMachineInstance | None) -> bool:
    return vmi is not None and vmi.status.phase == "Running"


def _gone(vmi: VirtualMachineInstance | None) -> bool:
    return vmi is None or vmi.status.phase in ("Succeeded", "Failed")


def _paused(vmi: VirtualMachineInstance | None) -> bool:
    return vmi is not None and any(c.type == "Paused" and c.status == "True" for c in vmi.status.conditions)


def _simple(
    verb: str,
    default: str,
    says: str,
    body: dict[str, Any],
    done: Callable[[VirtualMachineInstance | None], bool] | None,
) -> Callable[[dict[str, Any]], Callable[[Client, Target], Any]]:
    def with_options(options: dict[str, Any]) -> Callable[[Client, Target], Any]:
        async def work(client: Client, target: Target) -> str:
            aim = Target(VMI, target.key) if default == VMI else target
            await call(client, aim, verb, body)
            if done is not None and options["wait"] and not options["dry_run"]:
                await wait_for(client, target.key, done, options["timeout"], f"{target.key} to {says}")
            return f"{'VMI' if default == VMI else 'VM'} {target.key.name} was scheduled to {says}"

        return work

    return with_options


@click.command("start")
@click.argument("names", metavar="VM...", nargs=-1)
@click.option("--paused", is_flag=True, help="Stop before the first instruction.")
@verb_options
@click.pass_context
def start(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Start VMs."""
    options = merged(ctx, options)
    body = _body(options, paused=options["paused"] or None)
    done = _paused if options["paused"] else _running
    ctx.exit(run_async(for_each(names, options, VM, _simple("start", VM, "start", body, done)(options))))


def _grace(options: dict[str, Any]) -> int | None:
    force, grace = options["force"], options["grace_period"]
    if force and grace is None:
        grace = 0
    if grace is not None and not force:
        raise Usage("Must both use --force=true and set --grace-period.")
    return None if grace is None else int(grace)


@click.command("stop")
@click.argument("names", metavar="VM...", nargs=-1)
@click.option("--force", is_flag=True, help="Do not wait for the guest; with --grace-period for so long.")
@click.option("--grace-period", type=int, metavar="SECONDS", help="Time for the guest to shut down.")
@verb_options
@click.pass_context
def stop(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Stop VMs: the guest is asked to shut down."""
    options = merged(ctx, options)
    body = _body(options, gracePeriod=_grace(options))
    ctx.exit(run_async(for_each(names, options, VM, _simple("stop", VM, "stop", body, _gone)(options))))


@click.command("restart")
@click.argument("names", metavar="VM...", nargs=-1)
@click.option("--force", is_flag=True, help="Do not wait for the guest.")
@click.option("--grace-period", type=int, metavar="SECONDS", help="Only 0 is possible: at once.")
@verb_options
@click.pass_context
def restart(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Restart VMs: stopped, then started anew."""
    options = merged(ctx, options)
    body = _body(options, gracePeriodSeconds=_grace(options))

    async def work(client: Client, target: Target) -> str:
        before = await client.find(VirtualMachineInstance, target.key)
        await call(client, target, "restart", body)
        if options["wait"] and not options["dry_run"]:
            old = before.metadata.uid if before is not None else ""

            def anew(vmi: VirtualMachineInstance | None) -> bool:
                return vmi is not None and vmi.metadata.uid != old and _running(vmi)

            await wait_for(client, target.key, anew, options["timeout"], f"{target.key} to restart")
        return f"VM {target.key.name} was scheduled to restart"

    ctx.exit(run_async(for_each(names, options, VM, work)))


@click.command("pause")
@click.argument("names", metavar="[vm|vmi] NAME...", nargs=-1)
@verb_options
@click.pass_context
def pause(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Freeze the processors of VMs; memory and disks stay."""
    options = merged(ctx, options)
    work = _simple("pause", VMI, "pause", _body(options), _paused)(options)
    ctx.exit(run_async(for_each(names, options, VMI, work)))


@click.command("unpause")
@click.argument("names", metavar="[vm|vmi] NAME...", nargs=-1)
@verb_options
@click.pass_context
def unpause(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Let paused VMs go on."""
    options = merged(ctx, options)
    work = _simple("unpause", VMI, "unpause", _body(options), lambda vmi: _running(vmi) and not _paused(vmi))(options)
    ctx.exit(run_async(for_each(names, options, VMI, work)))


@click.command("soft-reboot")
@click.argument("names", metavar="VM...", nargs=-1)
@verb_options
@click.pass_context
def soft_reboot(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Ask the guests to reboot, by their agent or by ACPI."""
    options = merged(ctx, options)
    ctx.exit(run_async(for_each(names, options, VMI, _simple("softreboot", VMI, "soft-reboot", {}, None)(options))))


@click.command("reset")
@click.argument("names", metavar="VM...", nargs=-1)
@verb_options
@click.pass_context
def reset(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Reset VMs as their reset button would; what is not on disk is lost."""
    options = merged(ctx, options)
    ctx.exit(run_async(for_each(names, options, VMI, _simple("reset", VMI, "reset", {}, None)(options))))
