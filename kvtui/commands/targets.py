"""Verbs on VMs: which ones, how the request is sent, and what is said of each.

Source: virtctl's words and requests, so that fingers and scripts carry over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kvtui.api.wire import ObjectKey
from kvtui.commands.connection import connected
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.commands.progress import waiting
from kvtui.errors import KvtuiError, Usage

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance
    from kvtui.client.rest import Client

ROOT = "/apis/subresources.kubevirt.io/v1"
PARTIAL = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""Lists without specs, for names and labels."""
VM, VMI = "virtualmachines", "virtualmachineinstances"


@dataclass(frozen=True, slots=True)
class Target:
    """One VM or VMI."""

    kind: str
    """virtualmachines or virtualmachineinstances."""
    key: ObjectKey

    def __str__(self) -> str:
        return f"{self.kind.removesuffix('s')}/{self.key.name}"

    def path(self, verb: str) -> str:
        return f"{ROOT}/namespaces/{self.key.namespace}/{self.kind}/{self.key.name}/{verb}"


def parse(words: tuple[str, ...], namespace: str, default: str) -> list[Target]:
    """`web`, `vm/web`, `vmi/web`, or virtctl's `vmi web`. Raises Usage."""
    kinds = {
        **dict.fromkeys(("vm", "vms", "virtualmachine", "virtualmachines"), "virtualmachines"),
        **dict.fromkeys(
            ("vmi", "vmis", "virtualmachineinstance", "virtualmachineinstances"), "virtualmachineinstances"
        ),
    }
    if len(words) > 1 and words[0] in kinds:
        words = tuple(f"{words[0]}/{word}" for word in words[1:])
    found = []
    for word in words:
        kind, slash, name = word.partition("/")
        if not slash:
            found.append(Target(default, ObjectKey(namespace, word)))
        elif kind in kinds and name:
            found.append(Target(kinds[kind], ObjectKey(namespace, name)))
        else:
            raise Usage(f"{word!r} is no VM: write NAME, vm/NAME or vmi/NAME")
    return found


async def call(client: Client, target: Target, verb: str, body: dict[str, Any] | None = None) -> None:
    """PUT of a subresource. Raises what the server answers."""
    await client.raw("PUT", target.path(verb), body=msgspec.json.encode(body or {}))


AT_ONCE = 5
"""Requests of one bulk action that are under way at the same time."""


async def for_each(
    words: tuple[str, ...],
    options: dict[str, Any],
    default: str,
    work: Callable[[Client, Target], Awaitable[str]],
    action: str,
) -> int:
    """Does the work for every VM that is named or selected, and says what came of each. Returns the exit status."""
    if options.get("all_namespaces") and not options.get("selector"):
        raise Usage("-A goes with -l SELECTOR")
    async with connected(options) as (client, namespace):
        targets = parse(words, namespace, default)
        if options.get("selector"):
            targets += await _selected(client, "" if options.get("all_namespaces") else namespace, options["selector"])
        if not targets and not options.get("selector"):
            raise Usage("name a VM, or choose some with -l SELECTOR")
        results: list[dict[str, str]] = [{} for _ in targets]
        failures: list[KvtuiError | TimeoutError] = []
        slots = asyncio.Semaphore(AT_ONCE)
        lines = options.get("format_") != "json"

        async def one(place: int, target: Target) -> None:
            told = {"object": str(target), "namespace": target.key.namespace, "action": action}
            async with slots:
                try:
                    said = await work(client, target)
                except (KvtuiError, TimeoutError) as error:
                    failures.append(error)
                    timed_out = isinstance(error, TimeoutError)
                    results[place] = {**told, "result": "timed out" if timed_out else "failed", "reason": str(error)}
                    if lines:
                        report(error)
                    return
            results[place] = {**told, "result": "done" if options.get("wait") else "requested", "reason": said}
            if lines and not options.get("quiet"):
                click.echo(said)

        async with asyncio.TaskGroup() as tasks:
            for place, target in enumerate(targets):
                tasks.create_task(one(place, target), name=f"{action} {target.key}")
    if not targets:
        click.echo("No resources found", err=True)
    if not lines:
        click.echo(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(targets) == 1 else ExitCode.PARTLY


async def _selected(client: Client, namespace: str, selector: str) -> list[Target]:
    scope = f"/namespaces/{namespace}" if namespace else ""
    path = f"/apis/kubevirt.io/v1{scope}/virtualmachines"
    document = (await client.raw("GET", path, params={"labelSelector": selector}, accept=PARTIAL)).json()
    metas = [item["metadata"] for item in document.get("items") or ()]
    return [Target("virtualmachines", ObjectKey(meta["namespace"], meta["name"])) for meta in metas]


Done = Callable[["VirtualMachineInstance | None"], bool]


def condition(text: str, default: Done) -> Done:
    """What `--wait=TEXT` waits for: `phase=Running`, `deleted`, `Ready`, `AgentConnected=False`; `done` is the
    verb's own. Raises Usage."""
    text = text.removeprefix("condition=")
    name, _, value = text.partition("=")
    match name.lower():
        case "done" | "true":
            return default
        case "deleted" | "delete" | "gone":
            return lambda vmi: vmi is None or vmi.status.phase in ("Succeeded", "Failed")
        case "phase":
            return lambda vmi: vmi is not None and (vmi.status.phase or "").lower() == value.lower()
        case _ if not name.isalnum():
            raise Usage(f"--wait={text} is no condition: write Ready, Paused=False, phase=Running or deleted")

    def holds(vmi: VirtualMachineInstance | None) -> bool:
        wanted = (value or "True").lower()
        conditions = vmi.status.conditions if vmi is not None else ()
        return any(c.type.lower() == name.lower() and c.status.lower() == wanted for c in conditions)

    return holds


async def wait_for(
    client: Client, key: ObjectKey, done: Callable[[VirtualMachineInstance | None], bool], timeout: float, what: str
) -> None:
    """Watches the VMI of this name until `done` holds. Raises TimeoutError with what was waited for."""
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance  # costs time that other verbs need not spend

    try:
        async with asyncio.timeout(timeout), waiting(f"waiting for {what}"):
            while True:
                listed = await client.list(
                    VirtualMachineInstance, key.namespace, field_selector=f"metadata.name={key.name}"
                )
                if done(next(iter(listed.items), None)):
                    return
                stream = client.watch(
                    VirtualMachineInstance,
                    key.namespace,
                    resource_version=listed.resource_version,
                    field_selector=f"metadata.name={key.name}",
                )
                async with contextlib.aclosing(stream) as events:
                    async for event in events:
                        if event.type != "BOOKMARK" and done(None if event.type == "DELETED" else event.object):
                            return
    except TimeoutError as error:
        raise TimeoutError(f"timed out waiting for {what} (the request was sent)") from error
