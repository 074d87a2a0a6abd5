"""cloud-init: the documents of NoCloud and ConfigDrive as files of an ISO; pure.

Source: https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html and configdrive.html
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kvtui.api.kubevirt.vmi import (
    CloudInitConfigDriveSource,
    CloudInitNoCloudSource,
    VirtualMachineInstance,
    Volume,
)
from kvtui.errors import InvalidObject

INSTANCETYPES = ("kubevirt.io/cluster-instancetype-name", "kubevirt.io/instancetype-name")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Secret data that a cloud-init volume and the access credentials refer to, decoded."""

    user: Mapping[str, bytes] | None = None
    network: Mapping[str, bytes] | None = None
    keys: tuple[str, ...] = ()
    """SSH public keys of access credentials that are handed over by cloud-init, in order."""


@dataclass(frozen=True, slots=True)
class CloudInit:
    """An ISO to build."""

    volume: str
    file: str
    label: str
    files: Mapping[str, bytes]


def first_volume(volumes: Sequence[Volume]) -> Volume | None:
    """Only the first cloud-init volume of a VMI is built."""
    return next((v for v in volumes if v.cloud_init_no_cloud or v.cloud_init_config_drive), None)


def hostname(vmi: VirtualMachineInstance) -> str:
    name = (vmi.spec.hostname if vmi.spec else None) or vmi.metadata.name
    return name.partition(".")[0][:63]


def build(vmi: VirtualMachineInstance, volume: Volume, uuid: str, secrets: Secrets) -> CloudInit:
    """The documents of one volume. Raises InvalidObject when it has no data at all."""
    if (no_cloud := volume.cloud_init_no_cloud) is not None:
        return CloudInit(volume.name, "noCloud.iso", "cidata", _no_cloud(vmi, no_cloud, uuid, secrets))
    if (drive := volume.cloud_init_config_drive) is not None:
        return CloudInit(volume.name, "configdrive.iso", "config-2", _config_drive(vmi, drive, uuid, secrets))
    raise InvalidObject(f"volume {volume.name!r} is not a cloud-init volume")


def _no_cloud(
    vmi: VirtualMachineInstance, source: CloudInitNoCloudSource, uuid: str, secrets: Secrets
) -> dict[str, bytes]:
    user, network = _data(source, secrets)
    meta: dict[str, object] = {"instance-id": uuid, "local-hostname": hostname(vmi)}
    if kind := _instancetype(vmi):
        meta = {"instance-type": kind, **meta}
    if secrets.keys:
        meta["public-keys"] = {str(n): key for n, key in enumerate(secrets.keys)}
    files = {"user-data": user, "meta-data": json.dumps(meta).encode()}
    if network:
        files["network-config"] = network
    return files


def _config_drive(
    vmi: VirtualMachineInstance, source: CloudInitConfigDriveSource, uuid: str, secrets: Secrets
) -> dict[str, bytes]:
    user, network = _data(source, secrets)
    meta: dict[str, object] = {
        "instance_id": f"{vmi.metadata.name}.{vmi.metadata.namespace}",
        "hostname": hostname(vmi),
        "uuid": uuid,
    }
    if kind := _instancetype(vmi):
        meta = {"instance_type": kind, **meta}
    if devices := _devices(vmi):
        meta["devices"] = devices
    if secrets.keys:
        meta["public_keys"] = {str(n): key for n, key in enumerate(secrets.keys)}
    files = {"openstack/latest/user_data": user, "openstack/latest/meta_data.json": json.dumps(meta).encode()}
    if network:
        files["openstack/latest/network_data.json"] = network
    return files


def _devices(vmi: VirtualMachineInstance) -> list[dict[str, object]]:
    interfaces = vmi.spec.domain.devices.interfaces if vmi.spec else []
    return [
        {"type": "nic", "mac": interface.mac_address or "", "tags": [interface.tag]}
        for interface in interfaces
        if interface.tag
    ]


def _instancetype(vmi: VirtualMachineInstance) -> str:
    return next((vmi.metadata.annotations[a] for a in INSTANCETYPES if a in vmi.metadata.annotations), "")


def _data(source: CloudInitNoCloudSource | CloudInitConfigDriveSource, secrets: Secrets) -> tuple[bytes, bytes]:
    user = _one(source.user_data, source.user_data_base64, secrets.user, ("userdata", "userData"))
    network = _one(source.network_data, source.network_data_base64, secrets.network, ("networkdata", "networkData"))
    if not user and secrets.network is None and secrets.user is not None:
        network = network or _named(secrets.user, ("networkdata", "networkData"))
    if not user and not network:
        raise InvalidObject("the cloud-init volume has neither user data nor network data")
    return user, network


def _one(plain: str | None, encoded: str | None, secret: Mapping[str, bytes] | None, names: tuple[str, ...]) -> bytes:
    if plain:
        return plain.encode()
    if encoded:
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise InvalidObject(f"cloud-init data is not base64: {error}") from error
    return _named(secret, names) if secret is not None else b""


def _named(secret: Mapping[str, bytes], names: tuple[str, ...]) -> bytes:
    return next((secret[name] for name in names if name in secret), b"")
