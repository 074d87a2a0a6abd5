"""Access credentials: one sort, one source and one way in each; and the volume or users that the way needs.

Source: control plane facts 5.3 (accessCredentials).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import SSHPublicKeyAccessCredential, VirtualMachineInstanceSpec
    from kvtui.errors import Cause

    Spec = VirtualMachineInstanceSpec


def validate_access(spec: Spec, field: Path) -> list[Cause]:
    found: list[Cause] = []
    for position, credential in enumerate(spec.access_credentials):
        at = field.child("accessCredentials").item(position)
        key, password = credential.ssh_public_key, credential.user_password
        if key is not None:
            found += _key_methods(key, spec, at)
            methods = (
                key.propagation_method.no_cloud,
                key.propagation_method.config_drive,
                key.propagation_method.qemu_guest_agent,
            )
            found += _one_each(at, "sshPublicKey", key.source.secret is not None, sum(m is not None for m in methods))
        if password is not None:
            agent = password.propagation_method.qemu_guest_agent
            found += _one_each(at, "userPassword", password.source.secret is not None, int(agent is not None))
        if (key is None) == (password is None):
            found.append(invalid(f"{at} must have exactly one access credential type set", at))
    return found


def _one_each(at: Path, member: str, has_source: bool, methods: int) -> list[Cause]:
    found = []
    if not has_source:
        found.append(invalid(f"{at} must have exactly one source set", at.child(member, "source")))
    if methods != 1:
        found.append(
            invalid(f"{at} must have exactly one propagationMethod set", at.child(member, "propagationMethod"))
        )
    return found


def _key_methods(key: SSHPublicKeyAccessCredential, spec: Spec, at: Path) -> list[Cause]:
    found, own, method = [], at.child("sshPublicKey", "propagationMethod"), key.propagation_method
    if method.no_cloud is not None and not any(v.cloud_init_no_cloud is not None for v in spec.volumes):
        found.append(
            invalid(f"{at} requires a noCloud volume to exist when the noCloud propagationMethod is in use.", own)
        )
    if method.config_drive is not None and not any(v.cloud_init_config_drive is not None for v in spec.volumes):
        found.append(
            invalid(
                f"{at} requires a configDrive volume to exist when the configDrive propagationMethod is in use.", own
            )
        )
    if method.qemu_guest_agent is not None and not method.qemu_guest_agent.users:
        found.append(
            invalid(
                f"{at} requires at least one user to be present in the users list",
                own.child("qemuGuestAgent", "users"),
            )
        )
    return found
