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
_CGROUPS = ((Path("/sys/fs/cgroup"), ("cgroup.controllers",)), (Path("/sys/fs/cgroup"), ("cpu", "memory")))
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
        _isolation,
        _limits,
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
    if os.geteuid() != 0:
        if _output("virsh", "--quiet", "--connect", "qemu:///session", "hostname") is None:
            return Finding(
                name, Grade.FAILED, "this user's session libvirtd does not start", "virsh -c qemu:///session"
            )
        return Finding(name, Grade.OK, "this user's own, of the session")
    if answers():
        connected = _output("virsh", "--quiet", "--connect", "qemu:///system", "hostname")
        if connected is None:
            return Finding(name, Grade.FAILED, "it runs, but refuses root", "`systemctl status libvirtd` tells why")
        return Finding(name, Grade.OK, "it answers")
    if systemd_runs():
        return Finding(name, Grade.FAILED, "it does not run", "systemctl enable --now libvirtd.socket")
    return Finding(name, Grade.OK, "it does not run; `kvtui local start` starts it, as nothing else does here")


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
        "virtlogd writes them: when it dies, what running VMs say is lost until somebody looks",
        f'set stdio_handler = "file" in {_QEMU_CONF} and restart libvirtd',
    )


def _isolation(engine: EngineDirectory) -> Finding:
    """Whom QEMU runs as, and what keeps it from the rest of the machine."""
    from xml.etree import ElementTree

    from kvtui.node import capabilities, identity

    name = "isolation"
    if os.geteuid() != 0:
        return Finding(name, Grade.OK, "VMs run as this user, like everything that this user runs")
    text = _output("virsh", "--quiet", "--connect", "qemu:///system", "capabilities") if answers() else None
    if text is None:
        return Finding(name, Grade.OK, "known when libvirtd runs")
    host = capabilities.host(ElementTree.fromstring(text))  # noqa: S314  # libvirt's own serialisation
    conf = identity.settings()
    if host.user.uid == 0:
        return Finding(name, Grade.ADVICE, "QEMU runs as root", f"take user and group out of {_QEMU_CONF}")
    if "seccomp_sandbox=0" in conf.split():
        return Finding(name, Grade.ADVICE, "QEMU runs without seccomp", f"take seccomp_sandbox out of {_QEMU_CONF}")
    if reason := identity.hindrance(host.user, _existing(engine.data), conf):
        return Finding(name, Grade.ADVICE, f"all VMs run as one user: {reason}", "then each VM has a user of its own")
    confined = f", confined by {host.security}" if host.security else ""
    return Finding(
        name, Grade.OK, f"each VM has a user of its own{confined}; those with a TPM share user {host.user.uid}"
    )


def _limits(_: EngineDirectory) -> Finding:
    """Whether libvirt can bound what a VM uses."""
    from kvtui.node import identity

    name = "VM limits"
    if os.geteuid() != 0:
        return Finding(name, Grade.OK, "none: control groups need root")
    if "cgroup_controllers=[]" in identity.settings().split():
        fix = f"take cgroup_controllers out of {_QEMU_CONF}"
        return Finding(name, Grade.ADVICE, "limits of VMs are not enforced: libvirt uses no control groups", fix)
    if not any(all((place / part).exists() for part in parts) for place, parts in _CGROUPS):
        return Finding(name, Grade.ADVICE, "limits of VMs are not enforced: no control groups", "mount /sys/fs/cgroup")
    return Finding(name, Grade.OK, "control groups of libvirt")


def _firmware(_: EngineDirectory) -> Finding:
    if any(Path(path).exists() for path in _OVMF):
        return Finding("UEFI", Grade.OK, "OVMF is installed")
    return Finding("UEFI", Grade.ADVICE, "VMs can only use BIOS", "apt-get install ovmf")


def _tpm(_: EngineDirectory) -> Finding:
    if shutil.which("swtpm") and shutil.which("swtpm_setup"):
        return Finding("TPM", Grade.OK, "swtpm is installed")
    return Finding("TPM", Grade.ADVICE, "VMs cannot have a TPM", "apt-get install swtpm swtpm-tools")


def _cni(_: EngineDirectory) -> Finding:
    if os.geteuid() != 0:
        return Finding("CNI plugins", Grade.OK, "not used without root")
    missing = [p for p in _PLUGINS if not any(Path(place, p).exists() for place in _PLUGIN_PATHS)]
    if missing:
        fix = "apt-get install containernetworking-plugins"
        return Finding("CNI plugins", Grade.FAILED, f"not installed: {', '.join(missing)}", fix)
    return Finding("CNI plugins", Grade.OK, f"{', '.join(_PLUGINS)}")


def _nftables(_: EngineDirectory) -> Finding:
    if os.geteuid() != 0:
        return Finding("nftables", Grade.OK, "not used without root")
    if shutil.which("nft") is None:
        return Finding("nftables", Grade.FAILED, "not installed", "apt-get install nftables")
    if _output("nft", "--check", "add", "table", "ip", "kvtui_doctor") is None:
        return Finding("nftables", Grade.FAILED, "this kernel refuses a table", "load the module nf_tables")
    return Finding("nftables", Grade.OK, "the kernel takes rules")


def _tools(_: EngineDirectory) -> Finding:
    packages = {"ip": "iproute2", "dnsmasq": "dnsmasq-base", "nsenter": "util-linux"} if os.geteuid() == 0 else {}
    missing = [package for tool, package in packages.items() if shutil.which(tool) is None]
    if not any(shutil.which(tool) for tool in ("genisoimage", "xorriso", "mkisofs")):
        missing.append("genisoimage")
    if missing:
        return Finding(
            "tools", Grade.FAILED, f"not installed: {', '.join(missing)}", f"apt-get install {' '.join(missing)}"
        )
    return Finding("tools", Grade.OK, ", ".join((*packages, "an ISO maker")))


def _existing(place: Path) -> Path:
    """The directory, or the nearest above it that is there."""
    while not place.exists():
        place = place.parent
    return place


def _disk(engine: EngineDirectory) -> Finding:
    place = _existing(engine.data)
    usage = shutil.disk_usage(place)
    found = f"{usage.free / 2**30:.1f} GiB free for {engine.data}"
    if usage.free < _LEAST_DISK:
        return Finding("disk space", Grade.FAILED, found, "make room, or choose another directory with --data")
    return Finding("disk space", Grade.OK, found)


def _permissions(engine: EngineDirectory) -> Finding:
    place = _existing(engine.data)
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
