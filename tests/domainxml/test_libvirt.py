"""Domains on a real libvirt: defined with validation, given their ports, and a Windows guest started."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from kvtui.domainxml import (
    Attachment,
    Bridged,
    Context,
    Placement,
    convert,
    disk_xml,
    finish,
    interface_xml,
    live,
    memory_device_xml,
    ownership_of,
    resized_memory,
    settle,
    to_text,
)
from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.firmware import FIRMWARE_DIRECTORIES, Firmware, inventory

from . import golden_files, private_libvirt
from .builders import vmi
from .layout import NodePaths

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e
Element = ElementTree.Element

DEFINE_VALIDATE = 1
AFFECT_BOTH = 3
NO_EMULATOR = {"arm64": "qemu-system-aarch64", "s390x": "qemu-system-s390x"}


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[private_libvirt.PrivateLibvirt]:
    if os.geteuid() != 0 or not shutil.which("libvirtd") or not shutil.which("qemu-system-x86_64"):
        pytest.skip("needs root, libvirtd and qemu-system-x86_64")
    with tempfile.TemporaryDirectory(prefix="kd") as directory, private_libvirt.running(Path(directory)) as running:
        for name in ("state", "s"):
            (running.directory / name).mkdir()
        yield running


def _firmware() -> Firmware:
    return inventory(Arch.AMD64, [str(file) for where in FIRMWARE_DIRECTORIES for file in Path(where).glob("*")])


def _domain(name: str, directory: Path) -> Element:
    golden = golden_files.load(name, state=str(directory / "state"), sockets=str(directory / "s"), firmware=_firmware())
    # Partitions are for a libvirt that manages cgroups; this one does not.
    return finish(convert(golden.vmi, golden.context), replace(golden.placement, partition=""))


@pytest.mark.parametrize("name", golden_files.NAMES)
def test_a_golden_domain_is_defined_twice_and_keeps_its_addresses(
    libvirtd: private_libvirt.PrivateLibvirt, name: str
) -> None:
    if name in NO_EMULATOR and not shutil.which(NO_EMULATOR[name]):
        pytest.skip(f"needs {NO_EMULATOR[name]}")
    connection = libvirtd.connection
    if name == "confidential" and "<sev supported='yes'>" not in connection.getDomainCapabilities():
        pytest.skip("needs a processor with SEV")
    domain = _domain(name, libvirtd.directory)
    if domain.get("type") == "kvm" and not Path("/dev/kvm").exists():
        pytest.skip("needs /dev/kvm")
    first = connection.defineXMLFlags(to_text(domain), DEFINE_VALIDATE)
    try:
        inactive = ElementTree.fromstring(first.XMLDesc(2))
        settled = connection.defineXMLFlags(to_text(settle(inactive)), DEFINE_VALIDATE)
        before, after = live.view(inactive), live.parse(settled.XMLDesc(2))
        assert after.owner == live.view(domain).owner
        assert [_address(disk.element) for disk in after.disks] == [_address(disk.element) for disk in before.disks]
        assert not any(interface.device.startswith("placeholder") for interface in after.interfaces)
    finally:
        first.undefineFlags(4)  # with its NVRAM


def _address(device: Element) -> dict[str, str]:
    found = device.find("address")
    return {} if found is None else dict(found.attrib)


@pytest.mark.parametrize("name", ["windows-emulated", "emulated", "tiny"])
def test_an_emulated_guest_starts_with_all_that_emulation_permits(
    libvirtd: private_libvirt.PrivateLibvirt, name: str
) -> None:
    domain = _domain(name, libvirtd.directory)
    _make_images(domain)
    connection = libvirtd.connection
    first = connection.defineXMLFlags(to_text(domain), DEFINE_VALIDATE)
    try:
        settled = connection.defineXML(to_text(settle(ElementTree.fromstring(first.XMLDesc(2)))))
        settled.createWithFlags(1)  # paused
        running = live.parse(settled.XMLDesc(0))
        assert running.emulated
        assert running.owner is not None
        settled.destroy()
    finally:
        first.undefineFlags(4)


def test_devices_are_plugged_into_a_running_guest(libvirtd: private_libvirt.PrivateLibvirt) -> None:
    images = libvirtd.directory / "state"
    machine = vmi(
        domain={"memory": {"guest": "1Gi", "maxGuest": "4Gi"}},
        devices={
            "disks": [
                {"name": "hp", "disk": {"bus": "scsi"}, "serial": "hp"},
                {"name": "vhp", "disk": {"bus": "virtio"}},
            ],
            "interfaces": [{"name": "default", "masquerade": {}}, {"name": "late", "bridge": {}}],
        },
        status={"volumeStatus": [{"name": "other", "target": "vdz"}]},
    )
    paths = NodePaths(str(images), str(libvirtd.directory / "s"))
    context = Context(kvm=False, allow_emulation=True, paths=paths)
    nics: dict[str, Attachment] = {
        "default": Bridged("kvb0", "kvh0", "02:00:00:00:01:00"),
        "late": Bridged("kvb0", "kvh1", "02:00:00:00:01:01"),
    }
    placement = Placement(ownership=ownership_of(machine), interfaces=nics, serial_log=str(images / "plug.log"))
    domain = finish(convert(machine, context), placement)
    late = domain.find("devices/interface[2]")
    devices = domain.find("devices")
    assert late is not None
    assert devices is not None
    devices.remove(late)
    first = libvirtd.connection.defineXMLFlags(to_text(domain), DEFINE_VALIDATE)
    try:
        running = libvirtd.connection.defineXML(to_text(settle(ElementTree.fromstring(first.XMLDesc(2)))))
        running.createWithFlags(1)
        for name in ("hp", "vhp"):
            disk = disk_xml(machine, context, name)
            _image(str(images / "empty-disks" / f"{name}.qcow2"), "qcow2")
            running.attachDeviceFlags(to_text(disk), AFFECT_BOTH)
        running.attachDeviceFlags(to_text(interface_xml(machine, context, "late", nics["late"])), AFFECT_BOTH)
        memory = memory_device_xml(size=3 << 30, requested=1 << 30, block=2 << 20)
        running.attachDeviceFlags(to_text(memory), AFFECT_BOTH)
        seen = live.parse(running.XMLDesc(0))
        assert {disk.name for disk in seen.disks} == {"hp", "vhp"}
        assert seen.interface("late") is not None
        running.updateDeviceFlags(to_text(resized_memory(seen.memory_devices[0].element, 2 << 30)), 1)
        assert live.parse(running.XMLDesc(0)).memory_devices[0].requested == 2 << 30
        running.destroy()
    finally:
        first.undefineFlags(4)


def _make_images(domain: Element) -> None:
    for disk in domain.findall("devices/disk"):
        driver, source, backing = disk.find("driver"), disk.find("source"), disk.find("backingStore/source")
        assert driver is not None
        assert source is not None
        if backing is not None:
            _image(backing.get("file", ""), "qcow2")
        if source.get("file"):
            _image(source.get("file", ""), driver.get("type", "raw"))


def _image(path: str, image_format: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, path, "16M"], check=True)
