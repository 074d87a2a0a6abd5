"""Networks of an ordinary user: forwards are remembered, renewed when gone, and refused where root is needed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kvtui.api.kubevirt.domain import GPU, Interface, InterfaceBridge, InterfaceMasquerade, Port
from kvtui.api.kubevirt.vmi import MultusNetwork, Network, PodNetwork, VirtualMachineInstance
from kvtui.api.wire import evolve
from kvtui.domainxml import UserMode
from kvtui.node import build
from kvtui.node.network.types import InvalidNetwork, NetworkFailed, NetworkRequest
from kvtui.node.network.usermode import UserNetworks
from kvtui.node.rootless import refusal
from tests.node.builders import UUID, vmi

UID = "pod-1"
WEB = Interface(name="default", masquerade=InterfaceMasquerade(), ports=[Port(port=80), Port(port=53, protocol="UDP")])


class Qemu:
    """Forwards by listening, as QEMU does."""

    def __init__(self) -> None:
        self.rules: list[tuple[str, str, int, int, bool]] = []
        self.listeners: list[socket.socket] = []

    async def forward(self, domain: str, interface: str, here: int, there: int, udp: bool) -> None:
        self.rules.append((domain, interface, here, there, udp))
        if not udp:
            self.listeners.append(socket.create_server(("127.0.0.1", here)))

    def end(self) -> None:
        while self.listeners:
            self.listeners.pop().close()


def request(instance: VirtualMachineInstance) -> NetworkRequest:
    return NetworkRequest(uid=UID, namespace="default", pod_name="virt-launcher", vmi=instance)


async def test_declared_ports_are_forwarded_once_and_remembered(tmp_path: Path) -> None:
    qemu = Qemu()
    networks = UserNetworks(tmp_path, qemu.forward)
    made = await networks.attach(request(vmi(devices={"interfaces": [WEB]})))
    assert build.attachments(made) == {"default": UserMode(mac=made.nics[0].mac)}
    first = await networks.expose(UID)
    assert set(first) == {"80/tcp", "53/udp"}
    assert {(d, i, there, udp) for d, i, _, there, udp in qemu.rules} == {
        (UUID, "default", 80, False),
        (UUID, "default", 53, True),
    }
    again = UserNetworks(tmp_path, qemu.forward)
    assert await again.expose(UID) == first
    assert len(qemu.rules) == 2
    await again.detach(UID)
    assert await again.known() == []
    qemu.end()


async def test_any_port_is_reached_and_a_forward_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    qemu = Qemu()
    networks = UserNetworks(tmp_path, qemu.forward)
    await networks.attach(request(vmi()))
    for _ in range(2):
        made = await networks.open_connection(UID, 8080)
        made.close()
        qemu.end()
    assert [there for _, _, _, there, _ in qemu.rules] == [8080, 8080]


async def test_an_unknown_launcher_has_no_ports(tmp_path: Path) -> None:
    with pytest.raises(NetworkFailed):
        await UserNetworks(tmp_path, Qemu().forward).open_connection("nobody", 22)


async def test_what_needs_root_is_refused_in_words(tmp_path: Path) -> None:
    bridged = vmi(devices={"interfaces": [Interface(name="default", bridge=InterfaceBridge())]})
    plugged = evolve(
        bridged, spec=evolve(bridged.spec, networks=[Network(name="default", multus=MultusNetwork(network_name="lan"))])
    )
    with pytest.raises(InvalidNetwork, match="NetworkAttachmentDefinition, whose plugins need root"):
        await UserNetworks(tmp_path, Qemu().forward).attach(request(plugged))
    assert "GPU g needs root" in refusal(vmi(devices={"gpus": [GPU(name="g", device_name="a/b")]}))
    named = vmi(devices={"interfaces": [Interface(name="a b\nquit", masquerade=InterfaceMasquerade())]})
    assert "cannot be forwarded to" in refusal(
        evolve(named, spec=evolve(named.spec, networks=[Network(name="a b\nquit", pod=PodNetwork())]))
    )
    assert refusal(vmi()) == ""
