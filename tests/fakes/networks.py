"""Networks of launchers in memory, with the public surface of the real ones."""

from __future__ import annotations

import socket
from pathlib import Path

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.node.network.sandbox import Networks, NetworkSettings
from kvtui.node.network.types import NetworkFailed, NetworkRequest, Nic, PodNetwork


class FakeNetworks(Networks):
    """Gives out addresses and remembers them; `failures` says how often the next attachments fail."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, NetworkSettings())
        self.made: dict[str, PodNetwork] = {}
        self.failures = 0
        self._next = 2

    async def known(self) -> list[str]:
        return list(self.made)

    def get(self, uid: str) -> PodNetwork | None:
        return self.made.get(uid)

    async def attach(self, request: NetworkRequest) -> PodNetwork:
        if self.failures:
            self.failures -= 1
            raise NetworkFailed("the plugin said no")
        if request.uid not in self.made:
            ip = f"10.244.0.{self._next}"
            self._next += 1
            nics = tuple(
                Nic(
                    name=interface.name,
                    bridge=f"kvb{n}",
                    tap=f"kvt{n}",
                    mac=f"02:00:00:00:00:{n:02x}",
                    mtu=1500,
                    pod_interface="eth0",
                    ips=(ip,),
                    guest_ips=("10.0.2.2",),
                    binding="masquerade",
                )
                for n, interface in enumerate(request.vmi.spec.domain.devices.interfaces)
            )
            self.made[request.uid] = PodNetwork(request.uid, f"kvtui-{request.uid}", (ip,), nics)
        return self.made[request.uid]

    async def detach(self, uid: str) -> None:
        self.made.pop(uid, None)

    async def plug(self, uid: str, vmi: VirtualMachineInstance, interface_name: str, config: str) -> Nic:
        network = self.made[uid]
        n = len(network.nics)
        nic = Nic(
            name=interface_name,
            bridge=f"kvb{n}",
            tap=f"kvt{n}",
            mac=f"02:00:00:00:01:{n:02x}",
            mtu=1500,
            pod_interface="pod1",
            ips=(),
            guest_ips=(),
            binding="bridge",
        )
        self.made[uid] = PodNetwork(uid, network.netns, network.ips, (*network.nics, nic))
        return nic

    async def unplug(self, uid: str, interface_name: str) -> None:
        network = self.made[uid]
        nics = tuple(n for n in network.nics if n.name != interface_name)
        self.made[uid] = PodNetwork(uid, network.netns, network.ips, nics)

    async def open_connection(self, uid: str, port: int, *, udp: bool = False) -> socket.socket:
        raise NetworkFailed("no guest listens")
