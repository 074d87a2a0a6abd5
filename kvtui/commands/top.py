"""`kvtui top vm|node`: CPU and memory in use.

Source: metrics.k8s.io/v1beta1; kubectl top.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click
import msgspec

from kvtui.api import quantity
from kvtui.commands import complete, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.verb import Verb, example
from kvtui.errors import NotFound, Unsupported

ROOT = "/apis/metrics.k8s.io/v1beta1"
LAUNCHER = "kubevirt.io=virt-launcher"
_NAME_KEYS = ("vm.kubevirt.io/name", "kubevirt.io/domain")


@dataclass(frozen=True, slots=True)
class Use:
    """What one VM or node uses."""

    name: str
    namespace: str
    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes."""


@click.group("top")
def group() -> None:
    """CPU and memory in use."""


def _options(function: Any) -> Any:
    for option in (
        click.option("-l", "--selector", metavar="LABELS", help="Only those with these labels."),
        click.option("--sort-by", type=click.Choice(["cpu", "memory"]), help="Largest first; by name otherwise."),
        click.option("--no-headers", is_flag=True, help="Print no column titles."),
        click.option("-o", "--output", "format_", type=click.Choice(["table", "json"]), default="table"),
    ):
        function = option(function)
    return server_options(function)


@group.command("vm", cls=Verb, epilog=example("kvtui top vm", "kvtui top vm -A --sort-by memory"))
@click.argument("names", metavar="[VM]...", nargs=-1, shell_complete=complete.names("virtualmachineinstances"))
@click.option("-A", "--all-namespaces", is_flag=True, help="In all namespaces.")
@_options
@click.pass_context
def vm(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """CPU and memory that running VMs use, QEMU included."""
    run_async(_vms(names, merged(ctx, options)))


@group.command("node", cls=Verb, epilog=example("kvtui top node"))
@click.argument("names", metavar="[NODE]...", nargs=-1, shell_complete=complete.nodes)
@_options
@click.pass_context
def node(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """CPU and memory that nodes use, of what they offer."""
    run_async(_nodes(names, merged(ctx, options)))


async def _vms(names: tuple[str, ...], options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        where = "" if options["all_namespaces"] else namespace
        scope = f"/namespaces/{where}" if where else ""
        selector = ",".join(term for term in (LAUNCHER, options["selector"]) if term)
        items = await _metrics(client, f"{ROOT}{scope}/pods", selector)
        pods = await _launchers(client, where, selector)
    uses = vm_uses(items, pods)
    _missing(uses, names, "VM")
    chosen = [use for use in uses if not names or use.name in names]
    _show(chosen, options, titles=["NAME", "CPU(cores)", "MEMORY(bytes)"], everywhere=not where)


async def _launchers(client: Any, namespace: str, selector: str) -> dict[tuple[str, str], str]:
    """Namespace and Pod -> VM, for a metrics server that does not pass labels on."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
    answer = await client.raw("GET", f"/api/v1{scope}/pods", params={"labelSelector": selector}, accept=accept)
    return {
        (meta["namespace"], meta["name"]): name
        for item in answer.json().get("items") or ()
        if (name := _vm_of(meta := item["metadata"]))
    }


def _vm_of(meta: dict[str, Any]) -> str:
    words = {**(meta.get("annotations") or {}), **(meta.get("labels") or {})}
    return next((str(words[key]) for key in _NAME_KEYS if words.get(key)), "")


def vm_uses(items: Iterable[dict[str, Any]], pods: dict[tuple[str, str], str]) -> list[Use]:
    """By VM; two Pods of one VM, as during a migration, are added up."""
    found: dict[tuple[str, str], Use] = {}
    for item in items:
        meta = item.get("metadata") or {}
        namespace = str(meta.get("namespace") or "")
        name = _vm_of(meta) or pods.get((namespace, str(meta.get("name"))), "")
        if not name:
            continue
        usages = [container.get("usage") or {} for container in item.get("containers") or ()]
        before = found.get((namespace, name), Use(name, namespace, 0, 0))
        cpu = sum(quantity.milli(usage.get("cpu", 0)) for usage in usages)
        memory = sum(quantity.value(usage.get("memory", 0)) for usage in usages)
        found[namespace, name] = Use(name, namespace, before.cpu + cpu, before.memory + memory)
    return sorted(found.values(), key=lambda use: (use.namespace, use.name))


async def _nodes(names: tuple[str, ...], options: dict[str, Any]) -> None:
    from kvtui.api.core.node import Node

    async with connected(options) as (client, _):
        items = await _metrics(client, f"{ROOT}/nodes", options["selector"])
        nodes = {item.metadata.name: item for item in (await client.list(Node)).items}
    uses = [
        Use(
            item["metadata"]["name"],
            "",
            quantity.milli((item.get("usage") or {}).get("cpu", 0)),
            quantity.value((item.get("usage") or {}).get("memory", 0)),
        )
        for item in items
    ]
    _missing(uses, names, "node")
    shares = {
        name: (
            quantity.milli(found.status.allocatable.get("cpu", 0)),
            quantity.value(found.status.allocatable.get("memory", 0)),
        )
        for name, found in nodes.items()
    }
    chosen = [use for use in uses if not names or use.name in names]
    _show(chosen, options, titles=["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"], shares=shares)


async def _metrics(client: Any, path: str, selector: str | None) -> list[dict[str, Any]]:
    """Raises Unsupported where there is no metrics API."""
    try:
        answer = await client.raw("GET", path, params={"labelSelector": selector})
    except NotFound as error:
        raise Unsupported("this server has no Metrics API", hint="on a cluster, install metrics-server") from error
    return list(answer.json().get("items") or ())


def _missing(uses: list[Use], names: tuple[str, ...], what: str) -> None:
    unknown = [name for name in names if name not in {use.name for use in uses}]
    if unknown:
        raise NotFound(f"there are no metrics of {what} {', '.join(unknown)}", code=404, reason="NotFound")


def _show(
    uses: list[Use],
    options: dict[str, Any],
    *,
    titles: list[str],
    everywhere: bool = False,
    shares: dict[str, tuple[int, int]] | None = None,
) -> None:
    if options["sort_by"]:
        uses = sorted(uses, key=lambda use: getattr(use, options["sort_by"]), reverse=True)
    if options["format_"] == "json":
        told = [{"name": u.name, "namespace": u.namespace, "milliCPU": u.cpu, "memoryBytes": u.memory} for u in uses]
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    if not uses:
        click.echo("No resources found", err=True)
        return
    rows = [] if options["no_headers"] else [["NAMESPACE", *titles] if everywhere else titles]
    for use in uses:
        cells = [use.name, f"{use.cpu}m", f"{use.memory // 2**20}Mi"]
        if shares is not None:
            cpu, memory = shares.get(use.name, (0, 0))
            cells = [
                use.name,
                f"{use.cpu}m",
                _share(use.cpu, cpu),
                f"{use.memory // 2**20}Mi",
                _share(use.memory, memory),
            ]
        rows.append([use.namespace, *cells] if everywhere else cells)
    output.for_each_line(output.aligned(rows))


def _share(used: int, offered: int) -> str:
    return f"{100 * used // offered}%" if offered else "<unknown>"
