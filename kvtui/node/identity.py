"""Whom the QEMU of one VM runs as: a user of its own where the node's libvirt lets it, else the user that all share.

The number is made from the VMI's UID, in a range that nobody else hands out, so that every node comes to the same one
and no list has to be kept. Directories of a VM admit its user by an access control list: the group stays QEMU's, which
is what opens /dev/kvm.

Source: https://libvirt.org/drvqemu.html#posix-users-groups, acl(5), https://systemd.io/UIDS-GIDS
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kvtui.api.kubevirt.vmi import VirtualMachineInstance

FIRST, COUNT = 1_900_000_000, 2**24
"""Users of VMs. systemd lists the numbers between 1879048192 and 2147352575 as used by nobody."""
QEMU_CONF = Path("/etc/libvirt/qemu.conf")
_ACL = "system.posix_acl_access"
_VERSION, _ANYONE = 2, 0xFFFFFFFF
_NO_LISTS = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EPERM)
_OWNER, _USER, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20


@dataclass(frozen=True, slots=True)
class QemuUser:
    """Whom QEMU runs as."""

    uid: int
    gid: int
    own: bool = False
    """No other VM's QEMU runs as this user."""

    @property
    def label(self) -> str:
        """As libvirt's DAC model writes it."""
        return f"+{self.uid}:+{self.gid}"


def user_of(vmi_uid: str, common: QemuUser, *, group: int | None = None) -> QemuUser:
    """The VM's own user; `group` where it has to be another one than QEMU's."""
    number = int.from_bytes(hashlib.sha256(vmi_uid.encode()).digest()[:8])
    return QemuUser(FIRST + number % COUNT, common.gid if group is None else group, own=True)


def is_own(label: str) -> bool:
    """Whether a label of libvirt's DAC model names a VM's own user."""
    uid = label.partition(":")[0].lstrip("+")
    return uid.isdigit() and FIRST <= int(uid) < FIRST + COUNT


def shares(vmi: VirtualMachineInstance) -> str:
    """What this VM has in common with a process of another user; empty for one that can be by itself."""
    devices = vmi.spec.domain.devices
    if devices.tpm is not None:
        return "libvirt admits only QEMU's common user to the sockets of its TPM emulators"
    if devices.filesystems:
        return "the sockets of file system servers belong to QEMU's common user"
    if any(disk.shareable for disk in devices.disks):
        return "a disk is shared with other VMs"
    return ""


def hindrance(common: QemuUser, directory: Path, conf: str | None = None) -> str:
    """Why VMs of this node cannot have users of their own; empty where they can. Blocks.

    `conf` is what `settings` gives, by default for this machine.
    """
    if os.geteuid() != 0:
        return "only root's libvirt runs QEMU as other users"
    if common.uid == 0:
        return f"{QEMU_CONF} has QEMU run as root"
    if "dynamic_ownership=0" in (settings() if conf is None else conf).split():
        return f"{QEMU_CONF} keeps libvirt from giving disks to users (dynamic_ownership = 0)"
    if not _has_acls(directory):
        return f"the file system of {directory} has no access control lists"
    return ""


def settings(text: str | None = None) -> str:
    """What is set in a qemu.conf, by default this machine's: one key=value a line, without comments and blanks."""
    if text is None:
        try:
            text = QEMU_CONF.read_text(errors="replace")
        except OSError:
            return ""
    return "\n".join(re.sub(r"\s", "", line.partition("#")[0]) for line in text.splitlines())


@functools.cache
def _has_acls(directory: Path) -> bool:
    with tempfile.TemporaryDirectory(dir=directory, prefix=".acl-") as place:
        try:
            admit(Path(place), FIRST, 0o1)
        except OSError as error:
            if error.errno in _NO_LISTS:
                return False
            raise
    return True


def let_in(directory: Path, user: QemuUser, rights: int) -> None:
    """Gives one QEMU these rights to a directory of the agent's. Blocks.

    All guests are of one group, so that it counts only where the file system has no access control lists.
    """
    if os.geteuid() == 0:
        try:
            admit(directory, user.uid, rights)
            return
        except OSError as error:
            if user.own or error.errno not in _NO_LISTS:
                raise
        os.chown(directory, 0, user.gid)
    directory.chmod(0o700 | rights << 3)


def admit(path: Path, uid: int, rights: int) -> None:
    """Gives one user these rights (as in a mode's last digit) to a path, and nobody else any beyond its owner's."""
    owner = path.stat().st_mode >> 6 & 7
    entries = ((_OWNER, owner, _ANYONE), (_USER, rights, uid), (_GROUP, 0, _ANYONE), (_MASK, rights, _ANYONE))
    rows = (*entries, (_OTHER, 0, _ANYONE))
    os.setxattr(path, _ACL, struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *row) for row in rows))
