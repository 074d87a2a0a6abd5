"""VMI -> launcher Pod.

Source: kubevirt pkg/virt-controller/services/template.go; control plane facts 4.1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kvtui.api.core.config import NetworkAttachmentDefinition
from kvtui.api.core.parts import LocalObjectReference
from kvtui.api.core.pod import Container, ContainerPort, Pod, PodReadinessGate, PodSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import owner_reference
from kvtui.controllers import names
from kvtui.controllers.amount import Amount
from kvtui.controllers.clusterconfig import Configuration
from kvtui.controllers.launcher import networks, placement, probes, resources
from kvtui.controllers.launcher.overhead import memory_overhead
from kvtui.controllers.launcher.volumes import KERNEL_BOOT, is_container_disk, pod_volumes
from kvtui.errors import Permanent

DEFAULT_GRACE = 30
GRACE_MARGIN = 30
"""Seconds that a Pod gets beyond its guest's grace."""
NON_ROOT = 107
MAX_LABEL = 63
IMAGE = "kvtui.io/launcher"
"""Never pulled: node agents run launchers without containers."""
HOOK_SIDECARS = "hooks.kubevirt.io/hookSidecars"


class Unrenderable(Permanent):
    """The VMI cannot become a Pod as it is; the message says why."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a launcher depends on beside its VMI."""

    config: Configuration = field(default_factory=Configuration)
    attachments: Mapping[tuple[str, str], NetworkAttachmentDefinition] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    """DataVolume name -> claim name, where they differ."""
    auto_limits: resources.AutoLimits = field(default_factory=resources.AutoLimits)


def hostname_of(vmi: VirtualMachineInstance) -> str:
    """The guest's host name: what the VMI says, else the first label of its name."""
    return vmi.spec.hostname or vmi.metadata.name.split(".")[0][:MAX_LABEL].rstrip("-")


def instance_id(name: str) -> str:
    """A label value for a VMI's name: itself, or its start and a hash when it is too long."""
    if len(name) <= MAX_LABEL:
        return name
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8]
    return f"{name[: MAX_LABEL - 9]}-{digest}"


def render(vmi: VirtualMachineInstance, around: Surroundings) -> Pod:
    """The launcher of a VMI. Raises Unrenderable."""
    spec, config = vmi.spec, around.config
    _check_devices(spec, config)
    namespace = vmi.metadata.namespace
    overhead = memory_overhead(spec, ratio=config.overhead_ratio, plugins=config.network.binding)
    grace = spec.termination_grace_period_seconds
    account = _service_account(spec)
    user = vmi.status.runtime_user
    root = config.gate("Root") if user is None else user == 0
    return Pod(
        metadata=ObjectMeta(
            generate_name=f"{names.LAUNCHER}-{vmi.metadata.name}-",
            namespace=namespace,
            labels=_labels(vmi),
            annotations=_annotations(vmi, overhead, config),
            owner_references=[owner_reference(vmi)],
        ),
        spec=PodSpec(
            containers=[_compute(vmi, spec, overhead, around), *_helpers(vmi, spec, config)],
            init_containers=_init_containers(spec, config),
            volumes=pod_volumes(spec, around.claims, config.network.binding),
            node_selector=placement.node_selector(spec, vmi.status, config),
            affinity=placement.affinity(spec),
            tolerations=spec.tolerations,
            topology_spread_constraints=spec.topology_spread_constraints,
            scheduler_name=spec.scheduler_name or "default-scheduler",
            priority_class_name=spec.priority_class_name or "",
            restart_policy="Never",
            hostname=hostname_of(vmi),
            subdomain=spec.subdomain or "",
            dns_policy=spec.dns_policy or "ClusterFirst",
            dns_config=spec.dns_config,
            service_account_name=account or "default",
            automount_service_account_token=account is not None or networks.ISTIO_INJECT in vmi.metadata.annotations,
            enable_service_links=False,
            image_pull_secrets=_pull_secrets(spec),
            readiness_gates=[PodReadinessGate(condition_type=names.UNPAUSED_GATE)],
            resource_claims=_resource_claims(spec),
            security_context=_security_context(root=root),
            termination_grace_period_seconds=(DEFAULT_GRACE if grace is None else grace) + GRACE_MARGIN,
        ),
    )


