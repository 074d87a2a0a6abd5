"""This machine's own libvirtd: whether it answers, and starting it where nothing else does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from kvtui.errors import Unsupported

SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
LOG_SOCKETS = (Path("/run/libvirt/virtlogd-sock"),)
_SYSTEMD = Path("/run/systemd/system")


def systemd_runs() -> bool:
    """As sd_booted(3) tells it."""
    return _SYSTEMD.is_dir()


def answers(sockets: Sequence[Path] = SOCKETS) -> bool:
    """A daemon, or systemd in its place, accepts connections."""
    for path in sockets:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(path))
            except OSError:
                continue
            return True
    return False


def ensure_libvirtd(*, say: Callable[[str], None]) -> None:
    """Sees to it that the system's libvirtd runs. Raises Unsupported when it does not and cannot be started.

    Where no service manager runs, the daemons are started as they are configured, and stay when the engine stops:
    guests' console logs end with their virtlogd, and without one no guest starts.
    """
    missing = [name for name, sockets in (("virtlogd", LOG_SOCKETS), ("libvirtd", SOCKETS)) if not answers(sockets)]
    if os.geteuid() != 0 or not missing or (answers() and systemd_runs()):
        return
    if shutil.which("libvirtd") is None:
        raise Unsupported("libvirt is not installed", hint="run `make setup`, or install libvirt-daemon-system")
    if systemd_runs():
        done = subprocess.run(["systemctl", "start", "libvirtd"], capture_output=True, text=True, check=False)
        if done.returncode or not answers():
            raise Unsupported(
                f"libvirtd does not start: {done.stderr.strip() or 'its socket does not answer'}",
                hint="`systemctl status libvirtd` tells why",
            )
        return
    say(f"starting {' and '.join(missing)}, which nothing else starts on this machine")
    for daemon in missing:
        done = subprocess.run([daemon, "--daemon"], capture_output=True, text=True, check=False, umask=0o022)
        if done.returncode and not answers():
            raise Unsupported(f"{daemon} does not start: {done.stderr.strip() or done.returncode}")
