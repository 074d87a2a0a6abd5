"""Builds a small Debian guest out of Debian's packages: real programs and libraries over the lab image's busybox.

Another test that needs another guest writes a Recipe and asks for it:

    FULL = Recipe("bridges", packages=("iproute2",), kernel=FULL_KERNEL, modules=("bridge", "8021q", "veth"))
    image = build(FULL, cache_directory(), say=print)   # a qcow2 with a serial console: log in as root, no password

`packages` come with all they depend on, less what only an installation needs; maintainer scripts are not run. `modules`
are the kernel's modules besides those of every guest. `files` are directories laid over the root in their order; FILES,
the first of them, brings accounts, PAM, sshd and the guest agent's start. A file in sbin/ or etc/rc.d/ is made
executable; those in etc/rc.d/ are run once, at the end of the boot and in the background.

apt resolves and fetches (checking signatures and sums) as any user, from the package lists of this machine, into a
directory of its own; nothing is installed. Images are kept under the hash of what went into them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvtui.errors import Unsupported
from kvtui.lab.image.build import pack
from kvtui.lab.image.kernel import BOOT_MODULES, GUEST_MODULES, Kernel, find_kernel
from kvtui.lab.image.tree import archive, make_initrd, make_root, settle, sources

FILES = Path(__file__).parent / "files"
CLOUD_KERNEL = ""
"""The kernel of the lab's image: small, without DRM, VLANs and most of what no virtual machine has."""
FULL_KERNEL = "linux-image-amd64"
"""Debian's kernel for every machine; some 70 MiB to fetch."""
FULL_BOOT = (*BOOT_MODULES, "ext4", "crc32c_generic", "ahci", "serial_core")

