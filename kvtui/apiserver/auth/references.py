"""What a Pod or a virtual machine instance names: the Secrets, ConfigMaps, claims and accounts that its node needs.

Source: k8s.io/kubernetes/pkg/api/v1/pod (VisitPodSecretNames, VisitPodConfigmapNames); the instance's fields are those
that the agent reads when it prepares volumes. Volumes of storage drivers are left out, for no agent mounts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from kvtui.api.worker import JOB_ANNOTATION, Job

SECRETS, CONFIG_MAPS, CLAIMS, ACCOUNTS = "secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"
CREATED_BY = "kubevirt.io/created-by"
CDI_NAMESPACE = "cdi"
"""Where the certificates of an import's proxy are, unless they are beside the import."""
ROOT_CA = "kube-root-ca.crt"
Reference = tuple[str, str, str]
"""Plural, namespace, name."""


class _Named(msgspec.Struct, rename="camel"):
    name: str | None = None


class _SecretName(msgspec.Struct, rename="camel"):
    secret_name: str | None = None


class _ClaimName(msgspec.Struct, rename="camel"):
    claim_name: str | None = None


class _ValueFrom(msgspec.Struct, rename="camel"):
    secret_key_ref: _Named | None = None
    config_map_key_ref: _Named | None = None


class _Variable(msgspec.Struct, rename="camel"):
    value_from: _ValueFrom | None = None


class _Variables(msgspec.Struct, rename="camel"):
    secret_ref: _Named | None = None
    config_map_ref: _Named | None = None


class _Container(msgspec.Struct, rename="camel"):
    env: list[_Variable] | None = None
    env_from: list[_Variables] | None = None


class _Source(msgspec.Struct, rename="camel"):
    secret: _Named | None = None
    config_map: _Named | None = None


class _Projected(msgspec.Struct):
    sources: list[_Source] | None = None


class _PodVolume(msgspec.Struct, rename="camel"):
    name: str | None = None
    secret: _SecretName | None = None
    config_map: _Named | None = None
    persistent_volume_claim: _ClaimName | None = None
    projected: _Projected | None = None
    ephemeral: msgspec.Raw | None = None


class _PodSpec(msgspec.Struct, rename="camel"):
    node_name: str | None = None
    service_account_name: str | None = None
    image_pull_secrets: list[_Named] | None = None
    volumes: list[_PodVolume] | None = None
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None


class _Meta(msgspec.Struct):
    namespace: str = ""
    name: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _PodSpec | None = None


class _CloudInit(msgspec.Struct, rename="camel"):
    secret_ref: _Named | None = None
    network_data_secret_ref: _Named | None = None


class _Sysprep(msgspec.Struct, rename="camel"):
    secret: _Named | None = None
    config_map: _Named | None = None


class _Account(msgspec.Struct, rename="camel"):
    service_account_name: str | None = None


class _Image(msgspec.Struct, rename="camel"):
    image_pull_secret: str | None = None


class _Ephemeral(msgspec.Struct, rename="camel"):
    persistent_volume_claim: _ClaimName | None = None


class _Volume(msgspec.Struct, rename="camel"):
    persistent_volume_claim: _ClaimName | None = None
    data_volume: _Named | None = None
    ephemeral: _Ephemeral | None = None
    memory_dump: _ClaimName | None = None
    container_disk: _Image | None = None
    cloud_init_no_cloud: _CloudInit | None = None
    cloud_init_config_drive: _CloudInit | None = None
    config_map: _Named | None = None
    secret: _SecretName | None = None
    service_account: _Account | None = None
    sysprep: _Sysprep | None = None


class _CredentialSource(msgspec.Struct):
    secret: _SecretName | None = None


class _Key(msgspec.Struct):
    source: _CredentialSource | None = None


class _Credential(msgspec.Struct, rename="camel"):
    ssh_public_key: _Key | None = None
    user_password: _Key | None = None


class _KernelBoot(msgspec.Struct):
    container: _Image | None = None


class _Firmware(msgspec.Struct, rename="camel"):
    kernel_boot: _KernelBoot | None = None


class _Domain(msgspec.Struct):
    firmware: _Firmware | None = None


class _InstanceSpec(msgspec.Struct, rename="camel"):
    volumes: list[_Volume] | None = None
    utility_volumes: list[_ClaimName] | None = None
    access_credentials: list[_Credential] | None = None
    domain: _Domain | None = None


class _Instance(msgspec.Struct):
    metadata: _Meta
    spec: _InstanceSpec | None = None


_pod = msgspec.json.Decoder(_Pod).decode
_instance = msgspec.json.Decoder(_Instance).decode
_job = msgspec.json.Decoder(Job).decode


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A Pod as far as its node's rights go."""

    uid: str
    node: str
    instance: str
    """UID of the instance that it runs; empty for other Pods."""
    references: frozenset[Reference]


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """An instance as far as its node's rights go."""

    uid: str
    references: frozenset[Reference]


def of_pod(data: bytes) -> PodFacts | None:
    """None for a Pod without a node, and for one that makes no sense: it gives no rights."""
    try:
        pod = _pod(data)
    except msgspec.DecodeError:
        return None
    if pod.spec is None or not pod.spec.node_name:
        return None
    found = frozenset(_complete(_pod_names(pod.spec, pod.metadata), pod.metadata.namespace))
    created_by = (pod.metadata.labels or {}).get(CREATED_BY, "")
    return PodFacts(pod.metadata.uid, pod.spec.node_name, created_by, found)


