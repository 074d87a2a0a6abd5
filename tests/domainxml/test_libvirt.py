"""Domains on a real libvirt: defined with validation, given their ports, and a Windows guest started."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from kvtui.domainxml import convert, finish, live, settle, to_text
from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.firmware import FIRMWARE_DIRECTORIES, Firmware, inventory

from . import golden_files, private_libvirt

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e
Element = ElementTree.Element

DEFINE_VALIDATE = 1
NO_EMULATOR = {"arm64": "qemu-system-aarch64", "s390x": "qemu-system-s390x"}


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[private_libvirt.PrivateLibvirt]:
    if os.geteuid() != 0 or not shutil.which("libvirtd") or not shutil.which("qemu-system-x86_64"):
        pytest.skip("needs root, libvirtd and qemu-system-x86_64")
    with Path("/tmp/heavy.lock").open("a") as lock, tempfile.TemporaryDirectory(prefix="kd") as directory:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with private_libvirt.running(Path(directory)) as running:
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
    if name == "confidential":
        pytest.skip("needs a processor with SEV")
    connection = libvirtd.connection
    domain = _domain(name, libvirtd.directory)
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
    (libvirtd.directory / "s").mkdir(exist_ok=True)
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