def _check_devices(spec: VirtualMachineInstanceSpec, config: Configuration) -> None:
    """Where the cluster lists devices, nothing else is passed through."""
    permitted = config.configuration.permitted_host_devices
    if permitted is None:
        return
    known = {d.resource_name for d in permitted.pci_host_devices}
    known |= {d.resource_name for d in permitted.usb}
    known |= {d.resource_name for d in permitted.mediated_devices}
    devices = spec.domain.devices
    wanted = [("GPU", d) for d in devices.gpus] + [("HostDevice", d) for d in devices.host_devices]
    problems = [
        f"{sort} {device.device_name} is not permitted in permittedHostDevices configuration"
        for sort, device in wanted
        if device.device_name not in known and not device.claim_name
    ]
    if problems:
        raise Unrenderable(" ".join(problems))


def _labels(vmi: VirtualMachineInstance) -> dict[str, str]:
    labels = {
        **vmi.metadata.labels,
        names.APP: names.LAUNCHER,
        names.CREATED_BY: vmi.metadata.uid,
        "vm.kubevirt.io/name": hostname_of(vmi),
        "vmi.kubevirt.io/id": instance_id(vmi.metadata.name),
    }
    if inject := vmi.metadata.annotations.get(networks.ISTIO_INJECT):
        labels[networks.ISTIO_INJECT] = inject
    return labels


def carried_annotations(vmi: VirtualMachineInstance) -> dict[str, str]:
    """The VMI's annotations that its Pods carry too."""
    return {
        key: value
        for key, value in vmi.metadata.annotations.items()
        if not key.startswith("kubectl.kubernetes.io/") and key not in names.API_VERSIONS
    }


def backup_hooks(vmi: VirtualMachineInstance) -> dict[str, str]:
    """Annotations by which Velero freezes the guest's filesystems around a backup."""
    if vmi.metadata.annotations.get(names.SKIP_BACKUP_HOOKS) == "true":
        return {}
    where = ["--name", vmi.metadata.name, "--namespace", vmi.metadata.namespace]
    return {
        "pre.hook.backup.velero.io/container": "compute",
        "pre.hook.backup.velero.io/command": json.dumps(["/usr/bin/virt-freezer", "--freeze", *where]),
        "pre.hook.backup.velero.io/timeout": "60s",
        "post.hook.backup.velero.io/container": "compute",
        "post.hook.backup.velero.io/command": json.dumps(["/usr/bin/virt-freezer", "--unfreeze", *where]),
    }


def _annotations(vmi: VirtualMachineInstance, overhead: Amount, config: Configuration) -> dict[str, str]:
    annotations = {
        **carried_annotations(vmi),
        names.DOMAIN: vmi.metadata.name,
        "kubectl.kubernetes.io/default-container": "compute",
        "kubevirt.io/migrationTransportUnix": "true",
        names.MEMORY_OVERHEAD: str(overhead.whole),
        "descheduler.alpha.kubernetes.io/request-evict-only": "",
        **backup_hooks(vmi),
        **networks.network_annotations(vmi.spec, vmi.metadata.namespace, config),
    }
    if vmi.status.evacuation_node_name:
        annotations[names.EVICTION_IN_PROGRESS] = "kubevirt"
    return annotations


def _compute(
    vmi: VirtualMachineInstance, spec: VirtualMachineInstanceSpec, overhead: Amount, around: Surroundings
) -> Container:
    devices = networks.device_networks(spec, vmi.metadata.namespace, around.attachments, around.config)
    return Container(
        name="compute",
        image=IMAGE,
        ports=_ports(spec),
        resources=resources.compute_resources(
            spec,
            overhead,
            around.config,
            annotations=vmi.metadata.annotations,
            auto=around.auto_limits,
            networks=devices,
        ),
        readiness_probe=probes.pod_probe(vmi, spec.readiness_probe),
        liveness_probe=probes.pod_probe(vmi, spec.liveness_probe),
    )


def _ports(spec: VirtualMachineInstanceSpec) -> list[ContainerPort]:
    return networks.ports(spec)