_INSTALLER = frozenset(
    (
        *("adduser", "debconf", "dpkg", "init-system-helpers", "initramfs-tools", "initramfs-tools-core", "kmod"),
        *("libdb5.3", "lsb-base", "mawk", "perl", "perl-base", "procps", "runit-helper", "sensible-utils"),
        *("sysvinit-utils", "tar", "ucf", "usrmerge", "zstd"),
    )
)
"""What only an installation needs, or busybox has."""
_INSTALLER_PREFIXES = ("libperl", "perl-modules", "libgdbm", "libfile-find", "libtext-glob", "libnumber", "linux-")
_LOADERS = ("shim-signed", "grub-efi-amd64-signed")
_LEFT_OUT = (
    *(f"usr/share/{name}" for name in ("bash-completion", "doc", "info", "lintian", "locale", "man", "zoneinfo")),
    "usr/lib/x86_64-linux-gnu/gconv",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A guest to build."""

    name: str
    packages: tuple[str, ...] = ()
    kernel: str = CLOUD_KERNEL
    modules: tuple[str, ...] = ()
    files: tuple[Path, ...] = (FILES,)
    signed: bool = False
    """Boots by Debian's signed loaders, so that firmware with secure boot takes it; wants the full kernel."""


AGENT = Recipe(
    "agent",
    packages=("base-files", "bash", "login", "openssh-server", "passwd", "qemu-guest-agent"),
    modules=("pvpanic_mmio",),
)
"""A guest with the real guest agent, sshd and accounts."""
SECURE = Recipe(
    "secure",
    packages=AGENT.packages,
    kernel=FULL_KERNEL,
    modules=("pvpanic_mmio", "i6300esb", "efivarfs", "e1000", "ahci"),
    signed=True,
)
"""The same for machines like those of Windows guests: secure boot, SATA disks, an Intel network card."""
SATA = Recipe("sata", kernel=FULL_KERNEL, modules=("ahci",), files=())
"""The lab's guest with a kernel that knows SATA, the bus of a disk that names none."""


def build(recipe: Recipe, cache: Path, *, say: Callable[[str], None] = print) -> Path:
    """Path of the image in `cache`; fetched and built when it is not there yet. Raises Unsupported with the reason."""
    archives = cache / "debs"
    packages = _resolve(archives, recipe.packages) if recipe.packages else {}
    image = cache / f"{recipe.name}-{_fingerprint(recipe, packages, cache, archives)}.qcow2"
    if image.is_file():
        return image
    say(f"building the Debian guest {recipe.name}")
    with as_a_distribution_would(), tempfile.TemporaryDirectory(dir=cache, prefix=".guest-") as scratch:
        work = Path(scratch)
        kernel = _kernel(recipe, cache, archives)
        root = work / "root"
        make_root(root, kernel, (*GUEST_MODULES, *recipe.modules))
        # The lab's own ssh server would be first at its port.
        (root / "usr/sbin/dropbear").unlink(missing_ok=True)
        (root / "sbin/dropbear").unlink(missing_ok=True)
        for deb in _fetch(packages, archives):
            _unpack(deb, root)
        for directory in recipe.files:
            shutil.copytree(directory, root, dirs_exist_ok=True)
            for place in (directory, *directory.rglob("*")):
                (root / place.relative_to(directory)).chmod(0o755 if place.is_dir() else 0o644)
        for scripts in ("sbin", "etc/rc.d"):
            for script in (root / scripts).glob("*"):
                if not script.is_symlink():
                    script.chmod(0o755)
        initrd = make_initrd(work / "initrd", kernel, FULL_BOOT if recipe.kernel else BOOT_MODULES)
        loaders = None
        if recipe.signed:
            for place in (root, work / "initrd"):
                _restore_modules(place, kernel)
            initrd = gzip.compress(archive(work / "initrd"), 6, mtime=0)
            loaders = _signed_loaders(work, kernel, archives)
        pack(work, kernel, root, initrd, loaders).replace(image)
    for old in cache.glob(f"{recipe.name}-*.qcow2"):
        if old != image:
            old.unlink(missing_ok=True)
    return image


@contextmanager
def as_a_distribution_would() -> Iterator[None]:
    """Whoever builds an image, the users in it can read it; or sshd would trust none of their keys."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _resolve(archives: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """File names of the packages and of what they need, with the names that apt knows them by, "name=version"."""
    text = _apt(archives, "--yes", "--simulate", "install", *packages)
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 2 and words[0] == "Inst" and not _only_for_installing(words[1]):
            found[words[1]] = words[2].lstrip("(")
    if not set(packages) <= set(found):
        raise Unsupported(f"this machine's package sources lack {set(packages) - set(found)}")
    return found


def _only_for_installing(name: str) -> bool:
    return name in _INSTALLER or name.startswith(_INSTALLER_PREFIXES)


def _fetch(packages: dict[str, str], archives: Path) -> Iterator[Path]:
    """The packages as files, in the order of their names; those that are there are not fetched again."""
    missing = [f"{name}={version}" for name, version in packages.items() if not _archive(archives, name, version)]
    if missing:
        _apt(archives, "download", *missing)
    for name, version in sorted(packages.items()):
        found = _archive(archives, name, version)
        if found is None:
            raise Unsupported(f"the package {name} {version} could not be fetched")
        yield found


def _archive(archives: Path, name: str, version: str) -> Path | None:
    return next(iter(archives.glob(f"{name}_{version.replace(':', '%3a')}_*.deb")), None)


def _apt(place: Path, *arguments: str) -> str:
    """apt-get in `place`, with an empty machine in mind, so that it names every package. Raises Unsupported."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Unsupported("a Debian guest is built by apt-get and dpkg-deb, which are not here")
    (place / "apt").mkdir(parents=True, exist_ok=True)
    (place / "apt/status").touch()
    options = {
        "Dir::State::status": place / "apt/status",
        "Dir::Cache": place / "apt",
        "Dir::Cache::archives": place / "apt",
        "Dir::Cache::pkgcache": "pkgcache.bin",
        "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "false",
    }
    command = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items()), *arguments]
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise Unsupported(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def _unpack(deb: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as source:
        unwanted = [f"--exclude=./{place}" for place in _LEFT_OUT]
        subprocess.run(
            ["tar", "-x", "-C", root, "--no-same-owner", "--keep-directory-symlink", *unwanted],
            stdin=source.stdout,
            check=True,
        )
    if source.returncode:
        raise Unsupported(f"{deb.name} cannot be unpacked")


def _restore_modules(place: Path, kernel: Kernel) -> None:
    """Modules as they were: stripping has taken their signatures, without which a locked-down kernel refuses them."""
    for module in place.rglob("*.ko"):
        shutil.copyfile(kernel.root / module.relative_to(place), module)
    settle(place)


def _signed_loaders(work: Path, kernel: Kernel, archives: Path) -> Callable[[str], dict[str, Path]]:
    """Debian's shim, which firmware trusts, and its GRUB, which shim trusts and which reads its commands."""
    place = work / "loaders"
    place.mkdir()
    packages = {name: version for name, version in _resolve(archives, _LOADERS).items() if name in _LOADERS}
    for deb in _fetch(packages, archives):
        _unpack(deb, place)

    def files(commands: str) -> dict[str, Path]:
        config = place / "grub.cfg"
        # The kernel's signature is over its very bytes, and a place on the disk is whole sectors.
        linux, initrd, *rest = commands.splitlines()
        linux = f"linux (hd0,msdos1)/vmlinuz {linux.split(maxsplit=2)[2]}"
        initrd = f"initrd (hd0,msdos2){initrd.split()[1]}"
        config.write_text("\n".join((linux, initrd, *rest, "")), encoding="ascii")
        return {
            "vmlinuz": shutil.copyfile(kernel.image, place / "vmlinuz"),
            "EFI/BOOT/BOOTX64.EFI": place / "usr/lib/shim/shimx64.efi.signed",
            "EFI/BOOT/grubx64.efi": place / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
            "EFI/debian/grub.cfg": config,
        }

    return files


def _kernel(recipe: Recipe, cache: Path, archives: Path) -> Kernel:
    if not recipe.kernel:
        return find_kernel(Path("/"), cache / "kernel")
    name, version = _kernel_package(archives, recipe.kernel)
    release = name.removeprefix("linux-image-")
    place = cache / f"kernel-{release}-{version}"
    if not place.is_dir():
        (deb,) = _fetch({name: version}, archives)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".kernel-") as scratch:
            _unpack(deb, Path(scratch))
            subprocess.run(["depmod", "--basedir", scratch, release], check=True)
            shutil.copytree(scratch, place, symlinks=True)
        deb.unlink()
    return Kernel(release, place / f"boot/vmlinuz-{release}", place)


def _kernel_package(archives: Path, package: str) -> tuple[str, str]:
    """The package with the kernel that the other one stands for, and its version."""
    for line in _apt(archives, "--yes", "--simulate", "install", package).splitlines():
        words = line.split()
        if len(words) > 2 and words[0] == "Inst" and words[1].startswith("linux-image-") and words[1] != package:
            return words[1], words[2].lstrip("(")
    raise Unsupported(f"this machine's package sources have no {package}")


def _fingerprint(recipe: Recipe, packages: dict[str, str], cache: Path, archives: Path) -> str:
    """Hash of all that decides about the image."""
    digest = hashlib.sha256(repr((recipe, sorted(packages.items()))).replace(str(FILES), "").encode())
    if recipe.kernel:
        digest.update(repr(_kernel_package(archives, recipe.kernel)).encode())
    files = [path for directory in recipe.files for path in sorted(directory.rglob("*")) if path.is_file()]
    for path in (*sources(find_kernel(Path("/"), cache / "kernel")), *files, Path(__file__)):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
