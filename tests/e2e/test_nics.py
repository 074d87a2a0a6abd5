"""A NIC of a running guest: plugged in, used, unplugged from its cable and taken out again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from kvtui.api.core.config import NetworkAttachmentDefinition
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceNetworkInterface
from kvtui.api.wire import from_wire
from kvtui.client.rest import Client
from tests.e2e.conftest import BOOT, Lab, until
from tests.e2e.guests import Console, a_guest, in_node, machine, shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]
KEY = ("default", "nics")
LAN = {
    "cniVersion": "0.3.1",
    "type": "bridge",
    "bridge": "br-nics",
    "ipam": {"type": "host-local", "subnet": "10.101.0.0/24", "rangeStart": "10.101.0.7"},
}


def definition() -> NetworkAttachmentDefinition:
    return from_wire(
        {"metadata": {"name": "lan", "namespace": "default"}, "spec": {"config": json.dumps(LAN)}},
        NetworkAttachmentDefinition,
    )


async def with_interfaces(client: Client, *states: str) -> None:
    """The template's interfaces: the pod network, and the other network in the given state."""
    interfaces: list[dict[str, Any]] = [{"name": "default", "masquerade": {}}]
    networks: list[dict[str, Any]] = [{"name": "default", "pod": {}}]
    for state in states:
        interfaces.append({"name": "lan", "bridge": {}, **({"state": state} if state else {})})
        networks.append({"name": "lan", "multus": {"networkName": "lan"}})
    spec = {"networks": networks, "domain": {"devices": {"interfaces": interfaces}}}
    await client.patch(VirtualMachine, KEY, {"spec": {"template": {"spec": spec}}})


async def until_interface(
    client: Client, holds: Callable[[VirtualMachineInstanceNetworkInterface | None], object]
) -> None:
    def found(vmi: VirtualMachineInstance | None) -> object:
        return vmi is not None and holds(next((i for i in vmi.status.interfaces if i.name == "lan"), None))

    await until(client, VirtualMachineInstance, KEY, found)


async def until_guest(inside: Console, command: str, wanted: str) -> None:
    """Asks until the guest says so; it tells nobody when it has noticed."""
    async with asyncio.timeout(BOOT):
        while wanted not in await inside.do(command):
            await asyncio.sleep(0.3)


async def test_a_nic_comes_works_is_pulled_and_goes(lab: Lab, client: Client) -> None:
    await client.create(definition())
    try:
        async with a_guest(client, machine("nics", image=lab.image)) as instance, shell(client, "nics") as inside:
            node = instance.status.node_name or ""
            await with_interfaces(client, "")
            await until_interface(client, lambda i: i is not None and "domain" in (i.info_source or ""))
            # The guest asks by DHCP and has the address that host-local gave; others on the bridge reach it.
            await until_guest(inside, "ip -4 addr show dev eth1", "10.101.0.7/24")
            in_node(lab, node, "ip", "addr", "add", "10.101.0.1/24", "dev", "br-nics")
            page = in_node(lab, node, "curl", "-s", "--max-time", "20", "http://10.101.0.7/")
            assert "kvtui guest" in page
            await with_interfaces(client, "down")
            await until_interface(client, lambda i: i is not None and i.link_state == "down")
            await until_guest(inside, "cat /sys/class/net/eth1/carrier", "0")
            await with_interfaces(client, "up")
            await until_interface(client, lambda i: i is not None and i.link_state == "up")
            await until_guest(inside, "cat /sys/class/net/eth1/carrier", "1")
            await with_interfaces(client, "absent")
            await until_interface(client, lambda i: i is None)
            await until_guest(inside, "ls /sys/class/net/eth1 2>&1", "No such")
            async with asyncio.timeout(BOOT):
                # The address is free again and nothing of the NIC is left beside the guest's other one.
                while "10.101.0.7" in in_node(lab, node, "sh", "-c", f"ls {lab.data}/nodes/{node}/net/leases/lan"):
                    await asyncio.sleep(0.3)
            vmi = await client.get(VirtualMachineInstance, KEY)
            assert vmi.metadata.uid == instance.metadata.uid
            vm = await client.get(VirtualMachine, KEY)
            assert not [c for c in vm.status.conditions if c.type == "RestartRequired" and c.status == "True"]
    finally:
        await client.delete(NetworkAttachmentDefinition, ("default", "lan"))
