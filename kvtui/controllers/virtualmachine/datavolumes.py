"""DataVolumes that a VM brings along: its dataVolumeTemplates.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (handleDataVolumes); control plane facts 2.3 (6), 2.10.
"""

from __future__ import annotations

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.kubevirt.vm import DataVolumeTemplateSpec
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import owner_reference
from kvtui.api.wire import evolve
from kvtui.controllers import names
from kvtui.controllers.virtualmachine.view import View


def missing(view: View) -> list[DataVolume]:
    """DataVolumes to make. A claim of that name without a DataVolume is what one has left behind, and is enough."""
    return [
        _data_volume(view, template)
        for template in view.vm.spec.data_volume_templates
        if template.metadata is not None
        and template.metadata.name
        and template.metadata.name not in view.data_volumes
        and template.metadata.name not in view.claims
    ]


def made_at_once(view: View) -> bool:
    """Whether they are made before the VM starts."""
    return view.vm.metadata.annotations.get(names.IMMEDIATE_DATA_VOLUMES) != "false"


def _data_volume(view: View, template: DataVolumeTemplateSpec) -> DataVolume:
    given = template.metadata or ObjectMeta()
    spec = template.spec
    priority = view.template.priority_class_name
    if priority and not spec.priority_class_name:
        spec = evolve(spec, priority_class_name=priority)
    metadata = ObjectMeta(
        name=given.name,
        namespace=view.vm.metadata.namespace,
        labels={**given.labels, names.CREATED_BY: view.vm.metadata.uid},
        annotations=given.annotations,
        owner_references=[owner_reference(view.vm)],
    )
    return DataVolume(metadata=metadata, spec=spec)
