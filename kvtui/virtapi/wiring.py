"""Puts virt-api together around a client: its admission and its subresources."""

from __future__ import annotations

import os
import platform
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kvtui.api.kubevirt import UPSTREAM_VERSION
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.kubeconfig import Endpoint
from kvtui.client.rest import Client, Patch, impersonating
from kvtui.controlloop.exposition import counter, gauge, text
from kvtui.errors import InvalidObject
from kvtui.virtapi.admission.identity import account
from kvtui.virtapi.admission.view import Reader
from kvtui.virtapi.readers import ClientReader
from kvtui.virtapi.review import VirtAdmission
from kvtui.virtapi.subresources.agents import Agents
from kvtui.virtapi.subresources.context import Context
from kvtui.virtapi.subresources.service import Subresources
from kvtui.virtapi.subresources.uploads import Gate, UploadProxy

KEY_BITS = 2048


def admission(client: Client, reader: Reader | None = None) -> VirtAdmission:
    """`reader` answers lookups from nearer than the client; the client marks instances that have to move."""

    async def patch_vmi(namespace: str, name: str, patch: list[dict[str, Any]], dry_run: bool) -> None:
        await client.patch(VirtualMachineInstance, (namespace, name), patch, how=Patch.JSON, dry_run=dry_run)

    return VirtAdmission(reader or ClientReader(client), patch_vmi=patch_vmi)


def subresources(client: Client, tls: ssl.SSLContext, upload_key: rsa.RSAPrivateKey) -> Subresources:
    """`tls` reaches agents, see `agent_tls`; `upload_key` signs upload tokens, see `load_upload_key`."""
    return Subresources(Context(client, Agents(client, tls)), upload_key)


def metrics(admitted: VirtAdmission, served: Subresources) -> str:
    """What virt-api tells a scraper."""
    version = {"goversion": f"python{platform.python_version()}", "kubeversion": UPSTREAM_VERSION}
    created = dict(admitted.created)
    families = [
        gauge("kubevirt_info", "Version information.", [(version, 1)]),
        gauge("kubevirt_virt_api_ready_status", "Whether this API server is ready.", [({}, 1)]),
        *(
            counter(name, "Deprecated: VMs that were made since this server began.", _by_namespace(created))
            for name in ("kubevirt_vm_created_by_pod_total", "kubevirt_vm_created_total")
        ),
        *served.traffic.families(),
    ]
    return text(families)


def _by_namespace(counts: dict[str, int]) -> list[tuple[dict[str, str], float]]:
    return [({"namespace": namespace}, count) for namespace, count in counts.items()]


def agents(client: Client, tls: ssl.SSLContext) -> Agents:
    """The way to agents; `tls` as from `agent_tls`."""
    return Agents(client, tls)


def upload_proxy(client: Client, tls: ssl.SSLContext, upload_key: rsa.RSAPrivateKey, gate: Gate) -> UploadProxy:
    """The same client, TLS and key as for `subresources`; `gate` counts connections."""
    return UploadProxy(client, agents(client, tls), upload_key.public_key(), gate=gate)


def as_component(endpoint: Endpoint, namespace: str = "kubevirt") -> Endpoint:
    """The same server as virt-api's own account, acting for an administrator.

    What this package writes about instances is only kept when it comes from a component of KubeVirt. `namespace` is
    that of the KubeVirt resource.
    """
    return impersonating(endpoint, account("apiserver", namespace), ("system:masters",))


def agent_tls(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """For connections to agents: their authority, and the certificate that they let in."""
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(certificate, key)
    return context


def load_upload_key(path: Path) -> rsa.RSAPrivateKey:
    """The key in this file, which is made (mode 0600) when there is none. Raises InvalidObject, OSError."""
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        temporary = path.with_name(path.name + ".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pem)
        temporary.replace(path)
        return key
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise InvalidObject(f"{path} holds no key: {error}") from error
    if not isinstance(found, rsa.RSAPrivateKey):
        raise InvalidObject(f"{path} holds no RSA key")
    return found
