"""Run by test_sandbox.py in namespaces of its own: what guests are told, and what stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from pathlib import Path

import pytest

from kvtui.api.core.network import Service
from kvtui.api.kubevirt.domain import (
    Devices,
    DHCPOptions,
    DHCPPrivateOptions,
    DomainSpec,
    Interface,
    InterfaceBridge,
    InterfaceMasquerade,
)
from kvtui.api.kubevirt.vmi import (
    MultusNetwork,
    Network,
    PodNetwork,
    VirtualMachineInstance,
    VirtualMachineInstanceSpec,
)
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import evolve, from_wire
from kvtui.node.network import dnsnames, policies, services
from kvtui.node.network.rules import Rules
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.settings import NetworkSettings
from kvtui.node.network.types import NetworkFailed, NetworkRequest
from tests.node.network.endpoints import Endpoint, dhcp6_address, dhcp_answer, guest, ip, links, outside, sh

SETTINGS = NetworkSettings(bridge="kvt8", subnets=("10.244.8.0/24",), mtu=1400)
LAN = {
    "cniVersion": "0.3.1",
    "type": "bridge",
    "bridge": "br-lan8",
    "mtu": 1300,
    "ipam": {
        "type": "host-local",
        "subnet": "10.108.0.0/24",
        "routes": [{"dst": "10.200.0.0/16", "gw": "10.108.0.9"}, {"dst": "0.0.0.0/0", "gw": "10.108.0.1"}],
    },
}


def request(name: str, *interfaces: Interface, lan: object = LAN) -> NetworkRequest:
    chosen = interfaces or (
        Interface(name="default", masquerade=InterfaceMasquerade()),
        Interface(name="lan", bridge=InterfaceBridge()),
    )
    networks = [
        Network(name="default", pod=PodNetwork())
        if i.name == "default"
        else Network(name=i.name, multus=MultusNetwork(network_name="lan"))
        for i in chosen
    ]
    spec = VirtualMachineInstanceSpec(domain=DomainSpec(devices=Devices(interfaces=list(chosen))), networks=networks)
    vmi = VirtualMachineInstance(metadata=ObjectMeta(name=name, namespace="default", uid=f"vmi-{name}"), spec=spec)
    configs = {i.name: json.dumps(lan) for i in chosen if i.name != "default"}
    return NetworkRequest(f"pod-{name}", "default", f"virt-launcher-{name}", vmi, configs)


async def listening(networks: Networks) -> None:
    """Until every DHCP server has been started; it listens a moment later, and clients ask again."""
    for helper, _ in networks._helpers.values():
        await helper.started.wait()


async def asked(where: Endpoint, mac: str) -> dict[int, bytes]:
    for _ in range(5):
        if answer := dhcp_answer(where, mac):
            return answer
    raise AssertionError("no DHCP server answers")


async def test_a_guest_is_told_what_the_manifest_says(tmp_path: Path) -> None:
    options = DHCPOptions(
        boot_file_name="pxe,with:comma",
        tftp_server_name="10.1.1.1",
        ntp_servers=["10.0.0.123"],
        private_options=[DHCPPrivateOptions(option=240, value="61:62"), DHCPPrivateOptions(option=241, value="7")],
    )
    wanted = Interface(name="default", masquerade=InterfaceMasquerade(), dhcp_options=options)
    async with Networks(tmp_path, SETTINGS) as networks:
        made = await networks.attach(request("told", wanted))
        await listening(networks)
        # With masquerade whoever asks gets the guest's address.
        with guest("g", made.nics[0], (), gateway="") as client:
            answer = await asked(client, "02:aa:bb:cc:dd:ee")
        await networks.detach("pod-told")
    assert answer[0] == socket.inet_aton("10.0.2.2")
    assert answer[3] == answer[6] == socket.inet_aton("10.0.2.1")
    assert int.from_bytes(answer[26]) == made.nics[0].mtu == 1400
    assert answer[12] == b"told"
    assert answer[15].startswith(b"default.svc.cluster.local")
    assert [answer[n].rstrip(b"\0") for n in (66, 67)] == [b"10.1.1.1", b"pxe,with:comma"]
    assert answer[42] == socket.inet_aton("10.0.0.123")
    assert (answer[240], answer[241]) == (b"61:62", b"7")


async def test_a_bridged_guest_has_the_pods_address_and_routes(tmp_path: Path) -> None:
    async with Networks(tmp_path, SETTINGS) as networks:
        made = await networks.attach(request("bridged"))
        nic = made.nics[1]
        await listening(networks)
        with guest("g", nic, (), gateway="") as client:
            answer = await asked(client, nic.mac)
            # Nobody else is answered.
            assert dhcp_answer(client, "02:aa:bb:cc:dd:ee") == {}
        await networks.detach("pod-bridged")
    assert nic.mtu == int.from_bytes(answer[26]) == 1300
    assert socket.inet_ntoa(answer[0]) == nic.ips[0]
    # 10.200.0.0/16 by 10.108.0.9, and the default last: a client that takes routes takes no router.
    assert answer[121] == bytes([16, 10, 200, 10, 108, 0, 9]) + bytes([0, 10, 108, 0, 1])


async def test_services_have_names_for_guests(tmp_path: Path) -> None:
    query = (
        "import socket,sys\n"
        "q=b'\\x12\\x34\\x01\\x00\\x00\\x01\\0\\0\\0\\0\\0\\0'+b''.join(bytes([len(p)])+p.encode() "
        "for p in sys.argv[1].split('.'))+b'\\0\\0\\x01\\0\\x01'\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(5); s.sendto(q,('10.0.2.1',53))\n"
        "d=s.recv(500); print(d[3]&15, '.'.join(map(str,d[-4:])))"
    )
    service = from_wire(
        {"metadata": {"name": "db", "namespace": "default"}, "spec": {"clusterIP": "10.96.1.2"}}, Service
    )
    async with Networks(tmp_path, SETTINGS) as networks:
        made = await networks.attach(request("named", Interface(name="default", masquerade=InterfaceMasquerade())))
        await listening(networks)
        with guest("g", made.nics[0]) as client:
            await asked(client, made.nics[0].mac)

            def look_up(name: str) -> str:
                return client.run(sys.executable, "-S", "-c", query, name).strip()

            assert look_up("db.default.svc.cluster.local").startswith("3 ")  # NXDOMAIN
            dnsnames.write(networks.hosts, dnsnames.hosts_text([service], []))
            async with asyncio.timeout(10):
                while look_up("db.default.svc.cluster.local") != "0 10.96.1.2":
                    await asyncio.sleep(0.05)  # the server has its own time for noticing
        await networks.detach("pod-named")


async def test_both_families_are_masqueraded(tmp_path: Path) -> None:
    settings = NetworkSettings(bridge="kvt8", subnets=("10.244.8.0/24", "fd10:244:8::/64"))
    wanted = Interface(name="default", masquerade=InterfaceMasquerade())
    async with Networks(tmp_path, settings) as networks:
        made = await networks.attach(request("six", wanted))
        rules = Rules(settings)
        await rules.write(services.rules([]), policies.PolicyRules())
        assert [len(made.ips), len(made.nics[0].guest_ips)] == [2, 2]
        with (
            outside() as neighbour,
            guest("g", made.nics[0], ("10.0.2.2/24", "fd10:0:2::2/120")) as inside,
            inside.serving("fd10:0:2::2", 8080, "six"),
        ):
            await listening(networks)
            assert dhcp6_address(inside) == "fd10:0:2::2"
            ip("addr add fd99::1/64 dev uplink nodad\n")
            ip("addr add fd99::2/64 dev eth0 nodad\nroute add fd10:244:8::/64 via fd99::1\n", "outside")
            ip("route add default via fd10:0:2::1\n", "g")
            with neighbour.serving("fd99::2", 8080, "far"):
                assert inside.ask("fd99::2", 8080) == "far fd99::1"
                assert neighbour.ask(made.ips[1], 8080) == "six fd99::2"
        await networks.detach("pod-six")
        await rules.remove()
        await networks.vacate()


async def test_a_nic_is_plugged_and_unplugged_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    wanted = request("plug")
    async with Networks(tmp_path, SETTINGS) as networks:
        await networks.attach(request("plug", Interface(name="default", masquerade=InterfaceMasquerade())))
        before = links(), links(networks.netns_path("pod-plug").name)
        for _ in range(3):
            with pytest.raises(NetworkFailed):
                await networks.plug("pod-plug", wanted.vmi, "lan", json.dumps({**LAN, "mtu": 7}))
        assert [n.name for n in (networks.get("pod-plug") or await networks.attach(wanted)).nics] == ["default"]
        nic = await networks.plug("pod-plug", wanted.vmi, "lan", json.dumps(LAN))
        assert await networks.plug("pod-plug", wanted.vmi, "lan", json.dumps(LAN)) == nic
        assert nic.ips == ("10.108.0.2",)
        await networks.unplug("pod-plug", "lan")
        after = links(), links(networks.netns_path("pod-plug").name)
        assert (after[0] | {"br-lan8"}, after[1]) == (before[0] | {"br-lan8"}, before[1])
        await networks.detach("pod-plug")
    assert not list(tmp_path.rglob("10.108.0.*"))


async def test_a_mac_address_is_used_once_on_a_network(tmp_path: Path) -> None:
    fixed = Interface(name="lan", bridge=InterfaceBridge(), mac_address="02:00:00:00:00:77")
    async with Networks(tmp_path, SETTINGS) as networks:
        first = await networks.attach(request("one", fixed))
        assert first.nics[0].mac == "02:00:00:00:00:77"
        before = links()
        with pytest.raises(
            NetworkFailed, match="02:00:00:00:00:77 is in use on this network by default/virt-launcher-one"
        ):
            await networks.attach(request("two", evolve(fixed, mac_address="02-00-00-00-00-77")))
        assert (await networks.known(), links()) == (["pod-one"], before)
        await networks.detach("pod-one")
        await networks.attach(request("two", fixed))
        await networks.detach("pod-two")


async def test_a_plugin_that_hangs_is_ended_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    plugin = plugins / "stuck"
    plugin.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    plugin.chmod(0o755)
    monkeypatch.setattr("kvtui.node.network.cni.PLUGIN_DIRS", (str(plugins), "/usr/lib/cni"))
    settings = NetworkSettings(bridge="kvt8", subnets=("10.244.8.0/24",), cni_timeout=0.5)
    async with Networks(tmp_path / "net", settings) as networks:
        with pytest.raises(NetworkFailed, match="stuck did not end within"):
            await networks.attach(request("stuck", lan={"cniVersion": "0.3.1", "type": "stuck"}))
        assert await networks.known() == []
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def state_of_the_node() -> dict[str, object]:
    return {
        "links": links(),
        "namespaces": sorted(os.listdir("/run/netns")),
        "rules": sh("nft", "list", "tables"),
        "iptables": sh("iptables-save", "-c", check=False).count("-A"),
    }


@pytest.mark.parametrize("cycles", [int(os.environ.get("KVTUI_NETWORK_CYCLES", "10"))])
async def test_nothing_leaks(tmp_path: Path, cycles: int) -> None:
    """Sandboxes come and go, some cut short at any point, as by the end of the agent."""
    chance = random.Random(8)
    for link in ("kvt8", "br-lan8"):
        sh("ip", "link", "delete", link, check=False)
    rules = Rules(SETTINGS)
    async with Networks(tmp_path, SETTINGS) as networks:
        await networks.attach(request("first"))
        await networks.detach("pod-first")
        await rules.write(services.rules([]), policies.PolicyRules())
    before = state_of_the_node()
    for cycle in range(cycles):
        async with Networks(tmp_path, SETTINGS) as networks:
            names = [f"{cycle}-{n}" for n in range(2)]
            tasks = [asyncio.create_task(networks.attach(request(name))) for name in names]
            if cycle % 2:
                await asyncio.sleep(chance.uniform(0, 0.6))
                for task in tasks:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for helper, _ in list(networks._helpers.values())[: cycle % 3]:
                if helper.pid is not None:
                    os.kill(helper.pid.number, signal.SIGKILL)
            await rules.write(services.rules([]), policies.PolicyRules())
        async with Networks(tmp_path, SETTINGS) as networks:
            if cycle % 3 == 0:
                await networks.attach(request(names[0]))
            for uid in await networks.known():
                await networks.detach(uid)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while state_of_the_node() != before:
                await asyncio.sleep(0.1)  # the kernel clears a namespace later and tells nobody
    assert state_of_the_node() == before
    assert not list((tmp_path / "leases").rglob("10.*"))
    assert not list(tmp_path.glob("*.json"))
    assert _servers(tmp_path) == []
    async with Networks(tmp_path, SETTINGS) as networks:
        await rules.remove()
        await networks.vacate()
    assert not links() & {"kvt8", "br-lan8"}


def _servers(directory: Path) -> list[str]:
    """DHCP servers in namespaces of this test, which shares the process list with everybody."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if line.startswith("dnsmasq") and f"--hostsdir={directory}" in line:
                found.append(line)
    return found
