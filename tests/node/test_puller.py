"""containerDisks and kernels out of a real registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvtui.errors import KvtuiError
from kvtui.node.volumes.images import ImageCache, Wanted
from kvtui.node.volumes.puller import RegistryPuller
from tests.fakes.images import OciRegistry, oci_registry

DISK = b"\x00" * 2**20


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[OciRegistry]:
    async with oci_registry(tmp_path) as made:
        yield made


def cache(tmp_path: Path, registry: OciRegistry) -> ImageCache:
    conf = tmp_path / "registries.conf"
    mirror = f'[[registry.mirror]]\nlocation = "{registry.address}/m"\ninsecure = true\n'
    conf.write_text('[[registry]]\nprefix = "quay.io/kubevirt"\n' + mirror)
    (tmp_path / "images").mkdir()
    return ImageCache(tmp_path / "images", RegistryPuller(conf), limit=0)


async def test_the_only_file_below_disk_is_the_disk(registry: OciRegistry, tmp_path: Path) -> None:
    registry.push("m/fedora:1", [{"etc/os": b"x"}, {"disk/fedora.img": DISK}], tmp_path / "layout")
    found = await cache(tmp_path, registry).get("quay.io/kubevirt/fedora:1", Wanted())
    assert found.files[0].read_bytes() == DISK
    assert (found.format, found.virtual_size) == ("raw", 2**20)
    assert found.digest.startswith("sha256:")


async def test_named_files_are_found_in_whatever_layer_they_are(registry: OciRegistry, tmp_path: Path) -> None:
    layers = [{"boot/vmlinuz": b"kernel", "disk/a": DISK}, {"boot/initrd": b"initrd"}]
    registry.push("m/boot:1", layers, tmp_path / "layout")
    images = cache(tmp_path, registry)
    wanted = Wanted(directory="/", paths=("/boot/vmlinuz", "/boot/initrd"))
    found = await images.get("quay.io/kubevirt/boot:1", wanted, disk=False)
    assert [f.read_bytes() for f in found.files] == [b"kernel", b"initrd"]
    named = await images.get("quay.io/kubevirt/boot:1", Wanted(paths=("disk/a",)))
    assert named.files[0].read_bytes() == DISK


async def test_an_image_without_the_file_says_which_and_leaves_nothing(registry: OciRegistry, tmp_path: Path) -> None:
    registry.push("m/empty:1", [{"etc/os": b"x"}], tmp_path / "layout")
    images = cache(tmp_path, registry)
    with pytest.raises(KvtuiError, match="no disk present"):
        await images.get("quay.io/kubevirt/empty:1", Wanted())
    with pytest.raises(KvtuiError, match="/boot/none"):
        await images.get("quay.io/kubevirt/empty:1", Wanted(paths=("/boot/none",)), disk=False)
    with pytest.raises(KvtuiError, match="manifest unknown"):
        await images.get("quay.io/kubevirt/gone:1", Wanted())
    assert not list((tmp_path / "images").glob("*i-*"))


async def test_of_two_files_below_disk_none_is_the_disk_unless_it_is_named(
    registry: OciRegistry, tmp_path: Path
) -> None:
    registry.push("m/two:1", [{"disk/a.img": DISK, "disk/b.img": DISK[:4096]}], tmp_path / "layout")
    images = cache(tmp_path, registry)
    with pytest.raises(KvtuiError, match="more than one file found in folder /disk, only one disk is allowed"):
        await images.get("quay.io/kubevirt/two:1", Wanted())
    assert not list((tmp_path / "images").glob("*i-*"))
    named = await images.get("quay.io/kubevirt/two:1", Wanted(paths=("/disk/b.img",)))
    assert named.virtual_size == 4096
