"""A libvirtd of the test's own: in mount, network and UTS namespaces, with nothing of the host's to touch.

Needs root. Ends with the test run, as do its guests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt

if TYPE_CHECKING:
    from collections.abc import Iterator

_START = """
set -e
parts="run:/run/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt etc:/etc/libvirt \\
    tpm:/var/lib/swtpm-localca tpmlog:/var/log/swtpm"
mount --make-rprivate /
for part in $parts; do
    mkdir -p "$1/${part%%:*}" "${part#*:}"
done
cp -r /etc/libvirt/. "$1/etc/"
printf '%s\\n' "host_uuid = \\"$2\\"" 'auth_unix_rw = "none"' >> "$1/etc/libvirtd.conf"
printf '%s\\n' 'security_driver = "none"' 'namespaces = []' 'cgroup_controllers = []' 'user = "root"' \
    'group = "root"' 'remember_owner = 0' 'stdio_handler = "file"' \
    'swtpm_user = "root"' 'swtpm_group = "root"' >> "$1/etc/qemu.conf"
for part in $parts; do
    mount --bind "$1/${part%%:*}" "${part#*:}"
done
ip link set lo up
ip link add kvb0 type bridge
ip link set kvb0 up mtu 1450
exec libvirtd -p /run/libvirt/private.pid
"""


@dataclass(frozen=True, slots=True)
class PrivateLibvirt:
    """The running daemon."""

    connection: libvirt.virConnect
    directory: Path


@contextlib.contextmanager
def running(directory: Path) -> Iterator[PrivateLibvirt]:
    """Starts it below the directory, whose path has to be short."""
    argv = ["unshare", "-m", "-n", "-u", "bash", "-c", _START, "private-libvirt", str(directory), str(uuid.uuid4())]
    with (directory / "libvirtd.log").open("wb") as log:
        daemon = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    try:
        connection = _connect(directory / "run" / "libvirt-sock", daemon)
        try:
            yield PrivateLibvirt(connection, directory)
        finally:
            for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                domain.destroy()
            connection.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGTERM)
        daemon.wait(timeout=20)


def _connect(socket: Path, daemon: subprocess.Popen[bytes]) -> libvirt.virConnect:
    deadline = time.monotonic() + 60
    while True:
        try:
            return libvirt.open(f"qemu+unix:///system?socket={socket}")
        except libvirt.libvirtError:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # the daemon announces its socket in no other way
