"""The distribution's kernel for guests: where it lies, and which of its modules a guest needs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kvtui.errors import Unsupported

BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "sr_mod", "ata_piix")
"""What finds the root file system; these go into the initial RAM disk."""

GUEST_MODULES = (
    *BOOT_MODULES,
    "isofs",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "virtio_net",
    "virtio_balloon",
    "virtio_mem",
    "virtio_console",
    "virtio_rng",
    "virtio_input",
    "virtiofs",
    "evdev",
    "button",
    "qemu_fw_cfg",
    "pvpanic_pci",
    "virtio_mmio",
    "efivarfs",
)
"""Everything a guest may find in its machine. The cloud kernel has no 9p, i6300esb, DRM or AHCI (a SATA disk stays
unseen); ext4, TPM and VGA text are built in."""


@dataclass(frozen=True, slots=True)
class Kernel:
    release: str
    image: Path
    root: Path
    """The directory that has lib/modules/RELEASE below it."""

    @property
    def modules(self) -> Path:
        return self.root / "lib/modules" / self.release


def find_kernel(*places: Path) -> Kernel:
    """The newest cloud kernel below one of `places` (default: this machine's root).

    Raises Unsupported when there is none.
    """
    found: list[Kernel] = []
    for place in places or (Path("/"),):
        for image in (place / "boot").glob("vmlinuz-*-cloud-amd64"):
            kernel = Kernel(image.name.removeprefix("vmlinuz-"), image, place)
            if kernel.modules.is_dir():
                found.append(kernel)
    if not found:
        raise Unsupported(
            "the guest image needs the kernel of the package linux-image-cloud-amd64",
            hint="`make setup` fetches it, without making it a kernel of this machine",
        )
    return max(found, key=lambda kernel: _version_key(kernel.release))


def module_files(kernel: Kernel, names: Iterable[str]) -> list[Path]:
    """Files of the modules and all they depend on, in loading order, relative to the kernel's root.

    Modules this kernel does not have, or has built in, are left out.
    """
    files: dict[Path, None] = {}
    for name in names:
        answer = subprocess.run(
            ["modprobe", "--dirname", str(kernel.root), "--set-version", kernel.release, "--show-depends", name],
            capture_output=True,
            text=True,
            check=False,
        )
        for line in answer.stdout.splitlines():
            verb, _, path = line.partition(" ")
            if verb == "insmod":
                files[Path("/" + path.strip().lstrip("/")).relative_to(kernel.root)] = None
    return list(files)


def _version_key(release: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", release) if part]
