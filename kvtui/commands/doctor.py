"""What this machine needs to run VMs, checked one by one; each finding says in one line how to mend it.

Nothing is changed here. A failure means that VMs cannot run; advice means that they run less well.
"""

from __future__ import annotations

import asyncio
import enum
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from kvtui.commands.engine import EngineDirectory, as_json
from kvtui.commands.host_libvirt import answers, systemd_runs

_MIB = 2**20
_LEAST_DISK = 2 * 1024 * _MIB
_LEAST_LIBVIRT = (9, 0)
_LEAST_QEMU = (7, 2)
_PLUGINS = ("bridge", "host-local", "portmap")
_PLUGIN_PATHS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
_QEMU_CONF = Path("/etc/libvirt/qemu.conf")
_OVMF = ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_CODE.fd")


class Grade(enum.StrEnum):
    OK = "ok"
    ADVICE = "advice"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True):
    """One check: what was found, and what to do about it."""

    check: str
    grade: Grade
    found: str
    fix: str = ""


async def examine(engine: EngineDirectory) -> list[Finding]:
    """All findings, in the order in which things are needed."""
    checks: tuple[Callable[[EngineDirectory], Finding], ...] = (
        _qemu,
        _libvirt,
        _libvirt_answers,
        _console_logs,
        _firmware,
        _tpm,
        _cni,
        _nftables,
        _tools,
        _disk,
        _permissions,
    )
    return list(await asyncio.gather(_accelerator(), *(asyncio.to_thread(check, engine) for check in checks)))


def show(findings: list[Finding], output: str) -> int:
    """Prints the findings; exit status 1 when one of them keeps VMs from running."""
    if output == "json":
        click.echo(as_json(findings))
    else:
        width = max(len(f.check) for f in findings) + 2
        for finding in findings:
            click.echo(f"{finding.grade:<8}{finding.check:<{width}}{finding.found}")
            if finding.fix:
                click.echo(f"{'':<8}{'':<{width}}fix: {finding.fix}")
    return 1 if any(f.grade is Grade.FAILED for f in findings) else 0


async def _accelerator() -> Finding:
    from kvtui.node.probe import probe_kvm

    probe = await probe_kvm()
    if probe.kvm:
        return Finding("KVM", Grade.OK, "a guest reaches 64-bit code with KVM")
    fix = f"VMs are emulated, ten to thirty times slower; {_kvm_fix()}"
    return Finding("KVM", Grade.ADVICE, f"emulation: {probe.reason}", fix)


def _kvm_fix() -> str:
    if not Path("/dev/kvm").exists():
        return "turn on virtualization in the firmware, or nested virtualization where this is a VM"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "add this user to the group kvm"
    return "this machine's hypervisor does not offer working nested virtualization"


def _qemu(_: EngineDirectory) -> Finding:
    text = _output("qemu-system-x86_64", "--version")
    if text is None:
        return Finding("QEMU", Grade.FAILED, "not installed", "apt-get install qemu-system-x86 qemu-utils")
    if shutil.which("qemu-img") is None:
        return Finding("QEMU", Grade.FAILED, "qemu-img is not installed", "apt-get install qemu-utils")
    version = version_in(text)
    if version < _LEAST_QEMU:
        return Finding("QEMU", Grade.ADVICE, _dotted(version), f"kvtui is tested with {_dotted(_LEAST_QEMU)} and later")
    return Finding("QEMU", Grade.OK, _dotted(version))


def _libvirt(_: EngineDirectory) -> Finding:
    text = _output("libvirtd", "--version")
    if text is None:
        fix = "apt-get install libvirt-daemon-system libvirt-clients"
        return Finding("libvirt", Grade.FAILED, "libvirtd is not installed", fix)
    version = version_in(text)
    if version < _LEAST_LIBVIRT:
        fix = f"kvtui is tested with {_dotted(_LEAST_LIBVIRT)} and later"
        return Finding("libvirt", Grade.ADVICE, _dotted(version), fix)
    return Finding("libvirt", Grade.OK, _dotted(version))


def _libvirt_answers(_: EngineDirectory) -> Finding:
    name = "libvirtd"
    if answers():
        connected = _output("virsh", "--quiet", "--connect", "qemu:///system", "hostname")
        if connected is None:
            fix = "add this user to the group libvirt, or use sudo"
            return Finding(name, Grade.FAILED, "it runs, but refuses this user", fix)
        return Finding(name, Grade.OK, "it answers")
    if systemd_runs():
        return Finding(name, Grade.FAILED, "it does not run", "systemctl enable --now libvirtd.socket")
    if os.geteuid() == 0:
        return Finding(name, Grade.OK, "it does not run; `kvtui local start` starts it, as nothing else does here")
    return Finding(name, Grade.FAILED, "it does not run, and only root can start it", "use sudo")


