"""Disks: names, sources, drivers, threads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.domainxml import BlockSizes, Context, ConversionError, UnsupportedDevice, matching_sources
from kvtui.domainxml.disknames import assign, device_index, device_name
from kvtui.domainxml.disks import matched

from .builders import Element, attributes, domain_of, only, vmi


def disk_of(disk: dict[str, Any], volume: dict[str, Any], context: Context | None = None, **parts: Any) -> Element:
    domain = domain_of(
        context, devices={"disks": [{"name": "d", **disk}]}, spec={"volumes": [{"name": "d", **volume}]}, **parts
    )
    return only(domain, "devices/disk")


@given(st.integers(0, 18_000))
def test_names_and_indices_are_each_others_inverse(index: int) -> None:
    assert device_index(device_name("sd", index), "sd") == index


@pytest.mark.parametrize("name", ["", "sd", "vda", "sd1", "sdA", "sdaaaa"])
def test_what_is_no_name_of_ours_has_no_index(name: str) -> None:
    assert device_index(name, "sd") is None


def test_known_targets_are_kept_and_the_rest_fill_the_gaps() -> None:
    names = assign([("a", "vd"), ("b", "vd"), ("c", "sd"), ("d", "vd")], {"d": "vda", "b": "vdc", "c": "vdb"})
    assert names == {"a": ("vdb", 1), "b": ("vdc", 2), "c": ("sda", 0), "d": ("vda", 0)}


@pytest.mark.parametrize(
    ("volume", "file"),
    [
        ({"cloudInitConfigDrive": {}}, "/var/run/kubevirt-ephemeral-disks/cloud-init-data/demo/web/configdrive.iso"),
        ({"configMap": {"name": "x"}}, "/var/run/kubevirt-private/config-map-disks/d.iso"),
        ({"downwardAPI": {}}, "/var/run/kubevirt-private/downwardapi-disks/d.iso"),
        ({"serviceAccount": {}}, "/var/run/kubevirt-private/service-account-disk/service-account.iso"),
        ({"sysprep": {}}, "/var/run/kubevirt-private/sysprep-disks/d.iso"),
    ],
)
def test_configuration_volumes_are_images_without_discard_in_a_drive(volume: dict[str, Any], file: str) -> None:
    disk = disk_of({"cdrom": {"bus": "sata"}}, volume)
    assert attributes(disk, "source") == {"file": file}
    assert attributes(disk, "driver") == {"name": "qemu", "type": "raw", "error_policy": "stop"}


def test_a_raw_image_stays_raw_below_its_overlay() -> None:
    context = Context(container_disk_formats={"d": "raw"})
    disk = disk_of({"disk": {"bus": "virtio"}}, {"containerDisk": {"image": "x"}}, context)
    assert attributes(disk, "backingStore/format") == {"type": "raw"}
    assert attributes(disk, "driver")["type"] == "qcow2"


def test_an_ephemeral_block_volume_is_the_backing_device() -> None:
    volume = {"ephemeral": {"persistentVolumeClaim": {"claimName": "c"}}}
    disk = disk_of({"disk": {"bus": "virtio"}}, volume, Context(block_volumes=frozenset({"d"})))
    assert only(disk, "backingStore").get("type") == "block"
    assert attributes(disk, "backingStore/source") == {"dev": "/dev/d", "name": "d"}


@pytest.mark.parametrize(("block", "data"), [(False, "file"), (True, "dev")])
def test_tracked_blocks_go_through_an_overlay(block: bool, data: str) -> None:
    context = Context(changed_block_tracking={"d": "/cbt/d.qcow2"}, block_volumes=frozenset({"d"} if block else ()))
    disk = disk_of({"disk": {"bus": "virtio"}}, {"persistentVolumeClaim": {"claimName": "c"}}, context)
    assert only(disk, "source").get("file") == "/cbt/d.qcow2"
    assert attributes(disk, "driver")["type"] == "qcow2"
    assert data in only(disk, "source/dataStore/source").attrib


def test_a_reservation_is_kept_by_the_helper() -> None:
    context = Context(block_volumes=frozenset({"d"}))
    lun = {"lun": {"bus": "scsi", "reservation": True}}
    disk = disk_of(lun, {"persistentVolumeClaim": {"claimName": "c"}}, context)
    assert attributes(disk, "source/reservations") == {"managed": "no", "migration": "yes"}
    assert attributes(disk, "source/reservations/source")["mode"] == "client"


def test_downward_metrics_are_a_readonly_disk_with_a_plain_driver() -> None:
    disk = disk_of({"disk": {"bus": "virtio"}, "cache": "none"}, {"downwardMetrics": {}})
    assert disk.get("model") == "virtio-non-transitional"
    assert attributes(disk, "driver") == {"name": "qemu", "type": "raw", "error_policy": "stop"}
    assert disk.find("readonly") is not None


@pytest.mark.parametrize(
    ("phase", "attached"), [("Bound", False), ("AttachedToNode", False), ("MountedToPod", True), ("Ready", True)]
)
def test_a_plugged_volume_appears_once_it_is_mounted(phase: str, attached: bool) -> None:
    domain = domain_of(
        devices={"disks": [{"name": "root", "disk": {"bus": "virtio"}}, {"name": "hp", "disk": {"bus": "scsi"}}]},
        spec={
            "volumes": [
                {"name": "root", "emptyDisk": {"capacity": "1Gi"}},
                {"name": "hp", "dataVolume": {"name": "hp", "hotpluggable": True}},
            ]
        },
        status={
            "volumeStatus": [
                {"name": "root", "target": "vda"},
                {"name": "hp", "target": "", "phase": phase, "hotplugVolume": {}},
            ]
        },
    )
    sources = [source.get("file") for source in domain.findall("devices/disk/source")]
    assert ("/var/run/kubevirt/hotplug-disks/hp.img" in sources) is attached


@pytest.mark.parametrize(
    ("disk", "volume", "message", "field"),
    [
        ({"disk": {"bus": "fdc"}}, {"emptyDisk": {"capacity": "1"}}, "no disk can be on bus 'fdc'", ""),
        ({"disk": {"bus": "sata", "pciAddress": "0000:81:01.0"}}, {"sysprep": {}}, "not allowed for non-virtio", ""),
        ({"disk": {"bus": "virtio", "pciAddress": "81"}}, {"sysprep": {}}, "failed to parse pci address 81", ""),
        ({"disk": {"bus": "virtio"}, "errorPolicy": "panic"}, {"sysprep": {}}, "error policy panic not recognized", ""),
        (
            {"disk": {"bus": "virtio"}},
            {"memoryDump": {"claimName": "c"}},
            "references an unsupported source",
            "volumes",
        ),
        (
            {"disk": {}, "blockSize": {"matchVolume": {}}},
            {"sysprep": {}},
            r"block size detection enabled: failed to stat file /.*/d\.iso: no such file",
            "blockSize",
        ),
    ],
)
def test_what_cannot_be_a_disk_is_refused(
    disk: dict[str, Any], volume: dict[str, Any], message: str, field: str
) -> None:
    with pytest.raises(ConversionError, match=message) as refusal:
        disk_of(disk, volume)
    assert field in refusal.value.field


def test_a_floppy_is_an_unsupported_device() -> None:
    with pytest.raises(UnsupportedDevice):
        disk_of({"disk": {"bus": "fdc"}}, {"emptyDisk": {"capacity": "1"}})


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        (BlockSizes(512, 4096, 65536), (512, 4096, 65536)),
        (BlockSizes(0, 4096), (4096, 4096, 0)),
        (BlockSizes(512, 0, 700), (512, 512, 512)),
    ],
)
def test_unknown_sizes_mirror_known_ones(seen: BlockSizes, shown: tuple[int, int, int]) -> None:
    assert matched(seen) == shown


def test_block_sizes_of_the_volume_reach_the_guest() -> None:
    context = Context(block_sizes={"d": BlockSizes(512, 4096, 512)})
    disk = disk_of({"disk": {"bus": "virtio"}, "blockSize": {"matchVolume": {}}}, {"sysprep": {}}, context)
    assert attributes(disk, "blockio")["physical_block_size"] == "4096"


def test_the_files_and_devices_to_measure_are_those_of_disks_that_ask() -> None:
    match: dict[str, Any] = {"blockSize": {"matchVolume": {}}}
    machine = vmi(
        devices={
            "disks": [
                {"name": "f", "disk": {"bus": "virtio"}, **match},
                {"name": "b", "disk": {"bus": "virtio"}, "blockSize": {"matchVolume": {"enabled": True}}},
                {"name": "off", "disk": {"bus": "virtio"}, "blockSize": {"matchVolume": {"enabled": False}}},
                {"name": "own", "disk": {"bus": "virtio"}, "blockSize": {"custom": {"logical": 512, "physical": 512}}},
                {"name": "empty", "cdrom": {"bus": "sata"}, **match},
            ]
        },
        spec={
            "volumes": [
                {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("f", "b", "off", "own")
            ]
        },
    )
    found = matching_sources(machine, Context(block_volumes=frozenset({"b"})))
    assert found == {"f": "/var/run/kubevirt-private/vmi-disks/f/disk.img", "b": "/dev/b", "empty": ""}


def test_a_volume_named_like_a_path_is_refused() -> None:
    with pytest.raises(ConversionError, match="cannot name a file"):
        domain_of(
            devices={"disks": [{"name": "../x"}]}, spec={"volumes": [{"name": "../x", "emptyDisk": {"capacity": "1"}}]}
        )


@pytest.mark.parametrize(
    ("policy", "buses", "expected"),
    [
        ("shared", ["virtio", "virtio"], ["1", "1"]),
        ("auto", ["virtio", "sata", "virtio"], ["1", None, "2"]),
        (None, ["virtio*", "virtio", "virtio*"], ["2", "1", "3"]),
    ],
)
def test_threads_go_round_among_virtio_disks(policy: str | None, buses: list[str], expected: list[str | None]) -> None:
    disks = [
        {"name": f"d{n}", "disk": {"bus": bus.rstrip("*")}, "dedicatedIOThread": bus.endswith("*")}
        for n, bus in enumerate(buses)
    ]
    domain = domain_of(domain={"ioThreadsPolicy": policy}, devices={"disks": disks})
    assert [driver.get("iothread") for driver in domain.findall("devices/disk/driver")] == expected


def test_the_scsi_controller_shares_threads_with_virtio_disks() -> None:
    scsi = {"name": "s", "disk": {"bus": "scsi"}, "dedicatedIOThread": True}
    alone = domain_of(domain={"ioThreadsPolicy": "auto"}, devices={"disks": [scsi]})
    assert alone.find("devices/controller[@type='scsi']/driver") is None
    for bus in ("virtio", "scsi", "sata"):
        shared = domain_of(devices={"disks": [scsi, {"name": "o", "disk": {"bus": bus}}]})
        assert attributes(shared, "devices/controller[@type='scsi']/driver") == {"iothread": "1", "queues": "1"}
    virtio = [{"name": name, "disk": {"bus": "virtio"}} for name in ("a", "b", "c")]
    policy = {"ioThreadsPolicy": "auto", "resources": {"requests": {"cpu": "2"}}}
    turned = domain_of(domain=policy, devices={"disks": [scsi, *virtio[:2]]})
    assert attributes(turned, "devices/controller[@type='scsi']/driver")["iothread"] == "1"
    turned = domain_of(domain=policy, devices={"disks": [scsi, virtio[0], {"name": "o", "disk": {"bus": "sata"}}]})
    assert attributes(turned, "devices/controller[@type='scsi']/driver")["iothread"] == "2"


def test_an_absurd_thread_pool_is_refused() -> None:
    with pytest.raises(ConversionError, match="is not between 0 and"):
        domain_of(domain={"ioThreadsPolicy": "supplementalPool", "ioThreads": {"supplementalPoolThreadCount": 10**9}})
