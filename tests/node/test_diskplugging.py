"""Disks of a running guest: which are to come, to go, to change their medium, to grow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.kubevirt.domain import CDRomTarget, Disk, DiskTarget
from kvtui.api.kubevirt.vmi import (
    DataVolumeSource,
    EmptyDiskSource,
    HotplugVolumeStatus,
    PersistentVolumeClaimInfo,
    VirtualMachineInstance,
    Volume,
    VolumeStatus,
)
from kvtui.node import status
from kvtui.node.diskplugging import drives, take_out, to_plug, to_unplug
from kvtui.node.hypervisor import Affect, DomainId, HypervisorRefused, XmlKind
from kvtui.node.observe import LiveDomain, parse, read
from kvtui.node.state import Record
from kvtui.node.volumes import growth
from tests.fakes.hypervisor import FakeHypervisor
from tests.node.builders import UUID, running_status, vmi

MIB = 2**20
ROOT = Volume(name="root", empty_disk=EmptyDiskSource(capacity="8Mi"))
DATA = Volume(name="data", data_volume=DataVolumeSource(name="data", hotpluggable=True))
DATA_DISK = Disk(name="data", disk=DiskTarget(bus="scsi"))
DRIVE = Disk(name="drive", cdrom=CDRomTarget(bus="sata"))
MEDIUM = Volume(name="drive", data_volume=DataVolumeSource(name="iso", hotpluggable=True))


def live(*disks: str) -> LiveDomain:
    return read(parse(f"<domain><devices>{''.join(disks)}</devices></domain>"))


def a_disk(name: str, source: str = "/x.img", device: str = "disk") -> str:
    medium = f"<source file='{source}'/>" if source else ""
    return f"<disk device='{device}'>{medium}<target dev='sd{name[0]}'/><alias name='ua-{name}'/></disk>"


def guest(*volumes: Volume, disks: tuple[Disk, ...] = (), phase: str = "") -> VirtualMachineInstance:
    entries = [
        VolumeStatus(name=v.name, phase=phase, hotplug_volume=HotplugVolumeStatus())
        for v in volumes
        if v.data_volume is not None and phase
    ]
    shown = [Disk(name="root", disk=DiskTarget(bus="virtio")), *disks]
    return vmi(volumes=list(volumes), devices={"disks": shown}, status=running_status(volume_status=entries))


@pytest.mark.parametrize(
    ("phase", "plugged"),
    [("", []), ("Pending", []), ("Bound", []), ("AttachedToNode", ["data"]), ("Ready", ["data"])],
)
def test_a_volume_is_plugged_once_it_can_be_reached(phase: str, plugged: list[str]) -> None:
    instance = guest(ROOT, DATA, disks=(DATA_DISK,), phase=phase)
    assert to_plug(instance, live(a_disk("root"))) == plugged
    assert to_plug(instance, live(a_disk("root"), a_disk("data"))) == []


def test_a_permanent_volume_is_never_plugged() -> None:
    assert to_plug(guest(ROOT), live()) == []


def test_a_disk_that_the_spec_has_lost_goes_whoever_plugged_it() -> None:
    there = live(a_disk("root"), a_disk("data"), "<disk device='disk'><target dev='vdz'/></disk>")
    assert [d.name for d in to_unplug(guest(ROOT), there)] == ["data"]
    assert to_unplug(guest(ROOT, DATA, disks=(DATA_DISK,)), there) == []


def test_a_drive_stays_when_its_medium_goes() -> None:
    there = live(a_disk("root"), a_disk("drive", device="cdrom"))
    assert to_unplug(guest(ROOT, disks=(DRIVE,)), there) == []
    assert [d.name for d in drives(guest(ROOT, disks=(DRIVE,)), there)] == ["drive"]


@pytest.mark.parametrize(("phase", "ready"), [("Bound", False), ("AttachedToNode", True), ("Ready", True)])
def test_a_medium_is_looked_at_once_it_can_be_reached(phase: str, ready: bool) -> None:
    instance = guest(ROOT, MEDIUM, disks=(DRIVE,), phase=phase)
    assert bool(drives(instance, live(a_disk("root"), a_disk("drive", "", "cdrom")))) is ready


def test_an_empty_drive_holds_no_volume() -> None:
    there = live(a_disk("root"), a_disk("drive", "", "cdrom"))
    assert there.targets == {"root": "sdr"}


def test_a_start_waits_until_plugged_volumes_are_mounted() -> None:
    waiting = guest(ROOT, DATA, disks=(DATA_DISK,), phase="Bound")
    assert status.unmounted(waiting) == ["data"]
    assert status.mounted(waiting) == waiting.status
    reachable = guest(ROOT, DATA, disks=(DATA_DISK,), phase="AttachedToNode")
    after = status.mounted(reachable)
    assert [(v.phase, v.reason) for v in after.volume_status] == [("MountedToPod", "VolumeMountedToPod")]
    assert status.unmounted(guest(ROOT, DATA, disks=(DATA_DISK,), phase="MountedToPod")) == []


def test_each_new_phase_of_a_plugged_volume_is_told_once() -> None:
    def entry(phase: str, reason: str) -> VolumeStatus:
        return VolumeStatus(
            name="data", phase=phase, reason=reason, message=phase, hotplug_volume=HotplugVolumeStatus()
        )

    ready, gone = entry("Ready", "VolumeReady"), entry("UnMountedFromPod", "VolumeUnMountedFromPod")
    assert status.volume_news([entry("AttachedToNode", "x")], [ready]) == [("VolumeReady", "Ready")]
    assert status.volume_news([ready], [ready]) == []
    assert status.volume_news([ready], [gone]) == [
        ("VolumeUnMountedFromPod", "UnMountedFromPod"),
        ("VolumeUnplugged", "Volume data has been unplugged"),
    ]


def info(capacity: str, overhead: str = "0") -> PersistentVolumeClaimInfo:
    return PersistentVolumeClaimInfo(capacity={"storage": capacity}, filesystem_overhead=overhead)


def image(path: Path, size: int) -> Path:
    path.touch()
    os.truncate(path, size)
    return path


@pytest.mark.parametrize(
    ("capacity", "overhead", "size"),
    [("8Mi", "0", 0), ("16Mi", "0", 16 * MIB), ("16Mi", "0.055", 15 * MIB), ("4Mi", "0", 0)],
)
def test_a_disk_grows_with_its_claim_and_never_shrinks(tmp_path: Path, capacity: str, overhead: str, size: int) -> None:
    disk = image(tmp_path / "disk.img", 8 * MIB)
    assert growth.wanted_size(str(disk), info(capacity, overhead)) == size
    assert growth.wanted_size(str(tmp_path / "gone"), info(capacity)) == 0


async def test_an_image_with_the_header_of_another_format_grows_as_what_it_is(tmp_path: Path) -> None:
    disk = image(tmp_path / "disk.img", 8 * MIB)
    with disk.open("r+b") as file:
        file.write(b"QFI\xfb\0\0\0\3")
    await growth.at_start(disk, info("16Mi"))
    assert disk.stat().st_size == 16 * MIB
    assert disk.read_bytes()[:8] == b"QFI\xfb\0\0\0\3"


async def test_an_image_that_cannot_grow_stays_as_it_is(tmp_path: Path) -> None:
    await growth.at_start(tmp_path / "none", info("16Mi"))
    disk = image(tmp_path / "disk.img", 8 * MIB)
    await growth.at_start(disk, None)
    assert disk.stat().st_size == 8 * MIB


@pytest.mark.parametrize(
    ("volume", "grows"),
    [
        ({"data_volume": DataVolumeSource(name="d")}, True),
        ({"empty_disk": EmptyDiskSource(capacity="1Gi")}, False),
    ],
)
def test_only_disks_on_claims_grow(volume: dict[str, Any], grows: bool) -> None:
    instance = guest(ROOT, Volume(name="d", **volume))
    entry = VolumeStatus(name="d", persistent_volume_claim_info=info("16Mi"))
    instance = vmi(volumes=instance.spec.volumes, status=running_status(volume_status=[entry]))
    found = [disk.name for disk, _ in growth.growing(instance, live(a_disk("root"), a_disk("d")).disks)]
    assert found == (["d"] if grows else [])


@pytest.mark.parametrize(("defined", "affect"), [(True, Affect.BOTH), (False, Affect.LIVE)])
async def test_a_guest_that_keeps_a_disk_is_asked_again(defined: bool, affect: Affect) -> None:
    class Slow(FakeHypervisor):
        def __init__(self) -> None:
            super().__init__()
            self.asked: list[Affect] = []

        async def xml(self, domain: DomainId, kind: XmlKind = XmlKind.LIVE) -> str:
            return f"<domain><devices>{a_disk('data') if defined else ''}</devices></domain>"

        async def detach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None:
            self.asked.append(affect)
            raise HypervisorRefused("Device virtio-disk1 is already in the process of unplug")

    guest_keeps = Slow()
    await take_out(guest_keeps, Record(domain=UUID), parse(a_disk("data")))
    assert guest_keeps.asked == [affect]
