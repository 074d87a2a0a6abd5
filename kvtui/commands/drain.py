"""`kvtui cordon`, `uncordon`, `drain`: take a node out of service and back.

A drain asks for the eviction of each Pod and asks again while the server answers 429, which is what it does as long
as the VM in it is being moved.

Source: kubectl cordon, uncordon, drain; control plane facts 8.9.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kvtui.commands import complete, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.commands.progress import Progress, waiting
from kvtui.commands.verb import Verb, example
from kvtui.errors import KvtuiError, NotFound, Permanent, TooManyRequests, Transient, Usage

if TYPE_CHECKING:
    from kvtui.api.core.pod import Pod
    from kvtui.client.rest import Client

AGAIN = 5.0
"""Seconds after which a refused eviction is asked for again, unless the server names a time."""
LONGEST = 10.0


def _nodes(function: Any) -> Any:
    for option in (
        click.argument("nodes", metavar="NODE...", nargs=-1, shell_complete=complete.nodes),
        click.option("-l", "--selector", metavar="LABELS", help="All nodes with these labels."),
        click.option("--dry-run", is_flag=True, help="Ask the server, change nothing."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing on success."),
    ):
        function = option(function)
    return server_options(function)


@click.command("cordon", cls=Verb, epilog=example("kvtui cordon node-a"))
@_nodes
@click.pass_context
def cordon(ctx: click.Context, /, nodes: tuple[str, ...], **options: Any) -> None:
    """Let no new VM start on nodes; what runs there goes on."""
    ctx.exit(run_async(_mark(nodes, merged(ctx, options), unschedulable=True)))


@click.command("uncordon", cls=Verb, epilog=example("kvtui uncordon node-a"))
@_nodes
@click.pass_context
def uncordon(ctx: click.Context, /, nodes: tuple[str, ...], **options: Any) -> None:
    """Let VMs start on nodes again."""
    ctx.exit(run_async(_mark(nodes, merged(ctx, options), unschedulable=False)))


async def _names(client: Client, nodes: tuple[str, ...], selector: str | None) -> list[str]:
    from kvtui.api.core.node import Node

    found = [name.removeprefix("node/").removeprefix("no/") for name in nodes]
    if selector:
        found += [node.metadata.name for node in (await client.list(Node, label_selector=selector)).items]
    if not found and not selector:
        raise Usage("name a node, or choose some with -l SELECTOR")
    return found


async def _mark(nodes: tuple[str, ...], options: dict[str, Any], *, unschedulable: bool) -> int:
    failures: list[KvtuiError] = []
    async with connected(options) as (client, _):
        names = await _names(client, nodes, options["selector"])
        for name in names:
            try:
                said = await mark(client, name, unschedulable=unschedulable, dry_run=options["dry_run"])
            except KvtuiError as error:
                report(error)
                failures.append(error)
                continue
            if not options["quiet"]:
                click.echo(said)
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(names) == 1 else ExitCode.PARTLY


async def mark(client: Client, name: str, *, unschedulable: bool, dry_run: bool) -> str:
    """Cordons or uncordons; what kubectl says of it. Raises NotFound."""
    from kvtui.api.core.node import Node

    done = "cordoned" if unschedulable else "uncordoned"
    if bool((await client.get(Node, ("", name))).spec.unschedulable) == unschedulable:
        return f"node/{name} already {done}"
    await client.patch(Node, ("", name), {"spec": {"unschedulable": unschedulable or None}}, dry_run=dry_run)
    return f"node/{name} {done}{' (server dry run)' if dry_run else ''}"


@click.command(
    "drain", cls=Verb, epilog=example("kvtui drain node-a", "kvtui drain node-a --timeout 600", "kvtui uncordon node-a")
)
@_nodes
@click.option("--force", is_flag=True, help="Also Pods that nobody would make anew. Needs --yes off a terminal.")
@click.option("--ignore-daemonsets", is_flag=True, help="Leave Pods of DaemonSets, which would come back.")
@click.option("--delete-emptydir-data", is_flag=True, help="Also Pods, other than VMs, that lose local data.")
@click.option("--disable-eviction", is_flag=True, help="Delete instead of evicting: VMs are stopped, not moved.")
@click.option("--pod-selector", metavar="LABELS", help="Only Pods with these labels.")
@click.option("--grace-period", type=int, default=-1, metavar="SECONDS", help="Time to shut down; default: each Pod's.")
@click.option("--timeout", type=float, default=0.0, metavar="SECONDS", help="Give up after so long; 0 never does.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def drain(ctx: click.Context, /, nodes: tuple[str, ...], **options: Any) -> None:
    """Move all VMs off nodes, or stop those that may be stopped; then it is safe to power them off."""
    options = merged(ctx, options)
    if (options["force"] or options["disable_eviction"]) and not options["yes"] and not options["dry_run"]:
        if not sys.stdin.isatty():
            raise Usage("a forced drain stops VMs and nobody can be asked", hint="--yes confirms it")
        click.confirm(f"Drain {', '.join(nodes)} by force? VMs and Pods may be lost.", abort=True, err=True)
    ctx.exit(run_async(_drain(nodes, options)))


async def _drain(nodes: tuple[str, ...], options: dict[str, Any]) -> int:
    failures: list[KvtuiError | TimeoutError] = []
    async with connected(options) as (client, _):
        names = await _names(client, nodes, options["selector"])
        for name in names:
            try:
                await _one(client, name, options)
            except (KvtuiError, TimeoutError) as error:
                report(error)
                failures.append(error)
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(names) == 1 else ExitCode.PARTLY


async def _one(client: Client, name: str, options: dict[str, Any]) -> None:
    """Raises Permanent before anything is evicted when some Pods may not be; TimeoutError."""
    from kvtui.api.core.pod import Pod

    dry = " (server dry run)" if options["dry_run"] else ""
    said = await mark(client, name, unschedulable=True, dry_run=options["dry_run"])
    if not options["quiet"]:
        click.echo(said)
    pods = (
        await client.list(Pod, field_selector=f"spec.nodeName={name}", label_selector=options["pod_selector"] or "")
    ).items
    chosen = choose(pods, options)
    for warning in chosen.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if chosen.errors:
        raise Permanent(f"unable to drain node {name}: {'; '.join(chosen.errors)}")
    async with waiting(f"draining {name}", quiet=options["quiet"]) as progress:
        await _evict_all(client, name, chosen.evict, options, progress)
    if not options["quiet"]:
        click.echo(f"node/{name} drained{dry}")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a drain does with the Pods of a node."""

    evict: list[Pod]
    warnings: list[str]
    errors: list[str]


