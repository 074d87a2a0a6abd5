"""cloud-init: the documents of NoCloud and ConfigDrive as files of an ISO; pure.

Source: https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html and configdrive.html
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

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
class Device:
    """A tagged device as the guest finds it, once libvirt has given it a place."""

    type: str
    """nic or hostdev."""
    tag: str
    address: str = ""
    """On the guest's PCI bus; empty where it has none."""
    mac: str = ""


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


def wants_devices(vmi: VirtualMachineInstance) -> bool:
    """Whether the documents tell where devices are."""
    first, devices = first_volume(vmi.spec.volumes), vmi.spec.domain.devices
    tags = [n.tag for n in devices.interfaces] + [g.tag for g in devices.gpus] + [h.tag for h in devices.host_devices]
    return any(tags) and first is not None and first.cloud_init_config_drive is not None


def devices(vmi: VirtualMachineInstance, domain: Element) -> tuple[Device, ...]:
    """The tagged devices of a domain that was defined."""
    wanted = vmi.spec.domain.devices
    nics = [("nic", "interface", d.name, d.tag) for d in wanted.interfaces if d.tag]
    passed = [("hostdev", "hostdev", f"gpu-{d.name}", d.tag) for d in wanted.gpus if d.tag]
    passed += [("hostdev", "hostdev", f"hostdevice-{d.name}", d.tag) for d in wanted.host_devices if d.tag]
    found = []
    for type_, element, name, tag in (*nics, *passed):
        for device in domain.findall(f"devices/{element}"):
            alias, mac = device.find("alias"), device.find("mac")
            if alias is not None and alias.get("name") == f"ua-{name}":
                place = _pci(device.find("address"))
                found.append(Device(type_, tag or "", place, "" if mac is None else mac.get("address", "")))
    return tuple(found)


def _pci(address: Element | None) -> str:
    if address is None or address.get("type") != "pci":
        return ""
    domain, bus, slot, function = (int(address.get(n, "0"), 0) for n in ("domain", "bus", "slot", "function"))
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def build(
    vmi: VirtualMachineInstance, volume: Volume, uuid: str, secrets: Secrets, devices: Sequence[Device] = ()
) -> CloudInit:
    """The documents of one volume. Raises InvalidObject when it has no data at all."""
    if (no_cloud := volume.cloud_init_no_cloud) is not None:
        return CloudInit(volume.name, "noCloud.iso", "cidata", _no_cloud(vmi, no_cloud, uuid, secrets))
    if (drive := volume.cloud_init_config_drive) is not None:
        return CloudInit(volume.name, "configdrive.iso", "config-2", _config_drive(vmi, drive, uuid, secrets, devices))
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
    vmi: VirtualMachineInstance,
    source: CloudInitConfigDriveSource,
    uuid: str,
    secrets: Secrets,
    devices: Sequence[Device],
) -> dict[str, bytes]:
    user, network = _data(source, secrets)
    meta: dict[str, object] = {
        "instance_id": f"{vmi.metadata.name}.{vmi.metadata.namespace}",
        "hostname": hostname(vmi),
        "uuid": uuid,
    }
    if kind := _instancetype(vmi):
        meta = {"instance_type": kind, **meta}
    if devices:
        meta["devices"] = [_entry(device) for device in devices]
    if secrets.keys:
        meta["public_keys"] = {str(n): key for n, key in enumerate(secrets.keys)}
    files = {"openstack/latest/user_data": user, "openstack/latest/meta_data.json": json.dumps(meta).encode()}
    if network:
        files["openstack/latest/network_data.json"] = network
    return files


def _entry(device: Device) -> dict[str, object]:
    place = {"bus": "pci", "address": device.address} if device.address else {}
    mac = {"mac": device.mac} if device.mac else {}
    return {"type": device.type, **place, **mac, "tags": [device.tag]}


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
