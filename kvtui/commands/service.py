"""The engine as a systemd service."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kvtui.commands.engine import EngineDirectory, EngineKind, default_data
from kvtui.commands.host_libvirt import systemd_runs
from kvtui.errors import Unsupported

_UNITS = Path("/etc/systemd/system")


def unit_path(engine: EngineDirectory) -> Path:
    """Of the default engine kvtui.service; of another one with its directory in the name."""
    if engine.data == default_data(EngineKind.LOCAL):
        return _UNITS / "kvtui.service"
    return _UNITS / f"kvtui-{str(engine.data).strip('/').replace('/', '-')}.service"


def unit_text(engine: EngineDirectory, python: str) -> str:
    """Guests are libvirt's, but their DHCP servers are the agent's children: only the supervisor is told to stop."""
    command = shlex.join([python, "-m", "kvtui", "local", "start", "--foreground", "--data", str(engine.data)])
    return f"""\
[Unit]
Description=kvtui engine in {engine.data}
After=network-online.target libvirtd.service libvirtd.socket
Wants=network-online.target libvirtd.socket

[Service]
Type=notify
ExecStart={command}
KillMode=mixed
TimeoutStartSec=300
TimeoutStopSec=120
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


def install(engine: EngineDirectory, *, say: Callable[[str], None]) -> None:
    """Writes, enables and starts the unit. Raises Unsupported without systemd or root."""
    if not systemd_runs():
        raise Unsupported("systemd does not run on this machine", hint="`kvtui local start` runs without it")
    if os.geteuid() != 0:
        raise Unsupported("a service needs root", hint="use sudo")
    path = unit_path(engine)
    path.write_text(unit_text(engine, sys.executable))
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", path.name)
    say(f"installed and started {path.name}")


def remove(engine: EngineDirectory, *, say: Callable[[str], None]) -> None:
    """Raises Unsupported when there is no such service."""
    path = unit_path(engine)
    if not path.exists():
        raise Unsupported(f"there is no {path.name}")
    _systemctl("disable", "--now", path.name)
    path.unlink()
    _systemctl("daemon-reload")
    say(f"removed {path.name}")


def start_installed(engine: EngineDirectory) -> bool:
    """Starts the engine by its service and waits for it; False when there is none."""
    if not (systemd_runs() and unit_path(engine).exists()):
        return False
    _systemctl("start", unit_path(engine).name)
    return True


def stop_installed(engine: EngineDirectory) -> None:
    """Tells systemd too that the engine has stopped."""
    if systemd_runs() and unit_path(engine).exists():
        _systemctl("stop", unit_path(engine).name)


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unsupported(
            f"`systemctl {' '.join(arguments)}` failed: {done.stderr.strip()}",
            hint="`journalctl -u kvtui` may tell more",
        )
