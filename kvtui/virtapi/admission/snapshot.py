"""Snapshots and restores of VMs.

Source: life-cycle facts 1.1 and 2.5; kubevirt pkg/storage/admitters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.kubevirt.snapshot import (
    VirtualMachineRestore,
    VirtualMachineSnapshot,
    VirtualMachineSnapshotContent,
)
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.virtapi.admission.causes import Path, bad_request, invalid, not_found, required
from kvtui.virtapi.admission.same import same
from kvtui.virtapi.admission.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.core.parts import TypedLocalObjectReference
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.api.wire import Wire
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.view import ClusterView

GROUP = "kubevirt.io"
RESTORE_POLICIES = ("InPlace", "RandomizeNames", "PrefixTargetName")
OWNERSHIP_POLICIES = ("Vm", "None")
OTHER_VM = "Restore to a different VM is not supported when snapshotted VM has backend storage (persistent TPM or EFI)"


def immutable(new: Wire, old: Wire) -> list[Cause]:
    """What is asked once stays as it was asked."""
    return [] if same(new, old) else [invalid("spec in immutable after creation", "spec")]


def validate_reference(reference: TypedLocalObjectReference, field: Path) -> list[Cause]:
    """It must be a VirtualMachine."""
    if reference.api_group is None:
        return [not_found("missing apiGroup", field.child("apiGroup"))]
    if reference.api_group != GROUP:
        return [invalid("invalid apiGroup", field.child("apiGroup"))]
    if reference.kind != "VirtualMachine":
        return [invalid("invalid kind", field.child("kind"))]
    return []


def validate_snapshot(snapshot: VirtualMachineSnapshot) -> list[Cause]:
    return validate_reference(snapshot.spec.source, Path("spec.source"))


def validate_restore(restore: VirtualMachineRestore, namespace: str, view: ClusterView) -> list[Cause]:
    """Raises Denied (400) when the snapshot's content is missing."""
    field, spec = Path("spec"), restore.spec
    found = validate_reference(spec.target, field.child("target"))
    if not found:
        found = [
            *_target(restore, namespace, view),
            *_overrides(restore),
            *_policy(spec.volume_restore_policy, RESTORE_POLICIES, "volume restore policy", "volumeRestorePolicy"),
            *_policy(
                spec.volume_ownership_policy, OWNERSHIP_POLICIES, "volume ownership policy", "volumeOwnershipPolicy"
            ),
        ]
    for other in view.all(VirtualMachineRestore, namespace):
        if other.spec.target == spec.target and not other.status.complete:
            message = f"VirtualMachineRestore {quoted(other.metadata.name)} in progress"
            found.append(invalid(message, field.child("target")))
    return found


def _target(restore: VirtualMachineRestore, namespace: str, view: ClusterView) -> list[Cause]:
    spec = restore.spec
    snapshot = view.find(VirtualMachineSnapshot, namespace, spec.virtual_machine_snapshot_name)
    if snapshot is None:
        return []
    found = list(_patches(spec.patches))
    target = view.find(VirtualMachine, namespace, spec.target.name)
    source = snapshot.status.source_uid
    if target is not None and (source is None or target.metadata.uid == source):
        return found
    name = snapshot.status.virtual_machine_snapshot_content_name
    if name is None:
        raise bad_request("snapshot content name is nil in vmSnapshot status")
    content = view.find(VirtualMachineSnapshotContent, namespace, name)
    if content is None:
        raise bad_request(f"virtualmachinesnapshotcontents.snapshot.kubevirt.io {quoted(name)} not found")
    captured = content.spec.source.virtual_machine
    if captured is None or captured.spec is None:
        raise bad_request("unexpected snapshot source")
    if has_backend_state(captured.spec.template.spec):
        found.append(invalid(OTHER_VM, "spec"))
    return found


def has_backend_state(spec: VirtualMachineInstanceSpec) -> bool:
    """Whether the guest keeps state outside its disks: a persistent TPM or UEFI variables."""
    tpm, firmware = spec.domain.devices.tpm, spec.domain.firmware
    efi = firmware.bootloader.efi if firmware is not None and firmware.bootloader is not None else None
    return bool(tpm is not None and tpm.persistent and tpm.enabled is not False) or bool(efi and efi.persistent)


def _patches(patches: list[str]) -> Iterator[Cause]:
    """Patches are cut at commas and colons, as upstream does, so a value with a colon is refused."""
    for patch in patches:
        for pair in patch.strip("{}").split(","):
            parts = pair.split(":")
            if len(parts) != 2:
                message = f'patch format is not valid - one ":" expected in a single key-value json patch: {pair}'
                yield invalid(message, "spec.patches")
                continue
            key, value = (part.strip() for part in parts)
            allowed = ('"/metadata/labels/', '"/metadata/annotations/', '"/spec/')
            if key == '"path"' and not value.startswith(allowed):
                yield invalid(f"patching is valid only for elements under /spec/ only: {pair}", "spec.patches")


def _overrides(restore: VirtualMachineRestore) -> Iterator[Cause]:
    field = Path("spec.volumeRestoreOverrides")
    for position, override in enumerate(restore.spec.volume_restore_overrides):
        at = field.item(position)
        if not override.volume_name:
            yield required("must provide a volume name", at.child("volumeName"))
        if not override.restore_name and not override.annotations and not override.labels:
            yield required("must provide at least one overriden field", at)


def _policy(policy: str | None, known: tuple[str, ...], what: str, name: str) -> Iterator[Cause]:
    if policy is not None and policy not in known:
        yield invalid(f'{what} "{policy}" doesn\'t exist', f"spec.{name}")
