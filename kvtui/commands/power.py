"""Power verbs: start, stop, restart, pause, unpause, soft-reboot, reset; as virtctl has them, for many VMs at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from kvtui.commands.connection import merged, run_async
from kvtui.commands.targets import VM, VMI, Done, Target, call, condition, for_each, wait_for
from kvtui.commands.verb import Verb, example, verb_options, vm_arguments
from kvtui.errors import NotFound, Usage

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance
    from kvtui.client.rest import Client


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
    verb: str, default: str, says: str, body: dict[str, Any], done: Done | None, options: dict[str, Any]
) -> Callable[[Client, Target], Any]:
    """The work of a verb that is one request; `done` is what --wait waits for."""
    until = condition(options["wait"], done or (lambda vmi: True)) if options["wait"] else None

    async def work(client: Client, target: Target) -> str:
        aim = Target(VMI, target.key) if default == VMI else target
        await call(client, aim, verb, body)
        if until is not None and not options["dry_run"]:
            await wait_for(client, target.key, until, options["timeout"], f"{target.key} to {says}")
        return f"{'VMI' if default == VMI else 'VM'} {target.key.name} was scheduled to {says}"

    return work


@click.command("start", cls=Verb, epilog=example("kvtui start web", "kvtui start -l tier=front --wait"))
@vm_arguments
@click.option("--paused", is_flag=True, help="Stop before the first instruction.")
@verb_options
@click.pass_context
def start(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Start VMs."""
    options = merged(ctx, options)
    body = _body(options, paused=options["paused"] or None)
    done = _paused if options["paused"] else _running
    ctx.exit(run_async(for_each(names, options, VM, _simple("start", VM, "start", body, done, options), "start")))


def _grace(options: dict[str, Any]) -> int | None:
    force, grace = options["force"], options["grace_period"]
    if force and grace is None:
        grace = 0
    if grace is not None and not force:
        raise Usage("Must both use --force=true and set --grace-period.")
    return None if grace is None else int(grace)


@click.command("stop", cls=Verb, epilog=example("kvtui stop web --wait", "kvtui stop web --force --grace-period 0"))
@vm_arguments
@click.option("--force", is_flag=True, help="Do not wait for the guest; with --grace-period for so long.")
@click.option("--grace-period", type=int, metavar="SECONDS", help="Time for the guest to shut down.")
@verb_options
@click.pass_context
def stop(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Stop VMs: the guest is asked to shut down."""
    options = merged(ctx, options)
    body = _body(options, gracePeriod=_grace(options))
    ctx.exit(run_async(for_each(names, options, VM, _simple("stop", VM, "stop", body, _gone, options), "stop")))


@click.command("restart", cls=Verb, epilog=example("kvtui restart web", "kvtui restart web --force --grace-period=0"))
@vm_arguments
@click.option("--force", is_flag=True, help="Do not wait for the guest.")
@click.option("--grace-period", type=int, metavar="SECONDS", help="Only 0 is possible: at once.")
@verb_options
@click.pass_context
def restart(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Restart VMs: stopped, then started anew."""
    options = merged(ctx, options)
    body = _body(options, gracePeriodSeconds=_grace(options))
    text = options["wait"]

    async def work(client: Client, target: Target) -> str:
        from kvtui.api.kubevirt.vmi import VirtualMachineInstance

        before = await client.find(VirtualMachineInstance, target.key)
        await call(client, target, "restart", body)
        if options["wait"] and not options["dry_run"]:
            old = before.metadata.uid if before is not None else ""

            def anew(vmi: VirtualMachineInstance | None) -> bool:
                return vmi is not None and vmi.metadata.uid != old and _running(vmi)

            until = condition(text, anew)
            await wait_for(client, target.key, until, options["timeout"], f"{target.key} to restart")
        return f"VM {target.key.name} was scheduled to restart"

    ctx.exit(run_async(for_each(names, options, VM, work, "restart")))


@click.command("pause", cls=Verb, epilog=example("kvtui pause vm web", "kvtui pause web db"))
@vm_arguments
@verb_options
@click.pass_context
def pause(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Freeze the processors of VMs; memory and disks stay."""
    options = merged(ctx, options)
    work = _simple("pause", VMI, "pause", _body(options), _paused, options)
    ctx.exit(run_async(for_each(names, options, VMI, _explained(work, "pause"), "pause")))


@click.command("unpause", cls=Verb, epilog=example("kvtui unpause vm web"))
@vm_arguments
@verb_options
@click.pass_context
def unpause(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Let paused VMs go on."""
    options = merged(ctx, options)
    body = _body(options)
    work = _simple("unpause", VMI, "unpause", body, lambda vmi: _running(vmi) and not _paused(vmi), options)
    ctx.exit(run_async(for_each(names, options, VMI, _explained(work, "unpause"), "unpause")))


def _explained(work: Callable[[Client, Target], Any], verb: str) -> Callable[[Client, Target], Any]:
    """A VM without an instance that is halted: virtctl says why it cannot be paused."""

    async def explained(client: Client, target: Target) -> str:
        from kvtui.api.kubevirt.vm import VirtualMachine

        try:
            return str(await work(client, target))
        except NotFound as error:
            vm = await client.find(VirtualMachine, target.key)
            if vm is None or vm.spec.run_strategy != "Halted":
                raise
            name = target.key.name
            raise NotFound(
                f"Error {verb[:-1]}ing VirtualMachineInstance {name}. VirtualMachine {name} is not set to run",
                code=404,
                reason=error.reason,
            ) from error

    return explained


@click.command("soft-reboot", cls=Verb, epilog=example("kvtui soft-reboot web"))
@vm_arguments
@verb_options
@click.pass_context
def soft_reboot(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Ask the guests to reboot, by their agent or by ACPI."""
    options = merged(ctx, options)
    work = _simple("softreboot", VMI, "soft-reboot", {}, None, options)
    ctx.exit(run_async(for_each(names, options, VMI, work, "soft-reboot")))


@click.command("reset", cls=Verb, epilog=example("kvtui reset web"))
@vm_arguments
@verb_options
@click.pass_context
def reset(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Reset VMs as their reset button would; what is not on disk is lost."""
    options = merged(ctx, options)
    work = _simple("reset", VMI, "reset", {}, None, options)
    ctx.exit(run_async(for_each(names, options, VMI, work, "reset")))
