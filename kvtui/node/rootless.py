"""A node whose agent is an ordinary user: what such a node cannot do, and how its guests are reached.

Source: https://libvirt.org/drvqemu.html#location-of-configuration-files (qemu:///session)
"""

from __future__ import annotations

import json
from collections.abc import Callable

import structlog

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.controlloop.recorder import EventRecorder
from kvtui.errors import KvtuiError
from kvtui.node.network import usermode
from kvtui.node.network.usermode import LOOPBACK, UserNetworks
from kvtui.node.state import Record

log = structlog.get_logger()
FORWARDS = "kvtui.io/port-forwards"
"""Annotation of a launcher: address on this machine by port of the guest."""


def refusal(vmi: VirtualMachineInstance) -> str:
    """What in the VMI needs root; empty when nothing does."""
    domain = vmi.spec.domain
    devices, cpu = domain.devices, domain.cpu
    for what, names in (
        ("GPU", [gpu.name for gpu in devices.gpus]),
        ("host device", [device.name for device in devices.host_devices]),
        ("file system", [filesystem.name for filesystem in devices.filesystems]),
        ("LUN", [disk.name for disk in devices.disks if disk.lun is not None]),
    ):
        if names:
            return f"{what} {names[0]} needs root"
    if cpu is not None and (cpu.dedicated_cpu_placement or cpu.realtime is not None):
        return "CPUs of its own need root"
    if devices.autoattach_vsock:
        return "vsock needs root"
    return usermode.refusal(vmi)


class PortForwards:
    """Keeps the declared ports of guests forwarded, and says where they lead."""

    def __init__(
        self,
        client: Client,
        networks: UserNetworks,
        pod: Callable[[Record], Pod | None],
        recorder: EventRecorder,
    ) -> None:
        self._client = client
        self._networks = networks
        self._pod = pod
        self._recorder = recorder

    async def sync(self, vmi: VirtualMachineInstance, record: Record) -> None:
        """Forwards what the spec declares. A port that cannot be forwarded keeps nothing else from working."""
        try:
            forwards = await self._networks.expose(record.pod_uid)
        except KvtuiError as error:
            log.warning("a port is not forwarded", vmi=str(vmi.key), error=str(error))
            return
        pod = self._pod(record)
        text = json.dumps({port: f"{LOOPBACK}:{here}" for port, here in sorted(forwards.items())})
        if pod is None or not forwards or pod.metadata.annotations.get(FORWARDS) == text:
            return
        note = {"metadata": {"uid": pod.metadata.uid, "annotations": {FORWARDS: text}}}
        await self._client.patch(Pod, pod.key, note)
        told = ", ".join(f"{port} at {LOOPBACK}:{here}" for port, here in sorted(forwards.items()))
        self._recorder.normal(vmi, "PortsForwarded", f"User-mode networking; the guest's ports are {told}")
