"""The guest's files: the root file system and the initial RAM disk as directories, ready to be packed."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from kvtui.errors import Unsupported
from kvtui.lab.image.kernel import BOOT_MODULES, GUEST_MODULES, Kernel, module_files

EPOCH = 1_700_000_000
"""Every file has this time, so that equal inputs give equal images."""

PROGRAMS = {"/usr/sbin/dropbear": "sbin/dropbear", "/sbin/resize2fs": "sbin/resize2fs"}
"""Programs that busybox does not have, and where they go; their libraries come along."""

_BUSYBOX = Path("/bin/busybox")
_SUPERUSER = ("init", "getty", "poweroff", "reboot", "halt", "switch_root", "modprobe", "udhcpc", "acpid", "uevent")
_DIRECTORIES = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "home/kvtui",
    "mnt",
    "var/log",
    "var/lib/cloud",
    "etc/dropbear",
)


def sources(kernel: Kernel) -> Iterator[Path]:
    """Every file whose bytes end up in the image, or decide about it."""
    yield kernel.image
    yield kernel.modules / "modules.dep"
    yield _BUSYBOX
    for program in PROGRAMS:
        yield Path(program)
    yield from sorted(path for path in own_files().rglob("*") if path.is_file())
    yield from sorted(Path(__file__).parent.glob("*.py"))


def make_root(place: Path, kernel: Kernel, modules: Iterable[str] = GUEST_MODULES) -> None:
    """Fills `place` with the root file system. The kernel is not in it, see disk.py."""
    _make_base(place, kernel, modules)
    for name in _DIRECTORIES:
        (place / name).mkdir(parents=True, exist_ok=True)
    shutil.copytree(own_files() / "root", place, dirs_exist_ok=True)
    for program, target in PROGRAMS.items():
        _install(Path(program), place / target)
        for library in _libraries(Path(program)):
            _install(library, place / str(library).lstrip("/"))
    for script in (place / "etc/rc", place / "etc/rc.stop", place / "etc/acpi/PWRF/00000080"):
        script.chmod(0o755)
    for directory in ("sbin", "www/cgi-bin", "usr/share/udhcpc"):
        for script in (place / directory).iterdir():
            if not script.is_symlink():
                script.chmod(0o755)
    (place / "etc/shadow").chmod(0o600)
    (place / "root").chmod(0o700)


def make_initrd(place: Path, kernel: Kernel, modules: Iterable[str] = BOOT_MODULES) -> bytes:
    """The initial RAM disk, built in `place`."""
    _make_base(place, kernel, modules)
    for name in ("dev", "proc", "sys", "root"):
        (place / name).mkdir()
    _install(own_files() / "initrd/init", place / "init")
    (place / "init").chmod(0o755)
    settle(place)
    return gzip.compress(archive(place), 6, mtime=0)


def settle(place: Path) -> None:
    """Gives everything below `place` the same time, and modes that do not depend on the umask."""
    for path in [place, *place.rglob("*")]:
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            if path.is_dir():
                path.chmod(0o700 if mode & 0o077 == 0 else 0o755)
            elif mode & 0o077:
                path.chmod(0o755 if mode & 0o100 else 0o644)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def archive(place: Path) -> bytes:
    """The files below `place` in the kernel's archive format, owned by root.

    Source: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's tree.
    """
    out = io.BytesIO()
    for number, path in enumerate([*sorted(place.rglob("*")), None], start=1):
        if path is None:
            name, mode, data = "TRAILER!!!", 0, b""
        else:
            name, mode = str(path.relative_to(place)), path.lstat().st_mode
            data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, EPOCH, len(data), 0, 0, 0, 0, len(encoded), 0)
        out.write(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
        out.write(b"\0" * (-out.tell() % 4))
        out.write(data)
        out.write(b"\0" * (-out.tell() % 4))
    return out.getvalue()


def _make_base(place: Path, kernel: Kernel, modules: Iterable[str]) -> None:
    """busybox with its names, and the modules with their indices."""
    for name in ("bin", "sbin"):
        (place / name).mkdir(parents=True)
    _install(_BUSYBOX, place / "bin/busybox")
    names = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name != "busybox":
            (place / "bin" / name).symlink_to("busybox")
    for name in _SUPERUSER:
        (place / "sbin" / name).symlink_to("../bin/busybox")
    for path in module_files(kernel, modules):
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Most of a Debian module is its symbol table for debuggers.
        subprocess.run(["strip", "--strip-debug", "-o", target, kernel.root / path], check=True)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        if (kernel.modules / name).is_file():
            _install(kernel.modules / name, place / "lib/modules" / kernel.release / name)
    subprocess.run(["depmod", "--basedir", place, kernel.release], check=True)
    for name in ("dep", "alias", "symbols", "builtin", "builtin.alias"):
        # The binary indices are for kmod; busybox reads the text.
        (place / "lib/modules" / kernel.release / f"modules.{name}.bin").unlink(missing_ok=True)


def _libraries(program: Path) -> list[Path]:
    """Shared libraries of a program, the dynamic loader included."""
    answer = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    words = [word for line in answer.splitlines() for word in line.split() if word.startswith("/")]
    return [Path(word) for word in words]


def _install(source: Path, target: Path) -> None:
    if not source.exists():
        raise Unsupported(f"the guest image needs {source}, which is not there", hint="run `make setup`")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def own_files() -> Path:
    """The files that come with this package."""
    return Path(str(files("kvtui.lab.image") / "files"))
