"""The KubeVirt resource: one only, and a configuration that makes sense.

Source: control plane facts 5.10; kubevirt pkg/virt-operator/webhooks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kvtui.api.kubevirt.config import (
    ComponentConfig,
    KubeVirt,
    KubeVirtConfiguration,
    KubeVirtSelfSignConfiguration,
    KubeVirtSpec,
)
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.times import seconds_of
from kvtui.virtapi.admission import gates
from kvtui.virtapi.admission.causes import Path, bad_request, forbidden, invalid, not_supported, required
from kvtui.virtapi.admission.same import same
from kvtui.virtapi.admission.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.errors import Cause
    from kvtui.virtapi.admission.view import ClusterView

CA_DURATION, CERT_DURATION = "168h0m0s", "24h0m0s"
RENEW_SHARE = 0.2
"""Part of a certificate's life before whose end it is renewed, when nothing is said."""
CIPHERS = frozenset(
    {
        "TLS_RSA_WITH_RC4_128_SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    }
)
MEDIATED_DEPRECATED = (
    "spec.configuration.mediatedDevicesConfiguration.mediatedDevicesTypes is deprecated, use mediatedDeviceTypes"
)


def seconds(duration: str) -> float:
    """0 when it is none."""
    try:
        return seconds_of(duration)
    except ValueError:
        return 0.0


def refuse_second(view: ClusterView) -> None:
    """Raises Denied (400) when there is a KubeVirt resource already."""
    if view.all(KubeVirt, ""):
        raise bad_request("Kubevirt is already created")


def validate_update(new: KubeVirtSpec, old: KubeVirtSpec, view: ClusterView) -> list[Cause]:
    configuration = new.configuration or KubeVirtConfiguration()
    before = old.configuration or KubeVirtConfiguration()
    return [
        *_patches(new),
        *_certificates(new),
        *_tls(configuration),
        *_seccomp(configuration),
        *_overhead(configuration),
        *_gates(configuration),
        *_migrations(configuration, before),
        *_infra(new),
        *_placement(new, old, view),
    ]


def warnings(spec: KubeVirtSpec) -> list[str]:
    configuration = spec.configuration or KubeVirtConfiguration()
    developer = configuration.developer_configuration
    found = [text for gate in (developer.feature_gates if developer else []) if (text := gates.deprecation(gate))]
    mediated = configuration.mediated_devices_configuration
    if mediated is not None:
        nodes = mediated.node_mediated_device_types
        if mediated.mediated_devices_types or any(node.mediated_devices_types for node in nodes):
            found.append(MEDIATED_DEPRECATED)
    return found


def _patches(spec: KubeVirtSpec) -> Iterator[Cause]:
    for patch in spec.customize_components.patches if spec.customize_components else []:
        try:
            json.loads(patch.patch)
        except ValueError:
            yield not_supported(f"patch {quoted(patch.patch)} is not valid JSON", "spec.customizeComponents.patches")


def _certificates(spec: KubeVirtSpec) -> Iterator[Cause]:
    strategy = spec.certificate_rotate_strategy
    own = strategy.self_signed if strategy is not None else None
    field = Path("spec.certificateRotationStrategy.selfSigned")
    if own is None:
        return
    old_way = (own.ca_rotate_interval, own.cert_rotate_interval, own.ca_overlap_interval)
    if any(value is not None for value in old_way) and (own.ca is not None or own.server is not None):
        yield invalid(
            "caRotateInterval, certRotateInterval and caOverlapInterval are deprecated and conflict with CertConfig "
            "defined fields",
            field,
        )
    ca, ca_renew, cert, cert_renew = _durations(own)
    if ca < ca_renew:
        both = f"{field}.ca.duration < {field}.ca.renewBefore"
        yield invalid(f"CA RenewBefore cannot exceed Duration ({both})", field.child("ca"))
    if cert < cert_renew:
        both = f"{field}.server.duration < {field}.server.renewBefore"
        yield invalid(f"Cert RenewBefore cannot exceed Duration ({both})", field.child("server"))
    if cert > ca:
        both = f"{field}.server.duration > {field}.ca.duration"
        yield invalid(f"Certificate duration cannot exceed CA ({both})", field.child("server"))


def _durations(own: KubeVirtSelfSignConfiguration) -> tuple[float, float, float, float]:
    """Seconds: life of the CA, when it is renewed before its end, and the same of the certificates."""
    ca = seconds((own.ca.duration if own.ca else None) or own.ca_rotate_interval or CA_DURATION)
    ca_renew = (own.ca.renew_before if own.ca else None) or own.ca_overlap_interval
    cert = seconds((own.server.duration if own.server else None) or own.cert_rotate_interval or CERT_DURATION)
    cert_renew = own.server.renew_before if own.server else None
    return (
        ca,
        seconds(ca_renew) if ca_renew else ca * RENEW_SHARE,
        cert,
        seconds(cert_renew) if cert_renew else cert * RENEW_SHARE,
    )


def _tls(configuration: KubeVirtConfiguration) -> Iterator[Cause]:
    tls, field = configuration.tls_configuration, Path("spec.configuration.tlsConfiguration")
    if tls is None:
        return
    if tls.min_tls_version == "VersionTLS13" and tls.ciphers:
        message = f"You cannot specify ciphers when {field}.minTLSVersion is VersionTLS13"
        yield invalid(message, field.child("ciphers"))
    for position, cipher in enumerate(tls.ciphers):
        if cipher not in CIPHERS:
            yield invalid(f"{cipher} is not a valid cipher", field.child("ciphers").item(position))


def _seccomp(configuration: KubeVirtConfiguration) -> Iterator[Cause]:
    seccomp = configuration.seccomp_configuration
    profile = seccomp.virtual_machine_instance_profile if seccomp is not None else None
    if seccomp is None or profile is None:
        return
    field = Path("spec.configuration.seccompConfiguration.virtualMachineInstanceProfile.customProfile")
    custom = profile.custom_profile
    if custom is None:
        yield required("field custom profile must be set", field)
    elif custom.localhost_profile is not None and custom.runtime_default_profile:
        yield forbidden("should not be set when runtimeDefaultProfile is set", field.child("localhostProfile"))


def _overhead(configuration: KubeVirtConfiguration) -> Iterator[Cause]:
    ratio = configuration.additional_guest_memory_overhead_ratio
    field = "spec.configuration.additionalGuestMemoryOverheadRatio"
    if ratio is None:
        return
    try:
        value = float(ratio)
    except ValueError:
        yield not_supported(f"ratio provided, {ratio}, cannot be parsed into float", field)
        return
    if value < 1:
        yield not_supported(f"ratio provided, {ratio}, cannot be smaller than 1.0", field)


def _gates(configuration: KubeVirtConfiguration) -> Iterator[Cause]:
    developer, field = configuration.developer_configuration, Path("spec.configuration.developerConfiguration")
    if developer is None:
        return
    for gate in developer.feature_gates:
        if gate in developer.disabled_feature_gates:
            message = f"feature gate {gate} cannot be in both featureGates and disabledFeatureGates"
            yield invalid(message, field.child("featureGates"))


def _migrations(new: KubeVirtConfiguration, old: KubeVirtConfiguration) -> Iterator[Cause]:
    field = Path("spec.configuration.migrations")
    wanted = new.migrations.max_downtime_ms if new.migrations is not None else None
    before = old.migrations.max_downtime_ms if old.migrations is not None else None
    developer = new.developer_configuration
    listed = developer.feature_gates if developer else []
    if wanted is not None and wanted != before and "MigrationStallDetection" not in listed:
        message = "maxDowntimeMs cannot be modified without enabling the MigrationStallDetection feature gate"
        yield invalid(message, field.child("maxDowntimeMs"))


def _infra(spec: KubeVirtSpec) -> Iterator[Cause]:
    if spec.infra is not None and spec.infra.replicas == 0:
        yield invalid("infra replica count can't be 0", "spec.infra.replicas")


def _placement(new: KubeVirtSpec, old: KubeVirtSpec, view: ClusterView) -> Iterator[Cause]:
    """Where guests may run cannot change under them."""
    wanted = (new.workloads or ComponentConfig()).node_placement
    before = (old.workloads or ComponentConfig()).node_placement
    if same(wanted, before) or not view.all(VirtualMachineInstance, ""):
        return
    message = "can't update placement of workload pods while there are running vms"
    yield forbidden(message, "spec.workloads.nodePlacement")
