"""A machine as Windows wants it, with a Debian guest in its place: secure boot from the disk, TPM, enlightenments.

The guest boots by loaders that Microsoft and Debian have signed, so it starts only where firmware with Microsoft's keys
found it on the disk and checked it.
"""

from __future__ import annotations

import json
import shutil

import pytest

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.wire import from_wire, to_wire
from kvtui.client.rest import Client
from kvtui.commands.engine import cache_directory
from kvtui.errors import Unsupported
from tests.e2e.conftest import Lab
from tests.e2e.guests import a_guest, in_node, kubectl, machine, shell
from tests.e2e.test_guest_agent import wait_agent
from tests.fakes.images import OciRegistry
from tests.guests.debian import SECURE, build

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
DRIVERS = "quay.io/kubevirt/plain:latest"
"""Where an ISO with virtio drivers would be."""
VARIABLE = "/sys/firmware/efi/efivars/Kept-6b767475-6900-4000-8000-000000000001"
PREFERENCE = {
    "apiVersion": "instancetype.kubevirt.io/v1beta1",
    "kind": "VirtualMachinePreference",
    "metadata": {"name": "windows"},
    "spec": {
        "clock": {
            "preferredClockOffset": {"utc": {}},
            "preferredTimer": {
                "hpet": {"present": False},
                "hyperv": {},
                "pit": {"tickPolicy": "delay"},
                "rtc": {"tickPolicy": "catchup"},
            },
        },
        "cpu": {"preferredCPUTopology": "sockets"},
        "devices": {"preferredDiskBus": "sata", "preferredInterfaceModel": "e1000", "preferredTPM": {}},
        "features": {
            "preferredAcpi": {},
            "preferredApic": {},
            "preferredHyperv": {"relaxed": {}, "vapic": {}, "spinlocks": {"spinlocks": 8191}},
            "preferredSmm": {},
        },
        "firmware": {"preferredEfi": {"secureBoot": True}},
    },
}
ANSWERS = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "answers"},
    "data": {"autounattend.xml": "<unattend>kvtui</unattend>\n"},
}


@pytest.fixture(scope="module")
def secure(lab: Lab) -> str:
    try:
        image = build(SECURE, cache_directory())
    except Unsupported as error:
        pytest.skip(str(error))
    shutil.copyfile(image, lab.guest.parent / "secure.qcow2")
    return lab.image.replace("guest.qcow2", "secure.qcow2")


def windows(image: str) -> VirtualMachine:
    wire = to_wire(machine("windows", image=image, memory="640Mi", grace=30))
    wire["spec"]["preference"] = {"name": "windows", "kind": "VirtualMachinePreference"}
    spec = wire["spec"]["template"]["spec"]
    spec["domain"] |= {
        "firmware": {"bootloader": {"efi": {"persistent": True}}},
        "devices": {
            "tpm": {"persistent": True},
            "interfaces": [{"name": "default", "masquerade": {}}],
            "disks": [
                {"name": "root", "disk": {}, "bootOrder": 1},
                {"name": "drivers", "cdrom": {"bus": "sata"}},
                {"name": "answers", "cdrom": {"bus": "sata"}},
            ],
        },
    }
    spec["volumes"] = [
        *(v for v in spec["volumes"] if v["name"] == "root"),
        {"name": "drivers", "containerDisk": {"image": DRIVERS}},
        {"name": "answers", "sysprep": {"configMap": {"name": "answers"}}},
    ]
    return from_wire(wire, VirtualMachine)


async def test_a_windows_machine_starts_securely_from_its_disk(
    lab: Lab, client: Client, secure: str, registry: OciRegistry
) -> None:
    for thing in (PREFERENCE, ANSWERS):
        kubectl(lab, "apply", "-f", "-", stdin=json.dumps(thing))
    async with a_guest(client, windows(secure)) as instance:
        async with shell(client, "windows") as viewer:
            said = viewer.seen.decode(errors="replace")
            assert "BdsDxe: starting Boot" in said
            assert "Secure boot enabled" in await viewer.do("dmesg | grep secureboot")
            await viewer.do("modprobe efivarfs; mount -t efivarfs none /sys/firmware/efi/efivars")
            await viewer.do(rf"printf '\007\000\000\000kept' > {VARIABLE}")
            assert await viewer.do(f"tail -c 4 {VARIABLE}") == "kept"
            disks = await viewer.do("cat /sys/block/s[dr]*/size; ls -d /sys/block/s[dr]*")
            assert str((8 << 20) // 512) in disks
            await viewer.do("modprobe -a sr_mod isofs; for d in /dev/sr*; do mount -r $d /mnt 2> /dev/null; done")
            assert "kvtui" in await viewer.do("cat /mnt/autounattend.xml")
        await wait_agent(client, "windows")
        domain = in_node(lab, instance.status.node_name or "", "virsh", "dumpxml", "default_windows")
        for enlightenment in ("<relaxed state='on'/>", "<vapic state='on'/>", "<spinlocks state='on' retries='8191'/>"):
            assert enlightenment in domain  # QEMU's emulation takes them, and shows them to nobody
        assert "<timer name='hypervclock' present='yes'/>" in domain
        claims = json.loads(kubectl(lab, "get", "pvc", "-l", "persistent-state-for=windows", "-o", "json"))["items"]
        assert len(claims) == 1