def choose(pods: Sequence[Pod], options: dict[str, Any]) -> Choice:
    """As kubectl chooses, but that VMs keep their data elsewhere than in their launcher's emptyDir volumes."""
    evict: list[Pod] = []
    daemons, loose, local = [], [], []
    for pod in pods:
        name, owner = f"{pod.metadata.namespace}/{pod.metadata.name}", pod.metadata.controller
        finished = pod.status.phase in ("Succeeded", "Failed")
        launcher = pod.metadata.labels.get("kubevirt.io") == "virt-launcher"
        if "kubernetes.io/config.mirror" in pod.metadata.annotations:
            continue
        if owner is not None and owner.kind == "DaemonSet":
            daemons.append(name)
            continue
        if owner is None and not finished:
            loose.append(name)
        if not launcher and not finished and any(v.empty_dir is not None for v in pod.spec.volumes):
            local.append(name)
        evict.append(pod)
    warnings, errors = [], []
    for found, may, what, flag in (
        (daemons, options["ignore_daemonsets"], "DaemonSet-managed Pods", "--ignore-daemonsets"),
        (loose, options["force"], "Pods that declare no controller", "--force"),
        (local, options["delete_emptydir_data"], "Pods with local storage", "--delete-emptydir-data"),
    ):
        if found and may:
            warnings.append(f"{'ignoring' if found is daemons else 'deleting'} {what}: {', '.join(found)}")
        elif found:
            errors.append(f"cannot delete {what} (use {flag} to override): {', '.join(found)}")
    return Choice(evict, warnings, errors)


async def _evict_all(client: Client, name: str, pods: list[Pod], options: dict[str, Any], progress: Progress) -> None:
    """Raises Permanent naming what stayed, TimeoutError."""
    left = {f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods}
    failed: list[str] = []

    async def one(pod: Pod) -> None:
        key = f"{pod.metadata.namespace}/{pod.metadata.name}"
        if not options["quiet"]:
            click.echo(f"evicting pod {key}", err=True)
        try:
            await evict(client, pod, options)
        except KvtuiError as error:
            report(error)
            failed.append(key)
        left.discard(key)
        progress.say(f"draining {name}: {len(pods) - len(left)} of {len(pods)} Pods, left: {', '.join(sorted(left))}")
        if key not in failed and not options["quiet"]:
            click.echo(f"pod/{pod.metadata.name} evicted{' (server dry run)' if options['dry_run'] else ''}")

    progress.say(f"draining {name}: 0 of {len(pods)} Pods, left: {', '.join(sorted(left))}")
    try:
        async with asyncio.timeout(options["timeout"] or None), asyncio.TaskGroup() as tasks:
            for pod in pods:
                tasks.create_task(one(pod), name=f"evict {pod.metadata.name}")
    except TimeoutError as error:
        raise TimeoutError(
            f"timed out draining node {name}: still there: {', '.join(sorted(left))} (evictions were asked for)"
        ) from error
    if failed:
        raise Permanent(f"unable to drain node {name}: not evicted: {', '.join(sorted(failed))}")


async def evict(client: Client, pod: Pod, options: dict[str, Any]) -> None:
    """Until the Pod is gone. What the server says about a refusal is shown once. Raises Permanent errors."""
    from kvtui.api.core.pod import Pod

    namespace, name = pod.metadata.namespace, pod.metadata.name
    delete_options: dict[str, Any] = {"preconditions": {"uid": pod.metadata.uid}}
    if options["grace_period"] >= 0:
        delete_options["gracePeriodSeconds"] = options["grace_period"]
    if options["dry_run"]:
        delete_options["dryRun"] = ["All"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": delete_options,
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    shown = ""
    while True:
        pause = AGAIN
        try:
            if options["disable_eviction"]:
                await client.raw("DELETE", path, body=msgspec.json.encode(delete_options))
            else:
                await client.raw("POST", f"{path}/eviction", body=msgspec.json.encode(body))
            break
        except NotFound:
            return
        except TooManyRequests as error:
            pause = min(LONGEST, error.retry_after or AGAIN)
            if str(error) != shown and not options["quiet"]:
                shown = str(error)
                click.echo(f"pod {namespace}/{name}: {output.printable(shown)}", err=True)
            if options["dry_run"]:
                return
        except Transient as error:
            if getattr(error, "reason", "") == "Conflict":
                return  # another Pod of this name: the one that was meant is gone
        await asyncio.sleep(pause)
    if not options["dry_run"]:
        await _gone(client, Pod, pod)


async def _gone(client: Client, type_: type[Pod], pod: Pod) -> None:
    from kvtui.commands.until import until

    key = (pod.metadata.namespace, pod.metadata.name)
    await until(
        client, type_, key, lambda found: found is None or found.metadata.uid != pod.metadata.uid, 86400.0, str(key)
    )
