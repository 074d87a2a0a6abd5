"""Builds the guest image: some 20 MiB of qcow2 that boot under BIOS and UEFI, from packages of this distribution.

No loop device, no mount, no root: mke2fs and mtools fill file systems from a directory, the assembler makes the loader
for BIOS and grub-mkimage the one for UEFI. The result is kept under the hash of everything that went into it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from kvtui.errors import Unsupported
from kvtui.lab.image.disk import MIB, SECTOR, Layout, boot_area, layout, sectors
from kvtui.lab.image.kernel import Kernel, find_kernel
from kvtui.lab.image.tree import EPOCH, make_initrd, make_root, own_files, settle, sources

ROOT_LABEL = "kvtui-root"
_GRUB = Path("/usr/lib/grub/x86_64-efi")
_GRUB_MODULES = ("part_msdos", "linux")
_ROOT_UUID = "6b767475-6900-4000-8000-000000000001"
_DISK_SIGNATURE = 0x6B767475
_EFI_SERIAL = "6b767475"

_ARGUMENTS = "console=tty0 console=ttyS0,115200 net.ifnames=0 panic=10 quiet nokaslr cryptomgr.notests"

_TOOLS = {
    "mke2fs": "e2fsprogs",
    "grub-mkimage": "grub-common",
    "mformat": "mtools",
    "mcopy": "mtools",
    "qemu-img": "qemu-utils",
    "depmod": "kmod",
    "strip": "binutils",
    "as": "binutils",
    "ld": "binutils",
}


def build_image(cache: Path, *, say: Callable[[str], None], kernels: tuple[Path, ...] = ()) -> Path:
    """Path of the guest image in `cache`; built when it is not there yet, which takes a few seconds.

    `kernels` are directories to look for a kernel in besides this machine's root. Raises Unsupported when a package
    is missing. Several builds at once do not disturb each other.
    """
    _check_tools()
    kernel = find_kernel(Path("/"), *kernels)
    image = cache / f"guest-{_fingerprint(kernel)}.qcow2"
    if image.is_file():
        return image
    say(f"building the guest image from kernel {kernel.release}")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".build-") as work:
        built = _build(Path(work), kernel)
        built.replace(image)
    for old in cache.glob("guest-*.qcow2"):
        if old != image:
            old.unlink(missing_ok=True)
    say(f"built {image} ({image.stat().st_size / MIB:.1f} MiB)")
    return image


def _build(work: Path, kernel: Kernel) -> Path:
    root = work / "root"
    make_root(root, kernel)
    return pack(work, kernel, root, make_initrd(work / "initrd", kernel))


def pack(
    work: Path, kernel: Kernel, root: Path, initrd: bytes, efi: Callable[[str], Mapping[str, Path]] | None = None
) -> Path:
    """A qcow2 in `work` that boots the kernel into the root file system. Raises Unsupported when a tool fails.

    `efi` gives the files of the EFI partition, by their place there, for the commands with which GRUB boots.
    """
    settle(root)
    boot = (kernel.image.read_bytes(), initrd)
    content = sum(-(-path.lstat().st_size // 4096) * 4096 for path in root.rglob("*") if not path.is_symlink())
    commands = _grub_commands(*boot)
    loaders = efi(commands) if efi is not None else {"EFI/BOOT/BOOTX64.EFI": _efi_loader(work, commands)}
    disk = layout(
        efi_size=sum(loader.stat().st_size for loader in loaders.values()) + MIB,
        boot_size=sum(map(sectors, boot)) * SECTOR,
        root_size=content + 24 * MIB,
    )
    raw = work / "disk.raw"
    with raw.open("wb") as out:
        out.truncate(disk.size)
        out.write(
            boot_area(
                disk,
                loader=_bios_loader(work),
                kernel=boot[0],
                initrd=boot[1],
                arguments=_ARGUMENTS,
                signature=_DISK_SIGNATURE,
            )
        )
        out.seek(disk.boot.start)
        for part in boot:
            out.write(part.ljust(sectors(part) * SECTOR, b"\0"))
    _fill_efi(raw, disk, loaders)
    _fill_root(work, raw, disk, root)
    image = work / "disk.qcow2"
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compat=1.1", raw, image)
    image.chmod(0o644)
    return image


def _bios_loader(work: Path) -> bytes:
    parts, image = work / "loader.o", work / "loader.bin"
    _run("as", "--32", "-o", parts, own_files() / "boot/loader.S")
    _run("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", image, parts)
    return image.read_bytes()


def _grub_commands(kernel: bytes, initrd: bytes) -> str:
    """Both are found by their place in the second partition: "first sector+count"."""
    return f"linux 0+{sectors(kernel)} {_ARGUMENTS}\ninitrd {sectors(kernel)}+{sectors(initrd)}\nboot\n"


def _efi_loader(work: Path, commands: str) -> Path:
    """GRUB with its commands in it."""
    if not _GRUB.is_dir():
        raise Unsupported("the guest image needs the package grub-efi-amd64-bin", hint="run `make setup`")
    config, image = work / "grub.cfg", work / "grub.efi"
    config.write_text(commands, encoding="ascii")
    _run(
        *("grub-mkimage", "--format", "x86_64-efi", "--output", image, "--config", config),
        *("--prefix", "(,msdos2)/", *_GRUB_MODULES),
    )
    return image


def _fill_efi(raw: Path, disk: Layout, files: Mapping[str, Path]) -> None:
    place = f"{raw}@@{disk.efi.start}"
    _run(
        "mformat",
        "-i",
        place,
        "-T",
        str(disk.efi.size // SECTOR),
        "-h",
        "16",
        "-s",
        "63",
        "-N",
        _EFI_SERIAL,
        "-v",
        "EFI",
        "::",
    )
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    _run("mmd", "-i", place, *(f"::/{parent}" for parent in sorted(parents)))
    for name, file in files.items():
        os.utime(file, (EPOCH, EPOCH))
        _run("mcopy", "-m", "-i", place, file, f"::/{name}")


def _fill_root(work: Path, raw: Path, disk: Layout, root: Path) -> None:
    # A small disk would get 1 KiB blocks and little room for descriptors; the file system has to grow to any size.
    options = ",".join(
        (
            f"offset={disk.root.start}",
            f"hash_seed={_ROOT_UUID}",
            "root_owner=0:0",
            "lazy_itable_init=0",
            "lazy_journal_init=0",
            f"resize={2**28}",
        )
    )
    _run(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-i", "65536", "-m", "0", "-J", "size=4"),
        *("-L", ROOT_LABEL, "-U", _ROOT_UUID, "-E", options, "-d", root, raw, f"{disk.root.size // 1024}k"),
    )
    _settle_inodes(work, raw, disk, root)


def _settle_inodes(work: Path, raw: Path, disk: Layout, root: Path) -> None:
    """mke2fs takes owners and times of access and change from the builder's files, which are not the same twice."""
    names = ["/", "/lost+found", *(f"/{path.relative_to(root)}" for path in sorted(root.rglob("*")))]
    values = {"uid": "0", "gid": "0", **dict.fromkeys(("atime", "ctime", "mtime", "crtime"), f"@{EPOCH}")}
    values |= dict.fromkeys(("atime_extra", "ctime_extra", "mtime_extra", "crtime_extra"), "0")
    script = work / "debugfs"
    script.write_text("".join(f"sif {name} {field} {value}\n" for name in names for field, value in values.items()))
    _run("debugfs", "-w", "-f", script, f"{raw}?offset={disk.root.start}")


def _run(*command: str | Path) -> None:
    """Runs a tool without a clock of its own: equal inputs give equal bytes. Raises Unsupported with its complaint."""
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(EPOCH), E2FSPROGS_FAKE_TIME=str(EPOCH), TZ="UTC", LC_ALL="C")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise Unsupported(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def _check_tools() -> None:
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise Unsupported(f"the guest image needs the packages {', '.join(missing)}", hint="run `make setup`")


def _fingerprint(kernel: Kernel) -> str:
    """Hash of all that decides about the image's bytes."""
    digest = hashlib.sha256()
    for path in sources(kernel):
        digest.update(path.name.encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
