"""New virtual machines and DataVolumes: what a form holds, what is wrong with it, and the objects it makes; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import yaml

from kvtui.api.cdi.datavolume import (
    DataVolume,
    DataVolumeBlankImage,
    DataVolumeSource,
    DataVolumeSourceHTTP,
    DataVolumeSourcePVC,
    DataVolumeSourceRegistry,
    DataVolumeSpec,
    StorageSpec,
)
from kvtui.api.core.parts import VolumeResourceRequirements
from kvtui.api.kubevirt.domain import (
    CPU,
    Devices,
    Disk,
    DiskTarget,
    DomainSpec,
    Interface,
    InterfaceBridge,
    InterfaceMasquerade,
    Memory,
    Port,
    Rng,
)
from kvtui.api.kubevirt.vm import DataVolumeTemplateSpec, VirtualMachine, VirtualMachineSpec
from kvtui.api.kubevirt.vmi import (
    CloudInitNoCloudSource,
    ContainerDiskSource,
    MultusNetwork,
    Network,
    PersistentVolumeClaimVolumeSource,
    PodNetwork,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceTemplateSpec,
    Volume,
)
from kvtui.api.kubevirt.vmi import DataVolumeSource as VolumeFromDataVolume
from kvtui.api.meta import ObjectMeta
from kvtui.api.quantity import value as quantity_value
from kvtui.api.registry import kind_of
from kvtui.api.wire import evolve, to_wire
from kvtui.errors import InvalidQuantity

Source = Literal["lab", "containerDisk", "http", "registry", "blank", "dataVolume", "pvc", "clone"]
IMPORTS: tuple[Source, ...] = ("http", "registry", "blank", "clone")
"""Sources that make a new volume."""
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_DIGEST = re.compile(r"^[\w.\-/:]+(@sha256:[0-9a-f]{64})?$")
_MAX_NAME = 63
_MIN_MEMORY = 16 * 2**20


@dataclass(slots=True)
class VmDraft:
    """The fields of the create form, as typed."""

    name: str = ""
    namespace: str = "default"
    labels: str = ""
    source: Source = "containerDisk"
    image: str = ""
    """Container image, URL, registry reference, or name of a volume or claim."""
    checksum: str = ""
    disk_size: str = "5Gi"
    storage_class: str = ""
    access: str = "ReadWriteOnce"
    cpu: str = "1"
    memory: str = "512Mi"
    instancetype: str = ""
    extra_disk: str = ""
    """Size of a further blank disk; empty for none."""
    network: Literal["pod", "none"] = "pod"
    ports: str = ""
    """Ports that are forwarded to the guest, separated by commas; empty forwards all."""
    attachments: str = ""
    """NetworkAttachmentDefinitions, separated by commas."""
    user: str = ""
    password: str = ""
    ssh_key: str = ""
    user_data: str = ""
    """A cloud-init text of one's own, instead of user, password and key."""
    run_strategy: str = "Always"
    eviction: str = ""
    node: str = ""
    after: Literal["start", "create", "console"] = "start"


