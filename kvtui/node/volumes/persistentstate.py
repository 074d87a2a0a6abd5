"""Firmware variables and TPM state that outlive an instance: on the claim that the control plane made for the VM.

Firmware variables are a file there. libvirt keeps a TPM's state under the domain's UUID in a place of its own, so the
claim's directory is mounted there while the domain is defined; without root a symbolic link does.

Source: https://kubevirt.io/user-guide/compute/persistent_tpm_and_uefi_state/
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.node import identity
from kvtui.node.identity import QemuUser
from kvtui.node.layout import Layout
from kvtui.node.processes import run
from kvtui.node.volumes import claims
from kvtui.node.volumes.claims import Claim, ClaimPending

LABEL = "persistent-state-for"
VARIABLES, TPM = "nvram", "swtpm"


def is_wanted(vmi: VirtualMachineInstance) -> bool:
    """Whether firmware variables or a TPM's state are to outlive the instance."""
    tpm, firmware = vmi.spec.domain.devices.tpm, vmi.spec.domain.firmware
    efi = firmware.bootloader.efi if firmware and firmware.bootloader else None
    return bool((tpm and tpm.enabled is not False and tpm.persistent) or (efi and efi.persistent))


def carried_to(vmi: VirtualMachineInstance) -> str:
    """The claim to which a migration has carried the state of a guest; empty for one that has not moved."""
    state = vmi.status.migration_state
    moved = state is not None and state.completed and not state.failed
    return (state.target_persistent_state_pvc_name or "") if state is not None and moved else ""


async def claim_of(client: Client, layout: Layout, vmi: VirtualMachineInstance, wanted: str = "") -> Claim:
    """The claim of that name, else the oldest one with the VM's name on its label.

    Raises ClaimPending while there is none.
    """
    if chosen := wanted or carried_to(vmi):
        return await claims.resolve(client, layout, vmi.metadata.namespace, chosen)
    name = vmi.metadata.name
    listed = await client.list(PersistentVolumeClaim, vmi.metadata.namespace, label_selector=f"{LABEL}={name}")
    present = [c for c in listed.items if c.metadata.deletion_timestamp is None]
    first = min(present, key=lambda c: (c.metadata.creation_timestamp or "", c.metadata.name), default=None)
    if first is None:
        raise ClaimPending(f"no PersistentVolumeClaim holds the state of {name} yet")
    return await claims.resolve(client, layout, vmi.metadata.namespace, first.metadata.name)


async def prepare(
    client: Client, layout: Layout, vmi: VirtualMachineInstance, user: QemuUser, wanted: str = ""
) -> Path | None:
    """The claim's directory with room for both; None for a VM whose state is not kept. As `claim_of`, and raises so."""
    if not is_wanted(vmi):
        return None
    claim = await claim_of(client, layout, vmi, wanted)
    await claims.ensure_directory(claim)
    await asyncio.to_thread(_make, claim.path, user)
    return claim.path


def variables(layout: Layout, directory: Path) -> str:
    """The file of firmware variables, as QEMU sees it."""
    return str(layout.seen(directory / VARIABLES / "vars.fd"))


def _make(directory: Path, user: QemuUser) -> None:
    (directory / TPM).mkdir(mode=0o711, exist_ok=True)
    place = directory / VARIABLES
    place.mkdir(mode=0o700, exist_ok=True)
    identity.let_in(place, user, 0o7)


def _place(uuid: str) -> Path:
    """Where libvirt keeps a TPM's state. Source: libvirt's qemu driver, swtpmStorageDir."""
    if os.geteuid() == 0:
        return Path("/var/lib/libvirt/swtpm") / uuid
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "libvirt/qemu/swtpm" / uuid


async def attach(directory: Path, uuid: str) -> None:
    """Gives libvirt the claim's TPM state for this domain. May be called again."""
    place, source = _place(uuid), directory / TPM
    if os.geteuid() != 0:
        await asyncio.to_thread(_link, place, source)
        return
    if await asyncio.to_thread(_is, place, source):
        return
    await release(uuid)
    await asyncio.to_thread(place.mkdir, 0o711, parents=True, exist_ok=True)
    await run("mount", "--bind", str(source), str(place))


async def release(uuid: str) -> None:
    """Takes it away again; what is on the claim stays. May be called again, and for a domain that never had any."""
    place = _place(uuid)
    if os.geteuid() != 0:
        await asyncio.to_thread(_unlink, place)
        return
    if await asyncio.to_thread(_is_mounted, place):
        await run("umount", str(place))
        await asyncio.to_thread(place.rmdir)


def _is_mounted(place: Path) -> bool:
    """A directory that is mounted on another one of its own file system shows only here.

    Source: proc(5), mountinfo.
    """
    with Path("/proc/self/mountinfo").open() as mounts:
        return any(line.split()[4] == str(place) for line in mounts)


def _is(place: Path, source: Path) -> bool:
    return place.exists() and place.samefile(source)


def _link(place: Path, source: Path) -> None:
    place.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)  # of a domain with this UUID that kept its state elsewhere
    place.symlink_to(source)


def _unlink(place: Path) -> None:
    if place.is_symlink():
        place.unlink()
