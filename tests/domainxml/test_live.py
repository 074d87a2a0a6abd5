"""Domains read back from libvirt."""

from __future__ import annotations

import pytest

from kvtui.domainxml import Bridged, Context, ConversionError, DiskFacts, disk_xml, interface_xml, live
from kvtui.domainxml.hotplug import memory_device_xml, resized_memory
from kvtui.errors import InvalidObject

from . import golden_files
from .builders import NAT, attributes, only, vmi

RUNNING = """
<domain type='kvm' id='3'>
  <name>demo_web</name><uuid>1d7f4a0c-2f6b-5c7e-8a9b-0123456789ab</uuid>
  <memory unit='KiB'>2097152</memory><currentMemory unit='MiB'>1024</currentMemory>
  <vcpu current='2'>8</vcpu>
  <os><type machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <disk type='file' device='cdrom'><driver type='raw'/><target dev='sda' bus='sata'/><readonly/>
      <alias name='ua-tray'/></disk>
    <disk type='block' device='disk'><source dev='/dev/x'/><target dev='vda' bus='virtio'/><serial>S</serial>
      <alias name='ua-root'/></disk>
    <interface type='bridge'><mac address='02:AA:00:00:00:01'/><source bridge='b'/><target dev='t'/>
      <model type='virtio'/><driver queues='4'/><link state='down'/><alias name='ua-default'/></interface>
    <interface type='user'><mac address='02:bb:00:00:00:01'/><alias name='net1'/></interface>
    <hostdev type='pci'><alias name='ua-gpu-g'/></hostdev>
    <memory model='virtio-mem'><target><size unit='KiB'>4194304</size><requested unit='KiB'>2048</requested>
      <current unit='KiB'>1024</current></target><alias name='ua-virtio-mem'/><address type='pci' bus='0x07'/></memory>
    <serial type='unix'><source path='/s/serial'/><log file='/l'/></serial>
    <channel type='unix'><target name='org.qemu.guest_agent.0' state='connected'/></channel>
    <graphics type='spice'/><graphics type='vnc' socket='/s/vnc'/>
  </devices>
</domain>"""


def test_a_running_domain_is_a_set_of_devices_by_name() -> None:
    domain = live.parse(RUNNING)
    assert (domain.name, domain.machine, domain.emulated, domain.owner) == ("demo_web", "pc-q35-7.2", False, None)
    assert (domain.memory, domain.current_memory) == (2 << 30, 1 << 30)
    assert (domain.vcpus, domain.max_vcpus) == (2, 8)
    root, tray = domain.disk("root"), domain.disk_at("sda")
    assert root is not None
    assert (root.source, root.bus, root.serial, root.readonly) == ("/dev/x", "virtio", "S", False)
    assert tray is not None
    assert (tray.name, tray.source, tray.device, tray.readonly) == ("tray", "", "cdrom", True)
    nic, plain = domain.interface("default"), domain.interface_with("02:BB:00:00:00:01")
    assert nic is not None
    assert (nic.device, nic.bridge, nic.queues, nic.link_up) == ("t", "b", 4, False)
    assert plain is not None
    assert (plain.name, plain.queues, plain.link_up) == ("", 1, True)
    assert [device.name for device in domain.host_devices] == ["gpu-g"]
    assert domain.memory_devices[0].current == 1 << 20
    assert (domain.vnc_socket, domain.serial_socket, domain.serial_log) == ("/s/vnc", "/s/serial", "/l")
    assert domain.agent_connected
    assert domain.disk("other") is None
    assert domain.disk_at("vdz") is None
    assert domain.interface("other") is None
    assert domain.interface_with("00:00:00:00:00:00") is None


@pytest.mark.parametrize("text", ["", "<domain", "<network/>", "not xml"])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(InvalidObject):
        live.parse(text)


def test_an_empty_domain_has_nothing() -> None:
    domain = live.parse("<domain><vcpu>x</vcpu></domain>")
    assert (domain.memory, domain.vcpus, domain.vnc_socket, domain.agent_connected) == (0, 0, "", False)


@pytest.mark.parametrize("name", golden_files.NAMES)
def test_what_we_define_reads_back_as_what_was_asked(name: str) -> None:
    golden = golden_files.load(name)
    domain = live.parse((golden_files.DIRECTORY / f"{name}.xml").read_text())
    devices = golden.vmi.spec.domain.devices
    assert domain.owner == golden.placement.ownership
    assert [disk.name for disk in domain.disks] == [disk.name for disk in devices.disks]
    names = {interface.name for interface in domain.interfaces} - {""}
    assert names == {i.name for i in devices.interfaces if i.state != "absent" and i.sriov is None}


def test_a_disk_to_plug_is_the_one_a_start_would_make() -> None:
    spec = {"volumes": [{"name": "hp", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}]}
    machine = vmi(
        devices={"disks": [{"name": "hp", "disk": {"bus": "scsi"}, "serial": "hp"}]},
        spec=spec,
        status={"volumeStatus": [{"name": "hp", "target": "sdc", "phase": "AttachedToNode", "hotplugVolume": {}}]},
    )
    disk = disk_xml(machine, Context(block_volumes=frozenset({"hp"})), "hp", DiskFacts(direct_io=True, allocated=True))
    assert attributes(disk, "source") == {"dev": "/var/run/kubevirt/hotplug-disks/hp"}
    assert attributes(disk, "address") == {"type": "drive", "controller": "0", "bus": "0", "unit": "2"}
    assert attributes(disk, "driver")["io"] == "native"
    with pytest.raises(ConversionError, match="has no disk other"):
        disk_xml(machine, Context(), "other")


def test_an_interface_to_plug_comes_with_its_attachment() -> None:
    machine = vmi(devices=NAT)
    interface = interface_xml(machine, Context(), "default", Bridged("b", "t", "02:00:00:00:00:01", 1450))
    assert interface.get("type") == "bridge"
    with pytest.raises(ConversionError, match="has no interface other to plug"):
        interface_xml(machine, Context(), "other", Bridged("b", "t"))


def test_memory_grows_by_its_live_element() -> None:
    device = memory_device_xml(size=4 << 30, requested=0, block=2 << 20)
    assert only(device, "target/block").text == str(2 << 20)
    running = live.parse(RUNNING).memory_devices[0].element
    changed = resized_memory(running, 1 << 30)
    assert only(changed, "target/requested").text == str(1 << 30)
    assert changed.find("target/current") is None
    assert attributes(changed, "address") == {"type": "pci", "bus": "0x07"}
    assert only(running, "target/requested").text == "2048"
    with pytest.raises(ConversionError):
        resized_memory(only(live.parse(RUNNING).element, "os"), 1)
