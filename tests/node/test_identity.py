"""Who a guest's QEMU is, what it may use, and that no name of a user's becomes a path or a command."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.api.core.pod import Container, ContainerResources, Pod, PodSpec
from kvtui.api.kubevirt.domain import Disk, DiskTarget, Filesystem, TPMDevice
from kvtui.domainxml import ConversionError
from kvtui.errors import InvalidObject
from kvtui.node import identity, libvirt_flags
from kvtui.node import limits as shares
from kvtui.node.hypervisor import DomainId, HypervisorRefused, Owner, Share
from kvtui.node.identity import QemuUser
from kvtui.node.layout import SOCKET_PATH_MAX, DomainPaths, Layout
from kvtui.node.limits import TRANSLATION, share_of
from kvtui.node.migration.xml import TargetFacts, for_target
from kvtui.node.network.state import StateDirectory
from kvtui.node.owner import from_element, to_element
from kvtui.node.processes import Limits, run
from tests.domainxml.strategies import texts
from tests.fakes.hypervisor import FakeHypervisor
from tests.node.builders import UUID, record, vmi

COMMON = QemuUser(64055, 108)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_vms_are_two_users_far_from_everybody_elses(one: str, other: str) -> None:
    first, second = identity.user_of(one, COMMON), identity.user_of(other, COMMON)
    assert (first == second) == (one == other)
    assert 1_879_048_192 <= first.uid <= 2_147_352_575
    assert first.gid == COMMON.gid


def test_a_vm_that_shares_something_runs_as_the_common_user() -> None:
    assert identity.shares(vmi()) == ""
    assert "TPM" in identity.shares(vmi(devices={"tpm": TPMDevice()}))
    assert "file system" in identity.shares(vmi(devices={"filesystems": [Filesystem(name="a")]}))
    shared = [Disk(name="scratch", disk=DiskTarget(bus="virtio"), shareable=True)]
    assert "shared" in identity.shares(vmi(devices={"disks": shared}))


@needs_root
def test_why_vms_have_no_users_of_their_own_is_said(tmp_path: Path) -> None:
    assert identity.hindrance(COMMON, tmp_path, "") == ""
    assert "as root" in identity.hindrance(QemuUser(0, 0), tmp_path, "")
    kept = identity.settings("dynamic_ownership = 0  # ours\n")
    assert "dynamic_ownership" in identity.hindrance(COMMON, tmp_path, kept)
    assert identity.hindrance(COMMON, tmp_path, identity.settings("#dynamic_ownership = 0\n")) == ""
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_only_the_vms_own_user_passes_its_directory() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # whose parents let everybody pass
        place = Path(directory)
        (place / "disk").write_text("secret")
        (place / "disk").chmod(0o644)
        identity.admit(place, 1_900_000_001, 0o1)
        assert _may_read(place / "disk", 1_900_000_001)
        assert not _may_read(place / "disk", 1_900_000_002)


@needs_root
def test_a_vm_of_the_common_user_keeps_out_those_of_its_group_too() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        place = Path(directory)
        (place / "disk").write_text("secret")
        (place / "disk").chmod(0o644)
        identity.let_in(place, COMMON, 0o1)
        assert _may_read(place / "disk", COMMON.uid)
        assert not _may_read(place / "disk", 1_900_000_001)


def _may_read(path: Path, uid: int) -> bool:
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(COMMON.gid)
        os.setuid(uid)
        os._exit(0 if os.access(path, os.R_OK) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("label", ["+1900000007:+108", ""])
def test_a_guest_that_moves_runs_as_whom_the_target_says(label: str) -> None:
    old = "<seclabel type='static' model='dac' relabel='yes'><label>+64055:+64055</label></seclabel>"
    for source in (old, ""):
        domain = ET.fromstring(f"<domain><devices/>{source}</domain>")
        for_target(domain, TargetFacts(user=label), "/run/x")
        found = domain.findall("seclabel")
        assert [s.findtext("label") for s in found] == ([label] if label else [])
        assert all(s.attrib == {"type": "static", "model": "dac", "relabel": "yes"} for s in found)


# Names


@given(texts, texts)
def test_no_name_leads_out_of_a_vms_directory(volume: str, uid: str) -> None:
    layout = Layout(Path("/data/nodes/n"), Path("/data/shared"), Path("/run/kvtui/12345678"))
    try:
        paths = DomainPaths(directory=layout.vm(uid), images={}, volumes={}, kernel={})
        made = [paths.overlay(volume), paths.empty_disk(volume), paths.config_disk(volume, "secret")]
        made += [paths.acpi_table(volume, volume), paths.cloud_init(volume, volume), paths.virtiofs_socket(volume)]
    except (InvalidObject, ConversionError):
        return
    for path in map(Path, made):
        assert ".." not in path.parts
        assert path.parents[2] == Path("/run/kvtui/12345678/vm") or len(os.fsencode(path)) > SOCKET_PATH_MAX


@given(texts)
def test_no_volume_path_leads_out_of_the_nodes_storage(path: str) -> None:
    layout = Layout(Path("/data/nodes/n"), Path("/data/shared"), Path("/run/kvtui/12345678"))
    for text in (path, f"/data/shared/{path}", f"/data/nodes/n/storage/../{path}"):
        try:
            found = layout.volume(text)
        except InvalidObject:
            continue
        assert ".." not in found.parts
        assert found.is_relative_to("/data/shared") or found.is_relative_to("/data/nodes/n/storage")


@given(uid=texts)
def test_no_uid_leads_out_of_the_network_state(uid: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    state = StateDirectory(tmp_path_factory.getbasetemp() / "net")
    try:
        assert state.load(uid) is None
    except ValueError:
        assert not re.fullmatch("[A-Za-z0-9-]{1,64}", uid)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1))
def test_an_owner_survives_xml_whatever_it_is_called(text: str) -> None:
    owner = Owner("engine", text, text, "uid")
    assert from_element(ET.fromstring(ET.tostring(to_element(owner), encoding="unicode"))) == owner


# Limits


def launcher_with(**resources: Any) -> Pod:
    container = Container(name="compute", image="x", resources=ContainerResources(**resources))
    return Pod(spec=PodSpec(containers=[container]))


def test_a_launchers_resources_become_a_share() -> None:
    pod = launcher_with(requests={"cpu": "100m", "memory": "1Gi"}, limits={"cpu": "1500m", "memory": "1Gi"})
    assert share_of(pod, kvm=True) == Share(cpu_shares=102, cpu_limit=1500, memory_limit=2**30)
    assert share_of(pod, kvm=False).memory_limit == 2**30 + TRANSLATION
    assert share_of(launcher_with(), kvm=True) == Share()


def test_shares_become_weights_in_unified_control_groups() -> None:
    share = Share(cpu_shares=1024, cpu_limit=1500, memory_limit=2**30)
    assert libvirt_flags.share_params(share, unified=False) == (
        {"cpu_shares": 1024, "global_period": 100_000, "global_quota": 150_000},
        {"hard_limit": 2**20},
    )
    assert libvirt_flags.share_params(share, unified=True)[0]["cpu_shares"] == 39
    assert libvirt_flags.share_params(Share(), unified=True) == ({}, {})


async def test_a_host_without_control_groups_is_asked_once() -> None:
    hypervisor = FakeHypervisor()
    hypervisor.reconnect()
    domain = await hypervisor.define(f"<domain><name>a</name><uuid>{UUID}</uuid><devices/></domain>")
    await hypervisor.start(domain)
    pod = launcher_with(requests={"cpu": "1"})
    limits = shares.Limits(hypervisor, lambda _: pod, lambda: True)
    hypervisor.refusals["limit"] = HypervisorRefused("cgroup CPU controller is not mounted")
    for _ in range(2):
        await limits.sync(record(domain=DomainId(UUID)))
    assert hypervisor.fakes[domain].share == Share()
    again = shares.Limits(hypervisor, lambda _: pod, lambda: True)
    await again.sync(record(domain=DomainId(UUID)))
    assert hypervisor.fakes[domain].share == Share(cpu_shares=1024)


@needs_root
async def test_a_program_that_reads_foreign_images_can_do_nothing_else() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        secret = Path(directory, "image")
        secret.write_text("readable")
        secret.chmod(0o600)
        script = (
            f"id -u; grep -c : /proc/net/dev; cat {secret}; echo; (echo x > {directory}/new) 2>/dev/null || echo no"
        )
        out = (await run("sh", "-c", script, limits=Limits(memory=2**30))).decode().split()
    assert out == ["65534", "1", "readable", "no"]
