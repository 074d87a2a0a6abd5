"""The volumes of a launcher's Pod: claims, for the scheduler and for claim protection, and what is read into it.

Source: kubevirt pkg/virt-controller/services/rendervolumes.go; control plane facts 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from kvtui.api.core.pod import PodVolume
from kvtui.api.kubevirt.config import InterfaceBindingPlugin
from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, Volume
from kvtui.api.wire import to_wire

KERNEL_BOOT = "kernel-boot-volume"
NETWORK_INFO = "kubevirt.io/network-info"

SCRATCH = ("private", "public", "sockets", "virt-bin-share-dir", "libvirt-runtime", "ephemeral-disks")
"""Empty directories that every launcher has."""


def claim_of(volume: Volume) -> str | None:
    """The claim behind a volume. A DataVolume's claim has its name."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    if volume.data_volume is not None:
        return volume.data_volume.name
    if volume.memory_dump is not None:
        return volume.memory_dump.claim_name
    if volume.ephemeral is not None and volume.ephemeral.persistent_volume_claim is not None:
        return volume.ephemeral.persistent_volume_claim.claim_name
    return None


def is_hotpluggable(volume: Volume) -> bool:
    for source in (volume.persistent_volume_claim, volume.data_volume):
        if source is not None and source.hotpluggable:
            return True
    return volume.memory_dump is not None


def is_container_disk(volume: Volume) -> bool:
    return volume.container_disk is not None


def pod_volumes(
    spec: VirtualMachineInstanceSpec, claims: Mapping[str, str], plugins: Mapping[str, InterfaceBindingPlugin]
) -> list[PodVolume]:
    """`claims`: DataVolume name -> claim, where they differ. `plugins`: network bindings of the cluster."""
    volumes = [PodVolume(name=name, empty_dir={}) for name in SCRATCH]
    volumes += [v for volume in spec.volumes for v in _of(volume, spec, claims)]
    for credential in spec.access_credentials:
        method = credential.ssh_public_key or credential.user_password
        secret = method.source.secret if method else None
        if secret is not None:
            name = f"{secret.secret_name}-access-cred"
            volumes.append(PodVolume(name=name, secret={"secretName": secret.secret_name}))
    huge = spec.domain.memory.hugepages if spec.domain.memory else None
    if huge is not None:
        volumes.append(PodVolume(name="hugepages", empty_dir={"medium": f"HugePages-{huge.page_size}"}))
        volumes.append(PodVolume(name="hugetblfs-dir", empty_dir={}))
    devices = spec.domain.devices
    if not devices.disable_hotplug:
        volumes.append(PodVolume(name="hotplug-disks", empty_dir={}))
    if any(_is_told_devices(i, plugins) for i in devices.interfaces):
        item = {"path": "network-info", "fieldRef": {"fieldPath": f"metadata.annotations['{NETWORK_INFO}']"}}
        volumes.append(PodVolume(name="network-info-annotation", downward_api={"items": [item]}))
    if devices.filesystems:
        volumes.append(PodVolume(name="virtiofs-containers", empty_dir={}))
    return volumes


def _is_told_devices(interface: Interface, plugins: Mapping[str, InterfaceBindingPlugin]) -> bool:
    """Whether the guest's network needs to know which host devices the Pod was given."""
    plugin = plugins.get(interface.binding.name) if interface.binding else None
    return interface.sriov is not None or (plugin is not None and plugin.downward_api == "device-info")


def _of(volume: Volume, spec: VirtualMachineInstanceSpec, claims: Mapping[str, str]) -> Iterator[PodVolume]:
    claim = claim_of(volume)
    if claim is not None:
        if not is_hotpluggable(volume):
            source: dict[str, object] = {"claimName": claims.get(claim, claim)}
            if volume.ephemeral is not None or (
                volume.persistent_volume_claim is not None and volume.persistent_volume_claim.read_only
            ):
                source["readOnly"] = True
            yield PodVolume(name=volume.name, persistent_volume_claim=source)
    elif volume.config_map is not None:
        optional = {"optional": True} if volume.config_map.optional else {}
        yield PodVolume(name=volume.name, config_map={"name": volume.config_map.name, **optional})
    elif volume.secret is not None:
        optional = {"optional": True} if volume.secret.optional else {}
        yield PodVolume(name=volume.name, secret={"secretName": volume.secret.secret_name, **optional})
    elif volume.sysprep is not None:
        if volume.sysprep.secret is not None:
            yield PodVolume(name=volume.name, secret={"secretName": volume.sysprep.secret.name})
        elif volume.sysprep.config_map is not None:
            yield PodVolume(name=volume.name, config_map={"name": volume.sysprep.config_map.name})
    elif volume.downward_api is not None:
        items = [to_wire(field) for field in volume.downward_api.fields]
        yield PodVolume(name=volume.name, downward_api={"items": items})
    elif volume.host_disk is not None:
        sort = "DirectoryOrCreate" if volume.host_disk.type == "DiskOrCreate" else "Directory"
        where = str(PurePosixPath(volume.host_disk.path).parent)
        yield PodVolume(name=volume.name, host_path={"path": where, "type": sort})
    else:
        yield from _cloud_init(volume)


def _cloud_init(volume: Volume) -> Iterator[PodVolume]:
    source = volume.cloud_init_no_cloud or volume.cloud_init_config_drive
    if source is None:
        return
    if source.secret_ref is not None:
        yield PodVolume(name=f"{volume.name}-udata", secret={"secretName": source.secret_ref.name})
    if source.network_data_secret_ref is not None:
        yield PodVolume(name=f"{volume.name}-ndata", secret={"secretName": source.network_data_secret_ref.name})
