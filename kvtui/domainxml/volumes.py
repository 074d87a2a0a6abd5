"""What is behind a disk: spec.volumes -> source, format and backing file.

Source: https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.paths import component

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import Volume
    from kvtui.domainxml.guest import Guest

_FIELD = "spec.volumes"


@dataclass(frozen=True, slots=True)
class Source:
    """A disk's source as libvirt wants it."""

    kind: str
    """file or block."""
    format: str
    element: Element
    backing: Element | None = None
    discards: bool = False
    """The guest's discards are passed on even for a CD-ROM."""
    metrics: bool = False
    """The downward metrics disk, whose driver takes no options."""


def empty_drive() -> Source:
    """A CD-ROM drive without a medium."""
    return Source("block", "raw", element("source"), discards=True)


def volume_source(guest: Guest, volume: Volume, index: int) -> Source:
    """The source of a volume that is there from the start. Raises ConversionError."""
    name, paths = component(volume.name, _FIELD), guest.paths
    if volume.container_disk is not None:
        image = element("source", file=paths.container_disk(name, index))
        return _overlay(guest, name, "file", guest.context.container_disk_formats.get(name, "qcow2"), image)
    if volume.ephemeral is not None:
        if _is_block(guest, name):
            device = element("source", dev=paths.block_volume(name), name=name)
            return _overlay(guest, name, "block", "raw", device)
        return _overlay(guest, name, "file", "raw", element("source", file=paths.filesystem_volume(name)))
    if volume.persistent_volume_claim is not None or volume.data_volume is not None:
        return _claim(guest, name)
    if volume.host_disk is not None:
        image = element("source", file=paths.host_disk(name, volume.host_disk.path))
        return _tracked(guest, name, "file", image) or Source("file", "raw", image)
    if volume.empty_disk is not None:
        return Source("file", "qcow2", element("source", file=paths.empty_disk(name)), discards=True)
    iso = _iso(guest, volume, name)
    if iso is not None:
        return Source("file", "raw", element("source", file=iso))
    if volume.downward_metrics is not None:
        return Source("file", "raw", element("source", file=paths.downward_metrics_disk()), metrics=True)
    raise ConversionError(f"disk {name} references an unsupported source", field=_FIELD)


def hotplugged_source(guest: Guest, volume: Volume) -> Source:
    """The source of a volume plugged into the running VM. Raises ConversionError."""
    name, paths = component(volume.name, _FIELD), guest.paths
    if volume.persistent_volume_claim is None and volume.data_volume is None and volume.host_disk is None:
        raise ConversionError(f"hotplug disk {name} references an unsupported source", field=_FIELD)
    thin = name not in guest.context.preallocated_volumes
    if _is_block(guest, name):
        kind, source = "block", element("source", dev=paths.hotplugged_block(name))
    else:
        kind, source = "file", element("source", file=paths.hotplugged_file(name))
    return _tracked(guest, name, kind, source, discards=thin) or Source(kind, "raw", source, discards=thin)


def _is_block(guest: Guest, name: str) -> bool:
    return name in guest.context.block_volumes


def _claim(guest: Guest, name: str) -> Source:
    thin = name not in guest.context.preallocated_volumes
    if _is_block(guest, name):
        device = guest.paths.block_volume(name)
        tracked = _tracked(guest, name, "block", element("source", dev=device), discards=thin, name=name)
        return tracked or Source("block", "raw", element("source", dev=device, name=name), discards=thin)
    image = element("source", file=guest.paths.filesystem_volume(name))
    return _tracked(guest, name, "file", image, discards=thin) or Source("file", "raw", image, discards=thin)


def _tracked(
    guest: Guest, volume: str, kind: str, data: Element, *, discards: bool = False, name: str | None = None
) -> Source | None:
    """The overlay that tracks changed blocks, with the volume as its raw data file; None if they are not tracked."""
    overlay = guest.context.changed_block_tracking.get(volume)
    if not overlay:
        return None
    store = element("dataStore", element("format", type="raw"), data, type=kind)
    return Source("file", "qcow2", element("source", store, file=overlay, name=name), discards=discards)


def _overlay(guest: Guest, name: str, kind: str, image_format: str, image: Element) -> Source:
    backing = element("backingStore", element("format", type=image_format), image, type=kind)
    return Source("file", "qcow2", element("source", file=guest.paths.overlay(name)), backing, discards=True)


def _iso(guest: Guest, volume: Volume, name: str) -> str | None:
    """The image built of a cloud-init or configuration volume."""
    if volume.cloud_init_no_cloud is not None:
        return guest.paths.cloud_init(name, "noCloud.iso")
    if volume.cloud_init_config_drive is not None:
        return guest.paths.cloud_init(name, "configdrive.iso")
    kinds = {
        "sysprep": volume.sysprep,
        "config-map": volume.config_map,
        "secret": volume.secret,
        "downwardapi": volume.downward_api,
        "service-account": volume.service_account,
    }
    for kind, source in kinds.items():
        if source is not None:
            return guest.paths.config_disk(name, kind)
    return None
