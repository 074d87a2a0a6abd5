"""Specs that leave out or contradict something."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.wire import evolve
from kvtui.domainxml import Context, ConversionError, convert

from .builders import UID, UUID, attributes, domain_of, only, vmi


def test_the_smallest_spec_still_has_a_console_and_an_agent() -> None:
    domain = domain_of(domain={"cpu": None, "memory": None, "machine": None, "firmware": None, "features": None})
    assert only(domain, "memory").text == "0"
    assert attributes(domain, "os/type") == {"arch": "x86_64"}
    assert domain.find("sysinfo/system/entry[@name='uuid']") is None
    assert domain.find("devices/serial") is not None
    assert domain.find("devices/channel") is not None
    assert domain.find("features/vmport") is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"domain": {"firmware": {"uuid": "\x01"}}}, "a character that XML does not allow"),
        ({"domain": {"cpu": None, "resources": {"limits": {"cpu": "many"}}}}, "quantities must match"),
        ({"domain": {"memory": {"guest": "lots"}}}, "quantities must match"),
        ({"domain": {"clock": {"timezone": "\ufffe"}}}, "a character that XML does not allow"),
    ],
)
def test_values_that_are_none_are_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        domain_of(**parts)


@pytest.mark.parametrize("part", ["name", "namespace", "uid"])
def test_metadata_that_cannot_be_in_a_path_is_refused(part: str) -> None:
    machine = vmi()
    broken = evolve(machine, metadata=evolve(machine.metadata, **{part: "../etc"}))
    with pytest.raises(ConversionError, match="cannot name a file") as refusal:
        convert(broken, Context())
    assert refusal.value.field == f"metadata.{part}"


def test_a_clock_may_be_only_timers() -> None:
    domain = domain_of(domain={"clock": {"timer": {"hpet": {"present": False, "tickPolicy": "delay"}}}})
    assert attributes(domain, "clock") == {}
    assert attributes(domain, "clock/timer") == {"name": "hpet", "present": "no", "tickpolicy": "delay"}


def test_an_empty_block_size_asks_for_nothing() -> None:
    domain = domain_of(devices={"disks": [{"name": "d", "disk": {"bus": "virtio"}, "blockSize": {}}]})
    assert domain.find("devices/disk/blockio") is None


def test_an_empty_launch_security_asks_for_nothing_on_amd64() -> None:
    assert domain_of(domain={"launchSecurity": {}}).find("launchSecurity") is None


def test_an_isolated_emulator_leaves_one_shared_io_thread() -> None:
    domain = domain_of(
        Context(cpu_set=(0, 1)),
        domain={
            "cpu": {"cores": 1, "dedicatedCpuPlacement": True, "isolateEmulatorThread": True},
            "ioThreadsPolicy": "auto",
            "resources": {"requests": {"cpu": "8"}},
        },
        devices={"disks": [{"name": f"d{n}", "disk": {"bus": "virtio"}} for n in range(3)]},
    )
    assert only(domain, "iothreads").text == "1"
    assert attributes(domain, "cputune/iothreadpin") == {"iothread": "1", "cpuset": "1"}


def test_an_unknown_io_thread_policy_still_has_one_thread() -> None:
    domain = domain_of(domain={"ioThreadsPolicy": "new"}, devices={"disks": [{"name": "d", "disk": {"bus": "virtio"}}]})
    assert only(domain, "iothreads").text == "1"


def test_nothing_is_mirrored_of_a_node_that_reports_no_cells() -> None:
    domain = domain_of(
        Context(cpu_set=(0,)),
        domain={"cpu": {"dedicatedCpuPlacement": True, "numa": {"guestMappingPassthrough": {}}}},
    )
    assert domain.find("numatune") is None


def test_an_explicit_address_is_kept_on_the_root_complex() -> None:
    disks = [
        {"name": "a", "disk": {"bus": "virtio", "pciAddress": "0000:00:09.0"}},
        {"name": "b", "disk": {"bus": "virtio"}},
    ]
    domain = domain_of(
        devices={"disks": disks, "inputs": [{"name": "t", "type": "tablet", "bus": "virtio"}]},
        annotations={"kubevirt.io/placePCIDevicesOnRootComplex": "true"},
    )
    slots = [address.get("slot") for address in domain.findall("devices/disk/address")]
    assert slots == ["0x09", "0x05"]
    assert attributes(domain, "devices/input/address")["slot"] == "0x06"


def test_only_claims_can_be_plugged() -> None:
    with pytest.raises(ConversionError, match="hotplug disk hp references an unsupported source"):
        domain_of(
            devices={"disks": [{"name": "hp", "disk": {"bus": "scsi"}}]},
            status={"volumeStatus": [{"name": "hp", "phase": "Ready", "hotplugVolume": {}}]},
        )


def test_identity_is_where_guests_look_for_it() -> None:
    domain = domain_of(domain={"firmware": {"uuid": UUID, "serial": "S-1"}, "chassis": {"asset": "A"}})
    entries = [entry.get("name") for entry in domain.findall("sysinfo/system/entry")]
    assert entries == ["uuid", "serial", "manufacturer", "family", "product", "sku", "version"]
    assert [entry.text or "" for entry in domain.findall("sysinfo/chassis/entry")] == ["", "", "", "A", ""]
    assert f"/{UID}/" in only(domain, "devices/serial/source").get("path", "")