@dataclass(slots=True)
class VolumeDraft:
    """The fields of the DataVolume form."""

    name: str = ""
    namespace: str = "default"
    source: Source = "http"
    image: str = ""
    checksum: str = ""
    disk_size: str = "5Gi"
    storage_class: str = ""
    access: str = "ReadWriteOnce"
    bind_now: str = "yes"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the form is checked against."""

    names: frozenset[str] = field(default_factory=frozenset)
    """Names in use in the namespace, for the kind that is made."""
    volumes: frozenset[str] = field(default_factory=frozenset)
    nodes: frozenset[str] = field(default_factory=frozenset)
    lab_image: str = ""


def suggestion(names: frozenset[str] | set[str], stem: str = "vm") -> str:
    """A name that is free: vm-01, vm-02, ..."""
    return next(name for n in range(1, 10_000) if (name := f"{stem}-{n:02}") not in names)


# Problems


def vm_problems(draft: VmDraft, around: Surroundings) -> dict[str, str]:
    """What is wrong, by field; empty when the draft can be sent."""
    problems = {
        "name": _name_problem(draft.name, draft.namespace, around.names),
        "labels": _labels_problem(draft.labels),
        "image": _source_problem(draft, around),
        "disk_size": _size_problem(draft.disk_size) if draft.source in IMPORTS else "",
        "cpu": _count_problem(draft.cpu, 1, 512) if not draft.instancetype else "",
        "memory": _memory_problem(draft.memory) if not draft.instancetype else "",
        "extra_disk": _size_problem(draft.extra_disk) if draft.extra_disk else "",
        "ports": _ports_problem(draft.ports),
        "attachments": next((f"{n} is not a name" for n in _words(draft.attachments) if not _reference(n)), ""),
        "user": "" if not draft.user or re.fullmatch(r"[a-z_][a-z0-9_-]*", draft.user) else "not a user name",
        "password": "a user is needed for a password" if draft.password and not draft.user else "",
        "ssh_key": _key_problem(draft.ssh_key),
        "user_data": _user_data_problem(draft.user_data),
        "node": "" if not draft.node or draft.node in around.nodes else f"there is no node {draft.node}",
    }
    return {name: text for name, text in problems.items() if text}


def volume_problems(draft: VolumeDraft, around: Surroundings) -> dict[str, str]:
    problems = {
        "name": _name_problem(draft.name, draft.namespace, around.names),
        "image": _source_problem(draft, around),
        "disk_size": _size_problem(draft.disk_size),
    }
    return {name: text for name, text in problems.items() if text}


def _name_problem(name: str, namespace: str, taken: frozenset[str]) -> str:
    if not name:
        return "a name is needed"
    if len(name) > _MAX_NAME:
        return f"a name has at most {_MAX_NAME} characters, this one has {len(name)}"
    if not _NAME.match(name):
        return "lower case letters, digits and hyphens, with a letter or digit at both ends"
    return f"{name} exists in {namespace}" if name in taken else ""


def _labels_problem(text: str) -> str:
    return next((f"{w} is not key=value" for w in _words(text) if not re.fullmatch(r"[\w./-]+=[\w.-]*", w)), "")


def _source_problem(draft: VmDraft | VolumeDraft, around: Surroundings) -> str:
    image = draft.image.strip()
    match draft.source:
        case "lab":
            return "" if around.lab_image else "this engine has no lab image"
        case "blank":
            return ""
        case "http":
            return "" if re.match(r"^https?://[^\s/]+/\S", image) else "a URL that begins with http:// or https://"
        case "registry" | "containerDisk":
            bare = image.removeprefix("docker://")
            return "" if bare and _DIGEST.match(bare) else "an image such as quay.io/containerdisks/fedora:42"
        case "clone":
            return "" if _reference(image) else "the name of a claim, or namespace/name"
        case _:
            if not image:
                return "the name of a volume is needed"
            return "" if image in around.volumes else f"there is no volume {image} in {draft.namespace}"


def _size_problem(text: str) -> str:
    try:
        return "" if quantity_value(text) >= 2**20 else "at least 1Mi"
    except InvalidQuantity:
        return "a size such as 5Gi"


def _memory_problem(text: str) -> str:
    try:
        return "" if quantity_value(text) >= _MIN_MEMORY else "at least 16Mi"
    except InvalidQuantity:
        return "an amount such as 512Mi or 2Gi"


def _count_problem(text: str, low: int, high: int) -> str:
    return "" if text.isascii() and text.isdigit() and low <= int(text) <= high else f"a number from {low} to {high}"


def _ports_problem(text: str) -> str:
    for word in _words(text):
        number, _, protocol = word.partition("/")
        if _count_problem(number, 1, 65535) or protocol.upper() not in ("", "TCP", "UDP"):
            return f"{word} is not a port such as 22 or 53/UDP"
    return ""


def _key_problem(text: str) -> str:
    good = not text or re.match(r"^(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/=]+", text.strip())
    return "" if good else "a public key such as ssh-ed25519 AAAA..."


def _user_data_problem(text: str) -> str:
    if not text or not text.startswith("#cloud-config"):
        return ""
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        return f"not YAML: {str(error).splitlines()[0]}"
    return ""


def _reference(text: str) -> bool:
    return bool(text) and all(_NAME.match(part) for part in text.split("/")) and text.count("/") <= 1


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text.strip()) if word]


# Objects


def build_vm(draft: VmDraft, lab_image: str = "") -> VirtualMachine:
    """The VirtualMachine of a draft without problems. `lab_image` is a container image or a URL."""
    if draft.source == "lab" and lab_image.startswith(("http://", "https://")):
        draft = replace(draft, source="http", image=lab_image, checksum="")
    volumes, templates = _volumes(draft, lab_image)
    disks = [Disk(name=v.name, disk=DiskTarget(bus="virtio")) for v in volumes]
    interfaces, networks = _networks(draft)
    domain = DomainSpec(
        cpu=None if draft.instancetype else CPU(cores=int(draft.cpu)),
        memory=None if draft.instancetype else Memory(guest=draft.memory),
        devices=Devices(
            disks=disks,
            interfaces=interfaces,
            rng=Rng(),
            autoattach_pod_interface=False if draft.network == "none" and not interfaces else None,
        ),
    )
    labels = dict(word.split("=", 1) for word in _words(draft.labels))
    template = VirtualMachineInstanceTemplateSpec(
        metadata=ObjectMeta(labels={"kubevirt.io/domain": draft.name, **labels}),
        spec=VirtualMachineInstanceSpec(
            domain=domain,
            networks=networks,
            volumes=volumes,
            eviction_strategy=draft.eviction or None,
            node_selector={"kubernetes.io/hostname": draft.node} if draft.node else {},
        ),
    )
    strategy = "Halted" if draft.after == "create" and draft.run_strategy == "Always" else draft.run_strategy
    return VirtualMachine(
        metadata=ObjectMeta(name=draft.name, namespace=draft.namespace, labels=labels),
        spec=VirtualMachineSpec(run_strategy=strategy, data_volume_templates=templates, template=template),
    )


def build_volume(draft: VolumeDraft) -> DataVolume:
    annotations = {"cdi.kubevirt.io/storage.bind.immediate.requested": "true"} if draft.bind_now == "yes" else {}
    return DataVolume(
        metadata=ObjectMeta(name=draft.name, namespace=draft.namespace, annotations=annotations),
        spec=_volume_spec(draft),
    )


def _volume_spec(draft: VmDraft | VolumeDraft) -> DataVolumeSpec:
    return DataVolumeSpec(
        source=_volume_source(draft),
        storage=StorageSpec(
            access_modes=[draft.access] if draft.access else [],
            resources=VolumeResourceRequirements(requests={"storage": draft.disk_size}),
            storage_class_name=draft.storage_class or None,
        ),
    )


def _volume_source(draft: VmDraft | VolumeDraft) -> DataVolumeSource:
    image = draft.image.strip()
    match draft.source:
        case "http":
            return DataVolumeSource(http=DataVolumeSourceHTTP(url=image, checksum=draft.checksum or None))
        case "registry":
            url = image if "://" in image else f"docker://{image}"
            return DataVolumeSource(registry=DataVolumeSourceRegistry(url=url))
        case "clone":
            namespace, _, name = image.rpartition("/")
            return DataVolumeSource(pvc=DataVolumeSourcePVC(namespace=namespace or draft.namespace, name=name))
        case _:
            return DataVolumeSource(blank=DataVolumeBlankImage())


def _volumes(draft: VmDraft, lab_image: str) -> tuple[list[Volume], list[DataVolumeTemplateSpec]]:
    volumes: list[Volume] = []
    templates: list[DataVolumeTemplateSpec] = []
    image = draft.image.strip()
    match draft.source:
        case "lab":
            volumes.append(Volume(name="root", container_disk=ContainerDiskSource(image=lab_image)))
        case "containerDisk":
            bare = image.removeprefix("docker://")
            volumes.append(Volume(name="root", container_disk=ContainerDiskSource(image=bare)))
        case "dataVolume":
            volumes.append(Volume(name="root", data_volume=VolumeFromDataVolume(name=image)))
        case "pvc":
            claim = PersistentVolumeClaimVolumeSource(claim_name=image)
            volumes.append(Volume(name="root", persistent_volume_claim=claim))
        case _:
            name = f"{draft.name}-root"
            volumes.append(Volume(name="root", data_volume=VolumeFromDataVolume(name=name)))
            templates.append(DataVolumeTemplateSpec(metadata=ObjectMeta(name=name), spec=_volume_spec(draft)))
    if draft.extra_disk:
        name = f"{draft.name}-data"
        blank = VolumeDraft(source="blank", disk_size=draft.extra_disk, storage_class=draft.storage_class,
                            access=draft.access)  # fmt: skip
        volumes.append(Volume(name="data", data_volume=VolumeFromDataVolume(name=name)))
        templates.append(DataVolumeTemplateSpec(metadata=ObjectMeta(name=name), spec=_volume_spec(blank)))
    if text := cloud_init(draft):
        volumes.append(Volume(name="cloudinit", cloud_init_no_cloud=CloudInitNoCloudSource(user_data=text)))
    return volumes, templates


def cloud_init(draft: VmDraft) -> str:
    """The first configuration of the guest; empty when nothing is asked for."""
    if draft.user_data:
        return draft.user_data
    if not (draft.user or draft.ssh_key):
        return ""
    config: dict[str, Any] = {"hostname": draft.name}
    keys = [draft.ssh_key.strip()] if draft.ssh_key else []
    if draft.user:
        user: dict[str, Any] = {"name": draft.user, "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/sh"}
        if draft.password:
            user |= {"plain_text_passwd": draft.password, "lock_passwd": False}
            config["ssh_pwauth"] = True
        if keys:
            user["ssh_authorized_keys"] = keys
        config["users"] = [user]
    elif keys:
        config["ssh_authorized_keys"] = keys
    return "#cloud-config\n" + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _networks(draft: VmDraft) -> tuple[list[Interface], list[Network]]:
    interfaces: list[Interface] = []
    networks: list[Network] = []
    if draft.network == "pod":
        ports = []
        for word in _words(draft.ports):
            number, _, protocol = word.partition("/")
            ports.append(Port(port=int(number), protocol=protocol.upper() or None))
        interfaces.append(Interface(name="default", masquerade=InterfaceMasquerade(), ports=ports))
        networks.append(Network(name="default", pod=PodNetwork()))
    for index, attachment in enumerate(_words(draft.attachments), start=1):
        interfaces.append(Interface(name=f"net{index}", bridge=InterfaceBridge()))
        networks.append(Network(name=f"net{index}", multus=MultusNetwork(network_name=attachment)))
    return interfaces, networks


def as_yaml(obj: VirtualMachine | DataVolume) -> str:
    """A manifest that `kubectl apply` takes."""
    kind = kind_of(type(obj))
    data = to_wire(evolve(obj, api_version=kind.api_version, kind=kind.kind))
    head = {key: data.pop(key) for key in ("apiVersion", "kind") if key in data}
    return yaml.safe_dump({**head, **data}, sort_keys=False, allow_unicode=True)
