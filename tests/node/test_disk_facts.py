"""What is seen of the files behind disks, for their automatic I/O modes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kvtui.node.build import disk_facts


def _allocated(path: Path, image_format: str) -> bool:
    text = (
        f'<domain><devices><disk><driver type="{image_format}"/><source file="{path}"/><alias name="ua-d"/>'
        "</disk></devices></domain>"
    )
    return disk_facts(ElementTree.fromstring(text))["d"].allocated


@pytest.mark.parametrize(
    ("image_format", "options", "allocated"),
    [
        ("raw", "preallocation=off", False),
        ("raw", "preallocation=full", True),
        ("qcow2", "preallocation=off", False),
        ("qcow2", "preallocation=metadata", False),
        ("qcow2", "preallocation=full", True),
    ],
)
def test_an_image_is_allocated_when_the_guest_can_write_without_new_blocks(
    tmp_path: Path, image_format: str, options: str, allocated: bool
) -> None:
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, "-o", options, image, "1M"], check=True)
    assert _allocated(image, image_format) is allocated


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", b"MZ" * 4096])
def test_what_is_no_such_image_is_not_allocated(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    assert not _allocated(tmp_path / "image", "qcow2")


def test_a_device_is_allocated_and_a_missing_file_has_no_facts(tmp_path: Path) -> None:
    assert _allocated(Path("/dev/null"), "raw")
    with pytest.raises(KeyError):
        _allocated(tmp_path / "none", "raw")
