"""The guest's files: archives that unpack, images that come out the same."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kvtui.errors import Unsupported
from kvtui.lab.image.build import build_image
from kvtui.lab.image.kernel import Kernel, find_kernel, module_files
from kvtui.lab.image.tree import EPOCH, archive, settle


def kernel_or_skip() -> Kernel:
    try:
        return find_kernel()
    except Unsupported as error:
        pytest.skip(str(error))


def test_an_archive_unpacks_to_what_was_packed(tmp_path: Path) -> None:
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "bin").mkdir(parents=True)
    (source / "bin/tool").write_bytes(b"odd length")
    (source / "bin/tool").chmod(0o755)
    (source / "bin/alias").symlink_to("tool")
    target.mkdir()
    subprocess.run(["busybox", "cpio", "-i"], input=archive(source), cwd=target, check=True, capture_output=True)
    assert (target / "bin/tool").read_bytes() == b"odd length"
    assert os.access(target / "bin/tool", os.X_OK)
    assert (target / "bin/alias").readlink() == Path("tool")


def test_settled_files_do_not_depend_on_when_and_under_which_umask_they_were_made(tmp_path: Path) -> None:
    images = []
    for umask in (0o022, 0o077):
        before = os.umask(umask)
        try:
            place = tmp_path / oct(umask)
            (place / "etc").mkdir(parents=True)
            (place / "etc/file").write_text("x")
            (place / "etc/file").chmod(0o644)
            (place / "etc").chmod(0o755)
            place.chmod(0o755)
        finally:
            os.umask(before)
        settle(place)
        images.append(archive(place))
        assert (place / "etc/file").stat().st_mtime == EPOCH
    assert images[0] == images[1]


def test_no_kernel_is_said_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="linux-image-cloud-amd64") as caught:
        find_kernel(tmp_path)
    assert "make setup" in caught.value.hint


def test_the_newest_kernel_is_taken(tmp_path: Path) -> None:
    for release in ("6.1.0-9-cloud-amd64", "6.1.0-40-cloud-amd64", "6.1.0-5-cloud-amd64"):
        (tmp_path / "boot").mkdir(exist_ok=True)
        (tmp_path / f"boot/vmlinuz-{release}").touch()
        (tmp_path / "lib/modules" / release).mkdir(parents=True)
    assert find_kernel(tmp_path).release == "6.1.0-40-cloud-amd64"


def test_modules_come_with_what_they_need_and_unknown_ones_are_left_out() -> None:
    names = [path.name for path in module_files(kernel_or_skip(), ("virtio_blk", "no_such_module"))]
    assert "virtio_blk.ko" in names
    assert names.index("virtio.ko") < names.index("virtio_blk.ko")


def test_equal_inputs_give_equal_images_and_the_second_call_builds_nothing(tmp_path: Path) -> None:
    kernel_or_skip()
    said = io.StringIO()
    images = [build_image(tmp_path / name, say=lambda line: print(line, file=said)) for name in ("one", "two")]
    assert images[0].name == images[1].name
    assert images[0].read_bytes() == images[1].read_bytes()
    assert images[0].stat().st_size < 24 * 2**20
    assert said.getvalue().count("building") == 2
    assert build_image(tmp_path / "one", say=pytest.fail) == images[0]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [images[0].name]
