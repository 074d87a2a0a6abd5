"""Files of configMap, secret, downwardAPI, serviceAccount and sysprep volumes, read from the API for one VM start.

Source: https://kubernetes.io/docs/concepts/storage/volumes/ for which keys become which files.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from decimal import ROUND_CEILING

from kvtui.api import quantity
from kvtui.api.core.config import ConfigMap, Secret
from kvtui.api.core.parts import DownwardAPIVolumeFile, ResourceFieldSelector
from kvtui.api.core.pod import ContainerResources, Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, Volume
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.errors import InvalidObject, NotFound

TOKEN_LIFETIME = 3607
"""Seconds, as kubelet asks for."""
CREATED_BY = "kubevirt.io/created-by"
COMPUTE = "compute"
SYSPREP_NAMES = ("autounattend.xml", "unattend.xml")


@dataclass(frozen=True, slots=True)
class ConfigDisk:
    """An ISO to build: `kind` is the word in its path."""

    volume: str
    kind: str
    label: str
    files: dict[str, bytes]


async def read(client: Client, vmi: VirtualMachineInstance, volume: Volume) -> ConfigDisk | None:
    """The files of a volume; None when it is no such volume. Raises NotFound, InvalidObject."""
    namespace = vmi.metadata.namespace
    if (config := volume.config_map) is not None:
        files = await config_map(client, namespace, config.name or "", optional=bool(config.optional))
        return ConfigDisk(volume.name, "config-map", config.volume_label or "cfgdata", files)
    if (secret := volume.secret) is not None:
        files = await secret_data(client, namespace, secret.secret_name or "", optional=bool(secret.optional))
        return ConfigDisk(volume.name, "secret", secret.volume_label or "cfgdata", files)
    if (downward := volume.downward_api) is not None:
        pod = await launcher(client, vmi)
        files = {item.path: downward_field(pod, item).encode() for item in downward.fields}
        return ConfigDisk(volume.name, "downwardapi", downward.volume_label or "cfgdata", files)
    if (account := volume.service_account) is not None:
        files = await account_files(client, vmi, account.service_account_name or "default")
        return ConfigDisk(volume.name, "service-account", "cfgdata", files)
    if (sysprep := volume.sysprep) is not None:
        if sysprep.config_map is not None:
            files = await config_map(client, namespace, sysprep.config_map.name or "")
        elif sysprep.secret is not None:
            files = await secret_data(client, namespace, sysprep.secret.name or "")
        else:
            raise InvalidObject(f"sysprep volume {volume.name!r} names neither a ConfigMap nor a Secret")
        if not any(name.lower() in SYSPREP_NAMES for name in files):
            raise InvalidObject("Sysprep drive should contain either autounattend.xml or unattend.xml")
        return ConfigDisk(volume.name, "sysprep", "unattendCD", files)
    return None


async def config_map(client: Client, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes]:
    try:
        found = await client.get(ConfigMap, ObjectKey(namespace, name))
    except NotFound:
        if optional:
            return {}
        raise
    files = {key: text.encode() for key, text in found.data.items()}
    return files | {key: base64.b64decode(text) for key, text in found.binary_data.items()}


async def secret_data(client: Client, namespace: str, name: str, *, optional: bool = False) -> dict[str, bytes]:
    try:
        found = await client.get(Secret, ObjectKey(namespace, name))
    except NotFound:
        if optional:
            return {}
        raise
    return {key: base64.b64decode(text) for key, text in found.data.items()}


async def account_files(client: Client, vmi: VirtualMachineInstance, name: str) -> dict[str, bytes]:
    """namespace, token and ca.crt, as a Pod would see them. Nodes only get tokens that end with a Pod of theirs."""
    namespace, pod = vmi.metadata.namespace, await launcher(client, vmi)
    bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
    body = json.dumps(
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_LIFETIME, "boundObjectRef": bound},
        }
    ).encode()
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    token = (await client.raw("POST", path, body=body)).json()["status"]["token"]
    authority = await config_map(client, namespace, "kube-root-ca.crt", optional=True)
    return {"namespace": namespace.encode(), "token": str(token).encode(), **authority}


async def launcher(client: Client, vmi: VirtualMachineInstance) -> Pod:
    """The Pod through which the guest gets its files. Raises NotFound."""
    pods = await client.list(Pod, vmi.metadata.namespace, label_selector=f"{CREATED_BY}={vmi.metadata.uid}")
    placed = [p for p in pods.items if p.spec.node_name and p.status.phase not in ("Succeeded", "Failed")]
    # Two of them are source and target of a migration, and only the target needs new files.
    pod = max(placed, key=lambda p: p.metadata.creation_timestamp or "", default=None)
    if pod is None:
        raise NotFound(f"no Pod of VirtualMachineInstance {vmi.metadata.name} has a node")
    return pod


def downward_field(pod: Pod, item: DownwardAPIVolumeFile) -> str:
    """The text of one field of the Pod. Raises InvalidObject for a field that a volume cannot have."""
    meta = pod.metadata
    path = item.field_ref.field_path if item.field_ref else ""
    for prefix, table in (("metadata.labels", meta.labels), ("metadata.annotations", meta.annotations)):
        if path == prefix:
            return "\n".join(f'{key}="{_escape(text)}"' for key, text in sorted(table.items()))
        if path.startswith(f"{prefix}['") and path.endswith("']"):
            return table.get(path[len(prefix) + 2 : -2], "")
    simple = {"metadata.name": meta.name, "metadata.namespace": meta.namespace, "metadata.uid": meta.uid}
    if path in simple:
        return simple[path]
    if item.resource_field_ref is not None:
        return _resource(pod, item.resource_field_ref)
    raise InvalidObject(f"the downward API has no field {path!r}")


def _resource(pod: Pod, field: ResourceFieldSelector) -> str:
    """A container's request or limit in units of the divisor, rounded up."""
    wanted = field.container_name or COMPUTE
    container = next((c for c in pod.spec.containers if c.name == wanted), None)
    if container is None:
        raise InvalidObject(f"the launcher has no container {wanted!r}")
    kind, _, name = field.resource.partition(".")
    resources = container.resources or ContainerResources()
    tables = {"requests": resources.requests, "limits": resources.limits}
    if kind not in tables:
        raise InvalidObject(f"the downward API has no resource {field.resource!r}")
    amount, divisor = (quantity.parse(q) for q in (tables[kind].get(name, "0"), field.divisor or "1"))
    return str(int((amount / (divisor or 1)).to_integral_value(ROUND_CEILING)))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
