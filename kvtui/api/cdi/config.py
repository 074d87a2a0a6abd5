"""CDI and CDIConfig: configuration of imports.

Source: containerized-data-importer-api/core/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import Affinity, LocalObjectReference, ResourceRequirements, Toleration
from kvtui.api.meta import Resource
from kvtui.api.wire import ATOMIC, INT32, REQUIRED, Time, Wire, named, one_of, schema

_FRACTION = schema(pattern=r"^(0(?:\.\d{1,3})?|1)$")


class CertConfig(Wire, frozen=True):
    """Cert config."""

    duration: str | None = None
    renew_before: str | None = None


class CDICertConfig(Wire, frozen=True):
    """CDI cert config."""

    ca: CertConfig | None = None
    client: CertConfig | None = None
    server: CertConfig | None = None


class FilesystemOverhead(Wire, frozen=True):
    """Filesystem overhead."""

    global_: Annotated[str | None, _FRACTION] = named("global", None)
    storage_class: dict[str, Annotated[str, _FRACTION]] = {}


class ImportProxy(Wire, frozen=True):
    """Import proxy."""

    http_proxy: str | None = named("HTTPProxy", None)
    https_proxy: str | None = named("HTTPSProxy", None)
    no_proxy: str | None = None
    trusted_ca_proxy: str | None = named("trustedCAProxy", None)


class CustomTLSProfile(Wire, frozen=True):
    """Custom TLS profile."""

    ciphers: Annotated[list[str], REQUIRED] = []
    min_tls_version: Annotated[str, REQUIRED] = named("minTLSVersion", "")


class IntermediateTLSProfile(Wire, frozen=True):
    """Intermediate TLS profile."""


class ModernTLSProfile(Wire, frozen=True):
    """Modern TLS profile."""


class OldTLSProfile(Wire, frozen=True):
    """Old TLS profile."""


class TLSSecurityProfile(Wire, frozen=True):
    """TLS security profile."""

    custom: CustomTLSProfile | None = None
    intermediate: IntermediateTLSProfile | None = None
    modern: ModernTLSProfile | None = None
    old: OldTLSProfile | None = None
    type: str | None = None


class CDIConfigSpec(Wire, frozen=True):
    """CDI config spec."""

    data_volume_ttl_seconds: Annotated[int | None, INT32] = named("dataVolumeTTLSeconds", None)
    feature_gates: list[str] = []
    filesystem_overhead: FilesystemOverhead | None = None
    image_pull_secrets: list[LocalObjectReference] = []
    import_proxy: ImportProxy | None = None
    insecure_registries: list[str] = []
    log_verbosity: Annotated[int | None, INT32] = None
    pod_resource_requirements: ResourceRequirements | None = None
    preallocation: bool | None = None
    scratch_space_storage_class: str | None = None
    tls_security_profile: TLSSecurityProfile | None = None
    upload_proxy_url_override: str | None = named("uploadProxyURLOverride", None)
    webhook_pvc_rendering: str | None = None


class Flags(Wire, frozen=True):
    """Flags."""

    api: dict[str, str] = {}
    controller: dict[str, str] = {}
    upload_proxy: dict[str, str] = {}


class CustomizeComponentsPatch(Wire, frozen=True):
    """Customize components patch."""

    patch: Annotated[str, REQUIRED] = ""
    resource_name: Annotated[str, REQUIRED] = ""
    resource_type: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class CustomizeComponents(Wire, frozen=True):
    """Customize components."""

    flags: Flags | None = None
    patches: Annotated[list[CustomizeComponentsPatch], ATOMIC] = []


class ComponentConfig(Wire, frozen=True):
    """Component config."""

    affinity: Affinity | None = None
    api_server_replicas: Annotated[int | None, INT32] = None
    deployment_replicas: Annotated[int | None, INT32] = None
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    upload_proxy_replicas: Annotated[int | None, INT32] = None


class NodePlacement(Wire, frozen=True):
    """Node placement."""

    affinity: Affinity | None = None
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []


class CDISpec(Wire, frozen=True):
    """CDI spec."""

    cert_config: CDICertConfig | None = None
    clone_strategy_override: str | None = None
    config: CDIConfigSpec | None = None
    customize_components: CustomizeComponents | None = None
    image_pull_policy: Annotated[str | None, one_of("Always", "IfNotPresent", "Never")] = None
    infra: ComponentConfig | None = None
    priority_class: str | None = None
    uninstall_strategy: str | None = None
    workload: NodePlacement | None = None


class CDICondition(Wire, frozen=True):
    """Available, Progressing or Degraded."""

    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class CDIStatus(Wire, frozen=True):
    """CDI status."""

    conditions: list[CDICondition] = []
    observed_version: str | None = None
    operator_version: str | None = None
    phase: str | None = None
    target_version: str | None = None


class CDI(Resource, frozen=True):
    """CDI."""

    spec: Annotated[CDISpec, REQUIRED] = CDISpec()
    status: CDIStatus = CDIStatus()


class CDIConfigStatus(Wire, frozen=True):
    """CDI config status."""

    default_pod_resource_requirements: ResourceRequirements | None = None
    filesystem_overhead: FilesystemOverhead | None = None
    image_pull_secrets: list[LocalObjectReference] = []
    import_proxy: ImportProxy | None = None
    preallocation: bool | None = None
    scratch_space_storage_class: str | None = None
    upload_proxy_ca: str | None = named("uploadProxyCA", None)
    upload_proxy_url: str | None = named("uploadProxyURL", None)


class CDIConfig(Resource, frozen=True):
    """CDI config."""

    spec: Annotated[CDIConfigSpec, REQUIRED] = CDIConfigSpec()
    status: CDIConfigStatus = CDIConfigStatus()
