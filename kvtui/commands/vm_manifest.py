"""Manifests of VMs and DataVolumes from what a user says. Pure.

Source: virtctl create vm (flags, names of volumes, defaults).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from kvtui.commands.vm_extras import IMPLICIT, SYSPREP, Inference, credential, managed_keys, matcher, sysprep
from kvtui.errors import Usage

_SOURCES = {
    "blank": ((), ()),
    "http": (("url",), ("checksum", "secretref")),
    "registry": (("url",), ("secretref", "pullmethod")),
    "s3": (("url",), ("secretref",)),
    "pvc": (("src",), ()),
    "snapshot": (("src",), ()),
    "ds": (("src",), ()),
    "gcs": (("url",), ("secretref",)),
    "imageio": (("url", "diskid"), ("secretref", "certconfigmap")),
    "vddk": (("url", "backingfile", "uuid", "thumbprint", "secretref"), ()),
}
_WORDS = {
    "url": "url",
    "checksum": "checksum",
    "secretref": "secretRef",
    "pullmethod": "pullMethod",
    "diskid": "diskId",
    "certconfigmap": "certConfigMap",
    "backingfile": "backingFile",
    "uuid": "uuid",
    "thumbprint": "thumbprint",
}
_KEEP_SIZE = ("pvc", "snapshot", "ds")
"""Sources of which a copy is as large as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRequest:
    """What the flags say."""

    name: str
    namespace: str = ""
    run_strategy: str = "Always"
    grace: int = 180
    memory: str = "512Mi"
    cores: int | None = None
    instancetype: str = ""
    preference: str = ""
    container_disks: Sequence[str] = ()
    claims: Sequence[str] = ()
    imports: Sequence[str] = ()
    user: str = ""
    password: str = ""
    ssh_keys: Sequence[str] = ()
    cloud_init: str = "nocloud"
    user_data_base64: str = ""
    network_data_base64: str = ""
    ports: Sequence[int] = ()
    infer_instancetype: Inference = IMPLICIT
    infer_preference: Inference = IMPLICIT
    sysprep: str = ""
    manage_keys: bool = False
    """The guest agent may write keys where SELinux would forbid it."""
    credentials: Sequence[str] = ()


def pairs(flag: str, text: str) -> dict[str, str]:
    """`key:value,key:value`; values may hold colons. Raises Usage in virtctl's words."""
    found: dict[str, str] = {}
    for part in text.split(","):
        key, colon, value = part.partition(":")
        if not colon or not value:
            raise Usage(f'failed to parse "--{flag}" flag: params need to have at least one colon: {part}')
        if key.lower() in found:
            raise Usage(f'failed to parse "--{flag}" flag: {key} was specified twice')
        found[key.lower()] = value
    return found


def virtual_machine(request: VmRequest) -> dict[str, Any]:
    """A VirtualMachine manifest. Raises Usage."""
    volumes: list[dict[str, Any]] = []
    disks: list[dict[str, Any]] = []
    templates: list[dict[str, Any]] = []

    def add(name: str, source: dict[str, Any], order: str | None) -> None:
        volumes.append({"name": name, **source})
        if order is not None:
            if not order.isdigit() or order == "0":
                raise Usage(f"bootorder must be a number of 1 or more, not {order!r}")
            disks.append({"name": name, "disk": {"bus": "virtio"}, "bootOrder": int(order)})
        else:
            disks.append({"name": name, "disk": {"bus": "virtio"}})

    for number, text in enumerate(request.container_disks):
        given = _known("volume-containerdisk", pairs("volume-containerdisk", text), {"src", "name", "bootorder"}, "src")
        name = given.get("name") or f"{request.name}-containerdisk-{number}"
        add(name, {"containerDisk": {"image": given["src"]}}, given.get("bootorder"))
    for text in request.claims:
        given = _known("volume-pvc", pairs("volume-pvc", text), {"src", "name", "bootorder"}, "src")
        name = given.get("name") or given["src"].rpartition("/")[2]
        add(name, {"persistentVolumeClaim": {"claimName": given["src"].rpartition("/")[2]}}, given.get("bootorder"))
    for number, text in enumerate(request.imports):
        template, order = _import(request, number, text)
        templates.append(template)
        add(template["metadata"]["name"], {"dataVolume": {"name": template["metadata"]["name"]}}, order)
    if request.sysprep:
        given = _known("volume-sysprep", pairs("volume-sysprep", request.sysprep), {"src", "type"}, "src")
        add(SYSPREP, sysprep(given), None)
        disks[-1] = {"name": SYSPREP, "cdrom": {"bus": "sata"}}
    if cloud_init := _cloud_init(request):
        add("cloudinitdisk", cloud_init, None)
    interface: dict[str, Any] = {"name": "default", "masquerade": {}}
    if request.ports:
        interface["ports"] = [{"port": port} for port in request.ports]
    domain: dict[str, Any] = {"devices": {"disks": disks, "interfaces": [interface], "rng": {}}}
    if request.memory:
        domain["memory"] = {"guest": request.memory}
    if request.cores:
        domain["cpu"] = {"cores": request.cores}
    template_spec: dict[str, Any] = {
        "domain": domain,
        "networks": [{"name": "default", "pod": {}}],
        "terminationGracePeriodSeconds": request.grace,
        "volumes": volumes,
    }
    spec: dict[str, Any] = {"runStrategy": request.run_strategy}
    if request.instancetype:
        spec["instancetype"] = _matcher("instancetype", request.instancetype)
    elif found := matcher("instancetype", request.infer_instancetype, volumes, disks):
        spec["instancetype"] = found
        if request.infer_instancetype.explicit:
            domain.pop("memory", None)
    if request.preference:
        spec["preference"] = _matcher("preference", request.preference)
    elif found := matcher("preference", request.infer_preference, volumes, disks):
        spec["preference"] = found
    if request.credentials:
        known = {"type", "src", "method", "user"}
        template_spec["accessCredentials"] = [
            credential(_known("access-cred", pairs("access-cred", text), known, "src"), request.cloud_init)
            for text in request.credentials
        ]
    if templates:
        spec["dataVolumeTemplates"] = templates
    spec["template"] = {"metadata": {"labels": {"kubevirt.io/vm": request.name}}, "spec": template_spec}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": _metadata(request.name, request.namespace),
        "spec": spec,
    }


