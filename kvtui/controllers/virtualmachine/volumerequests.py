"""Imperative hot-plug: requests in the VM's status become volumes of its template.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (handleVolumeRequests); control plane facts 2.2, 6.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvtui.api.kubevirt.domain import Disk
from kvtui.api.kubevirt.vm import AddVolumeOptions, VirtualMachineVolumeRequest
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, Volume
from kvtui.api.wire import evolve


def applied(
    spec: VirtualMachineInstanceSpec, requests: Sequence[VirtualMachineVolumeRequest]
) -> VirtualMachineInstanceSpec:
    """The template with all requested volumes added and removed."""
    for request in requests:
        if request.add_volume_options is not None:
            spec = _added(spec, request.add_volume_options)
        elif request.remove_volume_options is not None:
            name = request.remove_volume_options.name
            disks = [d for d in spec.domain.devices.disks if d.name != name]
            spec = _with(spec, [v for v in spec.volumes if v.name != name], disks)
    return spec


def _with(spec: VirtualMachineInstanceSpec, volumes: list[Volume], disks: list[Disk]) -> VirtualMachineInstanceSpec:
    devices = evolve(spec.domain.devices, disks=disks)
    return evolve(spec, volumes=volumes, domain=evolve(spec.domain, devices=devices))


def _added(spec: VirtualMachineInstanceSpec, options: AddVolumeOptions) -> VirtualMachineInstanceSpec:
    source = options.volume_source
    if source is None or options.disk is None or any(v.name == options.name for v in spec.volumes):
        return spec
    claim, volume = source.persistent_volume_claim, source.data_volume
    added = Volume(
        name=options.name,
        persistent_volume_claim=evolve(claim, hotpluggable=True) if claim is not None else None,
        data_volume=evolve(volume, hotpluggable=True) if volume is not None else None,
    )
    disk = evolve(options.disk, name=options.name)
    return _with(spec, [*spec.volumes, added], [*spec.domain.devices.disks, disk])
