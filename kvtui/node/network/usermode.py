"""Networks without privileges: QEMU itself is the guest's router, and ports of the guest are ports of this machine.

Every guest has the address 10.0.2.15 behind its own QEMU and is reached through forwards from 127.0.0.1: the ports
that its interface declares from the start, any other when somebody asks for it. Whatever needs a device of the
kernel is refused.

Source: https://libvirt.org/formatdomain.html#userspace-slirp-stack, https://wiki.qemu.org/Documentation/Networking
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.errors import KvtuiError
from kvtui.node.network import names
from kvtui.node.network.sandbox import Networks, NetworkSettings
from kvtui.node.network.state import checked
from kvtui.node.network.types import InvalidNetwork, NetworkFailed, NetworkRequest, Nic, PodNetwork

log = structlog.get_logger()
GUEST, LOOPBACK = "10.0.2.15", "127.0.0.1"
USER = "user"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")
_TRIES = 3

Forward = Callable[[str, str, int, int, bool], Awaitable[None]]
"""Has the domain (UUID) pass a port of 127.0.0.1 to a port of its interface: domain, interface, from, to, udp."""


class Launcher(msgspec.Struct, kw_only=True):
    """Everything known of one Pod's networks."""

    domain: str
    network: PodNetwork
    declared: list[str] = []
    """Ports such as 22/tcp that the spec names."""
    forwards: dict[str, int] = {}
    """Port of this machine by port of the guest."""


def refusal(vmi: VirtualMachineInstance) -> str:
    """Which network of the VMI needs root; empty when none does."""
    networks = {network.name: network for network in vmi.spec.networks}
    for interface in vmi.spec.domain.devices.interfaces:
        network = networks.get(interface.name)
        if network is not None and network.multus is not None:
            return f"network {network.name} is a NetworkAttachmentDefinition, whose plugins need root"
        if interface.sriov is not None:
            return f"interface {interface.name} is an SR-IOV device, which needs root"
        if not _NAME.match(interface.name):
            return f"interface {interface.name!r} has a name that cannot be forwarded to"
    if len(vmi.spec.domain.devices.interfaces) > 1:
        return "more than one network needs root"
    return ""


class UserNetworks(Networks):
    """The networks of a node whose agent is not root."""

    def __init__(self, directory: Path, forward: Forward) -> None:
        super().__init__(directory, NetworkSettings())
        self._directory = directory
        self._forward = forward
        self._known: dict[str, Launcher] = {}

    async def known(self) -> list[str]:
        return sorted(path.stem for path in self._directory.glob("*.user"))

    def get(self, uid: str) -> PodNetwork | None:
        launcher = self._load(uid)
        return launcher.network if launcher is not None else None

    async def attach(self, request: NetworkRequest) -> PodNetwork:
        """Raises InvalidNetwork for what needs root."""
        if (found := self.get(request.uid)) is not None:
            return found
        if reason := refusal(request.vmi):
            raise InvalidNetwork(f"without root this cannot be: {reason}")
        meta, firmware = request.vmi.metadata, request.vmi.spec.domain.firmware
        interfaces = request.vmi.spec.domain.devices.interfaces
        nics = tuple(
            Nic(
                name=interface.name,
                bridge="",
                tap="",
                mac=(interface.mac_address or names.guest_mac(meta.namespace, meta.name, interface.name)).lower(),
                mtu=1500,
                pod_interface=names.PRIMARY,
                ips=(),
                guest_ips=(GUEST,),
                binding=USER,
            )
            for interface in interfaces
        )
        launcher = Launcher(
            domain=(firmware.uuid or "") if firmware is not None else "",
            network=PodNetwork(uid=request.uid, netns="", ips=(), nics=nics),
            declared=[f"{p.port}/{(p.protocol or 'TCP').lower()}" for i in interfaces for p in i.ports],
        )
        self._save(request.uid, launcher)
        return launcher.network

    async def detach(self, uid: str) -> None:
        self._known.pop(uid, None)
        self._path(uid).unlink(missing_ok=True)
        self._locks.pop(uid, None)

    async def plug(self, uid: str, vmi: VirtualMachineInstance, interface_name: str, config: str) -> Nic:
        raise InvalidNetwork("without root a running guest gets no further networks")

    async def unplug(self, uid: str, interface_name: str) -> None:
        raise InvalidNetwork("without root a guest keeps its network")

    async def expose(self, uid: str) -> dict[str, int]:
        """Sees to it that declared ports are forwarded; the port of this machine by that of the guest."""
        launcher = self._load(uid)
        for port in launcher.declared if launcher is not None else []:
            await self._through(uid, port)
        return dict(launcher.forwards) if launcher is not None else {}

    async def open_connection(self, uid: str, port: int, *, udp: bool = False) -> socket.socket:
        wanted = f"{port}/{'udp' if udp else 'tcp'}"
        for _ in range(_TRIES):
            here = await self._through(uid, wanted)
            made = socket.socket(
                socket.AF_INET, (socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) | socket.SOCK_NONBLOCK
            )
            try:
                async with asyncio.timeout(10):
                    await asyncio.get_running_loop().sock_connect(made, (LOOPBACK, here))
            except ConnectionRefusedError:
                # An agent died between the note of a forward and the forward, or its QEMU is gone.
                made.close()
                self._forget(uid, wanted)
            except (OSError, TimeoutError) as error:
                made.close()
                raise NetworkFailed(f"port {port} of the guest cannot be reached: {error or 'no answer'}") from error
            else:
                return made
        raise NetworkFailed(f"port {port} of the guest cannot be reached")

    async def _through(self, uid: str, wanted: str) -> int:
        """The port of this machine that leads to this port of the guest."""
        async with self._lock(uid):
            launcher = self._load(uid)
            if launcher is None or not launcher.network.nics:
                raise NetworkFailed("the launcher has no network")
            if (known := launcher.forwards.get(wanted)) is not None:
                return known
            port, _, protocol = wanted.partition("/")
            here, udp = _free_port(protocol), protocol == "udp"
            try:
                await self._forward(launcher.domain, launcher.network.nics[0].name, here, int(port), udp)
            except KvtuiError as error:
                raise NetworkFailed(f"port {wanted} of the guest cannot be forwarded: {error}") from error
            launcher.forwards[wanted] = here
            self._save(uid, launcher)
            log.info("port forwarded", pod_uid=uid, guest=wanted, here=here)
            return here

    def _forget(self, uid: str, wanted: str) -> None:
        launcher = self._load(uid)
        if launcher is not None and launcher.forwards.pop(wanted, None) is not None:
            self._save(uid, launcher)

    def _load(self, uid: str) -> Launcher | None:
        if uid not in self._known:
            try:
                self._known[uid] = msgspec.json.decode(self._path(uid).read_bytes(), type=Launcher)
            except (FileNotFoundError, msgspec.MsgspecError):
                return None
        return self._known[uid]

    def _save(self, uid: str, launcher: Launcher) -> None:
        self._known[uid] = launcher
        path = self._path(uid)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(launcher))
        temporary.replace(path)

    def _path(self, uid: str) -> Path:
        return self._directory / f"{checked(uid)}.user"


def _free_port(protocol: str) -> int:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
