"""Stand-ins for guests: a network namespace on the bridge into which libvirt would plug the guest's tap."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kvtui.api.kubevirt.domain import Devices, DomainSpec, Interface, InterfaceMasquerade, Port
from kvtui.api.kubevirt.vmi import Network, PodNetwork, VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.meta import ObjectMeta
from kvtui.node.network.types import NetworkRequest, Nic

SERVER = """
import socket, sys
six = ":" in sys.argv[1]
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6 if six else socket.AF_INET)
print("listening", flush=True)
while True:
    client, address = listener.accept()
    client.sendall(f"{sys.argv[3]} {address[0]}".encode())
    client.close()
"""
CLIENT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])) as server:
        print(server.recv(200).decode())
except TimeoutError:
    print("silence")
except ConnectionRefusedError:
    print("refused")
except OSError as error:
    print("unreachable" if error.errno in (101, 113) else error)
"""


def sh(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def ip(lines: str, netns: str = "") -> None:
    """Lines for `ip -batch`."""
    where = ["-n", netns] if netns else []
    done = subprocess.run(["ip", *where, "-batch", "-"], input=lines, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{lines}{done.stderr}"


@dataclass(frozen=True)
class Endpoint:
    """Somebody in a network namespace; without a name in the test's own, which stands for the node."""

    netns: str = ""

    def run(self, *command: str, check: bool = True) -> str:
        where = ["ip", "netns", "exec", self.netns] if self.netns else []
        return sh(*where, *command, check=check)

    def ask(self, address: str, port: int, patience: float = 3.0) -> str:
        """What a server says ("name client-address"), or refused, silence, unreachable."""
        return self.run(sys.executable, "-S", "-c", CLIENT, address, str(port), str(patience)).strip()

    @contextmanager
    def serving(self, address: str, port: int, name: str) -> Iterator[None]:
        where = ["ip", "netns", "exec", self.netns] if self.netns else []
        command = [*where, sys.executable, "-S", "-c", SERVER, address, str(port), name]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline().strip() == b"listening"
                yield
            finally:
                process.kill()


@contextmanager
def guest(
    name: str, nic: Nic, addresses: Sequence[str] = ("10.0.2.2/24",), gateway: str = "10.0.2.1"
) -> Iterator[Endpoint]:
    """Plugged into the NIC's bridge, with the addresses it would get by DHCP."""
    sh("ip", "netns", "add", name)
    try:
        tap = f"kt-{name}"
        ip(
            f"link add name {tap} mtu {nic.mtu} type veth peer name eth0 mtu {nic.mtu} netns {name}\n"
            f"link set dev {tap} master {nic.bridge} up\n"
        )
        six = "".join(f"addr add {a} dev eth0 nodad\n" for a in addresses if ":" in a)
        four = "".join(f"addr add {a} dev eth0\n" for a in addresses if ":" not in a)
        ip(f"link set dev lo up\nlink set dev eth0 address {nic.mac}\nlink set dev eth0 up\n{four}{six}", name)
        if gateway:
            ip(f"route add default via {gateway}\n", name)
        yield Endpoint(name)
    finally:
        sh("ip", "netns", "delete", name)


@contextmanager
def outside(address: str = "192.0.2.2", node: str = "192.0.2.1", pods: str = "10.244.7.0/24") -> Iterator[Endpoint]:
    """A neighbour of the node in another network, which knows the way to the Pods."""
    sh("ip", "netns", "add", "outside")
    try:
        ip(f"link add name uplink type veth peer name eth0 netns outside\naddr add {node}/24 dev uplink\n")
        ip("link set dev uplink up\n")
        ip(f"link set dev lo up\nlink set dev eth0 up\naddr add {address}/24 dev eth0\n", "outside")
        ip(f"route add {pods} via {node}\n", "outside")
        yield Endpoint("outside")
    finally:
        sh("ip", "netns", "delete", "outside")


def request(name: str, ports: Sequence[int] = ()) -> NetworkRequest:
    """A VMI with one masqueraded interface."""
    interfaces = [
        Interface(name="default", masquerade=InterfaceMasquerade(), ports=[Port(port=number) for number in ports])
    ]
    spec = VirtualMachineInstanceSpec(
        domain=DomainSpec(devices=Devices(interfaces=interfaces)),
        networks=[Network(name="default", pod=PodNetwork())],
    )
    vmi = VirtualMachineInstance(metadata=ObjectMeta(name=name, namespace="default", uid=f"vmi-{name}"), spec=spec)
    return NetworkRequest(f"pod-{name}", "default", f"virt-launcher-{name}", vmi)


def links(netns: str = "") -> set[str]:
    where = ["-n", netns] if netns else []
    return {link["ifname"] for link in json.loads(sh("ip", *where, "-j", "link"))}


def dhcp_answer(where: Endpoint, mac: str, wanted: bytes = bytes(range(1, 255))) -> dict[int, bytes]:
    """Options by number that a client on eth0 gets, and as 0 its address; empty when nobody answers."""
    out = where.run(sys.executable, "-S", "-c", DHCP_CLIENT, mac, wanted.hex())
    return {int(number): bytes.fromhex(value) for number, value in json.loads(out).items()}


DHCP_CLIENT = """
import json, socket, struct, sys
mac, wanted = bytes.fromhex(sys.argv[1].replace(":", "")), bytes.fromhex(sys.argv[2])
talk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
talk.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
talk.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
talk.bind(("0.0.0.0", 68))
talk.settimeout(2)

def ask(*options):
    head = struct.pack("!4B4s2sH16s16s192s", 1, 1, 6, 0, b"kvtu", b"", 0x8000, b"", mac.ljust(16, b"\\0"), b"")
    body = b"".join(bytes([n, len(v)]) + v for n, v in (*options, (55, wanted), (57, b"\\x05\\xdc"))) + b"\\xff"
    talk.sendto(head + b"\\x63\\x82\\x53\\x63" + body, ("255.255.255.255", 67))
    data = talk.recv(4096)
    found, rest = {0: data[16:20]}, data[240:]
    while rest and rest[0] != 255:
        if rest[0] == 0:
            rest = rest[1:]
            continue
        found[rest[0]] = found.get(rest[0], b"") + rest[2 : 2 + rest[1]]
        rest = rest[2 + rest[1] :]
    return found

try:
    offer = ask((53, b"\\x01"))
    answer = ask((53, b"\\x03"), (50, offer[0]), (54, offer[54]))
except TimeoutError:
    answer = {}
print(json.dumps({n: v.hex() for n, v in answer.items()}))
"""


def dhcp6_address(where: Endpoint) -> str:
    """The IPv6 address that is offered to a client on eth0; empty when nobody answers."""
    return where.run(sys.executable, "-S", "-c", DHCP6_CLIENT).strip()


DHCP6_CLIENT = """
import socket, struct, time
talk = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
talk.bind(("::", 546))
talk.settimeout(2)
index = socket.if_nametoindex("eth0")
identity = struct.pack("!HHHHI6s", 1, 14, 1, 1, 0, b"kvtui6")
wants = identity + struct.pack("!HHIII", 3, 12, 1, 0, 0) + struct.pack("!HHH", 8, 2, 0)
for _ in range(8):
    try:
        talk.sendto(b"\\x01kv6" + wants, ("ff02::1:2", 547, 0, index))
        data = talk.recv(2000)
    except OSError:
        time.sleep(0.5)  # the address of the link is still being tried
        continue
    rest, found = data[4:], ""
    while rest:
        kind, length = struct.unpack("!HH", rest[:4])
        if kind == 3:
            inner = rest[16 : 4 + length]
            if inner[:2] == b"\\x00\\x05":
                found = socket.inet_ntop(socket.AF_INET6, inner[4:20])
        rest = rest[4 + length :]
    print(found)
    break
"""
