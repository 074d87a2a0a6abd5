"""Verbs of VirtualMachineInstances, most of which their node's agent carries out.

Source: control plane facts 6.3 and 6.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from kvtui.api.kubevirt.subresources import (
    PauseOptions,
    SEVSecretOptions,
    SEVSessionOptions,
    UnpauseOptions,
)
from kvtui.api.kubevirt.vm import AddVolumeOptions, RemoveVolumeOptions, VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.registry import kind_of
from kvtui.api.wire import to_json
from kvtui.virtapi.subresources import guards, hotplug, streams
from kvtui.virtapi.subresources.context import Call, Context, accepted, done, is_dry
from kvtui.virtapi.subresources.refusals import VMI, PlainRefusal, Refused, bad_request, not_found

Guard = Callable[[VirtualMachineInstance], None]

API = {
    "guestosinfo": "VirtualMachineInstanceGuestAgentInfo",
    "userlist": "VirtualMachineInstanceGuestOSUserList",
    "filesystemlist": "VirtualMachineInstanceFileSystemList",
}
"""Kinds of what is read from guests."""
SEV_GATE = "WorkloadEncryptionSEV"


async def _forward(
    context: Context, vmi: VirtualMachineInstance, verb: str, body: dict[str, Any] | None = None
) -> web.StreamResponse:
    await context.agents.request("PUT", vmi, verb, body=to_json(body) if body else None)
    return done()


async def pause(context: Context, call: Call) -> web.StreamResponse:
    options = await call.body(PauseOptions)
    vmi = (await context.vmi(call)).object
    guards.pause(vmi)
    return done() if is_dry(options) else await _forward(context, vmi, "pause")


async def unpause(context: Context, call: Call) -> web.StreamResponse:
    options = await call.body(UnpauseOptions)
    vmi = (await context.vmi(call)).object
    vm = await context.client.find(VirtualMachine, (call.namespace, call.name))
    guards.unpause(vmi, vm)
    return done() if is_dry(options) else await _forward(context, vmi, "unpause")


async def softreboot(context: Context, call: Call) -> web.StreamResponse:
    vmi = (await context.vmi(call)).object
    guards.softreboot(vmi)
    return await _forward(context, vmi, "softreboot")


async def reset(context: Context, call: Call) -> web.StreamResponse:
    vmi = (await context.vmi(call)).object
    guards.reset(vmi)
    return await _forward(context, vmi, "reset")


async def freeze(context: Context, call: Call) -> web.StreamResponse:
    body = await call.content()
    vmi = (await context.vmi(call)).object
    guards.running(vmi)
    return await _forward(context, vmi, "freeze", body)


async def unfreeze(context: Context, call: Call) -> web.StreamResponse:
    vmi = (await context.vmi(call)).object
    guards.running(vmi)
    return await _forward(context, vmi, "unfreeze")


async def backup(context: Context, call: Call) -> web.StreamResponse:
    return await _backed_up(context, call, "backup")


async def redefine_checkpoint(context: Context, call: Call) -> web.StreamResponse:
    return await _backed_up(context, call, "redefine-checkpoint")


async def _backed_up(context: Context, call: Call, verb: str) -> web.StreamResponse:
    body = await call.content()
    vmi = (await context.vmi(call)).object
    guards.running(vmi)
    guards.tracked(vmi)
    return await _forward(context, vmi, verb, body)


# Reading from guests


async def guest_os(context: Context, call: Call) -> web.StreamResponse:
    return await _read(context, call, "guestosinfo")


async def users(context: Context, call: Call) -> web.StreamResponse:
    return await _read(context, call, "userlist")


async def filesystems(context: Context, call: Call) -> web.StreamResponse:
    return await _read(context, call, "filesystemlist")


async def _plainly(context: Context, call: Call, guard: Guard) -> VirtualMachineInstance:
    """Upstream writes what is wrong before these verbs as text, with 500."""
    try:
        vmi = (await context.vmi(call)).object
        guard(vmi)
    except Refused as error:
        raise PlainRefusal(500, str(error)) from error
    return vmi


async def _read(context: Context, call: Call, verb: str) -> web.StreamResponse:
    vmi = await _plainly(context, call, guards.guest_agent)
    answer = await context.agents.request("GET", vmi, verb)
    head = f'"kind":"{API[verb]}","apiVersion":"kubevirt.io/v1"'.encode()
    body = answer.body.strip()
    inner = body[1:-1].strip()
    return web.Response(body=b"{" + head + (b"," + inner if inner else b"") + b"}", content_type="application/json")


async def screenshot(context: Context, call: Call) -> web.StreamResponse:
    vmi = await _plainly(context, call, guards.vnc)
    wanted = call.request.query.get("moveCursor")
    answer = await context.agents.request(
        "GET", vmi, "vnc/screenshot", params={"moveCursor": wanted} if wanted else None
    )
    return web.Response(body=answer.body, content_type=answer.content_type)


# Volumes


async def add_volume(context: Context, call: Call) -> web.StreamResponse:
    config = await context.config()
    hotplug.check_gates(config, "Add")
    options = hotplug.completed(await call.body(AddVolumeOptions))
    vmi = await context.vmi(call)
    _refuse_owned(vmi.object, legacy=hotplug.is_legacy(config))
    guards.running(vmi.object, guards.NOT_RUNNING)
    hotplug.verify_addition(vmi.object.spec, options, VMI, call.name)
    patch = hotplug.addition(vmi.raw.get("spec") or {}, "/spec", options)
    await context.patch(VirtualMachineInstance, call, patch, dry_run=is_dry(options))
    return accepted()


async def remove_volume(context: Context, call: Call) -> web.StreamResponse:
    config = await context.config()
    hotplug.check_gates(config, "Remove")
    options = hotplug.checked_removal(await call.body(RemoveVolumeOptions))
    vmi = await context.vmi(call)
    _refuse_owned(vmi.object, legacy=hotplug.is_legacy(config))
    guards.running(vmi.object, guards.NOT_RUNNING)
    hotplug.verify_removal(vmi.object.spec, options.name, VMI, call.name)
    patch = hotplug.removal(vmi.raw.get("spec") or {}, "/spec", options.name)
    await context.patch(VirtualMachineInstance, call, patch, dry_run=is_dry(options))
    return accepted()


def _refuse_owned(vmi: VirtualMachineInstance, *, legacy: bool) -> None:
    """Volumes of a VM's instance belong into the VM. Raises Refused (400)."""
    owner = vmi.metadata.controller
    if owner is not None and owner.kind == kind_of(VirtualMachine).kind and not legacy:
        raise hotplug.owner_refusal(owner.name)


