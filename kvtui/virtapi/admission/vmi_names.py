"""Names of a VMI: host name, subdomain, service account; and its eviction and start strategies.

Source: control plane facts 5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid
from kvtui.virtapi.admission.text import dns_label, dns_subdomain

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec

EVICTION_STRATEGIES = ("None", "LiveMigrate", "LiveMigrateIfPossible", "External")


def validate_host_names(spec: Spec, field: Path) -> list[Cause]:
    found = []
    for value, name, rules, complaints in (
        (spec.hostname, "hostname", "DNS_LABEL", dns_label),
        (spec.subdomain, "subdomain", "DNS_SUBDOMAIN", dns_subdomain),
    ):
        wrong = complaints(value) if value else []
        if wrong:
            own = field.child(name)
            found.append(invalid(f"{own} does not conform to the kubernetes {rules} rules : {', '.join(wrong)}", own))
    return found


def validate_service_account(spec: Spec, field: Path) -> list[Cause]:
    """The launcher's account must be a name, and the one that a serviceAccount volume shows the guest."""
    name = spec.service_account_name
    if not name:
        return []
    own = field.child("serviceAccountName")
    wrong = dns_subdomain(name)
    if wrong:
        return [invalid(f"{own} does not conform to the kubernetes DNS_SUBDOMAIN rules : {', '.join(wrong)}", own)]
    shown = [v.service_account.service_account_name for v in spec.volumes if v.service_account is not None]
    if any(other and other != name for other in shown):
        return [invalid(f"{own} must match the service account of the serviceAccount volume", own)]
    return []


def validate_eviction(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    strategy = spec.eviction_strategy
    if strategy is None:
        strategy = config.configuration.eviction_strategy
    if strategy is None or strategy in EVICTION_STRATEGIES:
        return []
    own = field.child("evictionStrategy")
    return [invalid(f"{own} is set with an unrecognized option: {strategy}", own)]


def validate_start(spec: Spec, field: Path) -> list[Cause]:
    own = field.child("startStrategy")
    if spec.start_strategy is None:
        return []
    if spec.start_strategy != "Paused":
        return [invalid(f"{own} is set with an unrecognized option: {spec.start_strategy}", own)]
    if spec.liveness_probe is not None:
        return [
            invalid(
                f"either {own} or {field.child('livenessProbe')} should be provided.Pausing VMI with LivenessProbe "
                "is not supported",
                own,
            )
        ]
    return []
