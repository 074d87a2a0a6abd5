"""Verbs of VirtualMachines.

Source: control plane facts 6.2.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aiohttp import web

from kvtui.api.cdi.config import CDIConfig
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration, VirtualMachineInstanceMigrationSpec
from kvtui.api.kubevirt.subresources import (
    EvacuateCancelOptions,
    MigrateOptions,
    ObjectGraphOptions,
    RestartOptions,
    StartOptions,
    StopOptions,
)
from kvtui.api.kubevirt.vm import AddVolumeOptions, RemoveVolumeOptions, VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import Wire, from_wire, to_wire
from kvtui.errors import ApiError, InvalidObject, KvtuiError
from kvtui.virtapi.admission import cdi_claims
from kvtui.virtapi.admission.view import ClusterView, cluster_config, evaluate
from kvtui.virtapi.admission.written import vm_spec
from kvtui.virtapi.instancetype.expand import expanded
from kvtui.virtapi.readers import ClientReader
from kvtui.virtapi.subresources import guards, hotplug, memorydump, objectgraph, power, vmi_verbs
from kvtui.virtapi.subresources.context import Call, Context, accepted, done, is_dry, json_answer
from kvtui.virtapi.subresources.refusals import VM, VMI, Refused, bad_request, conflict, internal, not_found

CREATED_BY = "kubevirt.io/created-by"
DRAIN_TAINT = "kubevirt.io/drain"


class MemoryDumpBody(Wire, frozen=True):
    """The body of memorydump."""

    claim_name: str = ""


async def start(context: Context, call: Call) -> web.StreamResponse:
    options = await call.body(StartOptions) or StartOptions()
    vm = await context.vm(call)
    plan = power.start(vm.object, await context.find_vmi(call), vm.raw, options)
    return await _carry_out(context, call, plan, dry_run=is_dry(options))


async def stop(context: Context, call: Call) -> web.StreamResponse:
    options = await call.body(StopOptions) or StopOptions()
    vm = await context.vm(call)
    plan = power.stop(vm.object, await context.find_vmi(call), vm.raw, options)
    return await _carry_out(context, call, plan, dry_run=is_dry(options))


async def restart(context: Context, call: Call) -> web.StreamResponse:
    options = await call.body(RestartOptions) or RestartOptions()
    vm = await context.vm(call)
    plan = power.restart(vm.object, await context.find_vmi(call), vm.raw, options)
    return await _carry_out(context, call, plan, dry_run=is_dry(options))


async def _carry_out(context: Context, call: Call, plan: power.Plan, *, dry_run: bool) -> web.StreamResponse:
    await context.patch(VirtualMachineInstance, call, plan.vmi, dry_run=dry_run)
    try:
        await context.patch(VirtualMachine, call, plan.vm, dry_run=dry_run)
        await context.patch(VirtualMachine, call, plan.status, subresource="status", dry_run=dry_run)
    except Refused:
        await context.patch(VirtualMachineInstance, call, plan.undo_vmi, dry_run=dry_run)
        raise
    return accepted()


async def migrate(context: Context, call: Call) -> web.StreamResponse:
    options = await call.body(MigrateOptions) or MigrateOptions()
    await context.vm(call)
    vmi = await context.find_vmi(call)
    if vmi is None:
        raise not_found(VMI, call.name)
    if vmi.status.phase != "Running":
        raise conflict(VM, call.name, guards.VM_NOT_RUNNING)
    migration = VirtualMachineInstanceMigration(
        metadata=ObjectMeta(generate_name="kubevirt-migrate-vm-", namespace=call.namespace),
        spec=VirtualMachineInstanceMigrationSpec(vmi_name=call.name, added_node_selector=options.added_node_selector),
    )
    try:
        await context.client.create(migration, dry_run=is_dry(options))
    except ApiError as error:
        raise internal(str(error)) from error
    return accepted()


async def add_volume(context: Context, call: Call) -> web.StreamResponse:
    config = await context.config()
    hotplug.check_gates(config, "Add")
    options = hotplug.completed(await call.body(AddVolumeOptions))
    vm = await context.vm(call)
    hotplug.verify_addition(vm.object.spec.template.spec, options, VM, call.name)
    if hotplug.is_legacy(config):
        wanted = {"addVolumeOptions": to_wire(options)}
        await _request_volume(context, call, vm.raw, wanted, dry_run=is_dry(options))
    else:
        patch = hotplug.addition(_template_spec(vm.raw), "/spec/template/spec", options)
        await context.patch(VirtualMachine, call, patch, dry_run=is_dry(options))
    return accepted()


async def remove_volume(context: Context, call: Call) -> web.StreamResponse:
    config = await context.config()
    hotplug.check_gates(config, "Remove")
    options = hotplug.checked_removal(await call.body(RemoveVolumeOptions))
    vm = await context.vm(call)
    hotplug.verify_removal(vm.object.spec.template.spec, options.name, VM, call.name)
    if hotplug.is_legacy(config):
        wanted = {"removeVolumeOptions": to_wire(options)}
        await _request_volume(context, call, vm.raw, wanted, dry_run=is_dry(options))
    else:
        patch = hotplug.removal(_template_spec(vm.raw), "/spec/template/spec", options.name)
        await context.patch(VirtualMachine, call, patch, dry_run=is_dry(options))
    return accepted()


def _template_spec(raw: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = ((raw.get("spec") or {}).get("template") or {}).get("spec") or {}
    return found


async def _request_volume(
    context: Context, call: Call, raw: dict[str, Any], wanted: dict[str, Any], *, dry_run: bool
) -> None:
    patch = hotplug.request(raw, wanted)
    await context.patch(VirtualMachine, call, patch, subresource="status", dry_run=dry_run)


async def memory_dump(context: Context, call: Call) -> web.StreamResponse:
    hotplug.check_gates(await context.config(), "memory dump")
    body = await call.body(MemoryDumpBody) or MemoryDumpBody()
    vm = await context.vm(call)
    name = memorydump.claim_of(vm.object, body.claim_name)
    claim = await context.client.find(PersistentVolumeClaim, (call.namespace, name))
    if claim is None:
        raise Refused(404, "NotFound", f'persistentvolumeclaims "{name}" not found')
    overhead = await _overhead(context, claim)
    memorydump.check(vm.object, await context.find_vmi(call), claim, overhead)
    await context.patch(VirtualMachine, call, memorydump.request(vm.raw, name), subresource="status")
    return accepted()


async def _overhead(context: Context, claim: PersistentVolumeClaim) -> Decimal:
    """What the claim's file system needs, as CDI says; KubeVirt's own share without CDI."""
    config = await context.client.find(CDIConfig, ("", "config"))
    if config is None:
        return memorydump.FILESYSTEM_OVERHEAD
    return Decimal(str(cdi_claims.overhead(config, claim.spec.storage_class_name or "")))


async def remove_memory_dump(context: Context, call: Call) -> web.StreamResponse:
    vm = await context.vm(call)
    await context.patch(VirtualMachine, call, memorydump.removal(vm.object, vm.raw), subresource="status")
    return accepted()


async def cancel_evacuation(context: Context, call: Call) -> web.StreamResponse:
    """Also of a bare instance. 200 when there is nothing to cancel."""
    options = await call.body(EvacuateCancelOptions)
    if options is None:
        raise bad_request("Request with no body, an evacuation node name is expected")
    vmi = await context.find_vmi(call)
    if vmi is None:
        raise not_found(VMI, call.name)
    marked = vmi.status.evacuation_node_name
    if not marked:
        return done()
    config = await context.config()
    migrations = config.configuration.migrations
    drain = (migrations.node_drain_taint_key if migrations is not None else None) or DRAIN_TAINT
    node = await context.client.find(Node, ("", marked))
    if node is not None and any(taint.key == drain for taint in node.spec.taints):
        raise bad_request(f"Cannot cancel evacuation: node {marked} has the taint {drain}")
    wanted = options.evacuation_node_name
    path = "/status/evacuationNodeName"
    patch = [{"op": "test", "path": path, "value": wanted}, {"op": "remove", "path": path}]
    try:
        await context.patch(VirtualMachineInstance, call, patch, dry_run=is_dry(options))
    except Refused as error:
        raise internal(str(error)) from error
    return done()


async def expand_spec(context: Context, call: Call) -> web.StreamResponse:
    vm = await context.vm(call)
    try:
        return json_answer(await _expanded(context, vm.object, vm.raw, call.namespace))
    except KvtuiError as error:
        raise internal(str(error)) from error


async def _expanded(context: Context, vm: VirtualMachine, raw: dict[str, Any], namespace: str) -> dict[str, Any]:
    def rule(view: ClusterView) -> VirtualMachine:
        return expanded(vm, namespace, view, cluster_config(view))

    result = await evaluate(rule, ClientReader(context.client))
    return raw if result is vm else {**raw, "spec": vm_spec(result.spec)}


async def expand_vm_spec(context: Context, call: Call) -> web.StreamResponse:
    """Of a VM that need not exist."""
    raw = await call.content()
    if not raw:
        raise bad_request("empty request body")
    if raw.get("kind", "VirtualMachine") != "VirtualMachine" or not isinstance(raw.get("spec"), dict):
        raise bad_request("Object is not a valid VirtualMachine")
    try:
        vm = from_wire(raw, VirtualMachine)
    except InvalidObject as error:
        raise bad_request(f"Object is not a valid VirtualMachine: {error}") from error
    if vm.metadata.namespace not in ("", call.namespace):
        raise bad_request(f"VM namespace must be empty or {call.namespace}")
    try:
        return json_answer(await _expanded(context, vm, raw, call.namespace))
    except KvtuiError as error:
        raise bad_request(str(error)) from error


async def object_graph(context: Context, call: Call) -> web.StreamResponse:
    options = await _graph_options(context, call)
    vm = await context.vm(call)
    vmi = await context.find_vmi(call)
    tree = objectgraph.of_vm(vm.object, vmi, await launcher(context, vmi))
    return json_answer(objectgraph.selected(tree, options))


async def vmi_object_graph(context: Context, call: Call) -> web.StreamResponse:
    options = await _graph_options(context, call)
    vmi = (await context.vmi(call)).object
    return json_answer(objectgraph.selected(objectgraph.of_vmi(vmi, await launcher(context, vmi)), options))


async def _graph_options(context: Context, call: Call) -> ObjectGraphOptions:
    if not (await context.config()).gate("ObjectGraph"):
        raise bad_request("ObjectGraph feature gate is not enabled")
    return await call.body(ObjectGraphOptions) or ObjectGraphOptions()


async def launcher(context: Context, vmi: VirtualMachineInstance | None) -> str:
    """The name of the Pod that runs the guest; empty without one."""
    if vmi is None:
        return ""
    pods = await context.client.list(Pod, vmi.metadata.namespace, label_selector=f"{CREATED_BY}={vmi.metadata.uid}")
    return next((pod.metadata.name for pod in pods.items if pod.spec.node_name == vmi.status.node_name), "")


async def portforward(context: Context, call: Call) -> web.StreamResponse:
    guards.started((await context.vm(call)).object)
    return await vmi_verbs.portforward(context, call)