def _helpers(vmi: VirtualMachineInstance, spec: VirtualMachineInstanceSpec, config: Configuration) -> list[Container]:
    """Virtiofs daemons and hook sidecars."""
    found = [
        Container(
            name=f"virtiofs-{filesystem.name}",
            image=IMAGE,
            resources=resources.sidecar_resources(resources.VIRTIOFS, spec, config),
        )
        for filesystem in spec.domain.devices.filesystems
        if filesystem.virtiofs is not None
    ]
    hook = resources.sidecar_resources(resources.HOOK, spec, config)
    found += [
        Container(name=f"hook-sidecar-{n}", image=image or IMAGE, resources=hook)
        for n, image in enumerate(_hooks(vmi, spec, config))
    ]
    return found


def _hooks(vmi: VirtualMachineInstance, spec: VirtualMachineInstanceSpec, config: Configuration) -> list[str]:
    """Images of hook sidecars: those that the VMI asks for, then those of its network bindings."""
    images: list[str] = []
    text = vmi.metadata.annotations.get(HOOK_SIDECARS)
    if text:
        try:
            wanted = json.loads(text)
            images = [str(w.get("image") or "") for w in wanted]
        except (ValueError, AttributeError, TypeError) as error:
            raise Unrenderable(f"annotation {HOOK_SIDECARS} cannot be read: {error}") from error
    used = sorted({i.binding.name for i in spec.domain.devices.interfaces if i.binding is not None})
    for name in used:
        plugin = config.network.binding.get(name)
        if plugin is not None and plugin.sidecar_image:
            images.append(plugin.sidecar_image)
    return images


def _init_containers(spec: VirtualMachineInstanceSpec, config: Configuration) -> list[Container]:
    devices = spec.domain.devices
    options = config.configuration.virtual_machine_options
    logs = devices.log_serial_console
    if logs is None:
        logs = options is None or options.disable_serial_console_log is None
    found: list[Container] = []
    if devices.autoattach_serial_console is not False and logs:
        found.append(
            Container(
                name="guest-console-log",
                image=IMAGE,
                restart_policy="Always",
                resources=resources.sidecar_resources(resources.CONSOLE_LOG, spec, config),
            )
        )
    kernel = spec.domain.firmware.kernel_boot if spec.domain.firmware else None
    disks = [v.name for v in spec.volumes if is_container_disk(v)]
    if kernel is not None and kernel.container is not None:
        disks.append(KERNEL_BOOT)
    disk = resources.sidecar_resources(resources.CONTAINER_DISK, spec, config)
    return found + [Container(name=f"volume{name}", image=IMAGE, resources=disk) for name in disks]


def _service_account(spec: VirtualMachineInstanceSpec) -> str | None:
    volume = next((v.service_account for v in spec.volumes if v.service_account is not None), None)
    return (volume.service_account_name if volume else None) or spec.service_account_name or None


def _pull_secrets(spec: VirtualMachineInstanceSpec) -> list[LocalObjectReference]:
    secrets = [v.container_disk.image_pull_secret for v in spec.volumes if v.container_disk is not None]
    kernel = spec.domain.firmware.kernel_boot if spec.domain.firmware else None
    if kernel is not None and kernel.container is not None:
        secrets.append(kernel.container.image_pull_secret)
    return [LocalObjectReference(name=name) for name in dict.fromkeys(s for s in secrets if s)]


def _resource_claims(spec: VirtualMachineInstanceSpec) -> list[dict[str, Any]]:
    claims = []
    for claim in spec.resource_claims:
        item: dict[str, Any] = {"name": claim.name}
        if claim.resource_claim_name:
            item["resourceClaimName"] = claim.resource_claim_name
        if claim.resource_claim_template_name:
            item["resourceClaimTemplateName"] = claim.resource_claim_template_name
        claims.append(item)
    return claims


def _security_context(*, root: bool) -> dict[str, Any]:
    if root:
        return {"runAsUser": 0}
    return {"runAsUser": NON_ROOT, "runAsGroup": NON_ROOT, "runAsNonRoot": True, "fsGroup": NON_ROOT}
