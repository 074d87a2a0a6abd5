"""Decisions of a migration: verdicts on samples, disks to copy, the target's description, who may migrate."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from kvtui.api.kubevirt.domain import Disk, DiskTarget, Filesystem, FilesystemVirtiofs, Interface, InterfaceBridge
from kvtui.api.kubevirt.vmi import (
    CloudInitNoCloudSource,
    ContainerDiskSource,
    EmptyDiskSource,
    PersistentVolumeClaimInfo,
    PersistentVolumeClaimVolumeSource,
    VirtualMachineInstance,
    VMIMConfigurationOptions,
    Volume,
    VolumeStatus,
)
from kvtui.node import migratable
from kvtui.node.hypervisor import JobKind, JobStats
from kvtui.node.migration.monitor import Verdict, Watch, judge, progress, rules
from kvtui.node.migration.xml import TargetFacts, TargetNic, disks_to_copy, for_target, has_shared_writable
from tests.node.builders import running_status, vmi

GIB = 2**30


def sample(remaining: int) -> JobStats:
    return JobStats(kind=JobKind.MIGRATION_OUT, active=True, data_remaining=remaining)


def watch(**options: Any) -> Watch:
    return Watch.start(rules(VMIMConfigurationOptions(**options), GIB, 0))


def test_a_guest_of_one_gibibyte_gets_three_hundred_seconds() -> None:
    assert watch().deadline == 300


def test_a_migration_that_advances_is_left_alone() -> None:
    state = watch()
    for second in range(250):
        state, verdict, _ = judge(state, sample(1000 - second), float(second))
        assert verdict is Verdict.GO_ON


def test_a_migration_without_progress_is_given_up() -> None:
    state, verdict, _ = judge(watch(), sample(10), 1.0)
    assert verdict is Verdict.GO_ON
    state, verdict, words = judge(state, sample(10), 152.0)
    assert verdict is Verdict.ABORT
    assert "stuck" in words
    endless = watch(progress_timeout=0, completion_timeout_per_gi_b=0)
    assert judge(endless, sample(10), 10_000.0)[1] is Verdict.GO_ON


def test_a_late_migration_is_given_up_or_forced_as_allowed() -> None:
    late = 301.0

    def verdict(**options: Any) -> tuple[Watch, Verdict]:
        state, found, _ = judge(watch(progress_timeout=0, **options), sample(1), late)
        return state, found

    assert verdict()[1] is Verdict.ABORT
    state, found = verdict(allow_post_copy=True)
    assert found is Verdict.POST_COPY
    assert judge(state, sample(1), 9999.0)[1] is Verdict.GO_ON
    state, found = verdict(allow_workload_disruption=True)
    assert found is Verdict.PAUSE
    assert judge(state, sample(1), 599.0)[1] is Verdict.GO_ON
    assert judge(state, sample(1), 601.0)[1] is Verdict.ABORT


def test_what_is_published_of_a_sample() -> None:
    found = progress(JobStats(data_total=10, data_remaining=4, memory_rate=5), "PreCopy", "now")
    assert (found["total"], found["remaining"], found["rate"], found["mode"]) == (10, 4, 5, "PreCopy")


def claim(name: str = "root") -> Volume:
    return Volume(name=name, persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=f"{name}-claim"))


def info(*modes: str) -> list[VolumeStatus]:
    return [VolumeStatus(name="root", persistent_volume_claim_info=PersistentVolumeClaimInfo(access_modes=list(modes)))]


DOMAIN = """
<domain><devices>
  <disk type='file' device='disk'><source file='/run/x/shared/a/disk.img'/><target dev='vda'/>
    <alias name='ua-root'/></disk>
  <disk type='file' device='disk'><source file='/run/x/vm/u/disks/i.iso'/><target dev='vdb'/><readonly/>
    <alias name='ua-init'/></disk>
  <disk type='file' device='disk'><source file='/run/x/vm/u/disks/e.qcow2'/><target dev='vdc'/>
    <alias name='ua-scratch'/></disk>
  <disk type='file' device='cdrom'><source file='/run/x/vm/u/disks/c.iso'/><target dev='sda'/><readonly/>
    <alias name='ua-cd'/></disk>
  <interface type='bridge'><mac address='02:00:00:00:00:01'/><source bridge='kvb-old'/><target dev='kvt-old'/>
    <mtu size='1500'/><alias name='ua-default'/></interface>
  <serial type='unix'><source mode='bind' path='/run/x/vm/u/s/serial0'/><log file='/run/x/vm/u/console/l'/></serial>
