"""The libvirtd of a node: its configuration, its command line, and its warm capability cache."""

from __future__ import annotations

import hashlib
import os
import platform
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from kvtui.errors import Unsupported
from kvtui.lab.plan import NodePlan

LIBVIRT_URI = "qemu:///system"

_QEMU = "qemu-system-x86_64"


def libvirtd_command(node: NodePlan) -> list[str]:
    """The daemon in the foreground; its default pid file would lie outside of the node's private directories.

    QEMU's users pass through directories that the daemon makes, so the umask of whoever starts it must not count.
    """
    libvirtd = shutil.which("libvirtd") or "/usr/sbin/libvirtd"
    options = ("--config", "/etc/libvirt/libvirtd.conf", "--pid-file", "/run/libvirt/libvirtd.pid")
    return node.enter("sh", "-c", 'umask 022; exec "$@"', "sh", libvirtd, *options)


def libvirtd_conf(node: NodePlan) -> str:
    return f"""\
host_uuid = "{node.host_uuid}"
unix_sock_group = "root"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:stderr"
"""


def qemu_conf(*, groups: bool) -> str:
    """The distribution's settings, so that QEMU runs as its unprivileged user, but for what nodes would trip over.

    QEMU appends to console logs itself, so that they do not depend on a log daemon that may die. A file that two
    daemons know has no owner to remember. Without control groups of the node's own (`groups`) there are those of the
    machine only, where domains of several nodes would meet.
    """
    return """\
stdio_handler = "file"
security_driver = "none"
seccomp_sandbox = 1
remember_owner = 0
""" + ("" if groups else "cgroup_controllers = []\n")


def write_configuration(node: NodePlan, *, groups: bool) -> None:
    """Fills the node's /etc/libvirt. `groups`: the node has control groups of its own."""
    place = node.directory / "etc-libvirt"
    (place / "libvirtd.conf").write_text(libvirtd_conf(node))
    (place / "qemu.conf").write_text(qemu_conf(groups=groups))
    # libvirt runs swtpm as a user of its own, who keeps his authority and his logs here.
    swtpm = _user("tss")
    if swtpm is not None:
        logs = node.directory / "log-swtpm/libvirt/qemu"
        logs.mkdir(parents=True, exist_ok=True)
        for path, mode in ((node.directory / "swtpm-localca", 0o750), (logs, 0o730)):
            os.chown(path, swtpm.pw_uid, swtpm.pw_gid)
            path.chmod(mode)
        for path in (logs.parent, logs.parent.parent):
            path.chmod(0o711)


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def warm_capabilities(cache: Path) -> Path:
    """A directory with libvirt's cache of what QEMU can do, made once per version of QEMU, libvirt and kernel.

    Asking QEMU takes libvirt some eight seconds, which every new node would spend. libvirt checks the cache itself and
    asks again when something changed.
    """
    place = cache / f"capabilities-{_versions()}"
    if place.is_dir():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".capabilities-") as root:
        for question in ("capabilities", "domcapabilities"):
            asked = subprocess.run(
                ["virsh", "--quiet", "--connect", f"qemu:///embed?root={root}", question],
                capture_output=True,
                text=True,
                check=False,
            )
            if asked.returncode:
                raise Unsupported(
                    f"libvirt cannot tell what QEMU can do: {asked.stderr.strip()}",
                    hint="are libvirt-daemon and qemu-system-x86 installed? `make setup` installs them",
                )
        found = Path(root) / "cache/qemu/capabilities"
        found.chmod(0o755)
        try:
            found.rename(place)
        except OSError:
            if not place.is_dir():  # another start was faster otherwise
                raise
    for old in cache.glob("capabilities-*"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)
    return place


def copy_capabilities(warm: Path, node: NodePlan) -> None:
    shutil.copytree(warm, node.directory / "cache-libvirt/qemu/capabilities", dirs_exist_ok=True)


def _versions() -> str:
    digest = hashlib.sha256(platform.release().encode())
    for program in (_QEMU, "libvirtd"):
        path = shutil.which(program)
        if path is None:
            raise Unsupported(f"{program} is not installed", hint="run `make setup`")
        status = os.stat(path)
        digest.update(f"{path} {status.st_ctime_ns} {status.st_size}".encode())
    return digest.hexdigest()[:12]
