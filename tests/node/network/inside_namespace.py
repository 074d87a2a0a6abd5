"""Run by test_sandbox.py inside a network and mount namespace of its own: real CNI plugins, nftables and dnsmasq."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from kvtui.api.kubevirt.domain import Devices, DomainSpec, Interface, InterfaceBridge, InterfaceMasquerade, Port
from kvtui.api.kubevirt.vmi import (
    MultusNetwork,
    Network,
    PodNetwork,
    VirtualMachineInstance,
    VirtualMachineInstanceSpec,
)
from kvtui.api.meta import ObjectMeta
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.settings import NetworkSettings
from kvtui.node.network.types import InvalidNetwork, NetworkFailed, NetworkRequest

LAN = json.dumps(
    {
        "cniVersion": "0.3.1",
        "type": "bridge",
        "bridge": "br-lan",
        "ipam": {"type": "host-local", "subnet": "10.100.0.0/24"},
    }
)
SETTINGS = NetworkSettings(subnets=("10.244.7.0/24",))


def request(uid: str = "pod-1", lan: str = LAN) -> NetworkRequest:
    interfaces = [
        Interface(name="default", masquerade=InterfaceMasquerade(), ports=[Port(port=80)]),
        Interface(name="lan", bridge=InterfaceBridge()),
    ]
    networks = [
        Network(name="default", pod=PodNetwork()),
        Network(name="lan", multus=MultusNetwork(network_name="lan")),
    ]
    spec = VirtualMachineInstanceSpec(domain=DomainSpec(devices=Devices(interfaces=interfaces)), networks=networks)
    vmi = VirtualMachineInstance(metadata=ObjectMeta(name="web", namespace="default", uid="vmi-1"), spec=spec)
    return NetworkRequest(uid, "default", "virt-launcher-web-x", vmi, {"lan": lan})


def links(netns: str = "") -> set[str]:
    where = ["-n", netns] if netns else []
    out = subprocess.run(["ip", *where, "-j", "link"], check=True, capture_output=True).stdout
    return {link["ifname"] for link in json.loads(out)}


async def dnsmasq_pids(networks: Networks, uid: str = "pod-1") -> list[int]:
    for (owner, _), (helper, _) in networks._helpers.items():
        if owner == uid:
            await helper.started.wait()
    return sorted(h.pid.number for (o, _), (h, _) in networks._helpers.items() if o == uid and h.pid)


async def test_a_sandbox_is_made_once_and_leaves_nothing(tmp_path: Path) -> None:
    # The CNI bridges of a network belong to the node and stay, so they are there before the count.
    async with Networks(tmp_path, SETTINGS) as networks:
        await networks.attach(request("warm-up"))
        await networks.detach("warm-up")
        before = links()
        made = await networks.attach(request())
        assert made.ips == ("10.244.7.3",)
        assert [n.binding for n in made.nics] == ["masquerade", "bridge"]
        assert {n.bridge for n in made.nics} <= links()
        assert await networks.attach(request()) == made
        await networks.detach("pod-1")
        assert links() == before
        assert await networks.known() == []
        assert not list((tmp_path / "leases").rglob("10.244.7.3"))


async def test_an_agent_that_comes_back_finds_sandbox_and_servers(tmp_path: Path) -> None:
    async with Networks(tmp_path, SETTINGS) as networks:
        made = await networks.attach(request())
        pids = await dnsmasq_pids(networks)
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    async with Networks(tmp_path, SETTINGS) as networks:
        assert await networks.attach(request()) == made
        assert await dnsmasq_pids(networks) == pids
        await networks.detach("pod-1")
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def test_a_killed_dhcp_server_comes_back(tmp_path: Path) -> None:
    async with Networks(tmp_path, SETTINGS) as networks:
        await networks.attach(request())
        first = await dnsmasq_pids(networks)
        helper = networks._helpers[("pod-1", "default")][0]
        assert helper.pid is not None
        helper.started.clear()
        os.kill(helper.pid.number, signal.SIGKILL)
        await helper.started.wait()
        assert await dnsmasq_pids(networks) != first
        await networks.detach("pod-1")


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ('{"type": "no-such-plugin"}', InvalidNetwork),
        ("not json", InvalidNetwork),
        (LAN.replace("10.100.0.0/24", "10.100.0.0/99"), NetworkFailed),
    ],
)
async def test_a_failed_attachment_leaves_nothing(tmp_path: Path, config: str, error: type[Exception]) -> None:
    async with Networks(tmp_path, SETTINGS) as networks:
        await networks.attach(request("warm-up"))
        await networks.detach("warm-up")
        before = links()
        with pytest.raises(error):
            await networks.attach(request(lan=config))
        assert await networks.known() == []
        assert links() == before


async def test_a_crash_half_way_is_cleaned_up_by_the_next_attempt(tmp_path: Path) -> None:
    async with Networks(tmp_path, SETTINGS) as networks:
        made = await networks.attach(request())
        sandbox = networks._state.load("pod-1")
        assert sandbox is not None
        sandbox.phase = type(sandbox.phase).STARTED
        networks._state.save(sandbox)
    async with Networks(tmp_path, SETTINGS) as networks:
        again = await networks.attach(request())
        assert [n.bridge for n in again.nics] == [n.bridge for n in made.nics]
        await networks.detach("pod-1")
        assert await networks.known() == []
