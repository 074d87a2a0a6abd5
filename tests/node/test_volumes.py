"""Volumes: files for QEMU out of what the spec says, with real qemu-img and a real ISO maker."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kvtui.api.core.parts import PersistentVolumeClaimSpec, VolumeResourceRequirements
from kvtui.api.core.storage import (
    LocalVolumeSource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimStatus,
    PersistentVolumeSpec,
)
from kvtui.api.kubevirt.domain import GPU, Interface, InterfaceMasquerade
from kvtui.api.kubevirt.vmi import CloudInitConfigDriveSource, CloudInitNoCloudSource, HostDisk, Volume
from kvtui.api.meta import ObjectMeta
from kvtui.domainxml import BlockSizes
from kvtui.errors import InvalidObject, Unsupported
from kvtui.node import downwardmetrics
from kvtui.node.layout import Layout
from kvtui.node.volumes import blocks, claims, cloudinit, iso, qemuimg
from kvtui.node.volumes.cloudinit import Secrets
from kvtui.node.volumes.images import ImageCache, ImageMissing, Wanted, default_policy
from kvtui.node.volumes.puller import account_for
from tests.node.builders import UUID, vmi

MIB = 2**20


def no_cloud(**source: Any) -> Volume:
    return Volume(name="init", cloud_init_no_cloud=CloudInitNoCloudSource(**source))


def test_no_cloud_has_user_data_and_a_meta_data_that_names_the_firmware() -> None:
    built = cloudinit.build(vmi("web.example"), no_cloud(user_data="#cloud-config\n"), UUID, Secrets())
    assert (built.label, built.file) == ("cidata", "noCloud.iso")
    assert built.files["user-data"] == b"#cloud-config\n"
    assert json.loads(built.files["meta-data"]) == {"instance-id": UUID, "local-hostname": "web"}
    assert "network-config" not in built.files


def test_plain_data_wins_over_base64_and_secrets_serve_where_neither_is() -> None:
    both = cloudinit.build(vmi(), no_cloud(user_data="a", user_data_base64="Yg=="), UUID, Secrets())
    assert both.files["user-data"] == b"a"
    encoded = cloudinit.build(vmi(), no_cloud(user_data_base64="Yg=="), UUID, Secrets())
    assert encoded.files["user-data"] == b"b"
    secret = Secrets(user={"userData": b"c"}, network={"networkdata": b"n"})
    found = cloudinit.build(vmi(), no_cloud(), UUID, secret)
    assert (found.files["user-data"], found.files["network-config"]) == (b"c", b"n")


def test_cloud_init_without_any_data_is_an_error() -> None:
    with pytest.raises(InvalidObject, match="neither user data nor network data"):
        cloudinit.build(vmi(), no_cloud(), UUID, Secrets())
    with pytest.raises(InvalidObject, match="base64"):
        cloudinit.build(vmi(), no_cloud(user_data_base64="%"), UUID, Secrets())


def test_config_drive_has_openstacks_tree_with_keys_and_tagged_devices() -> None:
    tagged = Interface(name="default", masquerade=InterfaceMasquerade(), tag="mgmt")
    gpu = GPU(name="g", device_name="example.com/gpu", tag="fast")
    machine = vmi(devices={"interfaces": [tagged], "gpus": [gpu]})
    domain = ElementTree.fromstring(
        "<domain><devices>"
        "<interface><mac address='02:00:00:00:00:01'/><alias name='ua-default'/>"
        "<address type='pci' domain='0x0000' bus='0x0a' slot='0x01' function='0x2'/></interface>"
        "<interface><alias name='ua-other'/></interface>"
        "<hostdev><alias name='ua-gpu-g'/><address type='ccw'/></hostdev>"
        "</devices></domain>"
    )
    volume = Volume(name="init", cloud_init_config_drive=CloudInitConfigDriveSource(user_data="x", network_data="n"))
    keys = Secrets(keys=("ssh-a", "ssh-b"))
    built = cloudinit.build(machine, volume, UUID, keys, cloudinit.devices(machine, domain))
    assert (built.label, built.file) == ("config-2", "configdrive.iso")
    assert set(built.files) == {
        "openstack/latest/user_data",
        "openstack/latest/meta_data.json",
        "openstack/latest/network_data.json",
    }
    meta = json.loads(built.files["openstack/latest/meta_data.json"])
    assert meta["instance_id"] == "vm1.default"
    assert meta["public_keys"] == {"0": "ssh-a", "1": "ssh-b"}
    assert meta["devices"] == [
        {"type": "nic", "bus": "pci", "address": "0000:0a:01.2", "mac": "02:00:00:00:00:01", "tags": ["mgmt"]},
        {"type": "hostdev", "tags": ["fast"]},
    ]


@pytest.mark.parametrize(
    ("volume", "tag", "wanted"),
    [
        (Volume(name="i", cloud_init_config_drive=CloudInitConfigDriveSource(user_data="x")), "t", True),
        (Volume(name="i", cloud_init_config_drive=CloudInitConfigDriveSource(user_data="x")), None, False),
        (Volume(name="i", cloud_init_no_cloud=CloudInitNoCloudSource(user_data="x")), "t", False),
    ],
)
def test_only_a_config_drive_tells_of_tagged_devices(volume: Volume, tag: str | None, wanted: bool) -> None:
    nic = Interface(name="default", masquerade=InterfaceMasquerade(), tag=tag)
    machine = vmi(volumes=[volume], devices={"interfaces": [nic]})
    assert cloudinit.wants_devices(machine) == wanted


needs_iso = pytest.mark.skipif(shutil.which("genisoimage") is None, reason="genisoimage is not installed")
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


@needs_iso
async def test_an_iso_holds_its_files_under_their_names(tmp_path: Path) -> None:
    target = tmp_path / "disks" / "x.iso"
    size = await iso.build(target, "cidata", {"user-data": b"hello", "openstack/latest/meta_data.json": b"{}"})
    assert size == target.stat().st_size
    listed = await asyncio.to_thread(
        subprocess.run, ["isoinfo", "-R", "-f", "-i", str(target)], capture_output=True, text=True, check=True
    )
    assert "/user-data" in listed.stdout
    assert "/openstack/latest/meta_data.json" in listed.stdout
    assert [p.name for p in target.parent.iterdir()] == ["x.iso"]


@needs_iso
async def test_an_iso_tells_long_and_foreign_names_apart(tmp_path: Path) -> None:
    names = {"k" * 199 + end for end in "ab"} | {"metadata/ä", "Config", "config", ".hidden"}
    await iso.build(tmp_path / "x.iso", "cfgdata", dict.fromkeys(names, b"x"))
    command = ["isoinfo", "-R", "-f", "-i", str(tmp_path / "x.iso")]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
    assert {line[1:] for line in listed.stdout.splitlines()} == names | {"metadata"}


@pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {"a/b": b"", "a": b""}, {"a": b"", "./a": b""}])
async def test_names_that_exclude_each_other_are_refused_and_leave_nothing(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with pytest.raises(InvalidObject, match="beside the others"):
        await iso.build(tmp_path / "x.iso", "cfgdata", files)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b"])
async def test_no_file_leaves_the_tree_of_an_iso(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidObject):
        await iso.build(tmp_path / "x.iso", "cidata", {name: b""})


@needs_qemu_img
async def test_an_image_with_a_backing_file_is_refused(tmp_path: Path) -> None:
    base, image = tmp_path / "base", tmp_path / "image"
    base.write_bytes(bytes(MIB))
    await qemuimg.create_overlay(image, str(base), "raw")
    with pytest.raises(InvalidObject, match="backing file"):
        await qemuimg.inspect(image)
    await qemuimg.create_empty(tmp_path / "empty", 3 * MIB)
    found = await qemuimg.inspect(tmp_path / "empty")
    assert (found.format, found.virtual_size) == ("qcow2", 3 * MIB)


@needs_qemu_img
async def test_a_raw_disk_stays_raw_whatever_its_guest_wrote_into_it(tmp_path: Path) -> None:
    disk, overlay = tmp_path / "disk", tmp_path / "overlay"
    await qemuimg.create_overlay(disk, str(_zeros(tmp_path / "secret")), "raw")  # a header that names another file
    with disk.open("r+b") as file:
        file.truncate(5 * MIB)
    await qemuimg.create_overlay(overlay, str(disk), "raw")
    command = ["qemu-img", "info", "--output=json", str(overlay)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (found["virtual-size"], found["backing-filename-format"]) == (5 * MIB, "raw")
    with pytest.raises(InvalidObject, match="backing file"):
        await qemuimg.create_overlay(tmp_path / "other", str(disk), "qcow2")


def _zeros(path: Path) -> Path:
    path.write_bytes(bytes(MIB))
    return path


def bound(layout: Layout, path: str, request: str = "10Mi", capacity: str = "20Mi") -> claims.Claim:
    claim = PersistentVolumeClaim(
        metadata=ObjectMeta(name="data"),
        spec=PersistentVolumeClaimSpec(
            access_modes=["ReadWriteOnce"], resources=VolumeResourceRequirements(requests={"storage": request})
        ),
        status=PersistentVolumeClaimStatus(phase="Bound", capacity={"storage": capacity}),
    )
    volume = PersistentVolume(
        metadata=ObjectMeta(name="pv"), spec=PersistentVolumeSpec(local=LocalVolumeSource(path=path))
    )
    return claims.bound(layout, claim, volume)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "node", tmp_path / "shared", tmp_path / "node")


async def test_a_missing_image_of_a_claim_is_created_sparse_and_never_again(layout: Layout) -> None:
    claim = bound(layout, str(layout.storage / "uid"))
    made = await claims.ensure_image(claim)
    assert made is not None
    assert (made.size, made.tolerated) == (10 * MIB, False)
    assert claim.image.stat().st_size == 10 * MIB
    assert claim.image.stat().st_blocks == 0
    claim.image.write_bytes(b"kept")
    assert await claims.ensure_image(claim) is None
    assert claim.image.read_bytes() == b"kept"


@needs_iso
@needs_qemu_img
async def test_what_is_made_for_a_guest_is_for_its_user_alone(layout: Layout, tmp_path: Path) -> None:
    """All guests are of one group, and pass through the directories of claims."""
    claim = bound(layout, str(layout.storage / "uid"))
    await claims.ensure_image(claim)
    made = [tmp_path / name for name in ("x.iso", "empty", "metrics", "host.img")]
    await iso.build(made[0], "cfgdata", {"password": b"x"})
    await qemuimg.create_empty(made[1], MIB)
    downwardmetrics.create(made[2])
    await claims.ensure_host_disk(HostDisk(path=str(made[3]), type="DiskOrCreate", capacity="1Mi"))
    assert {path.stat().st_mode & 0o777 for path in (claim.image, *made)} == {0o600}
    claim.image.chmod(0o664)
    made[3].chmod(0o664)
    await claims.ensure_image(claim)
    await claims.ensure_host_disk(HostDisk(path=str(made[3]), type="DiskOrCreate", capacity="1Mi"))
    assert claim.image.stat().st_mode & 0o777 == 0o600
    assert made[3].stat().st_mode & 0o777 == 0o664  # somebody else's affair


async def test_a_directory_that_is_not_ours_is_not_made(layout: Layout, tmp_path: Path) -> None:
    claim = bound(layout, str(tmp_path / "elsewhere"))
    with pytest.raises(claims.ClaimPending):
        await claims.ensure_image(claim)
    assert not (tmp_path / "elsewhere").exists()


async def test_a_link_in_place_of_the_image_is_refused(layout: Layout, tmp_path: Path) -> None:
    claim = bound(layout, str(layout.storage / "uid"))
    claim.path.mkdir(parents=True)
    claim.image.symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidObject, match="symbolic link"):
        await claims.ensure_image(claim)


@pytest.mark.parametrize(
    ("size", "available", "found"), [(100, 200, (100, False)), (100 * MIB, 95 * MIB + 5, (95 * MIB, True))]
)
def test_a_slightly_smaller_volume_is_tolerated(size: int, available: int, found: tuple[int, bool]) -> None:
    assert claims.fitting(size, available) == found


def test_a_volume_that_is_far_too_small_is_an_error() -> None:
    with pytest.raises(InvalidObject, match="not enough space"):
        claims.fitting(100 * MIB, 80 * MIB)


def test_volumes_that_this_node_cannot_reach_say_so(layout: Layout) -> None:
    claim = PersistentVolumeClaim(metadata=ObjectMeta(name="data"))
    with pytest.raises(Unsupported):
        claims.bound(layout, claim, PersistentVolume(metadata=ObjectMeta(name="pv")))


@pytest.mark.parametrize("path", ["/etc", "relative", "{storage}", "{storage}/../../etc"])
def test_only_paths_below_our_roots_count_as_ours(layout: Layout, path: str) -> None:
    with pytest.raises(InvalidObject):
        layout.volume(path.format(storage=layout.storage))


async def test_a_host_disk_must_exist_unless_it_may_be_made(tmp_path: Path) -> None:
    path = tmp_path / "d.img"
    with pytest.raises(InvalidObject, match="is not a file"):
        await claims.ensure_host_disk(HostDisk(path=str(tmp_path), type="Disk"))
    with pytest.raises(InvalidObject, match="does not exist"):
        await claims.ensure_host_disk(HostDisk(path=str(path), type="Disk"))
    await claims.ensure_host_disk(HostDisk(path=str(path), type="DiskOrCreate", capacity="5Mi"))
    assert path.stat().st_size == 5 * MIB


def test_block_sizes_are_those_of_the_file_system_even_before_there_is_a_file(tmp_path: Path) -> None:
    size = os.statvfs(tmp_path).f_bsize
    (tmp_path / "there").touch()
    sources = {"there": tmp_path / "there", "later": tmp_path / "later" / "disks" / "later"}
    found = blocks.measure({name: str(path) for name, path in sources.items()} | {"drive": ""})
    assert found == {name: BlockSizes(size, size, size) for name in ("there", "later")}


def test_qemu_sees_files_below_the_run_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "node", tmp_path / "shared", Path("/run/kvtui/12345678"))
    assert layout.seen(layout.vms / "u" / "s" / "vnc") == Path("/run/kvtui/12345678/vm/u/s/vnc")
    assert layout.seen(tmp_path / "shared" / "pv" / "disk.img") == Path("/run/kvtui/12345678/shared/pv/disk.img")
    assert layout.seen(Path("/elsewhere")) == Path("/elsewhere")


class OneImage:
    """A registry with one image, whose tag can move."""

    def __init__(self) -> None:
        self.current = "sha256:" + "a" * 64
        self.contents: dict[str, bytes] = {"disk.img": bytes(MIB)}
        self.pulls = 0
        self.lookups = 0

    async def digest(self, image: str, credentials: bytes | None) -> str:
        self.lookups += 1
        return self.current

    async def files(self, image: str, digest: str, wanted: Wanted, into: Path, credentials: bytes | None) -> list[Path]:
        self.pulls += 1
        made = []
        for name, data in self.contents.items():
            (into / name).write_bytes(data)
            made.append(into / name)
        return made


@pytest.fixture
def registry() -> OneImage:
    return OneImage()


@pytest.fixture
def cache(tmp_path: Path, registry: OneImage) -> ImageCache:
    return ImageCache(tmp_path / "images", registry, limit=0)


@needs_qemu_img
async def test_an_image_is_pulled_once_and_readable_for_all(cache: ImageCache, registry: OneImage) -> None:
    cache.directory.mkdir()
    first, second = await asyncio.gather(cache.get("r/i:1", Wanted()), cache.get("r/i:1", Wanted()))
    assert first == second
    assert registry.pulls == 1
    assert first.format == "raw"
    assert first.files[0].stat().st_mode & 0o777 == 0o644


@needs_qemu_img
async def test_policies_decide_when_the_registry_is_asked(cache: ImageCache, registry: OneImage) -> None:
    cache.directory.mkdir()
    with pytest.raises(ImageMissing):
        await cache.get("r/i:1", Wanted(), policy="Never")
    await cache.get("r/i:1", Wanted(), policy="IfNotPresent")
    await cache.get("r/i:1", Wanted(), policy="IfNotPresent")
    await cache.get("r/i:1", Wanted(), policy="Never")
    assert (registry.lookups, registry.pulls) == (1, 1)
    registry.current = "sha256:" + "b" * 64
    moved = await cache.get("r/i:1", Wanted(), policy="Always")
    assert moved.digest == registry.current
    assert registry.pulls == 2


@needs_qemu_img
async def test_a_pinned_digest_is_used_although_the_tag_has_moved(cache: ImageCache, registry: OneImage) -> None:
    cache.directory.mkdir()
    pinned = "sha256:" + "c" * 64
    assert (await cache.get("r/i:latest", Wanted(), digest=pinned)).digest == pinned
    assert registry.lookups == 0


async def test_an_image_with_no_disk_or_with_two_is_refused(cache: ImageCache, registry: OneImage) -> None:
    cache.directory.mkdir()
    registry.contents = {}
    with pytest.raises(InvalidObject, match="no disk present"):
        await cache.get("r/i:1", Wanted())
    registry.contents = {"a": b"", "b": b""}
    with pytest.raises(InvalidObject, match="only one disk is allowed"):
        await cache.get("r/i:1", Wanted())
    assert [p.name for p in cache.directory.iterdir()] == []


@pytest.mark.parametrize(
    ("image", "policy"),
    [("r/i", "Always"), ("r/i:latest", "Always"), ("r:5000/i", "Always"), ("r/i:1", "IfNotPresent")],
)
def test_a_moving_tag_is_looked_up_each_time(image: str, policy: str) -> None:
    assert default_policy(image) == policy


def test_credentials_come_from_the_docker_configuration_of_a_secret() -> None:
    config = json.dumps({"auths": {"registry:5000": {"auth": "dXNlcjpwYXNz"}}}).encode()
    account = account_for(config, "registry:5000/disks/fedora")
    assert account is not None
    assert (account.user, account.password) == ("user", "pass")
    assert account_for(config, "other/disks/fedora") is None
    for wrong in (b"no json", b"[]", b'{"auths": ["registry:5000"]}'):
        with pytest.raises(InvalidObject, match="not a docker configuration"):
            account_for(wrong, "other/disks/fedora")


@pytest.mark.parametrize(
    ("name", "image", "found"),
    [
        ("https://index.docker.io/v1/", "docker.io/library/fedora", True),
        ("docker.io", "docker.io/library/fedora", True),
        ("https://quay.io/v2/", "quay.io/kubevirt/fedora", True),
        ("quay.io/kubevirt", "quay.io/kubevirt/fedora", True),
        ("quay.io/kubevirt/fedora", "quay.io/kubevirt/fedora", True),
        ("quay.io/kube", "quay.io/kubevirt/fedora", False),
        ("*.azurecr.io", "shop.azurecr.io/disks/fedora", True),
        ("*.io", "shop.azurecr.io/disks/fedora", False),
        ("quay.io", "quay.io:5000/kubevirt/fedora", False),
    ],
)
def test_accounts_are_found_under_all_names_that_clients_write(name: str, image: str, found: bool) -> None:
    config = json.dumps({"auths": {name: {"username": "u", "password": "p"}}}).encode()
    assert (account_for(config, image) is not None) == found


def test_of_two_accounts_the_one_closer_to_the_image_is_used() -> None:
    names = ("https://quay.io/v1/", "quay.io/kubevirt", "*.io")
    config = json.dumps({n: {"username": n} for n in names}).encode()
    account = account_for(config, "quay.io/kubevirt/fedora")
    assert account is not None
    assert account.user == "quay.io/kubevirt"
