"""Free PCIe ports for later devices."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from kvtui.domainxml import placeholder_count, settle
from kvtui.domainxml.ports import add_placeholders, free_port_count, has_ports

from .builders import Element, vmi


def nics(count: int, **parts: Any) -> int:
    interfaces = [{"name": f"n{n}", "bridge": {}} for n in range(count)]
    return placeholder_count(vmi(devices={"interfaces": interfaces}, **parts))


@pytest.mark.parametrize(("count", "placeholders"), [(0, 0), (1, 3), (4, 0), (6, 0)])
def test_four_nics_have_a_place(count: int, placeholders: int) -> None:
    assert nics(count) == placeholders


@pytest.mark.parametrize(("slots", "placeholders"), [("9", 8), ("0", 0), ("many", 3), ("99999", 30)])
def test_a_frozen_number_of_slots_is_kept(slots: str, placeholders: int) -> None:
    assert nics(1, annotations={"kubevirt.io/pci-interface-slot-count": slots}) == placeholders


@pytest.mark.parametrize(
    ("parts", "ports"),
    [
        ({}, True),
        ({"domain": {"machine": {"type": "pc-q35-rhel9.6.0"}}}, True),
        ({"domain": {"machine": {"type": "pc"}}}, False),
        ({"spec": {"architecture": "arm64"}, "domain": {"machine": {"type": "virt-7.2"}}}, True),
        ({"spec": {"architecture": "s390x"}}, False),
        ({"annotations": {"kubevirt.io/placePCIDevicesOnRootComplex": "true"}}, False),
    ],
)
def test_only_pcie_machines_have_ports(parts: dict[str, Any], ports: bool) -> None:
    assert has_ports(vmi(**parts)) is ports
    assert ports or nics(1, **parts) == 0


@pytest.mark.parametrize(
    ("in_use", "gib", "free"), [(0, 1, 8), (4, 1, 4), (7, 2, 3), (20, 1, 3), (4, 3, 12), (20, 4, 6)]
)
def test_large_guests_get_more(in_use: int, gib: int, free: int) -> None:
    assert free_port_count(in_use, gib << 30) == free


def test_placeholders_come_after_the_nics() -> None:
    devices = ElementTree.fromstring("<devices><emulator/><interface/><interface/><disk/></devices>")
    add_placeholders(devices, 2)
    targets = [i.find("target") for i in devices.findall("interface")]
    assert [None if t is None else t.get("dev") for t in targets] == [None, None, "placeholder-0", "placeholder-1"]
    assert devices[-1].tag == "disk"


def defined(memory: str = "<memory unit='KiB'>262144</memory>") -> Element:
    return ElementTree.fromstring(
        f"""<domain>{memory}<devices>
        <controller type='pci' index='0' model='pcie-root'/>
        <controller type='pci' index='1' model='pcie-root-port'><target chassis='1' port='0x10'/></controller>
        <controller type='pci' index='2' model='pcie-root-port'/>
        <controller type='pci' index='3' model='pcie-root-port'/>
        <controller type='scsi' index='0'><address type='pci' bus='0x02' slot='0x00'/></controller>
        <interface><target dev='kvt0'/><address type='pci' bus='0x01' slot='0x00'/></interface>
        <interface><target dev='placeholder-0'/><address type='pci' bus='0x03' slot='0x00'/></interface>
        <disk><address type='drive' bus='0'/></disk>
        <video><address type='pci' bus='0x00' slot='0x01'/></video>
        </devices></domain>"""
    )


def test_placeholders_leave_their_ports_and_more_are_added() -> None:
    settled = settle(defined())
    ports = settled.findall("devices/controller[@model='pcie-root-port']")
    assert len(settled.findall("devices/interface")) == 1
    # Three devices are in use, so five ports stay free; one of them was the placeholder's.
    assert [port.get("index") for port in ports] == ["1", "2", "3", "4", "5", "6", "7"]


def test_a_guest_cannot_throw_out_what_is_no_nic() -> None:
    targets = {
        port.get("index"): port.find("target") for port in settle(defined()).findall("devices/controller[@type='pci']")
    }
    assert targets["2"] is not None
    assert targets["2"].get("hotplug") == "off"
    assert targets["1"] is not None
    assert targets["1"].get("hotplug") is None


def test_ports_end_at_the_last_bus() -> None:
    domain = defined("<memory unit='GiB'>64</memory>")
    devices = domain.find("devices")
    assert devices is not None
    devices.append(ElementTree.fromstring("<controller type='pci' index='30' model='pcie-root-port'/>"))
    indices = [c.get("index") for c in settle(domain).findall("devices/controller[@type='pci']")]
    assert indices[-1] == "31"


def test_a_document_without_devices_is_left_alone() -> None:
    assert len(settle(ElementTree.fromstring("<domain/>"))) == 0