</devices></domain>
"""


def everything() -> VirtualMachineInstance:
    return vmi(
        volumes=[
            claim(),
            Volume(name="init", cloud_init_no_cloud=CloudInitNoCloudSource(user_data="x")),
            Volume(name="scratch", empty_disk=EmptyDiskSource(capacity="1Mi")),
            Volume(name="cd", container_disk=ContainerDiskSource(image="x")),
        ],
        status=running_status(volume_status=info("ReadWriteMany")),
    )


def test_only_disks_of_this_node_are_copied() -> None:
    assert disks_to_copy(everything(), ET.fromstring(DOMAIN)) == ["vdb", "vdc"]


def test_a_writable_disk_that_stays_in_place_needs_libvirts_trust() -> None:
    assert has_shared_writable(everything(), ET.fromstring(DOMAIN))
    assert not has_shared_writable(vmi(), ET.fromstring(DOMAIN))


def test_the_target_gets_its_own_bridges_and_paths_and_nothing_else_changes() -> None:
    domain = ET.fromstring(DOMAIN)
    nics = [TargetNic(name="default", bridge="kvb-new", tap="kvt-new", mtu=1450)]
    for_target(domain, TargetFacts(run="/run/y", nics=nics), "/run/x")
    interface = domain.find("devices/interface")
    assert interface is not None
    text = ET.tostring(domain, encoding="unicode")
    assert "/run/x/" not in text
    assert "kvb-new" in text
    assert "kvt-new" in text
    assert 'size="1450"' in text
    assert "02:00:00:00:00:01" in text


@pytest.mark.parametrize(
    ("given", "used"), [("/claims/new/vars.fd", "/claims/new/vars.fd"), ("", "/claims/old/vars.fd")]
)
def test_firmware_variables_that_persist_are_the_targets(given: str, used: str) -> None:
    domain = ET.fromstring("<domain><os><nvram>/claims/old/vars.fd</nvram></os></domain>")
    for_target(domain, TargetFacts(variables=given), "/run/x")
    assert domain.findtext("os/nvram") == used


def first(instance: VirtualMachineInstance) -> tuple[str, str | None]:
    live, _ = migratable.verdicts(instance, node="node-1", host_model=True)
    return live.status, live.reason


def test_a_guest_on_shared_storage_behind_masquerade_can_be_moved() -> None:
    shared = vmi(volumes=[claim()], status=running_status(volume_status=info("ReadWriteMany")))
    assert first(shared) == ("True", None)
    assert migratable.method(shared) == "LiveMigration"


def test_storage_of_one_node_keeps_a_guest_there() -> None:
    local = vmi(volumes=[claim()], status=running_status(volume_status=info("ReadWriteOnce")))
    assert first(local) == ("False", "DisksNotLiveMigratable")
    unknown = vmi(volumes=[claim()], status=running_status())
    assert first(unknown) == ("False", "DisksNotLiveMigratable")


def test_a_shared_file_system_keeps_a_guest_where_its_server_is() -> None:
    devices = {"filesystems": [Filesystem(name="data", virtiofs=FilesystemVirtiofs())]}
    assert first(vmi(devices=devices, status=running_status())) == ("False", "VirtIOFSNotLiveMigratable")


def test_a_bridge_to_the_pod_network_keeps_a_guest_unless_it_is_allowed() -> None:
    devices = {"interfaces": [Interface(name="default", bridge=InterfaceBridge())]}
    assert first(vmi(devices=devices, status=running_status())) == ("False", "InterfaceNotLiveMigratable")
    meta = {"annotations": {migratable.POD_BRIDGE: ""}}
    assert first(vmi(devices=devices, meta=meta, status=running_status())) == ("True", None)


@pytest.mark.parametrize(
    "volume",
    [
        Volume(name="root", container_disk=ContainerDiskSource(image="x")),
        Volume(name="root", empty_disk=EmptyDiskSource(capacity="1Mi")),
        Volume(name="root", cloud_init_no_cloud=CloudInitNoCloudSource(user_data="x")),
    ],
)
def test_disks_that_live_on_the_node_are_moved_block_by_block(volume: Volume) -> None:
    devices = {"disks": [Disk(name="root", disk=DiskTarget(bus="virtio"))]}
    instance = vmi(volumes=[volume], devices=devices, status=running_status())
    assert first(instance) == ("True", None)
    assert migratable.method(instance) == "BlockMigration"