# Confidential guests


async def sev_setup_session(context: Context, call: Call) -> web.StreamResponse:
    await _check_sev(context)
    options = await call.body(SEVSessionOptions)
    if options is None or not options.session or not options.dh_cert:
        raise bad_request("Session and DHCert are required")
    vmi = await context.vmi(call)
    guards.sev_setup(vmi.object)
    root = "/spec/domain/launchSecurity/sev"
    stored = vmi.raw["spec"]["domain"]["launchSecurity"]["sev"]
    patch = [
        {"op": "test", "path": root, "value": stored},
        {"op": "replace", "path": root, "value": {**stored, "session": options.session, "dhCert": options.dh_cert}},
    ]
    await context.patch(VirtualMachineInstance, call, patch)
    return accepted()


async def sev_inject_secret(context: Context, call: Call) -> web.StreamResponse:
    await _check_sev(context)
    options = await call.body(SEVSecretOptions)
    if options is None or not options.header or not options.secret:
        raise bad_request("Header and secret are required")
    vmi = (await context.vmi(call)).object
    guards.sev_secret(vmi)
    return await _forward(context, vmi, "sev/injectlaunchsecret", {"header": options.header, "secret": options.secret})


async def sev_cert_chain(context: Context, call: Call) -> web.StreamResponse:
    return await _sev_read(context, call, "sev/fetchcertchain")


async def sev_measurement(context: Context, call: Call) -> web.StreamResponse:
    return await _sev_read(context, call, "sev/querylaunchmeasurement")


async def _sev_read(context: Context, call: Call, verb: str) -> web.StreamResponse:
    await _check_sev(context)
    vmi = (await context.vmi(call)).object
    guards.sev_read(vmi)
    guards.on_node(vmi)
    answer = await context.agents.request("GET", vmi, verb)
    return web.Response(body=answer.body, content_type=answer.content_type)


async def _check_sev(context: Context) -> None:
    if not (await context.config()).gate(SEV_GATE):
        raise bad_request(f"{SEV_GATE} feature gate is not enabled")


# Streams


async def console(context: Context, call: Call) -> web.StreamResponse:
    vmi = (await context.vmi(call)).object
    guards.console(vmi)

    async def refresh() -> VirtualMachineInstance | None:
        return await context.find_vmi(call)

    start = call.request.query.get("from")
    viewer = streams.ConsoleProxy(context.agents, vmi, refresh)
    with context.traffic.connected("console", call.namespace, call.name):
        return await viewer.run(call.request, {"from": start} if start else {})


async def vnc(context: Context, call: Call) -> web.StreamResponse:
    preserve = call.request.query.get("preserveSession")
    return await _stream(context, call, "vnc", guards.vnc, {"preserveSession": preserve} if preserve else {})


async def usbredir(context: Context, call: Call) -> web.StreamResponse:
    return await _stream(context, call, "usbredir", guards.usbredir, {})


async def vsock(context: Context, call: Call) -> web.StreamResponse:
    query = call.request.query
    params = {"port": query.get("port", ""), "tls": query.get("tls", "true")}
    return await _stream(context, call, "vsock", guards.vsock, params)


async def portforward(context: Context, call: Call) -> web.StreamResponse:
    """The agent connects from inside the guest's network, so an address from here need not be reachable."""
    port, protocol = _port(call.rest)
    return await _stream(context, call, f"portforward/{port}/{protocol}", guards.portforward, {})


def _port(rest: tuple[str, ...]) -> tuple[int, str]:
    """Raises Refused (400)."""
    port, protocol = (rest[0] if rest else ""), (rest[1] if len(rest) > 1 else "tcp")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise bad_request(f"{port} is not a port")
    if protocol not in ("tcp", "udp"):
        raise bad_request(f"protocol {protocol} is neither tcp nor udp")
    return int(port), protocol


async def _stream(context: Context, call: Call, verb: str, guard: Guard, params: dict[str, str]) -> web.StreamResponse:
    vmi = await context.find_vmi(call)
    if vmi is None:
        raise not_found(VMI, call.name)
    guard(vmi)
    agent = await context.agents.dial(vmi, verb, params)
    with context.traffic.connected(verb.partition("/")[0], call.namespace, call.name):
        return await streams.proxy(call.request, agent)
