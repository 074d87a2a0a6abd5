"""Volume requests in a VM's status: hot-plug that is asked for, tried on copies of template and instance.

Source: control plane facts 5.2 and 5.6; kubevirt pkg/storage/admitters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.kubevirt.vmi import VirtualMachineInstance, Volume
from kvtui.api.wire import evolve
from kvtui.virtapi.admission.causes import Path, invalid, not_supported
from kvtui.virtapi.admission.hotplug import validate_hotplug_disk
from kvtui.virtapi.admission.vmi_spec import validate_spec

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vm import AddVolumeOptions, VirtualMachine, VirtualMachineVolumeRequest
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig
    from kvtui.virtapi.admission.view import ClusterView

FIELD = "Status.volumeRequests"
TEMPLATE = Path("spec.template.spec")


def validate_requests(vm: VirtualMachine, namespace: str, view: ClusterView, config: ClusterConfig) -> list[Cause]:
    """The first bad request answers alone."""
    requests = vm.status.volume_requests
    if not requests:
        return []
    vmi = view.find(VirtualMachineInstance, namespace, vm.metadata.name) if vm.status.ready else None
    if vmi is not None and vmi.metadata.deletion_timestamp is not None:
        vmi = None
    template, running = vm.spec.template.spec, vmi.spec if vmi is not None else None
    added: set[str] = set()
    removed: set[str] = set()
    for request in requests:
        found = _request(request, added, removed, vm.spec.template.spec, vmi.spec if vmi is not None else None)
        if found:
            return found
        template = with_request(template, request)
        running = with_request(running, request) if running is not None else None
    found = validate_spec(template, TEMPLATE, config)
    if not found and running is not None:
        found = validate_spec(running, TEMPLATE, config)
    if not found and vmi is not None and is_migrating(vmi):
        found = [not_supported("Cannot handle volume requests while VMI migration is in progress", "spec")]
    return found


def _request(
    request: VirtualMachineVolumeRequest,
    added: set[str],
    removed: set[str],
    template: VirtualMachineInstanceSpec,
    running: VirtualMachineInstanceSpec | None,
) -> list[Cause]:
    add, remove = request.add_volume_options, request.remove_volume_options
    if add is not None and remove is not None:
        message = "VolumeRequests require either addVolumeOptions or removeVolumeOptions to be set, not both"
        return [invalid(message, FIELD)]
    if add is not None:
        if add.name in added:
            return [invalid(f"AddVolume request for [{add.name}] aleady exists", FIELD)]
        added.add(add.name)
        found = next(validate_hotplug_disk(add.disk, add.name, "AddVolume request", FIELD), None)
        return [found] if found is not None else _clash(add, template, running)
    if remove is not None:
        if remove.name in removed:
            return [invalid(f"RemoveVolume request for [{remove.name}] aleady exists", FIELD)]
        removed.add(remove.name)
        return []
    message = "VolumeRequests require one of either addVolumeOptions or removeVolumeOptions to be set"
    return [invalid(message, FIELD)]


def _clash(
    add: AddVolumeOptions, template: VirtualMachineInstanceSpec, running: VirtualMachineInstanceSpec | None
) -> list[Cause]:
    wanted = volume_of(add)
    places = ((template, "the vmi template."), (running, "currently running vmi"))
    for spec, where in places:
        if spec is not None and any(volume.name == add.name and volume != wanted for volume in spec.volumes):
            message = (
                f"AddVolume request for [{add.name}] conflicts with an existing volume of the same name on {where}"
            )
            return [invalid(message, FIELD)]
    return []


def volume_of(add: AddVolumeOptions) -> Volume:
    """The volume that the request would add."""
    source = add.volume_source
    if source is None:
        return Volume(name=add.name)
    if source.persistent_volume_claim is not None:
        return Volume(name=add.name, persistent_volume_claim=source.persistent_volume_claim)
    return Volume(name=add.name, data_volume=source.data_volume)


def with_request(spec: VirtualMachineInstanceSpec, request: VirtualMachineVolumeRequest) -> VirtualMachineInstanceSpec:
    """The spec after the request is served. A volume that is there already stays as it is."""
    add, remove = request.add_volume_options, request.remove_volume_options
    devices = spec.domain.devices
    if add is not None and all(volume.name != add.name for volume in spec.volumes):
        disks = list(devices.disks)
        if add.disk is not None:
            disks.append(evolve(add.disk, name=add.name))
        spec = evolve(spec, volumes=[*spec.volumes, volume_of(add)])
    elif remove is not None:
        disks = [disk for disk in devices.disks if disk.name != remove.name]
        spec = evolve(spec, volumes=[volume for volume in spec.volumes if volume.name != remove.name])
    else:
        return spec
    return evolve(spec, domain=evolve(spec.domain, devices=evolve(devices, disks=disks)))


def is_migrating(vmi: VirtualMachineInstance) -> bool:
    state = vmi.status.migration_state
    return state is not None and state.start_timestamp is not None and state.end_timestamp is None
