"""VLANs of NetworkAttachmentDefinitions: proven where the kernel filters them, said where it does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.commands.engine import cache_directory
from kvtui.errors import Unsupported
from tests.e2e.conftest import Lab, until
from tests.e2e.guests import in_node, kubectl, remove, running
from tests.e2e.test_manifests import manifest
from tests.guests.debian import FILES, FULL_KERNEL, Recipe, build

ROOT = Path(__file__).parents[2]
DEFINITION = json.dumps(
    {
        "cniVersion": "0.3.1",
        "type": "bridge",
        "bridge": "br-vlan100",
        "vlan": 100,
        "ipam": {"type": "host-local", "subnet": "10.100.0.0/24"},
    }
)
MODULES = ("bridge", "8021q", "veth", "tun", "nf_tables", "nft_chain_nat", "nft_nat", "nft_masq", "nft_ct")
PROGRAMS = ("python3", "iproute2", "nftables", "dnsmasq-base", "containernetworking-plugins")
GUEST = Recipe(
    "vlan",
    packages=PROGRAMS,
    kernel=FULL_KERNEL,
    modules=MODULES,
    files=(FILES, ROOT / "tests/guests/vlan"),
)


def code_disk(directory: Path) -> Path:
    """A file system with this program, what it needs of its environment, and the definition."""
    import msgspec
    import structlog
    import typing_extensions

    tree = directory / "code"
    leave = shutil.ignore_patterns("__pycache__", "*.pyc")
    for module in (msgspec, structlog):
        source = Path(module.__file__ or "").parent
        shutil.copytree(source, tree / source.name, ignore=leave)
    typing = Path(typing_extensions.__file__ or "")
    shutil.copy(typing, tree / typing.name)
    shutil.copytree(ROOT / "kvtui", tree / "kvtui", ignore=leave)
    for package in ("tests", "tests/node", "tests/node/network", "tests/guests"):
        (tree / package).mkdir()
        for file in (ROOT / package).glob("*.py"):
            shutil.copy(file, tree / package)
    (tree / "definition.json").write_text(DEFINITION)
    disk = directory / "code.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, disk, "64M"], check=True)
    return disk


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What everybody heard, in a guest with Debian's whole kernel."""
    directory = tmp_path_factory.mktemp("vlan")
    try:
        image = build(GUEST, cache_directory())
    except Unsupported as error:
        pytest.skip(str(error))
    overlay, answer, console = directory / "root.qcow2", directory / "answer", directory / "console"
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image), "-F", "qcow2", str(overlay)]
    subprocess.run(create, check=True)
    command = [
        *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "768", "-smp", "2"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
        *("-drive", f"file={overlay},if=virtio,format=qcow2,cache=unsafe"),
        *("-drive", f"file={code_disk(directory)},if=virtio,format=raw,readonly=on"),
        *("-serial", f"file:{console}", "-serial", f"file:{answer}"),
    ]
    subprocess.run(command, check=True, timeout=240)
    text = answer.read_text(errors="replace")
    line = next((line for line in text.splitlines() if line.startswith("{")), "")
    assert line, text + console.read_text(errors="replace")[-2000:]
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="an image is built as root")
@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
def test_vms_of_a_vlan_reach_each_other_and_nobody_else(proof: dict[str, Any]) -> None:
    a, b = proof["addresses"]["a"], proof["addresses"]["b"]
    heard = {who: "" if said in ("silence", "unreachable") else said for who, said in proof["heard"].items()}
    assert heard == {
        "a from b": f"a {b}",
        "b from a": f"b {a}",
        "a from VLAN 100": "a 10.100.0.200",
        "b from VLAN 100": "b 10.100.0.200",
        "c from VLAN 200": "c 10.100.0.202",
        "a from c": "",
        "a from VLAN 200": "",
        "a from untagged": "",
        "b from untagged": "",
    }
    # On the wire every frame of a VM bears the tag of its VLAN, and what others say does not even arrive.
    assert proof["on the wire"] == {"a": [100], "b": [100], "c": [200]}
    assert proof["strangers at a"] == {}
    assert len({a, b}) == 2
    assert set(proof["leases"]) == {a, b}
    assert proof["left"] == []


def filters_vlans() -> bool:
    """Whether this machine's kernel makes bridges that know VLANs; asked in a namespace of its own."""
    command = ["unshare", "-n", "ip", "link", "add", "name", "asked", "type", "bridge", "vlan_filtering", "1"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.e2e
async def test_a_vm_in_a_vlan_runs_or_says_why_it_cannot(lab: Lab, client: Client) -> None:
    """The manifests as they are; what this kernel cannot do, the VM says in so many words."""
    key = ("default", "multi-net-vm")
    kubectl(lab, "apply", "-f", manifest("08"), "-f", manifest("09"))
    try:
        if filters_vlans():
            found = await until(client, VirtualMachineInstance, key, running)
            assert found is not None
            assert [i.name for i in found.status.interfaces] == ["default", "vlan100"]
            return

        def said(vmi: VirtualMachineInstance | None) -> str:
            conditions = vmi.status.conditions if vmi is not None else []
            return next((c.message or "" for c in conditions if c.type == "Synchronized"), "")

        found = await until(client, VirtualMachineInstance, key, said)
        words = said(found)
        assert "kernel has no VLAN filtering of bridges" in words
        assert "vlan 100 of network 'br-vlan100'" in words
        assert "FailedCreatePodSandBox" in kubectl(lab, "get", "events")
        assert found is not None
        assert found.status.phase == "Scheduling"
    finally:
        await remove(client, "multi-net-vm")
        kubectl(lab, "delete", "-f", manifest("08"))
    for node in ("node-1", "node-2"):
        assert "br-vlan100" not in in_node(lab, node, "ip", "-o", "link")
        assert "kvtui-" not in in_node(lab, node, "ip", "netns", "list")