def data_volume(
    name: str,
    namespace: str,
    source: dict[str, Any],
    *,
    size: str | None,
    storage_class: str | None = None,
    access_mode: str | None = None,
) -> dict[str, Any]:
    """A DataVolume manifest with a storage stanza."""
    storage: dict[str, Any] = {}
    if access_mode:
        storage["accessModes"] = [access_mode]
    if size:
        storage["resources"] = {"requests": {"storage": size}}
    elif not any(kind in source for kind in _KEEP_SIZE):
        raise Usage("--size is needed", hint="only clones take the size of their source")
    if storage_class:
        storage["storageClassName"] = storage_class
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": _metadata(name, namespace),
        "spec": {"source": source, "storage": storage},
    }


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace} if namespace else {"name": name}


def _known(flag: str, given: dict[str, str], known: set[str], needed: str) -> dict[str, str]:
    if unknown := sorted(set(given) - known):
        raise Usage(f'failed to parse "--{flag}" flag: unknown param(s): {", ".join(unknown)}')
    if needed not in given:
        raise Usage(f'failed to parse "--{flag}" flag: {needed} must be specified')
    return given


def _import(request: VmRequest, number: int, text: str) -> tuple[dict[str, Any], str | None]:
    flag = "volume-import"
    given = pairs(flag, text)
    kind = given.pop("type", "")
    if kind not in _SOURCES:
        raise Usage(f'failed to parse "--{flag}" flag: unknown type {kind!r} (known: {", ".join(sorted(_SOURCES))})')
    needed, optional = _SOURCES[kind]
    for key in needed:
        _known(flag, given, {*needed, *optional, "size", "name", "bootorder", "storageclass", "accessmode"}, key)
    name = given.get("name") or f"imported-volume-{number}-{request.name}"[:63].rstrip("-")
    source: dict[str, Any]
    if kind in _KEEP_SIZE:
        namespace, _, copied = given["src"].rpartition("/")
        source = {kind: {"namespace": namespace or request.namespace or "default", "name": copied}}
    else:
        source = {kind: {_WORDS[k]: given[k] for k in (*needed, *optional) if k in given}}
    made = data_volume(
        name,
        "",
        source,
        size=given.get("size"),
        storage_class=given.get("storageclass"),
        access_mode=given.get("accessmode"),
    )
    spec = made["spec"]
    if kind == "ds":
        reference = {"kind": "DataSource", **spec.pop("source")["ds"]}
        spec = {"sourceRef": reference, **spec}
    return {"metadata": made["metadata"], "spec": spec}, given.get("bootorder")


def _matcher(what: str, text: str) -> dict[str, str]:
    kind, slash, name = text.rpartition("/")
    if not slash:
        return {"name": text}
    known = (f"virtualmachine{what}", f"virtualmachinecluster{what}")
    if kind.lower() not in known:
        raise Usage(f'failed to parse "--{what}" flag: invalid kind {kind!r}, supported: {", ".join(known)}')
    return {"kind": kind.lower(), "name": name}


def _cloud_init(request: VmRequest) -> dict[str, Any] | None:
    if request.cloud_init == "none":
        if request.user or request.password or request.ssh_keys or request.manage_keys:
            raise Usage("--user, --password-file, --ssh-key and --ga-manage-ssh need --cloud-init")
        return None
    key = "cloudInitNoCloud" if request.cloud_init == "nocloud" else "cloudInitConfigDrive"
    source: dict[str, Any] = {}
    if request.user_data_base64:
        source["userDataBase64"] = _base64("cloud-init-user-data", request.user_data_base64)
    elif request.user or request.password or request.ssh_keys or request.manage_keys or _by_cloud_init(request):
        more = managed_keys() if request.manage_keys else {}
        source["userData"] = user_data(request.user, request.password, request.ssh_keys, more)
    if request.network_data_base64:
        source["networkDataBase64"] = _base64("cloud-init-network-data", request.network_data_base64)
    return {key: source} if source else None


def _by_cloud_init(request: VmRequest) -> bool:
    """Whether credentials come to the guest on the cloud-init disk, which has to be there then."""
    return any(pairs("access-cred", text).get("method", "ga").lower() != "ga" for text in request.credentials)


def user_data(user: str, password: str, keys: Sequence[str], more: Mapping[str, Any] | None = None) -> str:
    """cloud-config for one user. Values are quoted by YAML, never pasted."""
    config: dict[str, Any] = {}
    if user:
        config["user"] = user
    if password:
        config |= {"password": password, "chpasswd": {"expire": False}}
    if keys:
        config["ssh_authorized_keys"] = [key.strip() for key in keys]
    config |= more or {}
    return "#cloud-config\n" + (yaml.safe_dump(config, sort_keys=False) if config else "")


def _base64(flag: str, text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Usage(f'failed to parse "--{flag}" flag: it is not base64') from error
    return text
