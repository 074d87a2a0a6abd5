"""Runs in a Debian guest whose kernel filters VLANs: the node's network code, Debian's CNI plugins, a wire to look at.

Two VMs of the kind that `br-vlan100` is for, one more on the same bridge in another VLAN, and beyond a trunk port three
neighbours: in VLAN 100, in VLAN 200 and untagged. Prints what everybody heard as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kvtui.api.kubevirt.domain import Devices, DomainSpec, Interface, InterfaceBridge, InterfaceMasquerade
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
from kvtui.node.network.types import NetworkRequest
from tests.node.network.endpoints import Endpoint, guest, ip, sh

CAPTURE = """
import json, socket, sys, time
seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
seen.bind((sys.argv[1], 0))
seen.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the kernel takes tags off frames and says so here
print("listening", flush=True)
frames = set()
seen.settimeout(0.2)
while not sys.stdin in __import__("select").select([sys.stdin], [], [], 0)[0]:
    try:
        data, aux, _, sender = seen.recvmsg(2048, 256)
    except TimeoutError:
        continue
    if sender[2] == 4:
        continue  # sent from here
    tag = 0
    for level, kind, content in aux:
        if (level, kind) == (263, 8):
            status, tci = int.from_bytes(content[:4], "little"), int.from_bytes(content[16:18], "little")
            tag = tci & 0xFFF if status & 16 else 0
    if data[12:14] == b"\\x81\\x00":
        tag = int.from_bytes(data[14:16], "big") & 0xFFF
    frames.add((data[6:12].hex(":"), tag))
print(json.dumps(sorted(frames)))
"""


@contextmanager
def capture(where: Endpoint, link: str, into: dict[str, set[int]]) -> Iterator[None]:
    """VLAN tags (0 for none) by sender, of what arrives at a link."""
    command = ["ip", "netns", "exec", where.netns, sys.executable, "-S", "-c", CAPTURE, link]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "listening"
        yield
        out, _ = process.communicate("stop\n")
        for sender, tag in json.loads(out):
            into[sender].add(tag)


def request(name: str, config: str) -> NetworkRequest:
    interfaces = [
        Interface(name="default", masquerade=InterfaceMasquerade()),
        Interface(name="vlan100", bridge=InterfaceBridge()),
    ]
    networks = [
        Network(name="default", pod=PodNetwork()),
        Network(name="vlan100", multus=MultusNetwork(network_name="br-vlan100")),
    ]
    spec = VirtualMachineInstanceSpec(domain=DomainSpec(devices=Devices(interfaces=interfaces)), networks=networks)
    vmi = VirtualMachineInstance(metadata=ObjectMeta(name=name, namespace="default", uid=name), spec=spec)
    return NetworkRequest(f"pod-{name}", "default", f"virt-launcher-{name}", vmi, {"vlan100": config})


def neighbours(stack: ExitStack) -> dict[str, Endpoint]:
    """Beyond a trunk port of the bridge."""
    for name in ("wire", "in100", "in200"):
        sh("ip", "netns", "add", name)
        stack.callback(sh, "ip", "netns", "delete", name)
    ip("link add name trunk type veth peer name eth0 netns wire\nlink set dev trunk master br-vlan100 up\n")
    for vlan in ("100", "200"):
        sh("bridge", "vlan", "add", "dev", "trunk", "vid", vlan)
    ip("link set dev eth0 up\naddr add 10.100.0.201/24 dev eth0\n", "wire")
    for vlan, address in (("100", "10.100.0.200"), ("200", "10.100.0.202")):
        ip(
            f"link add link eth0 name eth0.{vlan} type vlan id {vlan}\nlink set dev eth0.{vlan} netns in{vlan}\n",
            "wire",
        )
        # Otherwise it would have that of the link below.
        ip(f"link set dev eth0.{vlan} address 02:00:00:00:00:{vlan[0]}0\n", f"in{vlan}")
        ip(f"addr add {address}/24 dev eth0.{vlan}\nlink set dev eth0.{vlan} up\n", f"in{vlan}")
    return {"untagged": Endpoint("wire"), "vlan100": Endpoint("in100"), "vlan200": Endpoint("in200")}


async def prove(definition: str) -> dict[str, Any]:
    others = json.loads(definition)
    others |= {"vlan": 200, "name": "others"}
    others["ipam"] = {**others["ipam"], "rangeStart": "10.100.0.100"}
    with tempfile.TemporaryDirectory() as directory:
        async with Networks(Path(directory), NetworkSettings()) as networks:
            with ExitStack() as stack:
                vms, addresses, macs = {}, {}, {}
                for name, config in (("a", definition), ("b", definition), ("c", json.dumps(others))):
                    made = await networks.attach(request(name, config))
                    nic = made.nics[1]
                    addresses[name], macs[name] = nic.guest_ips[0], nic.mac
                    vms[name] = stack.enter_context(guest(name, nic, (f"{nic.guest_ips[0]}/24",), gateway=""))
                    stack.enter_context(vms[name].serving(addresses[name], 80, name))
                ports = json.loads(sh("bridge", "-j", "vlan", "show"))
                beyond = neighbours(stack)
                on_wire: dict[str, set[int]] = defaultdict(set)
                at_a: dict[str, set[int]] = defaultdict(set)
                with capture(beyond["untagged"], "eth0", on_wire), capture(vms["a"], "eth0", at_a):
                    heard = {
                        "a from b": vms["b"].ask(addresses["a"], 80),
                        "b from a": vms["a"].ask(addresses["b"], 80),
                        "a from VLAN 100": beyond["vlan100"].ask(addresses["a"], 80),
                        "b from VLAN 100": beyond["vlan100"].ask(addresses["b"], 80),
                        "c from VLAN 200": beyond["vlan200"].ask(addresses["c"], 80),
                        "a from c": vms["c"].ask(addresses["a"], 80, 2),
                        "a from VLAN 200": beyond["vlan200"].ask(addresses["a"], 80, 2),
                        "a from untagged": beyond["untagged"].ask(addresses["a"], 80, 2),
                        "b from untagged": beyond["untagged"].ask(addresses["b"], 80, 2),
                    }
                    strangers = {
                        "untagged": _mac("wire", "eth0"),
                        "VLAN 200": _mac("in200", "eth0.200"),
                        "c": macs["c"],
                    }
            leases = sorted(p.name for p in Path(directory, "leases", "br-vlan100").glob("10.*"))
            for name in "abc":
                await networks.detach(f"pod-{name}")
            left = sorted(p.name for p in Path(directory, "leases", "br-vlan100").glob("10.*"))
    return {
        "addresses": addresses,
        "heard": heard,
        "on the wire": {name: sorted(on_wire.get(mac, ())) for name, mac in macs.items()},
        "strangers at a": {name: sorted(at_a.get(mac, ())) for name, mac in strangers.items() if mac in at_a},
        "ports": ports,
        "leases": leases,
        "left": left,
    }


def _mac(netns: str, link: str) -> str:
    return str(json.loads(sh("ip", "-n", netns, "-j", "link", "show", "dev", link))[0]["address"])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(prove(Path(sys.argv[1]).read_text(encoding="utf-8")))))
