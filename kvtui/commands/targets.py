"""Verbs on VMs: which ones, how the request is sent, and what is said of each.

Source: virtctl's words and requests, so that fingers and scripts carry over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import click
import msgspec

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.commands.connection import connected
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.errors import KvtuiError, Usage

ROOT = "/apis/subresources.kubevirt.io/v1"


@dataclass(frozen=True, slots=True)
class Target:
    """One VM or VMI."""

    kind: str
    """virtualmachines or virtualmachineinstances."""
    key: ObjectKey

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


async def for_each(
    words: tuple[str, ...],
    options: dict[str, Any],
    default: str,
    work: Callable[[Client, Target], Awaitable[str]],
) -> int:
    """Does the work for every VM that is named or selected, and says what came of each. Returns the exit status."""
    results: list[dict[str, str]] = []
    failures: list[KvtuiError] = []
    async with connected(options) as (client, namespace):
        targets = parse(words, namespace, default)
        if options.get("selector"):
            listed = await client.list(VirtualMachine, namespace, label_selector=options["selector"])
            targets += [Target("virtualmachines", vm.key) for vm in listed.items]
        if not targets:
            raise Usage("name a VM, or choose some with -l SELECTOR")
        for target in targets:
            try:
                said = await work(client, target)
            except KvtuiError as error:
                failures.append(error)
                results.append({"object": str(target.key), "result": "failed", "reason": str(error)})
                if options.get("format_") != "json":
                    report(error)
                continue
            results.append({"object": str(target.key), "result": "requested", "reason": said})
            if options.get("format_") != "json" and not options.get("quiet"):
                click.echo(said)
    if options.get("format_") == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
    if not failures:
        return ExitCode.DONE
    return exit_code_of(failures[0]) if len(targets) == 1 else ExitCode.PARTLY


async def wait_for(
    client: Client, key: ObjectKey, done: Callable[[VirtualMachineInstance | None], bool], timeout: float, what: str
) -> None:
    """Watches the VMI of this name until `done` holds. Raises TimeoutError with what was waited for."""
    try:
        async with asyncio.timeout(timeout):
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