def of_instance(data: bytes) -> InstanceFacts | None:
    """None for an instance that makes no sense."""
    try:
        instance = _instance(data)
    except msgspec.DecodeError:
        return None
    names = _instance_names(instance.spec) if instance.spec is not None else iter(())
    return InstanceFacts(instance.metadata.uid, frozenset(_complete(names, instance.metadata.namespace)))


def _complete(names: Iterator[tuple[str, str | None] | Reference], namespace: str) -> Iterator[Reference]:
    for name in names:
        if len(name) == 3:
            yield name
        elif name[1]:
            yield name[0], namespace, name[1]


def _name(named: _Named | None) -> str | None:
    return named.name if named is not None else None


def _pod_names(spec: _PodSpec, meta: _Meta) -> Iterator[tuple[str, str | None] | Reference]:
    if spec.service_account_name:
        yield ACCOUNTS, spec.service_account_name
        yield CONFIG_MAPS, ROOT_CA
    for secret in spec.image_pull_secrets or ():
        yield SECRETS, secret.name
    for container in (*(spec.containers or ()), *(spec.init_containers or ())):
        yield from _container_names(container)
    for volume in spec.volumes or ():
        if volume.secret is not None:
            yield SECRETS, volume.secret.secret_name
        if volume.persistent_volume_claim is not None:
            yield CLAIMS, volume.persistent_volume_claim.claim_name
        if volume.ephemeral is not None:
            yield CLAIMS, f"{meta.name}-{volume.name}"
        yield CONFIG_MAPS, _name(volume.config_map)
        for source in (volume.projected.sources if volume.projected is not None else None) or ():
            yield SECRETS, _name(source.secret)
            yield CONFIG_MAPS, _name(source.config_map)
    if (job := (meta.annotations or {}).get(JOB_ANNOTATION)) is not None:
        yield from _job_names(job)


def _container_names(container: _Container) -> Iterator[tuple[str, str | None]]:
    for variable in container.env or ():
        if variable.value_from is not None:
            yield SECRETS, _name(variable.value_from.secret_key_ref)
            yield CONFIG_MAPS, _name(variable.value_from.config_map_key_ref)
    for source in container.env_from or ():
        yield SECRETS, _name(source.secret_ref)
        yield CONFIG_MAPS, _name(source.config_map_ref)


def _job_names(text: str) -> Iterator[tuple[str, str | None] | Reference]:
    """Of a worker's job. Only controllers write jobs, see the plugin `workers`."""
    try:
        job = _job(text)
    except msgspec.DecodeError:
        return
    yield CLAIMS, job.claim
    yield SECRETS, job.secret
    yield CONFIG_MAPS, job.cert_config_map
    yield CONFIG_MAPS, job.trusted_ca_config_map
    if job.trusted_ca_config_map:
        yield CONFIG_MAPS, CDI_NAMESPACE, job.trusted_ca_config_map
    for header in job.http.secret_extra_headers if job.http is not None else ():
        yield SECRETS, header
    if job.clone is not None:
        if job.clone.namespace:
            yield CLAIMS, job.clone.namespace, job.clone.claim
        else:
            yield CLAIMS, job.clone.claim


def _instance_names(spec: _InstanceSpec) -> Iterator[tuple[str, str | None]]:
    for volume in spec.volumes or ():
        yield from _volume_names(volume)
    for utility in spec.utility_volumes or ():
        yield CLAIMS, utility.claim_name
    for credential in spec.access_credentials or ():
        for key in (credential.ssh_public_key, credential.user_password):
            if key is not None and key.source is not None and key.source.secret is not None:
                yield SECRETS, key.source.secret.secret_name
    firmware = spec.domain.firmware if spec.domain is not None else None
    if firmware is not None and firmware.kernel_boot is not None and firmware.kernel_boot.container is not None:
        yield SECRETS, firmware.kernel_boot.container.image_pull_secret


def _volume_names(volume: _Volume) -> Iterator[tuple[str, str | None]]:
    claims = [volume.persistent_volume_claim, volume.memory_dump]
    if volume.ephemeral is not None:
        claims.append(volume.ephemeral.persistent_volume_claim)
    for claim in claims:
        if claim is not None:
            yield CLAIMS, claim.claim_name
    yield CLAIMS, _name(volume.data_volume)
    for cloud_init in (volume.cloud_init_no_cloud, volume.cloud_init_config_drive):
        if cloud_init is not None:
            yield SECRETS, _name(cloud_init.secret_ref)
            yield SECRETS, _name(cloud_init.network_data_secret_ref)
    if volume.container_disk is not None:
        yield SECRETS, volume.container_disk.image_pull_secret
    if volume.secret is not None:
        yield SECRETS, volume.secret.secret_name
    yield CONFIG_MAPS, _name(volume.config_map)
    if volume.sysprep is not None:
        yield SECRETS, _name(volume.sysprep.secret)
        yield CONFIG_MAPS, _name(volume.sysprep.config_map)
    if volume.service_account is not None:
        yield ACCOUNTS, volume.service_account.service_account_name or "default"
        yield CONFIG_MAPS, ROOT_CA
