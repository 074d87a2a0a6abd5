"""Manifests of VMs and DataVolumes from what a user says. Pure.

Source: virtctl create vm (flags, names of volumes, defaults).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from kvtui.errors import Usage

_SOURCES = {
    "blank": ((), ()),
    "http": (("url",), ("checksum", "secretref")),
    "registry": (("url",), ("secretref", "pullmethod")),
    "s3": (("url",), ("secretref",)),
    "pvc": (("src",), ()),
}


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
    if request.preference:
        spec["preference"] = _matcher("preference", request.preference)
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
    elif "pvc" not in source:
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
    if kind == "pvc":
        namespace, _, claim = given["src"].rpartition("/")
        source = {"pvc": {"namespace": namespace or request.namespace or "default", "name": claim}}
    else:
        words = {"url": "url", "checksum": "checksum", "secretref": "secretRef", "pullmethod": "pullMethod"}
        source = {kind: {words[k]: given[k] for k in (*needed, *optional) if k in given}}
    made = data_volume(
        name,
        "",
        source,
        size=given.get("size"),
        storage_class=given.get("storageclass"),
        access_mode=given.get("accessmode"),
    )
    return {"metadata": made["metadata"], "spec": made["spec"]}, given.get("bootorder")


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
        if request.user or request.password or request.ssh_keys:
            raise Usage("--user, --password-file and --ssh-key need --cloud-init")
        return None
    key = "cloudInitNoCloud" if request.cloud_init == "nocloud" else "cloudInitConfigDrive"
    source: dict[str, Any] = {}
    if request.user_data_base64:
        source["userDataBase64"] = _base64("cloud-init-user-data", request.user_data_base64)
    elif request.user or request.password or request.ssh_keys:
        source["userData"] = user_data(request.user, request.password, request.ssh_keys)
    if request.network_data_base64:
        source["networkDataBase64"] = _base64("cloud-init-network-data", request.network_data_base64)
    return {key: source} if source else None


def user_data(user: str, password: str, keys: Sequence[str]) -> str:
    """cloud-config for one user. Values are quoted by YAML, never pasted."""
    config: dict[str, Any] = {}
    if user:
        config["user"] = user
    if password:
        config |= {"password": password, "chpasswd": {"expire": False}}
    if keys:
        config["ssh_authorized_keys"] = [key.strip() for key in keys]
    return "#cloud-config\n" + yaml.safe_dump(config, sort_keys=False)


def _base64(flag: str, text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Usage(f'failed to parse "--{flag}" flag: it is not base64') from error
    return text
