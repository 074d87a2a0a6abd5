"""Devices of the node in the guest."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.domainxml import Cluster, Context, ConversionError, HostCell
from kvtui.domainxml.hostdevices import check_claims

from .builders import Element, attributes, domain_of, only, vmi

GPU = {"name": "g", "deviceName": "example.com/GPU"}
MDEV = {"MDEV_PCI_RESOURCE_EXAMPLE_COM_GPU": "aa618089-8b16-4d01-a136-25a0f3c73123"}


def devices_of(environment: dict[str, str], **devices: Any) -> list[Element]:
    return domain_of(Context(device_env=environment), devices=devices).findall("devices/hostdev")


@pytest.mark.parametrize(
    ("options", "display", "ramfb"),
    [
        (None, "on", "on"),
        ({"display": {}}, "on", "on"),
        ({"display": {"enabled": False}}, None, None),
        ({"display": {"ramFB": {"enabled": False}}}, "on", None),
        ({}, None, None),
    ],
)
def test_a_virtual_gpu_is_a_display_unless_it_says_otherwise(
    options: dict[str, Any] | None, display: str | None, ramfb: str | None
) -> None:
    (device,) = devices_of(MDEV, gpus=[{**GPU, "virtualGPUOptions": options}])
    assert (device.get("display"), device.get("ramfb")) == (display, ramfb)


def test_every_address_is_given_out_once_even_under_two_names() -> None:
    environment = {"PCI_RESOURCE_A": "0000:01:00.0,0000:02:00.0,", "PCI_RESOURCE_B": "0000:01:00.0,0000:03:00.0"}
    found = devices_of(environment, hostDevices=[{"name": "x", "deviceName": "a"}, {"name": "y", "deviceName": "b"}])
    assert [only(device, "source/address").get("bus") for device in found] == ["0x01", "0x03"]


def test_a_usb_device_brings_its_controller() -> None:
    context = Context(device_env={"USB_RESOURCE_KEY": "1:4"})
    domain = domain_of(context, devices={"hostDevices": [{"name": "k", "deviceName": "key"}]})
    assert attributes(domain, "devices/hostdev/source/address") == {"bus": "1", "device": "4"}
    assert attributes(domain, "devices/hostdev/alias") == {"name": "ua-usb-host-k"}
    assert only(domain, "devices/controller[@type='usb']").get("model") == "qemu-xhci"


@pytest.mark.parametrize(
    ("environment", "devices", "message"),
    [
        ({}, {"gpus": [GPU]}, "number of device plugin GPU/s do not match"),
        ({}, {"hostDevices": [GPU]}, "number of generic host-devices do not match"),
        ({"PCI_RESOURCE_EXAMPLE_COM_GPU": "x"}, {"gpus": [GPU]}, "failed to create GPU host-devices: failed to create"),
        ({"USB_RESOURCE_EXAMPLE_COM_GPU": "1:2:3"}, {"hostDevices": [GPU]}, "Bad value: 1:2:3"),
    ],
)
def test_missing_and_wrong_addresses_are_told(
    environment: dict[str, str], devices: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        devices_of(environment, **devices)


def test_a_network_function_needs_multus_first() -> None:
    interface = {"name": "fast", "sriov": {}, "pciAddress": "0000:81:00.0", "bootOrder": 2}
    reported = {"interfaces": [{"name": "fast", "infoSource": "multus-status"}]}
    waiting = domain_of(devices={"interfaces": [interface]})
    assert waiting.find("devices/hostdev") is None
    assert waiting.find("devices/interface") is None
    context = Context(sriov_addresses={"fast": "0000:3b:02.1"})
    domain = domain_of(context, devices={"interfaces": [interface]}, status=reported)
    device = only(domain, "devices/hostdev")
    assert attributes(device, "source/address")["function"] == "0x1"
    assert attributes(device, "address")["bus"] == "0x81"
    assert attributes(device, "boot") == {"order": "2"}
    leaving = domain_of(context, devices={"interfaces": [{**interface, "state": "absent"}]}, status=reported)
    assert leaving.find("devices/hostdev") is None


REPORTED = {"interfaces": [{"name": "fast", "infoSource": "multus-status"}]}


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (Context(), "resource for SR-IOV network fast does not exist"),
        (Context(sriov_addresses={"slow": "0000:3b:02.1"}), 'PCI-Address for SR-IOV network "fast" not found'),
        (Context(device_env={"KUBEVIRT_RESOURCE_NAME_fast": "x/vf"}), "resource x/vf does not exist"),
    ],
)
def test_a_network_function_without_an_address_is_told(context: Context, message: str) -> None:
    with pytest.raises(ConversionError, match=f"failed to create hostdevice for fast: .*{message}"):
        domain_of(context, devices={"interfaces": [{"name": "fast", "sriov": {}}]}, status=REPORTED)


def test_a_network_function_may_come_from_a_device_plugin() -> None:
    environment = {"KUBEVIRT_RESOURCE_NAME_fast": "intel.com/vf", "PCIDEVICE_INTEL_COM_VF": "0000:3b:02.0"}
    domain = domain_of(
        Context(device_env=environment),
        devices={"interfaces": [{"name": "fast", "sriov": {}}]},
        status={"interfaces": [{"name": "fast", "infoSource": "domain, multus-status"}]},
    )
    assert attributes(domain, "devices/hostdev/source/address")["bus"] == "0x3b"


def test_devices_sit_on_a_bus_of_their_numa_cell() -> None:
    context = Context(
        cpu_set=(0, 1),
        numa=(HostCell(0, ((0,),)), HostCell(1, ((1,),))),
        device_env={"PCI_RESOURCE_EXAMPLE_COM_GPU": "0000:17:00.0,0000:18:00.0,0000:99:00.0"},
        device_cells={"0000:17:00.0": 1, "0000:18:00.0": 1, "0000:99:00.0": 5},
        cluster=Cluster(gates=frozenset({"PCINUMAAwareTopology"})),
    )
    domain = domain_of(
        context,
        domain={
            "cpu": {"cores": 2, "dedicatedCpuPlacement": True, "numa": {"guestMappingPassthrough": {}}},
            "memory": {"guest": "64Mi", "hugepages": {"pageSize": "2Mi"}},
        },
        devices={"gpus": [{**GPU, "name": name} for name in "abc"]},
    )
    expander = only(domain, "devices/controller[@model='pcie-expander-bus']")
    assert only(expander, "target").get("busNr") == "253"
    assert only(expander, "target/node").text == "1"
    assert len(domain.findall("devices/controller[@model='pcie-root-port']")) == 2
    placed = [device.find("address") is not None for device in domain.findall("devices/hostdev")]
    assert placed == [True, True, False]


@pytest.mark.parametrize("kind", ["gpus", "hostDevices"])
def test_a_device_out_of_a_claim_is_not_left_out_in_silence(kind: str) -> None:
    claimed = {"name": "d", "claimName": "c", "requestName": "r"}
    machine = vmi(devices={kind: [{"name": "p", "deviceName": "example.com/x"}, claimed]})
    with pytest.raises(ConversionError, match="resource claim c was handed over for d") as refusal:
        check_claims(machine.spec.domain.devices)
    assert refusal.value.field == f"spec.domain.devices.{kind}[1].claimName"
    check_claims(vmi(devices={kind: [{"name": "p", "deviceName": "example.com/x"}]}).spec.domain.devices)
