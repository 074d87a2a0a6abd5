"""What addvolume and removevolume write, as patches. Pure.

Source: control plane facts 6.2, 6.3 and 5.6; kubevirt pkg/virt-api/rest/volumes.go.
"""

from __future__ import annotations

from typing import Any

from kvtui.api.kubevirt.vm import AddVolumeOptions, HotplugVolumeSource, RemoveVolumeOptions
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, Volume
from kvtui.api.wire import evolve, to_wire
from kvtui.virtapi.admission.config import ClusterConfig
from kvtui.virtapi.subresources.refusals import Refused, bad_request, conflict

Patch = list[dict[str, Any]]
LEGACY, DECLARATIVE = "HotplugVolumes", "DeclarativeHotplugVolumes"


def check_gates(config: ClusterConfig, verb: str) -> None:
    """Raises Refused (400) where volumes cannot be plugged at all."""
    if not config.gate(LEGACY) and not config.gate(DECLARATIVE):
        raise bad_request(f"Unable to {verb} Volume because HotplugVolumes feature gate is not enabled.")


def is_legacy(config: ClusterConfig) -> bool:
    """Whether volumes are asked for in the status instead of written to the template."""
    return LEGACY in config.listed_gates


def completed(options: AddVolumeOptions | None) -> AddVolumeOptions:
    """The options with a named disk and a hotpluggable source. Raises Refused (400)."""
    if options is None:
        raise bad_request("Request with no body, a new name is expected as the request body")
    if not options.name:
        raise bad_request("AddVolumeOptions requires name to be set")
    if options.disk is None:
        raise bad_request("AddVolumeOptions requires disk to not be nil")
    if options.volume_source is None:
        raise bad_request("AddVolumeOptions requires VolumeSource to not be nil")
    source = options.volume_source
    if source.data_volume is not None:
        source = HotplugVolumeSource(data_volume=evolve(source.data_volume, hotpluggable=True))
    elif source.persistent_volume_claim is not None:
        claim = evolve(source.persistent_volume_claim, hotpluggable=True)
        source = HotplugVolumeSource(persistent_volume_claim=claim)
    return evolve(options, disk=evolve(options.disk, name=options.name), volume_source=source)


def checked_removal(options: RemoveVolumeOptions | None) -> RemoveVolumeOptions:
    """Raises Refused (400)."""
    if options is None:
        raise bad_request("Request with no body, a new name is expected as the request body")
    if not options.name:
        raise bad_request("RemoveVolumeOptions requires name to be set")
    return options


def _source_name(volume: Volume) -> str:
    if volume.data_volume is not None:
        return volume.data_volume.name
    claim = volume.persistent_volume_claim
    if claim is not None:
        return claim.claim_name
    return volume.memory_dump.claim_name if volume.memory_dump is not None else ""


def _volume(options: AddVolumeOptions) -> Volume:
    source = options.volume_source or HotplugVolumeSource()
    return Volume(
        name=options.name, data_volume=source.data_volume, persistent_volume_claim=source.persistent_volume_claim
    )


def verify_addition(spec: VirtualMachineInstanceSpec, options: AddVolumeOptions, kind: str, name: str) -> None:
    """Raises Refused (409) when name or source are taken."""
    source = _source_name(_volume(options))
    for volume in spec.volumes:
        if volume.name == options.name:
            cause = f"Unable to add volume [{options.name}] because volume with that name already exists"
            raise conflict(kind, name, cause)
        if source and _source_name(volume) == source:
            raise conflict(kind, name, f"Unable to add volume source [{source}] because it already exists")


def verify_removal(spec: VirtualMachineInstanceSpec, volume_name: str, kind: str, name: str) -> None:
    """Raises Refused (409) for a volume that is not there or came with the guest."""
    volume = next((volume for volume in spec.volumes if volume.name == volume_name), None)
    if volume is None:
        raise conflict(kind, name, f"Unable to remove volume [{volume_name}] because it does not exist")
    sources = (volume.data_volume, volume.persistent_volume_claim, volume.memory_dump)
    if not any(source is not None and source.hotpluggable for source in sources):
        raise conflict(kind, name, f"Unable to remove volume [{volume_name}] because it is not hotpluggable")


def addition(raw_spec: dict[str, Any], root: str, options: AddVolumeOptions) -> Patch:
    """The patch for a VMI spec that stands at `root`; `raw_spec` is that spec as stored."""
    disk = to_wire(options.disk) if options.disk is not None else {"name": options.name}
    return [
        *_member(raw_spec.get("volumes"), f"{root}/volumes", to_wire(_volume(options))),
        *_member(_disks(raw_spec), f"{root}/domain/devices/disks", disk),
    ]


def _disks(raw_spec: dict[str, Any]) -> list[dict[str, Any]] | None:
    found: list[dict[str, Any]] | None = ((raw_spec.get("domain") or {}).get("devices") or {}).get("disks")
    return found


def _member(present: list[dict[str, Any]] | None, path: str, item: dict[str, Any]) -> Patch:
    return [
        {"op": "test", "path": path, "value": present},
        {"op": "replace" if present else "add", "path": path, "value": [*(present or []), item]},
    ]


def removal(raw_spec: dict[str, Any], root: str, name: str) -> Patch:
    """The patch that takes volume and disk of this name out of the spec at `root`."""
    patch: Patch = []
    for path, present in (
        (f"{root}/volumes", raw_spec.get("volumes")),
        (f"{root}/domain/devices/disks", _disks(raw_spec)),
    ):
        kept = [item for item in present or [] if item.get("name") != name]
        if present and len(kept) != len(present):
            patch.append({"op": "test", "path": path, "value": present})
            patch.append({"op": "replace", "path": path, "value": kept})
    return patch


def request(raw: dict[str, Any], wanted: dict[str, Any]) -> Patch:
    """Appends a volume request to a VM's status; `raw` is the VM as stored."""
    status = raw.get("status") or {}
    if not status:
        return [{"op": "add", "path": "/status", "value": {"volumeRequests": [wanted]}}]
    return _member(status.get("volumeRequests"), "/status/volumeRequests", wanted)


def owner_refusal(owner: str) -> Refused:
    return bad_request(
        f"VMI is owned by VirtualMachine {owner}, add or remove the volume there, or enable HotplugVolumes"
    )
