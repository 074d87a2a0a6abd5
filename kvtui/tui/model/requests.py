"""What the screen asks of the server: one small function per verb.

Source: subresources.kubevirt.io/v1 and kubevirt.io/v1.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import msgspec

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration, VirtualMachineInstanceMigrationSpec
from kvtui.api.kubevirt.subresources import MigrateOptions, PauseOptions, StartOptions, StopOptions, UnpauseOptions
from kvtui.api.meta import ObjectMeta, Resource
from kvtui.api.registry import kind_of
from kvtui.api.wire import ObjectKey, Wire, to_json
from kvtui.client.rest import Client
from kvtui.tui.model.rows import VmRow

_SUBRESOURCES = "/apis/subresources.kubevirt.io/v1/namespaces"
HOSTNAME = "kubernetes.io/hostname"


def subresource_path(resource: str, key: ObjectKey, verb: str) -> str:
    return f"{_SUBRESOURCES}/{quote(key.namespace)}/{resource}/{quote(key.name)}/{verb}"


async def _put(client: Client, resource: str, key: ObjectKey, verb: str, body: Wire | None = None) -> None:
    data = to_json(body) if body is not None else b"{}"
    await client.raw("PUT", subresource_path(resource, key, verb), body=data)


async def start(client: Client, key: ObjectKey, *, paused: bool = False) -> None:
    await _put(client, "virtualmachines", key, "start", StartOptions(paused=paused or None))


async def stop(client: Client, key: ObjectKey) -> None:
    await _put(client, "virtualmachines", key, "stop", StopOptions())


async def force_stop(client: Client, key: ObjectKey) -> None:
    await _put(client, "virtualmachines", key, "stop", StopOptions(grace_period=0))


async def restart(client: Client, key: ObjectKey) -> None:
    await _put(client, "virtualmachines", key, "restart")


async def soft_reboot(client: Client, key: ObjectKey) -> None:
    await _put(client, "virtualmachineinstances", key, "softreboot")


async def reset(client: Client, key: ObjectKey) -> None:
    await _put(client, "virtualmachineinstances", key, "reset")


async def pause(client: Client, key: ObjectKey) -> None:
    await _put(client, "virtualmachineinstances", key, "pause", PauseOptions())


async def unpause(client: Client, key: ObjectKey) -> None:
    await _put(client, "virtualmachineinstances", key, "unpause", UnpauseOptions())


async def migrate(client: Client, row: VmRow, target: str = "") -> None:
    """To any suitable node, or to the named one."""
    selector = {HOSTNAME: target} if target else {}
    if row.vm is not None:
        await _put(client, "virtualmachines", row.key, "migrate", MigrateOptions(added_node_selector=selector))
        return
    await client.create(
        VirtualMachineInstanceMigration(
            metadata=ObjectMeta(generate_name=f"{row.key.name[:200]}-", namespace=row.key.namespace),
            spec=VirtualMachineInstanceMigrationSpec(vmi_name=row.key.name, added_node_selector=selector),
        )
    )


async def run_again(client: Client, migration: VirtualMachineInstanceMigration) -> None:
    """A new migration with the same settings."""
    stem = re.sub(r"(-again)?-[a-z0-9]{5}$", "", migration.metadata.name)[:200]
    await client.create(
        VirtualMachineInstanceMigration(
            metadata=ObjectMeta(generate_name=f"{stem}-again-", namespace=migration.metadata.namespace),
            spec=migration.spec,
        )
    )


async def abort(client: Client, migration: VirtualMachineInstanceMigration) -> None:
    await client.delete(VirtualMachineInstanceMigration, migration.key, uid=migration.metadata.uid)


async def delete(client: Client, obj: Resource) -> None:
    """The object itself; a successor of the same name stays."""
    await client.delete(type(obj), obj.key, uid=obj.metadata.uid or None)


async def delete_vm(client: Client, row: VmRow, *, keep_volumes: bool, volumes: list[Resource]) -> None:
    """`volumes` are the DataVolumes and claims that the VM owns; kept ones lose it as their owner first."""
    if keep_volumes:
        for volume in volumes:
            rest = [o for o in volume.metadata.owner_references if o.uid != row.object.metadata.uid]
            body = {"metadata": {"ownerReferences": msgspec.to_builtins(rest) or None}}
            await client.patch(type(volume), volume.key, body)
    await delete(client, row.object)


async def set_schedulable(client: Client, node: Node, *, schedulable: bool) -> None:
    await client.patch(Node, node.key, {"spec": {"unschedulable": None if schedulable else True}})


async def create_all(client: Client, objects: list[Resource]) -> None:
    """One after the other; what fails leaves those before it."""
    for obj in objects:
        await client.create(obj, field_manager="kvtui", strict=True)


async def live_object(client: Client, obj: Resource) -> dict[str, Any]:
    """The object as the server has it, also with fields that our types do not know."""
    path = kind_of(type(obj)).path(obj.metadata.namespace, obj.metadata.name)
    data = (await client.raw("GET", path)).json()
    return data if isinstance(data, dict) else {}


def without_noise(data: dict[str, Any]) -> dict[str, Any]:
    """An object without its managed fields."""
    meta = {k: v for k, v in (data.get("metadata") or {}).items() if k != "managedFields"}
    return {**data, "metadata": meta}