def _console_logs(_: EngineDirectory) -> Finding:
    name = "console logs"
    try:
        text = _QEMU_CONF.read_text()
    except PermissionError:
        return Finding(name, Grade.OK, f"{_QEMU_CONF} is not readable for this user")
    except OSError:
        return Finding(name, Grade.OK, "libvirt's defaults")
    if handler_of(text) == "file":
        return Finding(name, Grade.OK, "QEMU writes them itself")
    return Finding(
        name,
        Grade.ADVICE,
        "virtlogd writes them: consoles of running VMs fall silent for good when it dies",
        f'set stdio_handler = "file" in {_QEMU_CONF} and restart libvirtd',
    )


def _firmware(_: EngineDirectory) -> Finding:
    if any(Path(path).exists() for path in _OVMF):
        return Finding("UEFI", Grade.OK, "OVMF is installed")
    return Finding("UEFI", Grade.ADVICE, "VMs can only use BIOS", "apt-get install ovmf")


def _tpm(_: EngineDirectory) -> Finding:
    if shutil.which("swtpm") and shutil.which("swtpm_setup"):
        return Finding("TPM", Grade.OK, "swtpm is installed")
    return Finding("TPM", Grade.ADVICE, "VMs cannot have a TPM", "apt-get install swtpm swtpm-tools")


def _cni(_: EngineDirectory) -> Finding:
    missing = [p for p in _PLUGINS if not any(Path(place, p).exists() for place in _PLUGIN_PATHS)]
    if missing:
        fix = "apt-get install containernetworking-plugins"
        return Finding("CNI plugins", Grade.FAILED, f"not installed: {', '.join(missing)}", fix)
    return Finding("CNI plugins", Grade.OK, f"{', '.join(_PLUGINS)}")


def _nftables(_: EngineDirectory) -> Finding:
    if shutil.which("nft") is None:
        return Finding("nftables", Grade.FAILED, "not installed", "apt-get install nftables")
    if os.geteuid() != 0:
        return Finding("nftables", Grade.OK, "installed; only root can look further")
    if _output("nft", "--check", "add", "table", "ip", "kvtui_doctor") is None:
        return Finding("nftables", Grade.FAILED, "this kernel refuses a table", "load the module nf_tables")
    return Finding("nftables", Grade.OK, "the kernel takes rules")


def _tools(_: EngineDirectory) -> Finding:
    packages = {"ip": "iproute2", "dnsmasq": "dnsmasq-base", "nsenter": "util-linux"}
    missing = [package for tool, package in packages.items() if shutil.which(tool) is None]
    if not any(shutil.which(tool) for tool in ("genisoimage", "xorriso", "mkisofs")):
        missing.append("genisoimage")
    if missing:
        return Finding(
            "tools", Grade.FAILED, f"not installed: {', '.join(missing)}", f"apt-get install {' '.join(missing)}"
        )
    return Finding("tools", Grade.OK, "ip, dnsmasq, an ISO maker")


def _disk(engine: EngineDirectory) -> Finding:
    place = engine.data
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    found = f"{usage.free / 2**30:.1f} GiB free for {engine.data}"
    if usage.free < _LEAST_DISK:
        return Finding("disk space", Grade.FAILED, found, "make room, or choose another directory with --data")
    return Finding("disk space", Grade.OK, found)


def _permissions(engine: EngineDirectory) -> Finding:
    place = engine.data
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        fix = "use sudo, or choose another directory with --data"
        return Finding("permissions", Grade.FAILED, f"{place} is not writable for this user", fix)
    if os.geteuid() != 0:
        return Finding(
            "permissions",
            Grade.ADVICE,
            "not root: VMs get user-mode networking and cannot move to other nodes",
            "use sudo for pod networks, bridges and live migration",
        )
    return Finding("permissions", Grade.OK, "root")


def version_in(text: str) -> tuple[int, ...]:
    """The first dotted number of a text: "QEMU emulator version 7.2.22 (Debian …)" gives (7, 2, 22)."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def handler_of(configuration: str) -> str:
    """stdio_handler of a qemu.conf; "logd" is libvirt's default."""
    found = re.search(r'^\s*stdio_handler\s*=\s*"(\w+)"', configuration, re.MULTILINE)
    return found.group(1) if found else "logd"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _output(*command: str) -> str | None:
    """What a program prints; None when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
