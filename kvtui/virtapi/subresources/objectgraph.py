"""What a VM is made of: the objects that it needs, as a tree.

Source: control plane facts 6.2 and 6.4; kubevirt pkg/storage/velero (objectgraph).
"""

from __future__ import annotations

from collections.abc import Iterator

from kvtui.api.core.parts import TypedObjectReference
from kvtui.api.kubevirt.subresources import ObjectGraphNode, ObjectGraphOptions
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec, Volume
from kvtui.api.selectors import from_object

TYPE = "kubevirt.io/dependency-type"
STORAGE, NETWORK, COMPUTE, CONFIG = "storage", "network", "compute", "config"


def _node(
    kind: str, name: str, namespace: str, sort: str, *, group: str = "", optional: bool = False
) -> ObjectGraphNode:
    reference = TypedObjectReference(api_group=group, kind=kind, name=name, namespace=namespace)
    return ObjectGraphNode(object_reference=reference, labels={TYPE: sort}, optional=optional or None)


def of_vm(vm: VirtualMachine, vmi: VirtualMachineInstance | None, pod: str = "") -> ObjectGraphNode:
    """`pod`: the launcher's name, if there is one."""
    namespace = vm.metadata.namespace
    children = list(_matchers(vm))
    if vmi is not None:
        children.append(of_vmi(vmi, pod))
    else:
        children += _spec(vm.spec.template.spec, namespace)
    root = _node("VirtualMachine", vm.metadata.name, namespace, COMPUTE, group="kubevirt.io")
    return ObjectGraphNode(object_reference=root.object_reference, labels=root.labels, children=children)


def of_vmi(vmi: VirtualMachineInstance, pod: str = "") -> ObjectGraphNode:
    namespace = vmi.metadata.namespace
    children = [_node("Pod", pod, namespace, COMPUTE, optional=True)] if pod else []
    children += _spec(vmi.spec, namespace)
    root = _node("VirtualMachineInstance", vmi.metadata.name, namespace, COMPUTE, group="kubevirt.io", optional=True)
    return ObjectGraphNode(
        object_reference=root.object_reference, labels=root.labels, optional=root.optional, children=children
    )


def _matchers(vm: VirtualMachine) -> Iterator[ObjectGraphNode]:
    pairs = ((vm.spec.instancetype, "Instancetype"), (vm.spec.preference, "Preference"))
    for matcher, sort in pairs:
        if matcher is None or not matcher.name:
            continue
        clustered = "cluster" in (matcher.kind or "cluster").lower()
        kind = f"VirtualMachine{'Cluster' if clustered else ''}{sort}"
        namespace = "" if clustered else vm.metadata.namespace
        yield _node(kind, matcher.name, namespace, CONFIG, group="instancetype.kubevirt.io")
    for ref in (vm.status.instancetype_ref, vm.status.preference_ref):
        revision = ref.controller_revision_ref if ref is not None else None
        if revision is not None and revision.name:
            yield _node("ControllerRevision", revision.name, vm.metadata.namespace, CONFIG, group="apps")


def _spec(spec: VirtualMachineInstanceSpec, namespace: str) -> Iterator[ObjectGraphNode]:
    for volume in spec.volumes:
        yield from _volume(volume, namespace)
    for network in spec.networks:
        if network.multus is not None:
            owner, _, name = network.multus.network_name.rpartition("/")
            yield _node("NetworkAttachmentDefinition", name, owner or namespace, NETWORK, group="k8s.cni.cncf.io")
    for credential in spec.access_credentials:
        for member in (credential.ssh_public_key, credential.user_password):
            source = member.source.secret if member is not None and member.source is not None else None
            if source is not None:
                yield _node("Secret", source.secret_name, namespace, CONFIG)


def _volume(volume: Volume, namespace: str) -> Iterator[ObjectGraphNode]:
    if volume.data_volume is not None:
        name = volume.data_volume.name
        claim = _node("PersistentVolumeClaim", name, namespace, STORAGE)
        data = _node("DataVolume", name, namespace, STORAGE, group="cdi.kubevirt.io")
        yield ObjectGraphNode(object_reference=data.object_reference, labels=data.labels, children=[claim])
    for source in (volume.persistent_volume_claim, volume.memory_dump):
        if source is not None:
            yield _node("PersistentVolumeClaim", source.claim_name, namespace, STORAGE)
    if volume.config_map is not None:
        yield _node("ConfigMap", volume.config_map.name or "", namespace, CONFIG)
    if volume.secret is not None:
        yield _node("Secret", volume.secret.secret_name or "", namespace, CONFIG)
    if volume.service_account is not None:
        yield _node("ServiceAccount", volume.service_account.service_account_name or "", namespace, CONFIG)
    for cloud in (volume.cloud_init_no_cloud, volume.cloud_init_config_drive):
        if cloud is not None:
            for reference in (cloud.secret_ref, cloud.network_data_secret_ref):
                if reference is not None:
                    yield _node("Secret", reference.name or "", namespace, CONFIG)


def selected(node: ObjectGraphNode, options: ObjectGraphOptions) -> ObjectGraphNode:
    """Without optional nodes unless they are asked for, and only branches whose labels are chosen."""
    chosen = from_object(options.label_selector) if options.label_selector is not None else None
    children = [
        selected(child, options)
        for child in node.children
        if (options.include_optional_nodes is not False or not child.optional)
        and (chosen is None or chosen.matches(child.labels))
    ]
    return ObjectGraphNode(
        object_reference=node.object_reference, labels=node.labels, optional=node.optional, children=children
    )
